"""Augmentation and preprocessing in numpy, one sample at a time.

A sample holds `image` uint8 [H, W, 3], `depth` float32 [H, W, 1] in metres and `mask` bool
[H, W, 1]; where the mask is False there is no ground truth and depth may be anything, nan
included. Every function returns a new sample, leaves its argument as it was, and passes other
keys through. What moves the image moves depth and mask with it; what changes colour leaves them
alone.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from diffdepth_jax.media.preprocessing import (
    KB_SIZE,
    Size,
    _check_positive,
    kb_offset,
    resize_image,
    zero_outside,
)

Sample = dict[str, np.ndarray]


def resize(sample: Sample, size: Size) -> Sample:
    """Scales to `size`: the image antialiased bilinear, depth and mask nearest.

    Depth and mask share one index map, so a depth is never mixed across an edge or with a pixel
    that has no ground truth.
    """
    _check_positive(*size)
    height, width = sample["image"].shape[:2]
    if (height, width) == tuple(size):
        return sample
    rows = _nearest_indices(height, size[0])[:, None]
    columns = _nearest_indices(width, size[1])
    return {
        **sample,
        "image": resize_image(sample["image"], size),
        "depth": sample["depth"][rows, columns],
        "mask": sample["mask"][rows, columns],
    }


def pad_to(sample: Sample, size: Size) -> Sample:
    """Pads right and bottom up to `size`; a side that is already as long stays as it is.

    The image repeats its last row and column, which makes no edge for the network to see; the
    new pixels have depth 0 and are masked out.
    """
    height, width = sample["image"].shape[:2]
    padding = ((0, max(0, size[0] - height)), (0, max(0, size[1] - width)), (0, 0))
    if not np.any(padding):
        return sample
    return {
        **sample,
        "image": np.pad(sample["image"], padding, mode="edge"),
        "depth": np.pad(sample["depth"], padding),
        "mask": np.pad(sample["mask"], padding),
    }


def kb_crop(sample: Sample) -> Sample:
    """Cuts KITTI's benchmark crop out of a frame: 352x1216, at the bottom, centred."""
    top, left = kb_offset(*sample["image"].shape[:2])
    height, width = KB_SIZE
    return _move_pixels(sample, lambda array: array[top : top + height, left : left + width])


def random_rotation(sample: Sample, rng: np.random.Generator, degrees: float) -> Sample:
    """Turns about the centre by an angle from +-degrees; what comes from outside has no truth.

    The image is interpolated, depth and mask take the nearest pixel.
    """
    angle = rng.uniform(-degrees, degrees)
    if angle == 0:
        return sample

    def turn(array, resample):
        return np.array(Image.fromarray(array).rotate(angle, resample))

    nearest = Image.Resampling.NEAREST
    return {
        **sample,
        "image": turn(sample["image"], Image.Resampling.BILINEAR),
        "depth": turn(sample["depth"][..., 0], nearest)[..., None],
        "mask": turn(sample["mask"][..., 0].astype(np.uint8), nearest)[..., None] > 0,
    }


def random_zoom(sample: Sample, rng: np.random.Generator, zoom: float) -> Sample:
    """Enlarges by a factor from [1, zoom] and divides depth by it; a crop has to follow.

    What looks that much larger through the same lens is that much nearer.
    """
    height, width = sample["image"].shape[:2]
    factor = rng.uniform(1, zoom)
    size = (round(factor * height), round(factor * width))
    if size == (height, width):
        return sample
    enlarged = resize(sample, size)
    return {**enlarged, "depth": enlarged["depth"] / np.float32(size[1] / width)}


def random_crop(sample: Sample, rng: np.random.Generator, size: Size) -> Sample:
    """Cuts out a window of `size`, every position equally likely; pads first where too small."""
    _check_positive(*size)
    sample = pad_to(sample, size)
    height, width = sample["image"].shape[:2]
    top = rng.integers(height - size[0] + 1)
    left = rng.integers(width - size[1] + 1)
    return _move_pixels(sample, lambda array: array[top : top + size[0], left : left + size[1]])


def random_flip(sample: Sample, rng: np.random.Generator, probability: float = 0.5) -> Sample:
    """Mirrors left and right with the given probability."""
    if rng.random() >= probability:
        return sample
    return _move_pixels(sample, _mirror)


def color_jitter(
    sample: Sample,
    rng: np.random.Generator,
    probability: float,
    gamma: float,
    brightness: float,
    color: float,
) -> Sample:
    """With the given probability changes gamma, brightness and colour balance of the image.

    As in BTS (Lee et al. 2019): the exponent is drawn from 1 +- gamma, one factor from
    1 +- brightness and one for each channel from 1 +- color.
    """
    if rng.random() >= probability:
        return sample
    exponent = rng.uniform(1 - gamma, 1 + gamma)
    factors = rng.uniform(1 - brightness, 1 + brightness) * rng.uniform(1 - color, 1 + color, 3)
    # There are only 256 values in a channel: a table costs less than a power for each pixel.
    levels = np.linspace(0, 1, 256) ** exponent
    tables = np.clip(np.rint(255 * factors[:, None] * levels), 0, 255).astype(np.uint8)
    changed = Image.fromarray(sample["image"]).point(tables.ravel().tolist())
    return {**sample, "image": np.asarray(changed)}


def valid_range(sample: Sample, min_depth: float, max_depth: float) -> Sample:
    """Keeps ground truth strictly between the two depths in metres; depth is 0 elsewhere.

    After this no nan or inf is left for a later step to meet.
    """
    depth = sample["depth"]
    mask = sample["mask"] & (depth > min_depth) & (depth < max_depth)
    return {**sample, "depth": zero_outside(depth, mask), "mask": mask}


def thin_mask(sample: Sample, rng: np.random.Generator, fraction: float) -> Sample:
    """Keeps each valid pixel with the given probability; depth stays as it is."""
    return {**sample, "mask": sample["mask"] & (rng.random(sample["mask"].shape) < fraction)}


def _nearest_indices(length: int, new_length: int) -> np.ndarray:
    """Source index of each target pixel: the source pixel that contains the target's centre."""
    return (2 * np.arange(new_length) + 1) * length // (2 * new_length)


def _move_pixels(sample: Sample, move: Callable[[np.ndarray], np.ndarray]) -> Sample:
    """Applies one geometric operation to all three arrays, and copies, so no frame is kept."""
    moved = {name: np.ascontiguousarray(move(sample[name])) for name in ("image", "depth", "mask")}
    return {**sample, **moved}


def _mirror(array: np.ndarray) -> np.ndarray:
    """[H, W, C] left to right; channel by channel, because numpy is slow on backward pixels."""
    mirrored = np.empty_like(array)
    for channel in range(array.shape[2]):
        mirrored[..., channel] = array[:, ::-1, channel]
    return mirrored
