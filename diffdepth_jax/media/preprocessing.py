"""Sizes, crops and normalisation of images, in numpy."""

import numpy as np
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing

Size = tuple[int, int]  # (height, width) in pixels
# Of the ImageNet training set, for RGB in [0, 1]: what the pretrained backbones were fed.
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def letterbox_size(height: int, width: int, target: Size) -> Size:
    """Returns the largest (height, width) of the same aspect that fits inside `target`."""
    _check_positive(height, width)
    _check_positive(*target)
    if height * target[1] >= width * target[0]:  # relatively taller than the target
        return target[0], max(1, _rounded_ratio(width * target[0], height))
    return max(1, _rounded_ratio(height * target[1], width)), target[1]


KB_SIZE = (352, 1216)  # what all frames of KITTI have in common


def kb_offset(height: int, width: int) -> tuple[int, int]:
    """(top, left) of the benchmark crop in a frame of this size."""
    if height < KB_SIZE[0] or width < KB_SIZE[1]:
        raise UserError(
            f"image {height} x {width} is smaller than KITTI's benchmark crop of 352 x 1216: set "
            "inference.input_crop to none for images of other cameras"
        )
    return height - KB_SIZE[0], (width - KB_SIZE[1]) // 2


def zero_outside(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """float32 depth where the mask is True, 0 elsewhere, whatever stood there.

    By a product of bits, which nan and inf do not survive either: np.where takes ten times as long
    where valid pixels are as scattered as a LiDAR's.
    """
    return (depth.view(np.int32) * mask).view(np.float32)


def normalize_image(image: np.ndarray) -> np.ndarray:
    """Maps uint8 [..., W, 3] to the float32 [..., W, 3] that the backbone takes."""
    width = image.shape[-2]
    # numpy is seven times as fast on long rows as on many pixels of three numbers each.
    rows = image.astype(np.float32).reshape(*image.shape[:-2], 3 * width)
    rows /= 255
    rows -= np.tile(IMAGENET_MEAN, width)
    rows /= np.tile(IMAGENET_STD, width)
    return rows.reshape(image.shape)


def denormalize_image(image: np.ndarray) -> np.ndarray:
    """Inverts `normalize_image`: float [..., 3] to uint8 [..., 3]."""
    levels = 255 * (np.asarray(image, np.float32) * IMAGENET_STD + IMAGENET_MEAN)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Scales uint8 [H, W, 3]; Pillow's bilinear filter widens when it shrinks (antialiasing)."""
    resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.array(resized)


def _rounded_ratio(numerator: int, denominator: int) -> int:
    """Rounds numerator / denominator to the nearest integer, halves up, without a float."""
    return (2 * numerator + denominator) // (2 * denominator)


def _check_positive(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise UserError(f"size {height} x {width}: height and width must be positive")


def input_box(height, width, input_crop):
    """(top, bottom, left, right) of what a model sees of a frame, see inference.input_crop."""
    if input_crop == "none":
        return 0, height, 0, width
    top, left = preprocessing.kb_offset(height, width)
    return top, top + preprocessing.KB_SIZE[0], left, left + preprocessing.KB_SIZE[1]
