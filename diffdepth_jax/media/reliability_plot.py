"""A plot of the coverage of intervals over their nominal coverage."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffdepth_jax.media.drawing import Picture

_SIDE, _MARGIN, _FONT = 480, 60, 14  # pixels
_COLORS = ("#d1495b", "#8a8a8a", "#00798c", "#edae49")
_TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)
_TEXT = "#282828"


def reliability_picture(curves: Mapping[str, Sequence[tuple[float, float]]]) -> Picture:
    """Draws {name: (nominal, actual) coverages}; well-calibrated points lie on the diagonal."""
    canvas = Image.new("RGB", (_SIDE + 2 * _MARGIN, _SIDE + 2 * _MARGIN), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT)
    _draw_axes(draw, font)
    for row, (name, points) in enumerate(curves.items()):
        color = _COLORS[row % len(_COLORS)]
        places = [_place(*point) for point in points]
        draw.line(places, color, 2)
        for x, y in places:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), color)
        draw.text((_MARGIN + 12, _MARGIN + 10 + 1.5 * _FONT * row), name, color, font)
    return np.array(canvas)


def _place(nominal, actual):
    return _MARGIN + nominal * _SIDE, _MARGIN + (1 - actual) * _SIDE


def _draw_axes(draw, font):
    draw.rectangle((*_place(0, 1), *_place(1, 0)), outline=_TEXT)
    draw.line([_place(0, 0), _place(1, 1)], _COLORS[1], 1)
    for tick in _TICKS:
        (x, bottom), (left, y) = _place(tick, 0), _place(0, tick)
        draw.text((x, bottom + 6), f"{tick:g}", _TEXT, font, anchor="ma")
        draw.text((left - 6, y), f"{tick:g}", _TEXT, font, anchor="rm")
    middle = _MARGIN + _SIDE / 2
    draw.text((middle, _SIDE + 1.6 * _MARGIN), "nominal coverage", _TEXT, font, anchor="mm")
    draw.text((_MARGIN, _MARGIN / 2), "coverage of held-out pictures", _TEXT, font, anchor="lm")
