"""A colour bar with marks, on the right of a picture."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Real, UInt8
from PIL import Image, ImageDraw, ImageFont

from diffdepth_jax.media.color_maps import ColorMap, color_table, depth_map, log_position

Picture = UInt8[np.ndarray, "_ _ 3"]  # RGB, of any size
Limits = tuple[float, float]  # depth in metres at the near and at the far end of the colours

_TEXT_COLOR, _LINE_COLOR = (40, 40, 40), (128, 128, 128)
_MAX_TICKS = 3  # between the two ends
# In letters' heights:
_LINE = 1.3  # from a mark to the next
_POINT = 1.4  # length of the point at an end of the bar
# Multiples of a power of ten that may be ticks; the first row that gives enough of them is taken.
_ROUND = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(np.arange(100, 1000) / 100))


class Mark(NamedTuple):
    """A label, and its position on the bar, from 0 at the bottom to 1 at the top."""

    position: float
    text: str


class Scale(NamedTuple):
    """What a bar says.

    Attributes:
      color_map: of the bar, which runs upwards.
      ends: marks of the least and of the greatest value in the picture.
      ticks: marks of round values, drawn where they fit between the ends.
      widest: a text as wide as the widest that pictures of this kind may need, so that the frames
        of a video have one size.
      clipped: whether values are below, and above, what the colours tell apart.
      empty: what is said beside black, the colour of pixels without a value; "" if there are none.
    """

    color_map: ColorMap
    ends: Sequence[Mark]
    ticks: Sequence[Mark]
    widest: str
    clipped: tuple[bool, bool] = (False, False)
    empty: str = ""


def text_size(height: int, width: int) -> int:
    """Returns the height of letters in pixels that can be read when the picture fills a screen."""
    return max(12, round(math.sqrt(height * width) / 28))


def scale_of_depth(depth: Real[np.ndarray, "height width"], limits: Limits, colormap: str) -> Scale:
    """Returns the scale of depth in metres; nan is none. Its ends are the nearest and farthest."""
    known = depth[np.isfinite(depth)]
    near, far = (known.min(), known.max()) if known.size else limits
    low, high = np.clip(log_position(np.array([near, far]), limits), 0, 1)
    labels = f"near {near:.2f} m", f"far {far:.2f} m"
    ticks = np.array(round_depths(*limits))
    texts = [f"{tick:g} m" for tick in ticks]
    return Scale(
        depth_map(colormap),
        [Mark(low, labels[0]), Mark(high, labels[1])] if known.size else [],
        [Mark(*tick) for tick in zip(log_position(ticks, limits), texts, strict=True)],
        f"near {10 * limits[1]:.2f} m",
        (near < limits[0], far > limits[1]),
        "none" if known.size < depth.size else "",
    )


def round_depths(low: float, high: float, at_least: int = 3) -> list[float]:
    """Returns round depths from `low` to `high` metres, if possible so many at least."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    depths = np.array([])
    for steps in _ROUND:
        depths = np.outer(decades, steps).ravel()
        depths = depths[(low <= depths) & (depths <= high)]
        if len(depths) >= at_least:
            break
    return [float(f"{depth:.6g}") for depth in depths]


def add_scale(picture: Picture, scale: Scale, size: int) -> Picture:
    """Puts a colour bar with its marks on the right of a picture; letters are `size` pixels high.

    The end of a bar is pointed where values are clipped. A low picture gets white below it, so that
    the marks have room.
    """
    height = max(picture.shape[0], 12 * size)
    picture = np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255)
    strip = _strip(scale, height, size)
    return np.concatenate([picture, np.array(strip)], axis=1)


def _strip(scale: Scale, height: int, size: int) -> Image.Image:
    font = ImageFont.load_default(size)
    width = math.ceil(2.4 * size + font.getlength(scale.widest))
    canvas = Image.new("RGB", (width, height), "white")
    draw, left = ImageDraw.Draw(canvas), size // 2
    ends = height - (4 * size if scale.empty else 2 * size), 2 * size
    _draw_bar(canvas, scale, (left, left + size - 1), ends)
    for row, text in _rows(scale, ends, size):
        draw.line([(left + size, row), (left + 1.3 * size, row)], _TEXT_COLOR, max(1, size // 12))
        draw.text((left + 1.5 * size, row), text, _TEXT_COLOR, font, "lm")
    if scale.empty:
        draw.rectangle([left, height - 1.5 * size, left + size, height - 0.5 * size], "black")
        draw.text((left + 1.5 * size, height - size), scale.empty, _TEXT_COLOR, font, "lm")
    return canvas


def _draw_bar(
    canvas: Image.Image, scale: Scale, sides: tuple[int, int], ends: tuple[int, int]
) -> None:
    """Draws the bar between two columns and two rows, with a point where values are clipped."""
    (left, right), (bottom, top), draw = sides, ends, ImageDraw.Draw(canvas)
    colors = color_table(scale.color_map)
    bar = Image.fromarray(colors[::-1, None])
    canvas.paste(bar.resize((right - left + 1, bottom - top)), (left, top))
    draw.rectangle([left, top, right, bottom - 1], outline=_LINE_COLOR)
    length = _POINT * (right - left + 1)
    tips = bottom + length, top - length
    for row, tip, color, clipped in zip(ends, tips, colors[[0, -1]], scale.clipped, strict=True):
        if clipped:
            corners = [(left, row), ((left + right) / 2, tip), (right, row)]
            draw.polygon(corners, tuple(color.tolist()))
            draw.line(corners, _LINE_COLOR)


def _rows(scale: Scale, ends: tuple[int, int], size: int) -> Iterable[tuple[float, str]]:
    """Yields the row and the text of each mark that is drawn; none touches another."""
    bottom, top = ends
    gap = _LINE * size
    taken = _rows_of_ends(scale, ends, size)
    yield from zip(taken, (mark.text for mark in scale.ends), strict=False)
    fit: list[tuple[float, str]] = []
    for mark in scale.ticks:
        row = bottom - mark.position * (bottom - top)
        if all(abs(row - other) >= gap for other in [*taken, *(each[0] for each in fit)]):
            fit.append((row, mark.text))
    chosen = np.linspace(0, len(fit) - 1, min(len(fit), _MAX_TICKS))
    yield from (fit[index] for index in np.rint(chosen).astype(int))


def _rows_of_ends(scale: Scale, ends: tuple[int, int], size: int) -> list[float]:
    """Returns the rows of the two marks at the ends; of one, if they say the same."""
    bottom, top = ends
    rows = [
        bottom - mark.position * (bottom - top) + clipped * away * _POINT * size
        for mark, clipped, away in zip(scale.ends, scale.clipped, (1, -1), strict=False)
    ]
    if len({mark.text.split(maxsplit=1)[-1] for mark in scale.ends}) == 1:
        return rows[:1]  # depth is the same everywhere
    if rows and rows[0] - rows[1] < _LINE * size:
        middle = sum(rows) / 2
        return [middle + _LINE * size / 2, middle - _LINE * size / 2]
    return rows
