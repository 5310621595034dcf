"""Which files of a folder belong together: by patterns, by a list, or by the times of two lists."""

import glob
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import path_lists, timed_lists

_WILDCARD = re.compile(r"(\*\*/|\*)")


class Files(NamedTuple):
    """The paths of a pair relative to the root; `mask` is "" where there is none.

    `focal_length` is what a list says of the camera, in pixels; 0: nothing.
    """

    image: str
    depth: str
    mask: str = ""
    focal_length: float = 0.0


def listed_files(root: str, list_file: str, depth_root: str = "") -> list[Files]:
    """Reads a pair from each line of a list file, and checks that the files exist.

    `depth_root` is where the list's depth files lie, below the root; it may have wildcards, for
    several folders. "" stands for the root.
    """
    path = os.path.join(root, list_file)
    pairs = [pair for pair in path_lists.read_pairs(path) if pair.depth != "None"]
    if not pairs:
        raise UserError(f"list file {path} names no pair; expected lines 'image depth'")
    folders = _folders(root, depth_root)
    found = [
        Files(_image(root, pair.image), _listed(root, pair.depth, folders), "", pair.focal_length)
        for pair in pairs
    ]
    advice = next((pair.advice for pair in pairs if pair.advice), "")
    names = [name for files in found for name in (files.image, files.depth)]
    _check_files(root, names, f"files of the list {path}{advice}")
    return found


def timed_files(root: str, image_list: str, depth_list: str) -> list[Files]:
    """Pairs the files of two lists with times, see `media.timed_lists`, and checks that they exist.

    Raises:
      UserError: a list cannot be read, a file is missing, or no two times are close.
    """
    paths = [os.path.join(root, name) for name in (image_list, depth_list)]
    pairs = timed_lists.associate(*map(timed_lists.read_times, paths))
    if not pairs:
        raise UserError(
            f"no time in {paths[0]} is within {timed_lists.MAX_DIFFERENCE:g} s of one in {paths[1]}"
        )
    names = [name for pair in pairs for name in pair]
    _check_files(root, names, f"files of the lists {paths[0]} and {paths[1]}")
    return [Files(*pair) for pair in pairs]


def _folders(root: str, depth_root: str) -> list[str]:
    found = sorted(glob.glob(os.path.join(root, depth_root))) if depth_root else [root]
    if not found:
        raise UserError(f"depth_root {depth_root!r}: no such folder in {root}")
    return found


def _image(root: str, name: str) -> str:
    """Returns the file of a listed image. KITTI's lists name PNG files; many keep JPEG files."""
    stem, suffix = os.path.splitext(name)
    other = {".png": ".jpg", ".jpg": ".png"}.get(suffix)
    if other and path_lists.find(name, root) is None and path_lists.find(stem + other, root):
        text = "the list names %s, but %s has a %s file: it and others like it are taken"
        logging.log_first_n(logging.WARNING, text, 1, name, root, other)
        return _listed(root, stem + other, [root])
    return _listed(root, name, [root])


def _listed(root: str, name: str, folders: Sequence[str]) -> str:
    """Returns a listed file in one of the folders, relative to the root if it lies below it."""
    paths = [path_lists.find(name, folder) for folder in folders]
    path = next((path for path in paths if path is not None), None)
    if path is None:
        return name.lstrip("/")
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _matches(root: str, pattern: str) -> list[str]:
    """The files below the root that a pattern matches."""
    pieces = _WILDCARD.split(pattern)  # literal, wildcard, literal, ..., literal
    pieces[::2] = map(glob.escape, pieces[::2])
    return glob.glob("".join(pieces), root_dir=root, recursive=True)


def _other_level(root: str, pattern: str) -> str | None:
    """The folder that a user may have meant: a level below the root, or one or two above it."""
    if "**" in pattern:  # it has seen all levels below, and above may be the whole disk
        return None
    below = sorted(entry.path for entry in os.scandir(root) if entry.is_dir())
    above = [os.path.normpath(os.path.join(root, up)) for up in ("..", "../..")]
    return next((folder for folder in (*below, *above) if _matches(folder, pattern)), None)


def matched_files(
    root: str, image_pattern: str, depth_pattern: str, mask_pattern: str
) -> list[Files]:
    """Finds the images by their pattern, in sorted order, and the partners of each."""
    _check_patterns(image_pattern, depth_pattern, "depth_pattern")
    images = sorted(_matches(root, image_pattern))
    if not images:
        other = _other_level(root, image_pattern)
        remedy = f"give {other} as data.folder.root" if other else "check image_pattern"
        raise UserError(f"no image matches {image_pattern!r} in {root}; {remedy}")
    depths = [_partner(image, image_pattern, depth_pattern) for image in images]
    _check_files(root, depths, f"depth partners ({depth_pattern}) of the images in {root}")
    if not mask_pattern:
        return [Files(*pair) for pair in zip(images, depths, strict=True)]
    _check_patterns(image_pattern, mask_pattern, "mask_pattern")
    masks = [_partner(image, image_pattern, mask_pattern) for image in images]
    _check_files(root, masks, f"mask partners ({mask_pattern}) of the images in {root}")
    return [Files(*files) for files in zip(images, depths, masks, strict=True)]


def _partner(image: str, image_pattern: str, partner_pattern: str) -> str:
    """Fills the wildcards of a pattern with the text that the image pattern's matched."""
    pieces = _WILDCARD.split(image_pattern)
    pieces[::2] = map(re.escape, pieces[::2])
    pieces[1::2] = ["((?:.*/)?)" if piece == "**/" else "([^/]*)" for piece in pieces[1::2]]
    match = re.fullmatch("".join(pieces), image, re.DOTALL)
    assert match, f"{image} was found by {image_pattern}"
    partner = _WILDCARD.split(partner_pattern)
    partner[1::2] = match.groups()
    return "".join(partner)


def _check_patterns(image_pattern: str, partner_pattern: str, field: str) -> None:
    for pattern in (image_pattern, partner_pattern):
        folders, _, name = pattern.rpartition("/")
        if "**" in name or any("**" in part and part != "**" for part in folders.split("/")):
            raise UserError(f"pattern {pattern!r}: '**' must stand alone, as in '**/rgb_*.png'")
    wildcards = [_WILDCARD.findall(pattern) for pattern in (image_pattern, partner_pattern)]
    if wildcards[0] != wildcards[1]:
        raise UserError(
            f"image_pattern {image_pattern!r} and {field} {partner_pattern!r} must have"
            f" the same wildcards in the same order: {field} takes from each wildcard the text"
            " that it matched in image_pattern"
        )


def check_root(root: str) -> None:
    if not os.path.exists(root):
        raise UserError(f"folder {root!r} does not exist; check root")
    if not os.path.isdir(root):
        raise UserError(f"{root!r} is not a folder; root must be the folder that holds the pairs")
    if not os.listdir(root):
        raise UserError(f"folder {root!r} is empty; put RGB-D pairs there or check root")


def _check_files(root: str, names: Sequence[str], what: str) -> None:
    missing = [name for name in names if not os.path.isfile(os.path.join(root, name))]
    if missing:
        first = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UserError(
            f"{len(missing)} of {len(names)} {what} are missing: {first};"
            " add them, take the entries out, or check root and patterns"
        )
