"""What `main` may be given in short: a model as an argument, and no configuration beside it.

`diffdepth evaluate runs/x` is `--mode=evaluate --workdir=runs/x --config=runs/x`.
"""

import itertools
import os
import pathlib
from collections.abc import Sequence

from diffdepth_jax.configuration.paths import expand_home
from diffdepth_jax.configuration.stored import CONFIG_FILE
from diffdepth_jax.errors import UserError, did_you_mean
from diffdepth_jax.program.default_model import FOLDER
from diffdepth_jax.program.shipped_models import shipped_names


def completed(arguments: Sequence[str]) -> list[str]:
    """Returns the flags that the arguments stand for.

    Raises:
      UserError: what is given as a model is none.
    """
    mode = value_of("mode", arguments) or "train"
    scores = mode != "train"
    found = [_flag_of(arguments, index, mode) for index in range(len(arguments))]
    if value_of("config", found) is None:
        for name in ("checkpoint", "workdir"):
            model = value_of(name, found)
            directory = None if model is None else _directory(model)
            if directory is not None:
                return [f"--config={directory}", *found]
            if model is not None and scores:
                raise _no_model(model)
    return found


def _flag_of(arguments: Sequence[str], index: int, mode: str) -> str:
    """An argument, or if it is a model by itself and no value of a flag, the flag for it."""
    argument, before = arguments[index], arguments[index - 1] if index else "="
    if argument.startswith("-") or "=" not in before:
        return argument
    if mode == "train":
        name = "workdir" if os.sep in argument else "config"
        raise UserError(f"unexpected argument {argument}; did you mean --{name}={argument}?")
    if _directory(argument) is None:
        raise _no_model(argument)
    ships = argument in shipped_names() and not pathlib.Path(argument).exists()
    if ships and mode != "evaluate":
        raise UserError(f"{argument} ships with the program and stays as it is: copy its folder")
    return f"--{'checkpoint' if ships else 'workdir'}={argument}"


def value_of(name: str, arguments: Sequence[str]) -> str | None:
    """The value of a flag, which follows = or is the next argument; None: it is not given."""
    value = None
    for argument, after in itertools.zip_longest(arguments, arguments[1:]):
        flag, equals, text = argument.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            value = text if equals else after
    return value


def _directory(model: str) -> pathlib.Path | None:
    """The directory of a model that lies on this machine, or ships."""
    path = pathlib.Path(expand_home(model))
    if not path.exists() and model in shipped_names():
        path = FOLDER / model
    return path if (path / CONFIG_FILE).is_file() else None


def _no_model(name: str) -> UserError:
    known = shipped_names()
    return UserError(
        f"{name} is no model directory (it has no {CONFIG_FILE}) and no model that ships "
        f"({', '.join(known)}){did_you_mean(name, known)}"
    )
