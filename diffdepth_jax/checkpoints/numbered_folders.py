"""Folders that hold a folder for each saved step, named by its number."""

import os
import pathlib

from diffdepth_jax.checkpoints.checksums import find_damage


def steps(directory: str | os.PathLike) -> list[int]:
    """The steps saved in a folder, rising."""
    folder = pathlib.Path(directory)
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def find_damaged(directory: str | os.PathLike) -> tuple[dict[int, str], int | None]:
    """The damaged steps newer than the newest whole one, and that whole step or None.

    The damaged steps are {step: what is wrong with it}, newest first.
    """
    damaged: dict[int, str] = {}
    for step in reversed(steps(directory)):
        damage = find_damage(pathlib.Path(directory) / str(step))
        if damage is None:
            return damaged, step
        damaged[step] = damage
    return damaged, None
