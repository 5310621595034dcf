"""What the programs say of `--checkpoint`, and the model that they take without it."""

import pathlib

from diffdepth_jax.errors import UserError

FOLDER = pathlib.Path(__file__).parents[1] / "pretrained"  # of the models that ship
DEFAULT = "indoor_small"
HELP = (
    "The model: a model directory such as runs/synthetic, the name of a model that ships, or "
    "OWNER/REPOSITORY of the Hugging Face hub."
)
HELP_WITH_DEFAULT = f"{HELP} Default: {DEFAULT}, which ships."


def chosen(checkpoint: str | None) -> str:
    """The flag's value, or the model that ships; then a line says so.

    Raises:
      UserError: the value is empty, as that of a variable that is not set.
    """
    if checkpoint is None:
        print(f"model: {DEFAULT}, which ships with the program; --checkpoint takes another")
        return DEFAULT
    if not checkpoint:
        raise UserError(f"checkpoint is empty: name a model, or leave it out for {DEFAULT}")
    return checkpoint
