"""List files: text with one or more names of files in each line. All readers of lists use this.

A line is blank, a comment from a # on, or names. Names have white space between them, or commas, as
in CSV files, or tabs if they hold spaces themselves. A name in double quotes may hold anything.
"""

import codecs
import csv
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.reading import FilePath, unreadable

_COMMENT = re.compile(r'("[^"]*")|(?:^|\s)#.*')  # a # inside a name is part of the name
_WORD = re.compile(r'"([^"]*)"|(\S+)')
# float() alone would also read "2011_09_26", the day of a KITTI drive.
_NUMBER = re.compile(r"\+?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
# Headings of the column of a CSV file that holds the names of pictures.
_HEADINGS = ("image", "img", "rgb", "photo", "video", "file", "filename", "path", "input", "name")
_FILE_NAME = re.compile(r"\.[A-Za-z]\w*$|^None$")


class Line(NamedTuple):
    """A line of a list that names something, and its number from 1."""

    number: int
    text: str


class Pair(NamedTuple):
    """The names of an image and its depth, which may be the word None; and further columns."""

    number: int
    image: str
    depth: str
    rest: tuple[str, ...]

    @property
    def focal_length(self) -> float:
        """The third column, if it is a positive number, as in the lists of BTS; otherwise 0."""
        if not self.rest or not is_number(self.rest[0]):
            return 0.0
        number = float(self.rest[0])
        return number if number < math.inf else 0.0

    @property
    def advice(self) -> str:
        """What to add to the report of a missing file: a word too many may be a name's part."""
        if not self.rest or re.fullmatch(r"[-+.\deE]+", self.rest[0]):
            return ""
        return " (a name with spaces has to stand in double quotes, or have tabs around it)"


def read_lines(path: FilePath) -> list[Line]:
    """Reads the lines that are neither blank nor a comment; text is UTF-8, or UTF-16 with its mark.

    Raises:
      UserError: the file cannot be read, or is no such text.
    """
    return lines_of(_read_text(path))


def lines_of(text: str) -> list[Line]:
    """Returns the lines of a list's text that are neither blank nor a comment."""
    lines = [line.strip() for line in re.split(r"\r\n|\n|\r", text)]
    return _named(enumerate(lines, start=1))


def _named(lines: Iterable[tuple[int, str]]) -> list[Line]:
    return [Line(number, text) for number, text in lines if text and not text.startswith("#")]


def _read_text(path: FilePath) -> str:
    try:
        content = pathlib.Path(path).read_bytes()
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable("list file", path, error) from error


def read_csv(path: FilePath) -> list[Line]:
    """Reads the names of pictures in a CSV file, with the numbers of their lines.

    They stand in the column with such a heading ("image", "path", "file_name"), or in the first
    one. Commas, semicolons or tabs part the columns, whichever is most frequent in the first line.

    Raises:
      UserError: the file cannot be read, or is no text in UTF-8, or UTF-16 with its mark.
    """
    text = _read_text(path)
    first = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=first.count))
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except csv.Error as error:
        raise unreadable("list file", path, error) from error
    column = _column_of_pictures(rows[0][1]) if rows else None
    index, below = (0, rows) if column is None else (column, rows[1:])
    return _named((number, row[index]) for number, row in below if index < len(row))


def _column_of_pictures(headings: list[str]) -> int | None:
    """Returns the index of the column; None: these are no headings, but names with extensions."""
    if any("." in heading for heading in headings):
        return None
    words = [set(re.split(r"[^a-z]+", heading.lower())) for heading in headings]
    found = (index for heading in _HEADINGS for index, x in enumerate(words) if heading in x)
    return next(found, None)


def names(text: str) -> list[str]:
    """Splits a line at tabs or commas, if the parts look like files' names, else at white space."""
    text = _COMMENT.sub(lambda match: match[1] or "", text).strip()
    for separator in "\t,":
        columns = [column.strip().strip('"') for column in text.split(separator)]
        if len(columns) > 1 and all(_FILE_NAME.search(column) for column in columns[:2]):
            return columns
    return [quoted or word for quoted, word in _WORD.findall(text)]


def read_pairs(path: FilePath) -> list[Pair]:
    """Reads lines "image depth [anything]", or TUM's "time image time depth".

    Raises:
      UserError: the file cannot be read, or a line has one name only.
    """
    pairs = []
    for number, text in read_lines(path):
        words = names(text)
        if len(words) == 1:
            raise UserError(f"list file {path}, line {number}: expected 'image depth', got one")
        if words:
            pairs.append(_pair(number, words))
    return pairs


def is_number(word: str) -> bool:
    """Whether a word is a number that is not negative."""
    return _NUMBER.fullmatch(word) is not None


def _pair(number: int, words: list[str]) -> Pair:
    """Makes a pair of a line's words: "image depth ..." or, as in TUM's lists of pairs, with times.

    There a line is "time image time depth".
    """
    if len(words) == 4 and is_number(words[0]) and is_number(words[2]):
        return Pair(number, words[1], words[3], ())
    return Pair(number, words[0], words[1], tuple(words[2:]))


def candidates(name: str, below: Callable[[str], list[pathlib.Path]]) -> list[pathlib.Path]:
    r"""Returns the paths that a listed name may stand for, the likeliest first.

    A name is an absolute path if that file exists. Otherwise `below` says where it may lie; a slash
    in front of it is then taken away, as the lists of NYU and KITTI have one. \ counts as / too.
    """
    paths = []
    for spelled in dict.fromkeys((name, name.replace("\\", "/"))):
        absolute = pathlib.Path(os.path.expanduser(spelled))
        paths += [absolute] if absolute.is_absolute() and os.path.isfile(absolute) else []
        paths += below(spelled.lstrip("/"))
    return paths


def find(name: str, folder: FilePath) -> pathlib.Path | None:
    """Returns the file that a listed name stands for, with names relative to `folder`, or None."""
    paths = candidates(name, lambda inside: [pathlib.Path(folder, inside)])
    return next((path for path in paths if os.path.isfile(path)), None)  # also of names too long


def name_below(path: FilePath, folder: FilePath) -> str:
    """Returns a name for a file: its path from `folder`, or its whole path if it lies elsewhere.

    The name is relative and has no `..`, so that it may be joined to any other folder.
    """
    path, folder = pathlib.Path(path).absolute(), pathlib.Path(folder).absolute()
    if ".." in path.parts or ".." in folder.parts:
        path = pathlib.Path(os.path.realpath(path.parent), path.name)
        folder = folder.resolve()
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    parts = [part.strip(":\\/") for part in (path.drive, *path.parts[1:])]
    return "/".join(part for part in parts if part not in ("", ".", ".."))
