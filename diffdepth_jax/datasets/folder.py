"""A folder of RGB-D pairs, read by index.

Images come turned by their EXIF orientation, with their depth, see `media.orientation`.
"""

import copy
import glob
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, SupportsIndex

import numpy as np

from diffdepth_jax.datasets.samples import DepthMap, Sample
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera, path_lists
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.depth_reading import DepthForm, read_depth, read_mask
from diffdepth_jax.media.orientation import DepthOrientation, depth_turn, turned
from diffdepth_jax.media.photo_metadata import Metadata
from diffdepth_jax.media.preprocessing import Size, resize_nearest
from diffdepth_jax.media.reading import read_picture

_SAME_RATIO = 0.01  # ScanNet's depth has 480x640, its pictures 968x1296
_WILDCARD = re.compile(r"(\*\*/|\*)")


class _Files(NamedTuple):
    """The paths of a pair relative to the root; `mask` is "" where there is none.

    `focal_length` is what a list says of the camera, in pixels; 0: nothing.
    """

    image: str
    depth: str
    mask: str = ""
    focal_length: float = 0.0


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
        depth_form: DepthForm = DepthForm(),  # noqa: B008  it cannot be changed
        mask_pattern: str = "",
        resize_depth: bool = False,
        depth_orientation: DepthOrientation = "stored",
        focal_length: float = 0.0,
    ) -> None:
        """Finds the pairs; reads no picture.

        Args:
            root: the folder; every other path is relative to it.
            image_pattern: such as "**/rgb_*.jpg". `*` is any part of a name, `**/` is any number
                of folders, every other character is itself.
            depth_pattern: a pattern with the same wildcards; the k-th wildcard is the text that the
                k-th wildcard of `image_pattern` matched.
            list_file: a file to use in place of the patterns, with lines "image depth [anything]",
                see `media.path_lists`. A number in the third column is the focal length in pixels
                of the image. Lines whose depth is None are skipped: KITTI's lists mark a frame
                without ground truth in this way.
            depth_form: how the depth files hold metres.
            mask_pattern: a pattern of masks beside the depth, with the same wildcards; pixels whose
                mask is 0 have no ground truth. "" stands for no masks.
            resize_depth: whether depth of another size than its picture, but of the same sides'
                ratio, is brought to the picture's size; each pixel takes the nearest value.
            depth_orientation: how depth lies where neither its size nor its file tells, see
                `media.orientation`.
            focal_length: of all images for which the list gives none, in pixels; 0: that of each
                photo's EXIF data, if it has any.

        Raises:
            UserError: the folder, a listed file or a partner does not exist, nothing matches, or
                masks are asked for beside a list.
        """
        self._root = os.path.expanduser(root)
        self._form, self._resize_depth = depth_form, resize_depth
        self._depth_orientation: DepthOrientation = depth_orientation
        self._focal_length = focal_length
        _check_root(self._root)
        if list_file and mask_pattern:
            raise UserError(
                f"mask_pattern {mask_pattern!r} means nothing beside a list file: leave one out"
            )
        if list_file:
            self._files = _listed_files(self._root, list_file)
        else:
            self._files = _matched_files(self._root, image_pattern, depth_pattern, mask_pattern)

    @property
    def names(self) -> list[str]:
        """The path of each image below the root, by index; the whole path if it lies elsewhere."""
        return [self._name(files) for files in self._files]

    def select(self, indices: Iterable[SupportsIndex]) -> "RGBDFolder":
        """Returns a source with only these samples, in this order."""
        subset = copy.copy(self)
        subset._files = [self._files[index] for index in indices]
        return subset

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        return f"RGBDFolder({self._root!r}, {len(self)} pairs, {self._form})"

    def __getitem__(self, index: int) -> Sample:
        files = self._files[index]
        picture = read_picture(self._path(files.image))
        orientation = picture.metadata.orientation
        image, depth = turned(picture.stored, orientation), self._valid_depth(files)
        turn = depth_turn(
            depth.shape[:2],
            image.shape[:2],
            orientation,
            self._depth_orientation,
            "data.folder.depth_orientation",
        )
        depth = turned(depth, turn)
        if self._resize_depth and _alike(depth.shape[:2], image.shape[:2]):
            depth = resize_nearest(depth, image.shape[:2])
        self._check_size(image, files.image, depth, files.depth)
        sample: Sample = {
            "image": image,
            "depth": depth,
            "mask": depth > 0,
            "name": self._name(files),
            "orientation": orientation,
        }
        pinhole = self._camera(files, picture.metadata, image.shape[:2])
        if pinhole is not None:
            sample["intrinsics"] = np.array(pinhole.rows)
        return sample

    def _camera(self, files: _Files, metadata: Metadata, size: Size) -> Camera | None:
        """The camera of an image, turned as it is; None if nothing is known of it."""
        given = files.focal_length or self._focal_length
        if given:
            return camera.centred(given, *size, "")
        if metadata.focal_length_35mm:
            return camera.from_exif(metadata.focal_length_35mm, *size)
        return None

    def _valid_depth(self, files: _Files) -> DepthMap:
        """Reads the depth; 0 where it is not valid."""
        path = self._path(files.depth)
        depth = read_depth(path, self._form)
        valid = np.isfinite(depth) & (depth > 0)
        if files.mask:
            mask = read_mask(self._path(files.mask))
            self._check_size(mask, files.mask, depth, files.depth)
            valid &= mask
        if not valid.any():
            raise UserError(
                f"depth file {path} has no valid pixel (finite, positive and not masked);"
                " remove the pair from the folder or list, or check depth_scale"
            )
        return np.where(valid, depth, np.float32(0))

    def _check_size(self, pixels: np.ndarray, name: str, other: np.ndarray, partner: str) -> None:
        """Raises a UserError unless the pixels of two files have the same height and width."""
        if pixels.shape[:2] != other.shape[:2]:
            raise UserError(
                f"{self._path(name)} is {pixels.shape[0]} x {pixels.shape[1]} but"
                f" {self._path(partner)} is {other.shape[0]} x {other.shape[1]} (height x width);"
                " register the depth to the image and save both at one size, or, if they show the"
                " same and have one ratio of sides, set data.folder.resize_depth"
            )

    def _name(self, files: _Files) -> str:
        return path_lists.name_below(self._path(files.image), self._root)

    def _path(self, listed: str) -> str:
        return os.path.join(self._root, listed)


def _alike(size: Size, other: Size) -> bool:
    """Whether two (height, width) have the same ratio, up to roundings such as ScanNet's."""
    return abs(size[1] * other[0] / (size[0] * other[1]) - 1) < _SAME_RATIO


def _listed_files(root: str, list_file: str) -> list[_Files]:
    """Reads a pair from each line of a list file, and checks that the files exist."""
    path = os.path.join(root, list_file)
    pairs = [pair for pair in path_lists.read_pairs(path) if pair.depth != "None"]
    if not pairs:
        raise UserError(f"list file {path} names no pair; expected lines 'image depth'")
    found = [
        _Files(_listed(root, pair.image), _listed(root, pair.depth), focal_length=pair.focal_length)
        for pair in pairs
    ]
    advice = next((pair.advice for pair in pairs if pair.advice), "")
    names = [name for files in found for name in (files.image, files.depth)]
    _check_files(root, names, f"files of the list {path}{advice}")
    return found


def _listed(root: str, name: str) -> str:
    """Returns the file of a listed name, relative to the root unless it is an absolute path."""
    path = path_lists.find(name, root)
    if path is None:
        return name.lstrip("/")
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _matched_files(
    root: str, image_pattern: str, depth_pattern: str, mask_pattern: str
) -> list[_Files]:
    """Finds the images by their pattern, in sorted order, and the partners of each."""
    _check_patterns(image_pattern, depth_pattern, "depth_pattern")
    pieces = _WILDCARD.split(image_pattern)  # literal, wildcard, literal, ..., literal
    pieces[::2] = map(glob.escape, pieces[::2])
    images = sorted(glob.glob("".join(pieces), root_dir=root, recursive=True))
    if not images:
        raise UserError(f"no image matches {image_pattern!r} in {root}; check image_pattern")
    depths = [_partner(image, image_pattern, depth_pattern) for image in images]
    _check_files(root, depths, f"depth partners ({depth_pattern}) of the images in {root}")
    if not mask_pattern:
        return [_Files(*pair) for pair in zip(images, depths, strict=True)]
    _check_patterns(image_pattern, mask_pattern, "mask_pattern")
    masks = [_partner(image, image_pattern, mask_pattern) for image in images]
    _check_files(root, masks, f"mask partners ({mask_pattern}) of the images in {root}")
    return [_Files(*files) for files in zip(images, depths, masks, strict=True)]


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
