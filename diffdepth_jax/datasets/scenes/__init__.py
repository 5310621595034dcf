"""The rendered rooms and streets of the embedded dataset, in numpy alone."""
