"""Lists of inputs: .txt and .csv files, see `media.path_lists`, and standard input."""

import os
import pathlib
import re
import sys
from collections.abc import Iterable
from typing import NamedTuple

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import path_lists
from diffdepth_jax.media.path_lists import Line

EXTENSIONS = (".txt", ".csv")
_STANDARD_INPUT = "standard input"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class ListedFile(NamedTuple):
    """A file, the text that names it, and the list and line where the text stands."""

    path: pathlib.Path
    text: str
    place: str


class Listed(NamedTuple):
    """The files of a list, and its folder."""

    folder: pathlib.Path
    files: list[ListedFile]


def read(path: pathlib.Path) -> Listed:
    """Reads a list: each line of a .txt file is one path, or the first of several is.

    Paths are relative to the list's folder. A file that is missing is listed, too.

    Raises:
      UserError: the list cannot be read, is empty, or names a folder or an address.
    """
    is_csv = path.suffix.lower() == ".csv"
    lines = path_lists.read_csv(path) if is_csv else path_lists.read_lines(path)
    return _listed(lines, path.parent, f"list {path}")


def read_standard_input() -> Listed:
    """Reads a list from standard input; paths are relative to the working directory.

    Where zeros part the paths, as of `find -print0`, a path may hold anything.

    Raises:
      UserError: as `read` does.
    """
    text = os.fsdecode(sys.stdin.buffer.read())
    if "\0" in text:
        paths = enumerate(text.split("\0"), start=1)
        lines = [Line(number, path) for number, path in paths if path]
    else:
        lines = path_lists.lines_of(text.removeprefix("\ufeff"))
    return _listed(lines, pathlib.Path(), _STANDARD_INPUT)


def refuse_address(text: str, where: str = "input") -> None:
    """Raises a UserError if a text that is no file is an address, such as https://..."""
    if _ADDRESS.match(text):
        raise UserError(
            f"{where} {text} is an address, and this program loads nothing from the network: "
            "download the file first, and name it as it lies on this machine"
        )


def _listed(lines: Iterable[Line], folder: pathlib.Path, where: str) -> Listed:
    files = []
    for number, text in lines:
        place = f"{where}, line {number}"
        path = _find(text, folder)
        if path is None:
            refuse_address(text, f"{place}:")
            path = folder / text
        if os.path.isdir(path):
            raise UserError(f"{place}: {path} is a folder: name its files")
        files.append(ListedFile(path, text, place))
    if not files:
        raise UserError(f"{where} names no file: give a path in each line")
    return Listed(folder, files)


def _find(text: str, folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the file of a line: the whole line if there is such a file, or its first name."""
    names = [text, *path_lists.names(text)[:1]]
    found = (path_lists.find(name, folder) for name in names)
    return next((path for path in found if path is not None), None)
