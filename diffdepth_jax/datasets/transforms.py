"""Augmentation and preprocessing in numpy, one sample at a time.

Every function returns a new sample and leaves its argument as it was; keys other than `image`,
`depth`, `mask`, `surface`, `hole` and `intrinsics` pass through. A function that moves the image's
pixels moves those of the first four in the same way, and the intrinsics with them. A function that
changes colours leaves the others as they are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from diffdepth_jax.datasets import intrinsics
from diffdepth_jax.datasets.samples import MaskMap, Sample
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.preprocessing import (
    KB_SIZE,
    Size,
    check_positive,
    kb_offset,
    resize_image,
    resize_nearest,
    zero_outside,
)


def resize(sample: Sample, size: Size) -> Sample:
    """Scales to `size`: the image bilinear and antialiased, depth and mask to the nearest pixel.

    Depth and mask take the same pixels, so no depth is a mixture across an edge or with a pixel
    that has no ground truth.
    """
    check_positive(*size)
    height, width = sample["image"].shape[:2]
    if (height, width) == tuple(size):
        return sample
    resized: Sample = {
        **sample,
        "image": resize_image(sample["image"], size),
        **_changed_truth(sample, lambda array: resize_nearest(array, size)),
    }
    return intrinsics.moved(resized, intrinsics.scaling((height, width), size))


def pad_to(sample: Sample, size: Size) -> Sample:
    """Pads right and bottom up to `size`; a side that is long enough stays as it is.

    The image repeats its last row and column, so that the network sees no edge there. The new
    pixels have depth 0, and False in all masks.
    """
    height, width = sample["image"].shape[:2]
    padding = ((0, max(0, size[0] - height)), (0, max(0, size[1] - width)), (0, 0))
    if not np.any(padding):
        return sample
    return {
        **sample,
        "image": np.pad(sample["image"], padding, mode="edge"),
        **_changed_truth(sample, lambda array: np.pad(array, padding)),
    }


def kb_crop(sample: Sample) -> Sample:
    """Cuts KITTI's benchmark crop out of a frame: 352x1216 pixels at the bottom, centred."""
    top, left = kb_offset(*sample["image"].shape[:2])
    return _crop(sample, top, left, KB_SIZE)


def crop_box(sample: Sample, box: tuple[int, ...], frame: Size) -> Sample:
    """Cuts a box (top, bottom, left, right) out of a sample that is a frame, resized.

    The box is in pixels of the `frame` (height, width). An empty box stands for the whole frame.

    Raises:
      UserError: the box does not lie in the frame.
    """
    if not box:
        return sample
    top, bottom, left, right = box
    if bottom > frame[0] or right > frame[1]:
        raise UserError(
            f"augmentation.box {box} does not lie in a frame of {frame[0]} x {frame[1]}: give "
            "(top, bottom, left, right) in pixels of the frames, or () for all of them"
        )
    height, width = sample["image"].shape[:2]
    first_row, last_row = -(-top * height // frame[0]), bottom * height // frame[0]
    first_column, last_column = -(-left * width // frame[1]), right * width // frame[1]
    size = (last_row - first_row, last_column - first_column)
    return _crop(sample, first_row, first_column, size)


def random_rotation(sample: Sample, rng: np.random.Generator, degrees: float) -> Sample:
    """Rotates about the centre by a random angle between -degrees and +degrees.

    The image is interpolated; depth and mask take the nearest pixel. Pixels that come from outside
    the frame are black and have no ground truth.
    """
    angle = rng.uniform(-degrees, degrees)
    if angle == 0:
        return sample

    def turn(array: np.ndarray, resample: Image.Resampling) -> np.ndarray:
        return np.array(Image.fromarray(array).rotate(angle, resample))

    def turn_truth(array: np.ndarray) -> np.ndarray:
        plane = array[..., 0]
        numbers = plane.astype(np.uint8) if plane.dtype == bool else plane  # for Pillow
        return turn(numbers, Image.Resampling.NEAREST)[..., None].astype(array.dtype)

    turned: Sample = {
        **sample,
        "image": turn(sample["image"], Image.Resampling.BILINEAR),
        **_changed_truth(sample, turn_truth),
    }
    return intrinsics.moved(turned, intrinsics.rotation(sample["image"].shape[:2], angle))


def random_zoom(sample: Sample, rng: np.random.Generator, zoom: float) -> Sample:
    """Enlarges by a random factor from [1, zoom] and divides depth by it; a crop has to follow.

    An object that looks twice as large through the same lens is half as far away. The intrinsics
    follow the pixels nevertheless: they project the frame's points, whose depth is not divided.
    """
    height, width = sample["image"].shape[:2]
    factor = rng.uniform(1, zoom)
    size = (round(factor * height), round(factor * width))
    if size == (height, width):
        return sample
    enlarged = resize(sample, size)
    return {**enlarged, "depth": enlarged["depth"] / np.float32(size[1] / width)}


def random_crop(sample: Sample, rng: np.random.Generator, size: Size) -> Sample:
    """Cuts out a random window of `size`; a frame that is too small is padded first."""
    check_positive(*size)
    sample = pad_to(sample, size)
    height, width = sample["image"].shape[:2]
    top = rng.integers(height - size[0] + 1)
    left = rng.integers(width - size[1] + 1)
    return _crop(sample, int(top), int(left), size)


def random_flip(sample: Sample, rng: np.random.Generator, probability: float = 0.5) -> Sample:
    """Mirrors left and right with the given probability."""
    if rng.random() >= probability:
        return sample
    mirrored = _move_pixels(sample, _mirror)
    return intrinsics.moved(mirrored, intrinsics.mirroring(sample["image"].shape[1]))


def color_jitter(
    sample: Sample,
    rng: np.random.Generator,
    probability: float,
    gamma: float,
    brightness: float,
    color: float,
) -> Sample:
    """With the given probability changes gamma, brightness and colour balance of the image.

    As in BTS (Lee et al. 2019): the exponent is drawn from 1 +- gamma, a factor for all channels
    from 1 +- brightness, and a factor for each channel from 1 +- color.
    """
    if rng.random() >= probability:
        return sample
    exponent = rng.uniform(1 - gamma, 1 + gamma)
    factors = rng.uniform(1 - brightness, 1 + brightness) * rng.uniform(1 - color, 1 + color, 3)
    # A channel has only 256 levels: a table costs less than a power for each pixel.
    levels = np.linspace(0, 1, 256) ** exponent
    tables = np.clip(np.rint(255 * factors[:, None] * levels), 0, 255).astype(np.uint8)
    changed = Image.fromarray(sample["image"]).point(tables.ravel().tolist())
    return {**sample, "image": np.asarray(changed)}


def valid_range(sample: Sample, min_depth: float, max_depth: float) -> Sample:
    """Keeps ground truth strictly between two depths in metres.

    Elsewhere the mask is False and depth is 0, so that later steps meet no nan and no inf.
    """
    depth = sample["depth"]
    mask = sample["mask"] & (depth > min_depth) & (depth < max_depth)
    return {**_with_less_truth(sample, mask), "depth": zero_outside(depth, mask)}


def scale_depth(sample: Sample, factor: float) -> Sample:
    """Multiplies depth by a factor; 1 changes nothing."""
    if factor == 1:
        return sample
    return {**sample, "depth": sample["depth"] * np.float32(factor)}


def thin_mask(sample: Sample, rng: np.random.Generator, fraction: float) -> Sample:
    """Keeps each valid pixel with the given probability; depth stays as it is."""
    kept = rng.random(sample["mask"].shape) < fraction
    return _with_less_truth(sample, sample["mask"] & kept)


def _crop(sample: Sample, top: int, left: int, size: Size) -> Sample:
    """Cuts out a window of `size` whose first pixel is (top, left)."""
    rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
    cropped = _move_pixels(sample, lambda array: array[rows, columns])
    return intrinsics.moved(cropped, intrinsics.cropping(top, left))


def _move_pixels(sample: Sample, move: Callable[[np.ndarray], np.ndarray]) -> Sample:
    """Applies one geometric operation to image and truth.

    The results are copies: a view of a crop would keep the whole frame in memory.
    """

    def copied(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(move(array))

    return {**sample, "image": copied(sample["image"]), **_changed_truth(sample, copied)}


def _changed_truth(sample: Sample, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Depth and all masks, each changed in the same way."""
    names = ("depth", "mask", "surface", "hole")
    return {name: change(sample[name]) for name in names if name in sample}


def _with_less_truth(sample: Sample, mask: MaskMap) -> Sample:
    """Takes ground truth away. Of such a pixel it is not known any more that it has a depth."""
    if "surface" not in sample:
        return {**sample, "mask": mask}
    taken = sample["mask"] & ~mask
    return {**sample, "mask": mask, "surface": sample["surface"] & ~taken}


def _mirror(
    array: Shaped[np.ndarray, "height width channels"],
) -> Shaped[np.ndarray, "height width channels"]:
    """Mirrors left and right; by channel, because numpy is slow on pixels in backward order."""
    mirrored = np.empty_like(array)
    for channel in range(array.shape[2]):
        mirrored[..., channel] = array[:, ::-1, channel]
    return mirrored
