"""Guesses which files of a folder are pictures and which are their depth."""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator

from diffdepth_jax.media.photo_formats import open_picture

_MOST_FILES = 50_000  # of a folder that are looked at
_PICTURES_TRIED = 300  # spread over the folder: scenes repeat their numbers, so that many files fit
_ARRAYS = (".npy", ".npz", ".h5", ".hdf5", ".pfm", ".pgm")
_PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".ppm")
_NUMBERS = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class Patterns:
    """Patterns of `data.folder`, and how many of the pairs that were tried they have."""

    image: str
    depth: str
    pairs: int


def guess_patterns(root: pathlib.Path) -> Patterns | None:
    """Returns the patterns that pair most files; None if nothing pairs up.

    Names pair up by their numbers, or, without numbers, by their stems. Their folders are the same,
    or differ in one name, which may come again.
    """
    pictures, depths = _sorted_files(root)
    partners = collections.defaultdict(list)
    for path in depths:
        partners[_key(path)].append(path)
    counts = collections.Counter(
        patterns
        for picture in pictures[:: max(1, len(pictures) // _PICTURES_TRIED)]
        for depth in partners[_key(picture)]
        if (patterns := _patterns(picture, depth))
    )
    if not counts:
        return None
    (image, depth), pairs = counts.most_common(1)[0]
    return Patterns(image, depth, pairs)


def _sorted_files(root: pathlib.Path) -> tuple[list[str], list[str]]:
    """The paths of pictures, and of what may be depth, relative to the root."""
    pictures, depths, kinds = [], [], {}
    for path in _files(root):
        suffix = os.path.splitext(path)[1].lower()
        if suffix in _ARRAYS:
            depths.append(path)
        elif suffix in _PICTURES:
            # Files of one form and folder are of one kind: headers are read of the first.
            form = _NUMBERS.sub("*", os.path.basename(path)), os.path.dirname(path)
            if form not in kinds:
                kinds[form] = _has_colours(root / path)
            (pictures if kinds[form] else depths).append(path)
    return pictures, depths


def _files(root: pathlib.Path) -> Iterator[str]:
    """Files, of each folder the first; what a link leads to is looked at once."""
    seen = set[str]()
    for folder, folders, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        linked = {name: os.path.islink(os.path.join(folder, name)) for name in folders}
        folders[:] = [] if place in seen else sorted(folders, key=lambda x: (linked[x], x))
        files = [] if place in seen else sorted(names)[:_MOST_FILES]
        seen.add(place)
        for name in files:
            yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")


def _has_colours(path: pathlib.Path) -> bool:
    try:
        with open_picture(path) as picture:
            return picture.mode in ("RGB", "RGBA", "CMYK", "YCbCr") or picture.format == "JPEG"
    except (OSError, ValueError, SyntaxError):
        return False


def _key(path: str) -> tuple[str, ...]:
    """The numbers of a name, or its stem if it has none."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return tuple(_NUMBERS.findall(stem)) or (stem,)


def _patterns(picture: str, depth: str) -> tuple[str, str] | None:
    ours, theirs = picture.split("/"), depth.split("/")
    folders = _folder_patterns(ours[:-1], theirs[:-1])
    if folders is None:
        return None
    names = _name_pattern(ours[-1]), _name_pattern(theirs[-1])
    return folders[0] + names[0], folders[1] + names[1]


def _folder_patterns(ours: list[str], theirs: list[str]) -> tuple[str, str] | None:
    """Patterns of two folders that differ in one name, which may come again, or in none."""
    if len(ours) != len(theirs):
        return None
    differing = {(our, their) for our, their in zip(ours, theirs, strict=True) if our != their}
    if len(differing) > 1:
        return None
    return _with_wildcards(ours, theirs), _with_wildcards(theirs, ours)


def _with_wildcards(parts: list[str], others: list[str]) -> str:
    """The folder with `**/` for each run of names that both have."""
    pattern = ""
    for part, other in zip(parts, others, strict=True):
        if part != other:
            pattern += f"{part}/"
        elif not pattern.endswith("**/"):
            pattern += "**/"
    return pattern


def _name_pattern(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return _NUMBERS.sub("*", stem) + suffix if _NUMBERS.search(stem) else f"*{suffix}"
