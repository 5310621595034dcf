"""Sizes, crops and normalisation of images, in numpy."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from PIL import Image

from diffdepth_jax.errors import UserError

Size = tuple[int, int]  # (height, width) in pixels
# Statistics of the ImageNet training set, for RGB in [0, 1]; the pretrained backbones expect them.
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
KB_SIZE = (352, 1216)  # KITTI's benchmark crop, which fits into every frame of KITTI


def check_positive(height: int, width: int) -> None:
    """Raises a UserError unless both sides of a size are positive."""
    if height < 1 or width < 1:
        raise UserError(f"size {height} x {width}: height and width must be positive")


def letterbox_size(height: int, width: int, target: Size) -> Size:
    """Returns the largest (height, width) of the same aspect that fits inside `target`."""
    check_positive(height, width)
    check_positive(*target)
    if height * target[1] >= width * target[0]:  # relatively taller than the target
        return target[0], max(1, _rounded_ratio(width * target[0], height))
    return max(1, _rounded_ratio(height * target[1], width)), target[1]


def kb_offset(height: int, width: int) -> tuple[int, int]:
    """Returns (top, left) of KITTI's benchmark crop in a frame of this size."""
    if height < KB_SIZE[0] or width < KB_SIZE[1]:
        raise UserError(
            f"image {height} x {width} is smaller than KITTI's benchmark crop of 352 x 1216: set "
            "frame.input_crop to none for images of other cameras"
        )
    return height - KB_SIZE[0], (width - KB_SIZE[1]) // 2


def input_box(height: int, width: int, input_crop: str) -> tuple[int, int, int, int]:
    """Returns (top, bottom, left, right) of the part of a frame that the model sees.

    `input_crop` is the option frame.input_crop: "none" or "kb".
    """
    if input_crop == "none":
        return 0, height, 0, width
    top, left = kb_offset(height, width)
    return top, top + KB_SIZE[0], left, left + KB_SIZE[1]


def zero_outside(
    depth: Float32[np.ndarray, "*shape"], mask: Bool[np.ndarray, "*shape"]
) -> Float32[np.ndarray, "*shape"]:
    """Returns the depth where the mask is True and 0 elsewhere, even in place of nan and inf.

    The function multiplies bit patterns by 0 or 1. np.where takes ten times as long where valid
    pixels are as scattered as a LiDAR's.
    """
    return (depth.view(np.int32) * mask).view(np.float32)


def normalize_image(
    image: UInt8[np.ndarray, "*batch width 3"],
) -> Float32[np.ndarray, "*batch width 3"]:
    """Maps RGB levels to the numbers that the backbone expects: ImageNet's mean 0, deviation 1."""
    width = image.shape[-2]
    # numpy is seven times as fast on long rows as on many pixels of three numbers each.
    rows = image.astype(np.float32).reshape(*image.shape[:-2], 3 * width)
    rows /= 255
    rows -= np.tile(IMAGENET_MEAN, width)
    rows /= np.tile(IMAGENET_STD, width)
    return rows.reshape(image.shape)


def denormalize_image(image: Float[np.ndarray, "*batch 3"]) -> UInt8[np.ndarray, "*batch 3"]:
    """Inverts `normalize_image`; levels are rounded, and clipped to 0 and 255."""
    levels = 255 * (np.asarray(image, np.float32) * IMAGENET_STD + IMAGENET_MEAN)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def resize_image(
    image: UInt8[np.ndarray, "_ _ 3"], size: Size
) -> UInt8[np.ndarray, "height width 3"]:
    """Scales an image to `size`, bilinear; Pillow widens the filter to shrink without aliasing."""
    resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(resized)


def resize_map(values: Float[np.ndarray, "_ _"], size: Size) -> Float32[np.ndarray, "height width"]:
    """Scales a map with nan where it has no value to `size`, bilinear, as `resize_image` does.

    A pixel is the mean of the values around it, or nan if values have less than half the weight.
    """
    known = np.isfinite(values)
    weights, sums = (
        np.array(Image.fromarray(x).resize((size[1], size[0]), Image.Resampling.BILINEAR))
        for x in (known.astype(np.float32), np.where(known, values, 0).astype(np.float32))
    )
    return np.where(weights >= 0.5, sums / np.maximum(weights, 0.5), np.float32(np.nan))


def resize_nearest(array: np.ndarray, size: Size) -> np.ndarray:
    """Scales [H, W, C] to `size`: each pixel takes the one that contains its centre."""
    rows, columns = (nearest_indices(*x) for x in zip(array.shape, size, strict=False))
    return array[rows[:, None], columns]


def nearest_indices(length: int, new_length: int) -> Int[np.ndarray, " new_length"]:
    """Returns for each new pixel the index of the old pixel that contains its centre."""
    return (2 * np.arange(new_length) + 1) * length // (2 * new_length)


def _rounded_ratio(numerator: int, denominator: int) -> int:
    """Rounds numerator / denominator to the nearest integer, halves up, without a float."""
    return (2 * numerator + denominator) // (2 * denominator)
