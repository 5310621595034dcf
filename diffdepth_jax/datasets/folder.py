"""A folder of RGB-D pairs, read by index.

Images come turned by their EXIF orientation, with their depth, see `media.orientation`.
"""

import copy
import os
from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np

from diffdepth_jax.datasets.pairs import (
    Files,
    check_root,
    listed_files,
    matched_files,
    timed_files,
)
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
        depth_root: str = "",
        depth_list_file: str = "",
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
            depth_root: where the depth files of a list lie, below the root; "": the root. It may
                have wildcards, such as data_depth_annotated/*.
            depth_list_file: with it both lists have lines "time file", and files pair up by times,
                see `media.timed_lists`.
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
                arguments mean nothing beside each other.
        """
        self._root = os.path.expanduser(root)
        self._form, self._resize_depth = depth_form, resize_depth
        self._depth_orientation: DepthOrientation = depth_orientation
        self._focal_length = focal_length
        check_root(self._root)
        _check_lists(list_file, depth_list_file, depth_root, mask_pattern)
        if depth_list_file:
            self._files = timed_files(self._root, list_file, depth_list_file)
        elif list_file:
            self._files = listed_files(self._root, list_file, depth_root)
        else:
            self._files = matched_files(self._root, image_pattern, depth_pattern, mask_pattern)

    @property
    def names(self) -> list[str]:
        """The path of each image below the root, by index; the whole path if it lies elsewhere."""
        return [self._name(files) for files in self._files]

    def paths(self, index: int) -> tuple[str, str]:
        """The paths of a pair's image and depth."""
        files = self._files[index]
        return self._path(files.image), self._path(files.depth)

    def select(self, indices: Iterable[SupportsIndex]) -> "RGBDFolder":
        """Returns a source with only these samples, in this order."""
        subset = copy.copy(self)
        subset._files = [self._files[index] for index in indices]
        return subset

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        return f"RGBDFolder({self._root!r}, {len(self)} pairs, {self._form})"

    def __str__(self) -> str:
        """The folder alone, as messages name it."""
        return f"folder {self._root}"

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

    def _camera(self, files: Files, metadata: Metadata, size: Size) -> Camera | None:
        """The camera of an image, turned as it is; None if nothing is known of it."""
        given = files.focal_length or self._focal_length
        if given:
            return camera.centred(given, *size, "")
        if metadata.focal_length_35mm:
            return camera.from_exif(metadata.focal_length_35mm, *size)
        return None

    def _valid_depth(self, files: Files) -> DepthMap:
        """Reads the depth; 0 where it is not valid."""
        path = self._path(files.depth)
        depth = read_depth(path, self._form)
        valid = np.isfinite(depth) & (depth > 0)
        if files.mask:
            mask = read_mask(self._path(files.mask))
            if mask.shape != valid.shape:
                raise UserError(
                    f"{self._path(files.mask)} is {mask.shape[0]} x {mask.shape[1]} but "
                    f"{self._path(files.depth)} is {depth.shape[0]} x {depth.shape[1]} (height x "
                    "width): save the mask at the size of the depth file, whatever the picture's"
                )
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

    def _name(self, files: Files) -> str:
        return path_lists.name_below(self._path(files.image), self._root)

    def _path(self, listed: str) -> str:
        return os.path.join(self._root, listed)


def _check_lists(list_file: str, depth_list_file: str, depth_root: str, mask_pattern: str) -> None:
    if list_file and mask_pattern:
        raise UserError(
            f"mask_pattern {mask_pattern!r} means nothing beside a list file: leave one out"
        )
    for name, value in (("depth_list_file", depth_list_file), ("depth_root", depth_root)):
        if value and not list_file:
            raise UserError(f"{name} {value!r} means nothing without list_file: give both")
    if depth_list_file and depth_root:
        raise UserError(
            f"depth_root {depth_root!r} means nothing beside depth_list_file: leave one out"
        )


def _alike(size: Size, other: Size) -> bool:
    """Whether two (height, width) have the same ratio, up to roundings such as ScanNet's."""
    return abs(size[1] * other[0] / (size[0] * other[1]) - 1) < _SAME_RATIO
