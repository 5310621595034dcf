"""Finds the photos and videos to predict: one file, the files of a folder, or those of a list."""

import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import path_lists, photo_formats, video
from diffdepth_jax.media.orientation import turned_size
from diffdepth_jax.media.photo_metadata import read_metadata
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.prediction.folder_search import (
    LISTED_TWICE,
    FolderSearch,
    PassedOver,
    describe,
)
from diffdepth_jax.prediction.output_names import InputFile, named


class Inputs(NamedTuple):
    """The files to predict, and one line on what was passed over; "" if nothing was."""

    files: list[InputFile]
    passed_over: str


def find_inputs(path: str | os.PathLike[str], output: str | os.PathLike[str]) -> Inputs:
    """Finds the photos and videos of a path, and names their outputs in the folder `output`.

    The path may be a photo, a video, a folder, see `folder_search.FolderSearch`, or a .txt file,
    see `media.path_lists`: each line is one path, or the first of several is. Files outside of the
    list's folder have their whole path as a name. `output_names` says more of names.

    Raises:
      UserError: there is no such path, or no photo or video in it.
    """
    path = pathlib.Path(path)
    passed_over: PassedOver = {}
    if path.is_dir():
        search = FolderSearch(path, pathlib.Path(output))
        files, passed_over = search.files, search.passed_over
        if not files:
            raise _nothing_found(path, passed_over)
    elif not path.is_file():
        raise UserError(f"input {path} does not exist: give an image, a video, a folder or a list")
    elif path.suffix.lower() == ".txt":
        files, passed_over = _files_of_list(path)
    else:
        files = [path]
    folder = path if path.is_dir() else path.parent
    inside = [(file, path_lists.name_below(file, folder)) for file in files]
    return Inputs(named(inside, output), describe(passed_over))


def _nothing_found(folder: pathlib.Path, passed_over: PassedOver) -> UserError:
    known = ", ".join(sorted(photo_formats.extensions() | video.EXTENSIONS))
    passed = f"; {describe(passed_over)}" if passed_over else ""
    return UserError(f"input {folder} holds no image or video ({known}){passed}")


def _files_of_list(path: pathlib.Path) -> tuple[list[pathlib.Path], PassedOver]:
    files: dict[str, pathlib.Path] = {}
    again = []
    for number, text in path_lists.read_lines(path):
        file = _listed(text, path.parent)
        if file.is_dir():
            raise UserError(f"list {path}, line {number}: {file} is a folder: name its files")
        name = path_lists.name_below(file, path.parent)
        if files.setdefault(name, file) is not file:
            again.append(text)
    if not files:
        raise UserError(f"list {path} names no file: give a path in each line")
    return list(files.values()), {LISTED_TWICE: again} if again else {}


def _listed(text: str, folder: pathlib.Path) -> pathlib.Path:
    """Returns the file of a line: the whole line if there is such a file, or its first name."""
    names = [text, *path_lists.names(text)[:1]]
    found = (path_lists.find(name, folder) for name in names)
    return next((path for path in found if path is not None), folder / text)


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
