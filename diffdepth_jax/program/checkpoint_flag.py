"""The flag `--checkpoint` of the programs that use a model."""

from absl import flags

from diffdepth_jax.program.path_flags import define_path

flags.disclaim_key_flags()

# The model of photos that ships with the program.
DEFAULT = "indoor_small"
_MODELS = "a model directory such as runs/synthetic, the name of a model that ships, or "
_HUB = "OWNER/REPOSITORY of the Hugging Face hub"


def define_checkpoint(*, default: bool = False) -> flags.FlagHolder[str | None]:
    """Defines the flag; `default` says in its help that there is one, see `chosen_checkpoint`."""
    ends = f"; default: {DEFAULT}, which ships." if default else "."
    return define_path("checkpoint", f"The model: {_MODELS}{_HUB}{ends}", allow_override=True)


def chosen_checkpoint(value: str | None) -> str:
    """The flag's value, or the model that ships; then a line says so."""
    if value is None:
        print(f"model: {DEFAULT}, which ships with the program; --checkpoint takes another")
    return value or DEFAULT
