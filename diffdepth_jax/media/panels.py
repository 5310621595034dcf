"""Panels: an image with its ground truth, its prediction and the error, in one row or two.

All panels have the same width, so that they can stand below each other. Depth, prediction and mask
may be [H, W] or [H, W, 1].
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Real
from PIL import Image, ImageDraw, ImageFont

from diffdepth_jax.media.color_maps import (
    ERROR_MAP,
    MAX_ERROR,
    ColorMap,
    Depth,
    Mask,
    color_table,
    colorize_depth,
    colorize_error,
    depth_map,
    percentile_limits,
    valid_or_nan,
)
from diffdepth_jax.media.drawing import GAP, check_sizes, join
from diffdepth_jax.media.preprocessing import (
    Size,
    letterbox_size,
    resize_image,
    resize_map,
    resize_nearest,
)
from diffdepth_jax.media.scale import Limits, Picture

_WIDTH = 1640  # pixels, of a panel with the white between its tiles
_ASPECT = 1.5  # a tile is at most so many times as high as it is wide
_LETTERS = 16  # pixels
_SPARSE = 0.3  # a lower fraction of valid pixels, as LiDAR has, is thickened to be visible
_TITLES = ("image", "ground truth", "prediction", "error / ground truth")
_TEXT_COLOR = (40, 40, 40)

Legend = tuple[str, ColorMap, str]  # a colour bar with a label at either end


class _Tile(NamedTuple):
    """A picture, and below it a legend or a text."""

    picture: Picture
    below: Legend | str


def panel(
    image: Picture,
    target: Depth,
    mask: Mask,
    prediction: Depth,
    *,
    name: str = "",
    scores: str | None = None,
    titled: bool = True,
) -> Picture:
    """Puts image, ground truth, prediction and error together, each with a line below it.

    The four are side by side, or two by two where the image is more than twice as wide as high.
    Both depths have the colours that suit the ground truth.

    Args:
      image: the frame.
      target: ground truth in metres.
      mask: False where there is no ground truth.
      prediction: depth in metres, as large as the image.
      name: of the frame; stands below it.
      scores: stand below the prediction; by default abs_rel and rmse over the mask.
      titled: whether titles stand above the four; the first of several panels needs them.
    """
    check_sizes(image=image, target=target, mask=mask, prediction=prediction)
    columns = 2 if image.shape[1] > 2 * image.shape[0] else 4
    width = (_WIDTH - (columns + 1) * GAP) // columns
    truth, depth = valid_or_nan(target, mask), valid_or_nan(prediction)
    if scores is None:
        scores = _summarize_error(depth, truth)
    tiles = _tiles(
        image,
        truth,
        depth,
        letterbox_size(*truth.shape, (round(_ASPECT * width), width)),
        (name, scores),
    )
    titles = _TITLES if titled else ("",) * 4
    pictures = [_drawn(title, tile, width) for title, tile in zip(titles, tiles, strict=True)]
    rows = [join(pictures[i : i + columns], axis=1) for i in range(0, 4, columns)]
    return np.pad(join(rows, axis=0), ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


def _tiles(
    image: Picture,
    truth: Real[np.ndarray, "height width"],
    depth: Real[np.ndarray, "height width"],
    size: Size,
    texts: tuple[str, str],
) -> list[_Tile]:
    """Returns the four pictures at `size`; `texts` are those of the image and the prediction."""
    valid = np.isfinite(truth)
    dilate = 2 if valid.mean() < _SPARSE else 0
    limits = percentile_limits(truth if valid.any() else depth)
    # Measured pixels that lie apart would be lost to their surroundings by a mean.
    truth = resize_map(truth, size) if not dilate else resize_nearest(truth, size)
    depth = resize_map(depth, size)
    return [
        _Tile(resize_image(image, size), texts[0]),
        _Tile(colorize_depth(truth, *limits, dilate=dilate), _depth_legend(limits)),
        _Tile(colorize_depth(depth, *limits), texts[1]),
        _Tile(
            colorize_error(depth, truth, dilate=dilate),
            ("0", ERROR_MAP, f"{MAX_ERROR:.0%} and more"),
        ),
    ]


def _depth_legend(limits: Limits) -> Legend:
    return f"{limits[0]:.2f} m", depth_map(), f"{limits[1]:.2f} m"


def _summarize_error(
    prediction: Real[np.ndarray, "height width"], truth: Real[np.ndarray, "height width"]
) -> str:
    """Writes abs_rel and rmse in metres where there is ground truth."""
    valid = np.isfinite(truth)
    if not valid.any():
        return "no ground truth"
    prediction, truth = prediction[valid], truth[valid]
    abs_rel = np.mean(np.abs(prediction - truth) / truth)
    rmse = np.sqrt(np.mean((prediction - truth) ** 2))
    return f"abs_rel {abs_rel:.3f}, rmse {rmse:.2f} m"


def _drawn(title: str, tile: _Tile, width: int) -> Picture:
    """Draws a tile of this width: the title, if there is one, the picture, and what is below it."""
    font, above = ImageFont.load_default(_LETTERS), 2 * _LETTERS if title else 0
    height, shown = tile.picture.shape[:2]
    canvas = Image.new("RGB", (width, above + height + 2 * _LETTERS), "white")
    draw, left = ImageDraw.Draw(canvas), (width - shown) // 2
    draw.text((left, 0.4 * _LETTERS), title, _TEXT_COLOR, font)
    canvas.paste(Image.fromarray(tile.picture), (left, above))
    middle = above + height + _LETTERS
    if isinstance(tile.below, str):
        draw.text(
            (left, middle), _shortened(tile.below, font, width - left), _TEXT_COLOR, font, "lm"
        )
    else:
        _draw_legend(canvas, tile.below, (left, middle))
    return np.array(canvas)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Leaves out the beginning of a text that is too long; the ends of names tell them apart."""
    while font.getlength(text) > width:
        text = "\N{HORIZONTAL ELLIPSIS}" + text[2:]
    return text


def _draw_legend(canvas: Image.Image, legend: Legend, place: tuple[int, int]) -> None:
    """Draws a bar with a label at either end; `place` is the middle of its left side."""
    (left, middle), draw, (low, color_map, high) = place, ImageDraw.Draw(canvas), legend
    font = ImageFont.load_default(_LETTERS)
    draw.text((left, middle), low, _TEXT_COLOR, font, "lm")
    left += int(font.getlength(f"{low} "))
    bar = Image.fromarray(color_table(color_map)[None]).resize((canvas.width // 3, _LETTERS))
    canvas.paste(bar, (left, middle - _LETTERS // 2))
    draw.text((left + bar.width, middle), f" {high}", _TEXT_COLOR, font, "lm")
