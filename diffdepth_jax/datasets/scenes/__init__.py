"""The rooms and streets of the embedded dataset: random scenes, rendered with numpy alone."""
