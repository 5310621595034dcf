"""diffdepth COMMAND ...: one word for each program; python -m diffdepth_jax is the same.

This module, and the programs until they run, import nothing that takes time.
"""

import importlib
import pathlib
import sys
from typing import NamedTuple

import diffdepth_jax
from diffdepth_jax.errors import did_you_mean

_PROGRAM, _MODULE = "diffdepth", "python -m diffdepth_jax"


class Command(NamedTuple):
    """A program, the flags that make it this command, what it does, and an example.

    Attributes:
      module: of the program, whose `main()` is called.
      summary: what the command does.
      example: what one may type after the command.
      flags: put before those of the user.
    """

    module: str
    summary: str
    example: str = ""
    flags: tuple[str, ...] = ()


GROUPS = {
    "Use a model": {
        "predict": Command("predict", "Depth of photos, videos", "photos clip.mp4 -o depth"),
        "app": Command("app", "The same in a web page"),
        "export": Command(
            "export", "One file that needs only JAX", "--checkpoint=runs/x --output=x.stablehlo"
        ),
        "models": Command("program.shipped_models", "The models that ship"),
    },
    "Make a model": {
        "train": Command("main", "Train and evaluate", "--config=synthetic", ("--mode=train",)),
        "evaluate": Command("main", "Score a model", "runs/synthetic", ("--mode=evaluate",)),
        "calibrate": Command(
            "main", "Measure how sure it may be", "runs/synthetic", ("--mode=calibrate",)
        ),
        "submit": Command(
            "main", "Predict KITTI's test set", "runs/kitti --output=x.zip", ("--mode=submit",)
        ),
        "convert": Command(
            "convert",
            "PyTorch weights",
            "--checkpoint=x.pt --config=released_swin --output=models",
        ),
        "prepare": Command("data.prepare", "Check data sets, look at data", "--inspect=DIR"),
    },
    "Ask for help": {
        "doctor": Command("prediction.doctor", "What works here; for bug reports"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def main() -> None:
    """Runs the command that the command line names."""
    program = _PROGRAM if pathlib.Path(sys.argv[0]).stem == _PROGRAM else _MODULE
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help", "help"):
        print(_page(program))
    elif name == "--version":
        print(f"diffdepth_jax {diffdepth_jax.__version__}")
    elif name in COMMANDS:
        _start(program, name)
    else:
        near = did_you_mean(name, COMMANDS) or f": it is none of {', '.join(COMMANDS)}"
        print(f"error: unknown command {name}{near}", file=sys.stderr)
        sys.exit(2)


def _start(program: str, name: str) -> None:
    command = COMMANDS[name]
    sys.argv = [f"{program} {name}", *command.flags, *sys.argv[2:]]
    try:
        importlib.import_module(f"diffdepth_jax.{command.module}").main()
    except KeyboardInterrupt:  # before the program began
        sys.exit(130)


def _page(program: str) -> str:
    lines = [f"usage: {program} COMMAND ...", "", "Metric depth of photos, as latent diffusion."]
    for heading, commands in GROUPS.items():
        lines += ["", f"{heading}:"]
        for name, command in commands.items():
            lines.append(f"  {name:11}{command.summary}")
            lines.append(f"             {program} {name} {command.example}".rstrip())
    return "\n".join([*lines, "", f"{program} COMMAND --help has the flags of a command."])


if __name__ == "__main__":
    main()
