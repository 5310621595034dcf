"""Paths that users write: with ~ for a home folder, and configurations by their names."""

import ast
import os
import pathlib

from diffdepth_jax.configuration.stored import CONFIG_FILE
from diffdepth_jax.errors import UserError, did_you_mean

_SHIPPED = pathlib.Path(__file__).parents[1] / "configs"


def expand_home(path: str) -> str:
    """Replaces ~ or ~NAME at the beginning by the home folder; shells leave --flag=~/x as it is.

    Raises:
      UserError: there is no such home folder.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise UserError(f"path {path}: no home folder of that name; a file or folder is ./{path}")
    return expanded


def shipped_configurations() -> list[str]:
    """The names of the configurations that ship with the program."""
    return sorted(path.stem for path in _SHIPPED.glob("*.py") if path.stem != "__init__")


def table_of_configurations() -> str:
    """A line for each configuration that ships: its name, and what its file says of itself."""
    names = shipped_configurations()
    width = max(map(len, names))
    return "\n".join(f"{name:{width}}  {_purpose(_SHIPPED / f'{name}.py')}" for name in names)


def _purpose(path: pathlib.Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def find_configuration(name: str) -> pathlib.Path:
    """The file of a configuration, or the directory of a run or model that holds one.

    Args:
      name: a path that exists, of which .py may be left out; otherwise the name of a configuration
        that ships, as NAME, NAME.py or configs/NAME.py.

    Raises:
      UserError: it is none of these; the message lists the names.
    """
    path = pathlib.Path(expand_home(name))
    for candidate in (path, path.with_name(f"{path.name}.py")) if path.name else (path,):
        if candidate.is_file() or (candidate / CONFIG_FILE).is_file():
            return candidate
    shipped = path.name.removesuffix(".py")
    if str(path.parent) in (".", "configs") and shipped in shipped_configurations():
        return _SHIPPED / f"{shipped}.py"
    known = shipped_configurations()
    raise UserError(
        f"configuration {name} does not exist: give a .py file, the directory of a run, or one of "
        f"{', '.join(known)}{did_you_mean(shipped, known)}"
    )
