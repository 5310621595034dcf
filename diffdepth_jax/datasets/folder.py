"""A folder of RGB-D pairs, read by index.

EXIF orientation is ignored: a depth file has none, so an image turned by it would no longer fit its
depth. Turn image and depth in the same way before use.
"""

import copy
import glob
import math
import os
import re
from collections.abc import Iterable, Sequence
from typing import SupportsIndex

import numpy as np

from diffdepth_jax.datasets.samples import Sample
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import path_lists
from diffdepth_jax.media.reading import read_depth, read_image

_WILDCARD = re.compile(r"(\*\*/|\*)")


class RGBDFolder:
    """Random-access source of the pairs; depth is 0 where the mask is False.

    A sample's name is the path of its image relative to the root. Of an image outside of the root,
    which a list may name, it is the whole path without the slash in front.
    """

    def __init__(
        self,
        root: str,
        image_pattern: str,
        depth_pattern: str,
        list_file: str = "",
        depth_scale: float = 1000.0,
    ) -> None:
        """Finds the pairs; reads no picture.

        Args:
            root: the folder; every other path is relative to it.
            image_pattern: such as "**/rgb_*.jpg". `*` is any part of a name, `**/` is any number
                of folders, every other character is itself.
            depth_pattern: a pattern with the same wildcards; the k-th wildcard is the text that the
                k-th wildcard of `image_pattern` matched.
            list_file: a file to use in place of the patterns, with lines "image depth [anything]",
                see `media.path_lists`. Lines whose depth is None are skipped: KITTI's lists mark a
                frame without ground truth in this way.
            depth_scale: integer depth files hold metres times this number: 1000 for millimetres,
                256 for KITTI. Float .npy files hold metres and ignore it.

        Raises:
            UserError: the folder, a listed file or a depth partner does not exist, or nothing
                matches.
        """
        if not (math.isfinite(depth_scale) and depth_scale > 0):
            raise UserError(
                f"depth_scale {depth_scale}: must be positive; 1000 for files in millimetres"
            )
        self._root = os.path.expanduser(root)
        self._depth_scale = depth_scale
        _check_root(self._root)
        if list_file:
            self._pairs = _listed_pairs(self._root, list_file)
        else:
            self._pairs = _matched_pairs(self._root, image_pattern, depth_pattern)

    @property
    def names(self) -> list[str]:
        """The path of each image below the root, by index; the whole path if it lies elsewhere."""
        return [path_lists.name_below(self._path(image), self._root) for image, _ in self._pairs]

    def select(self, indices: Iterable[SupportsIndex]) -> "RGBDFolder":
        """Returns a source with only these samples, in this order."""
        subset = copy.copy(self)
        subset._pairs = [self._pairs[index] for index in indices]
        return subset

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"RGBDFolder({self._root!r}, {len(self)} pairs, depth_scale={self._depth_scale})"

    def __getitem__(self, index: int) -> Sample:
        image_path, depth_path = map(self._path, self._pairs[index])
        image = read_image(image_path, exif_orientation=False)
        depth = read_depth(depth_path, self._depth_scale)
        if image.shape[:2] != depth.shape[:2]:
            raise UserError(
                f"image {image_path} is {image.shape[0]} x {image.shape[1]} but depth {depth_path}"
                f" is {depth.shape[0]} x {depth.shape[1]} (height x width);"
                " register the depth to the image and save both at one size"
            )
        mask = np.isfinite(depth) & (depth > 0)
        if not mask.any():
            raise UserError(
                f"depth file {depth_path} has no valid pixel (finite and positive);"
                " remove the pair from the folder or list, or check depth_scale"
            )
        depth = np.where(mask, depth, np.float32(0))
        name = path_lists.name_below(image_path, self._root)
        return {"image": image, "depth": depth, "mask": mask, "name": name}

    def _path(self, listed: str) -> str:
        return os.path.join(self._root, listed)


def _listed_pairs(root: str, list_file: str) -> list[tuple[str, str]]:
    """Reads (image, depth) from each line of a list file, and checks that the files exist."""
    path = os.path.join(root, list_file)
    pairs = [pair for pair in path_lists.read_pairs(path) if pair.depth != "None"]
    if not pairs:
        raise UserError(f"list file {path} names no pair; expected lines 'image depth'")
    found = [[_listed(root, name) for name in (pair.image, pair.depth)] for pair in pairs]
    advice = next((pair.advice for pair in pairs if pair.advice), "")
    files = [name for pair in found for name in pair]
    _check_files(root, files, f"files of the list {path}{advice}")
    return [(image, depth) for image, depth in found]


def _listed(root: str, name: str) -> str:
    """Returns the file of a listed name, relative to the root unless it is an absolute path."""
    path = path_lists.find(name, root)
    if path is None:
        return name.lstrip("/")
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _matched_pairs(root: str, image_pattern: str, depth_pattern: str) -> list[tuple[str, str]]:
    """Finds the images by their pattern, in sorted order, and the depth file of each."""
    _check_patterns(image_pattern, depth_pattern)
    pieces = _WILDCARD.split(image_pattern)  # literal, wildcard, literal, ..., literal
    pieces[::2] = map(glob.escape, pieces[::2])
    images = sorted(glob.glob("".join(pieces), root_dir=root, recursive=True))
    if not images:
        raise UserError(f"no image matches {image_pattern!r} in {root}; check image_pattern")
    pairs = [(image, _partner(image, image_pattern, depth_pattern)) for image in images]
    depths = [depth for _, depth in pairs]
    _check_files(root, depths, f"depth partners ({depth_pattern}) of the images in {root}")
    return pairs


def _partner(image: str, image_pattern: str, depth_pattern: str) -> str:
    """Fills the wildcards of the depth pattern with the text that the image pattern's matched."""
    pieces = _WILDCARD.split(image_pattern)
    pieces[::2] = map(re.escape, pieces[::2])
    pieces[1::2] = ["((?:.*/)?)" if piece == "**/" else "([^/]*)" for piece in pieces[1::2]]
    match = re.fullmatch("".join(pieces), image, re.DOTALL)
    assert match, f"{image} was found by {image_pattern}"
    depth_pieces = _WILDCARD.split(depth_pattern)
    depth_pieces[1::2] = match.groups()
    return "".join(depth_pieces)


def _check_patterns(image_pattern: str, depth_pattern: str) -> None:
    for pattern in (image_pattern, depth_pattern):
        folders, _, name = pattern.rpartition("/")
        if "**" in name or any("**" in part and part != "**" for part in folders.split("/")):
            raise UserError(f"pattern {pattern!r}: '**' must stand alone, as in '**/rgb_*.png'")
    wildcards = [_WILDCARD.findall(pattern) for pattern in (image_pattern, depth_pattern)]
    if wildcards[0] != wildcards[1]:
        raise UserError(
            f"image_pattern {image_pattern!r} and depth_pattern {depth_pattern!r} must have"
            " the same wildcards in the same order: depth_pattern takes from each wildcard the text"
            " that it matched in image_pattern"
        )


def _check_root(root: str) -> None:
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
