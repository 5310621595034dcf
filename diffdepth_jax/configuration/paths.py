"""Paths that users write, with ~ for a home folder."""

import os

from diffdepth_jax.errors import UserError


def expand_home(path: str) -> str:
    """Replaces ~ or ~NAME at the beginning by the home folder; shells leave --flag=~/x as it is.

    Raises:
      UserError: there is no such home folder.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise UserError(f"path {path}: no home folder of that name; a file or folder is ./{path}")
    return expanded
