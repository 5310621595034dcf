"""What the programs say of `--checkpoint`, and the model that they take without it."""

DEFAULT = "indoor_small"
HELP = (
    "The model: a model directory such as runs/synthetic, the name of a model that ships, or "
    "OWNER/REPOSITORY of the Hugging Face hub."
)
HELP_WITH_DEFAULT = f"{HELP} Default: {DEFAULT}, which ships."


def chosen(checkpoint: str | None) -> str:
    """The flag's value, or the model that ships; then a line says so."""
    if checkpoint is None:
        print(f"model: {DEFAULT}, which ships with the program; --checkpoint takes another")
    return checkpoint or DEFAULT
