"""Pictures of depth and of its spread, with scales; Pillow writes text and files.

`color_maps` says what the colours mean. Depth may be [H, W] or [H, W, 1].
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import marks
from diffdepth_jax.media.color_maps import (
    ERROR_MAP,
    Depth,
    apply_map,
    colorize_depth,
    depth_map,
    percentile_limits,
    plane,
    valid_or_nan,
)
from diffdepth_jax.media.defaults import COLORMAP
from diffdepth_jax.media.preprocessing import Size, resize_image, resize_map
from diffdepth_jax.media.reading import FilePath
from diffdepth_jax.media.scale import (
    Limits,
    Mark,
    Picture,
    Scale,
    add_scale,
    scale_of_depth,
    text_size,
)

_MIN_HEIGHT, _MAX_WIDTH = 384, 1280  # pixels; smaller images are enlarged within these
_MAX_SIDE = 4096  # pixels; of larger predictions only every k-th row and column is drawn
GAP = 6  # pixels between two pictures


def depth_limits(depth: Depth) -> Limits:
    """Returns the near and far end of the colours that suit a prediction of any size."""
    return percentile_limits(valid_or_nan(_thin_out(depth)))


def depth_picture(
    depth: Depth,
    limits: Limits,
    image: Picture | None = None,
    *,
    size: Size | None = None,
    colormap: str = COLORMAP,
) -> Picture:
    """Draws depth with a scale in metres on its right, and the image, if given, on its left.

    The scale names the nearest and the farthest depth; where these are beyond `limits`, its ends
    are pointed.

    Args:
      depth: metres; nan where there is none.
      limits: metres at the near and at the far end of the colours.
      image: as large as depth.
      size: (height, width) of each picture; by default the depth's own, but small ones are
        enlarged, and of very large ones every k-th row and column is drawn.
      colormap: see `color_maps.depth_map`.
    """
    depth = valid_or_nan(depth)
    thin = _thin_out(depth)
    size = size or _shown_size(*thin.shape)
    picture = colorize_depth(_resized(thin, size), *limits, colormap=colormap)
    if image is not None:
        check_sizes(image=image, depth=depth)
        picture = join([resize_image(_thin_out(image), size), picture], axis=1)
    return add_scale(picture, scale_of_depth(depth, limits, colormap), text_size(*size))


def relative_limits(inverse_depth: Depth) -> Limits:
    """Returns the far and the near end of the colours that suit a relative inverse depth."""
    low, high = np.percentile(plane(_thin_out(inverse_depth)), (2, 98))
    room = max(0.01 * float(high - low), 1e-6)  # a constant gets the colour in the middle
    return float(low) - room, float(high) + room


def relative_picture(
    inverse_depth: Depth,
    limits: Limits,
    image: Picture | None = None,
    *,
    colormap: str = COLORMAP,
) -> Picture:
    """Draws an inverse depth without unit, from far to near, else as `depth_picture`."""
    (low, high), thin = limits, plane(_thin_out(inverse_depth))
    size, colors = _shown_size(*thin.shape), depth_map(colormap)
    picture = apply_map(colors, (high - _resized(thin, size)) / (high - low))
    if image is not None:
        check_sizes(image=image, depth=inverse_depth)
        picture = join([resize_image(_thin_out(image), size), picture], axis=1)
    scale = Scale(colors, [Mark(0, "near"), Mark(1, "far")], [], "near")
    return add_scale(picture, scale, text_size(*size))


def spread_picture(spread: Depth, depth: Depth) -> Picture:
    """Draws spread / depth, dark where it is small, with a scale in percent on the right.

    Where depth is nan the picture is black.
    """
    relative = plane(_thin_out(spread)) / plane(_thin_out(depth))
    known = relative[np.isfinite(relative)]
    top = max(float(np.percentile(known, 98)) if known.size else 0.0, 1e-4)
    size = _shown_size(*relative.shape)
    picture = apply_map(ERROR_MAP, _resized(relative, size) / top)
    ticks = [Mark(part, f"{100 * part * top:.3g} %") for part in (0, 0.5, 1)]
    clipped = False, bool(known.size and known.max() > top)
    empty = "none" if known.size < relative.size else ""
    scale = Scale(ERROR_MAP, [], ticks, "0.00001 %", clipped, empty)
    return add_scale(picture, scale, text_size(*size))


def stack_panels(panels: Sequence[Picture]) -> Picture:
    """Puts pictures under each other; narrower ones get white on the right."""
    width = max(picture.shape[1] for picture in panels)
    padded = [
        np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
        for picture in panels
    ]
    return np.concatenate(padded)


def write_png(path: FilePath, array: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] or [H, W] as PNG with our mark; the folder must exist."""
    Image.fromarray(array).save(path, format="PNG", **marks.PNG)


def _shown_size(height: int, width: int) -> Size:
    """Returns the size at which a picture can be seen: a whole multiple of its own."""
    factor = max(1, min(-(-_MIN_HEIGHT // height), _MAX_WIDTH // width))
    return factor * height, factor * width


def _resized(values: np.ndarray, size: Size) -> Float32[np.ndarray, "height width"]:
    return values if values.shape == size else resize_map(values, size)


def _thin_out(array: np.ndarray) -> np.ndarray:
    """Takes every k-th row and column of a very large [H, W, ...]."""
    step = -(-max(array.shape[:2]) // _MAX_SIDE)
    return array[::step, ::step]


def join(pictures: list[Picture], axis: int) -> Picture:
    """Joins pictures of one size along an axis, with a white gap between two."""
    gap = [(0, 0), (0, 0), (0, 0)]
    gap[axis] = (GAP, 0)
    padded = [np.pad(picture, gap, constant_values=255) for picture in pictures[1:]]
    return np.concatenate([pictures[0], *padded], axis=axis)


def check_sizes(**arrays: np.ndarray) -> None:
    """Raises a UserError unless all have the same height and width."""
    sizes = {name: array.shape[:2] for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size[0]} x {size[1]}" for name, size in sizes.items())
        raise UserError(f"panel of different sizes: {listed}; resize them to the image's size")
