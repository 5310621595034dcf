"""Finds the photos and videos to predict, as people type them, and where results go by default."""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from diffdepth_jax.configuration.paths import expand_home
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import marks, path_lists, photo_formats, video
from diffdepth_jax.media.orientation import turned_size
from diffdepth_jax.media.photo_metadata import read_metadata
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.prediction import input_lists
from diffdepth_jax.prediction.folder_search import NAMED_AGAIN, RESULT, FolderSearch, describe
from diffdepth_jax.prediction.output_names import InputFile, named, without_extension

EXAMPLE = "photos, videos, folders, patterns such as 'shots/*.jpg' or lists"
_DEFAULT_OUTPUT = pathlib.Path("depth")
_MAGIC = re.compile(r"[*?[]")


class Inputs(NamedTuple):
    """The files to predict, and one line on what was passed over; "" if nothing was."""

    files: list[InputFile]
    passed_over: str


def find_inputs(inputs: Sequence[str], output: str | os.PathLike[str]) -> Inputs:
    """Finds the photos and videos that inputs name, and names their outputs in the folder `output`.

    An input may be a photo, a video, a folder or a pattern, see `folder_search.FolderSearch`, or a
    list, see `input_lists`. Files of a list outside of its folder have their whole path as a name.
    A result of this program is predicted only if it is the one input. `output_names` says more of
    names.

    Raises:
      UserError: an input does not exist, is an address or empty, or there is no photo or video.
    """
    search = _Search(pathlib.Path(output), are_several=len(inputs) > 1)
    for text in inputs:
        search.add(text)
    if not search.found:
        raise _nothing_found(inputs, search.passed_over)
    found = list(search.found.values())
    listed = {file.path: file.listed for file in found}
    files = [
        dataclasses.replace(file, listed=listed[file.path])
        for file in named(_told_apart(found), output)
    ]
    return Inputs(files, describe(search.passed_over))


class _Found(NamedTuple):
    """A file, and the folder from which its name is told."""

    path: pathlib.Path
    root: pathlib.Path
    listed: str = ""  # the list and the line that name it

    @property
    def inside(self) -> str:
        return path_lists.name_below(self.path, self.root)


class _Search:
    """Collects the files of several inputs, each once.

    Attributes:
      found: the files by their places on disk, where a last link is not followed.
      passed_over: see `FolderSearch`, of all inputs.
    """

    def __init__(self, output: pathlib.Path, *, are_several: bool) -> None:
        self.found: dict[str, _Found] = {}
        self.passed_over = collections.defaultdict[str, list[str]](list)
        self._output, self._are_several = output, are_several

    def add(self, text: str) -> None:
        path = pathlib.Path(expand_home(text))
        if not text:
            raise UserError(f"an input is empty: name {EXAMPLE}")
        if text == "-":
            self._add_list(input_lists.read_standard_input())
        elif path.is_dir():
            self._add_folder(path)
        elif path.is_file():
            self._add_file(path)
        elif _MAGIC.search(text) and not os.path.lexists(path):
            self._add_folder(*split_pattern(path))
        else:
            input_lists.refuse_address(text)
            kind = "is no file and no folder" if path.exists() else "does not exist"
            raise UserError(f"input {path} {kind}: name {EXAMPLE}")

    def _add_file(self, path: pathlib.Path) -> None:
        if path.suffix.lower() in input_lists.EXTENSIONS:
            self._add_list(input_lists.read(path))
        elif self._are_several and marks.is_marked(path):
            self.passed_over[RESULT].append(str(path))
        else:
            self._take(_Found(path, path.parent))

    def _add_folder(self, root: pathlib.Path, pattern: str = "") -> None:
        search = FolderSearch(root, self._output, pattern)
        for reason, names in search.passed_over.items():
            self.passed_over[reason] += names
        for path in search.files:
            self._take(_Found(path, root))

    def _add_list(self, listed: input_lists.Listed) -> None:
        for path, text, place in listed.files:
            self._take(_Found(path, listed.folder, place), text)

    def _take(self, file: _Found, text: str = "") -> None:
        place = os.path.join(os.path.realpath(file.path.parent), file.path.name)
        if self.found.setdefault(place, file) is not file:
            self.passed_over[NAMED_AGAIN].append(text or str(file.path))


def split_pattern(pattern: pathlib.Path) -> tuple[pathlib.Path, str]:
    """Splits a pattern into the folder before its first *, ? or [, and the rest."""
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    return pathlib.Path(*parts[:first]), "/".join(parts[first:])


def _nothing_found(inputs: Sequence[str], passed_over: dict[str, list[str]]) -> UserError:
    known = ", ".join(sorted(photo_formats.extensions() | video.EXTENSIONS))
    passed = f" ({describe(passed_over)})" if passed_over else ""
    return UserError(f"input {' '.join(inputs)} holds no image or video{passed}; known are {known}")


def _told_apart(found: Sequence[_Found]) -> list[tuple[pathlib.Path, str]]:
    """Returns each file with its name inside its input.

    Inputs whose files have the same names, without extensions, have the name of their folder before
    each: the photos of `a/` and of `b/` become `a/x` and `b/x`.
    """
    roots = {file.root: file.root.resolve() for file in found}
    rooted = collections.defaultdict[str, set[pathlib.Path]](set)
    for file in found:
        rooted[without_extension(file.inside).casefold()].add(roots[file.root])
    clashing = set[pathlib.Path]().union(*(places for places in rooted.values() if len(places) > 1))
    labels = _labels(sorted(clashing))
    return [
        (file.path, str(pathlib.PurePath(labels.get(roots[file.root], ""), file.inside)))
        for file in found
    ]


def _labels(roots: Sequence[pathlib.Path]) -> dict[pathlib.Path, str]:
    """Returns what tells folders apart: their names, or else their paths from a common folder."""
    names = [root.name for root in roots]
    if len({name.casefold() for name in names}) < len(names):
        common = os.path.commonpath(roots)
        names = [root.relative_to(common).as_posix() for root in roots]
    return dict(zip(roots, names, strict=True))


def default_output(inputs: Iterable[str]) -> pathlib.Path:
    """Returns `depth`, or if that would lie in an input folder, `FOLDER_depth` beside that folder.

    Raises:
      UserError: there is nothing beside the input folder.
    """
    roots = [_searched(pathlib.Path(expand_home(text))) for text in inputs]
    places = sorted({root.resolve() for root in roots if root is not None})
    output = _DEFAULT_OUTPUT
    while around := [place for place in places if output.resolve().is_relative_to(place)]:
        root = around[0]
        if root.parent == root:
            raise UserError(f"results would lie in the input folder {root}: give another --output")
        output = root.parent / f"{root.name}_{_DEFAULT_OUTPUT}"
    return output


def _searched(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder that an input has searched with its subfolders, if it does so."""
    if path.is_dir():
        return path
    pattern = _MAGIC.search(str(path)) and not os.path.lexists(path)
    return split_pattern(path)[0] if pattern and "**" in path.parts else None


def image_sizes(inputs: Iterable[InputFile]) -> list[Size]:
    """Returns the (height, width) of the turned photos, read from their headers.

    Photos that cannot be opened are left out.
    """
    sizes = []
    for file in inputs:
        try:
            with photo_formats.open_picture(file.path) as image:
                height, width = image.size[::-1]
                sizes.append(turned_size((height, width), read_metadata(image).orientation))
        except Exception:  # any error comes again and is reported when the photo is read
            continue
    return sizes
