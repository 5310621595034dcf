"""Pictures of depth and of its error, with captions and scales; Pillow writes text and files.

`color_maps` says what the colours mean. Depth, prediction and mask may be [H, W] or [H, W, 1].
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Real, UInt8
from PIL import Image, ImageDraw, ImageFont

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import marks
from diffdepth_jax.media.color_maps import (
    DEPTH_MAP,
    ERROR_MAP,
    MAX_ERROR,
    ColorMap,
    Depth,
    Mask,
    apply_map,
    color_table,
    colorize_depth,
    colorize_error,
    percentile_limits,
    plane,
    valid_or_nan,
)
from diffdepth_jax.media.reading import FilePath

Picture = UInt8[np.ndarray, "_ _ 3"]  # RGB, of any size
Limits = tuple[float, float]  # depth in metres at the near and at the far end of the colours
Legend = tuple[str, ColorMap, str]  # a colour bar with a label at either end
Mark = tuple[float, str]  # position on a scale, from 0 to 1, and its label

_SPARSE = 0.3  # a lower fraction of valid pixels, as LiDAR has, is thickened to be visible
_MIN_HEIGHT, _MAX_WIDTH = 192, 1280  # pixels; smaller images are enlarged within these
_MAX_SIDE = 4096  # pixels; of larger predictions only every k-th row and column is drawn
_GAP = 6  # pixels
_TEXT_COLOR = (40, 40, 40)
# Multiples of a power of ten that may be marks; the first row that gives enough marks is taken.
_NICE_STEPS = ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))
_ERROR_LEGEND: Legend = ("0", ERROR_MAP, f"{MAX_ERROR:.0%} of depth")


def panel(
    image: Picture, target: Depth, mask: Mask, prediction: Depth, error_text: str | None = None
) -> Picture:
    """Puts image, ground truth, prediction and error together.

    The four are side by side, or two by two where the image is more than twice as wide as high.
    Both depths have the colours that suit the ground truth. Small images are enlarged by a whole
    factor.

    Args:
      image: the frame.
      target: ground truth in metres.
      mask: False where there is no ground truth.
      prediction: depth in metres, as large as the image.
      error_text: caption of the error; by default abs_rel and rmse over the mask.
    """
    _check_sizes(image=image, target=target, mask=mask, prediction=prediction)
    truth = valid_or_nan(target, mask)
    valid = np.isfinite(truth)
    limits = percentile_limits(truth if valid.any() else valid_or_nan(prediction))
    dilate = 2 if valid.mean() < _SPARSE else 0
    if error_text is None:
        error_text = _summarize_error(plane(prediction)[valid], truth[valid])
    legend = _depth_legend(limits)
    tiles: list[tuple[Picture, str, Legend | None]] = [
        (image, "image", None),
        (colorize_depth(truth, *limits, dilate=dilate), "ground truth", legend),
        (colorize_depth(prediction, *limits), "prediction", legend),
        (colorize_error(prediction, truth, dilate=dilate), f"error: {error_text}", _ERROR_LEGEND),
    ]
    columns = 2 if image.shape[1] > 2 * image.shape[0] else 4
    return _grid([_tile(_enlarge(one), title, bar) for one, title, bar in tiles], columns)


def depth_limits(depth: Depth) -> Limits:
    """Returns the near and far end of the colours that suit a prediction of any size."""
    return percentile_limits(valid_or_nan(_thin_out(depth)))


def depth_picture(depth: Depth, limits: Limits, image: Picture | None = None) -> Picture:
    """Draws depth with a scale in metres on its right, and the image, if given, on its left.

    Small pictures are enlarged by a whole factor; of very large ones every k-th row and column is
    drawn.
    """
    picture = _enlarge(colorize_depth(_thin_out(depth), *limits))
    if image is not None:
        _check_sizes(image=image, depth=depth)
        picture = _join([_enlarge(_thin_out(image)), picture], axis=1)
    low, high = np.log(limits)
    marks = [((np.log(m) - low) / (high - low), f"{m:g} m") for m in _nice_depths(*limits)]
    return _with_scale(picture, DEPTH_MAP, marks)


def relative_limits(inverse_depth: Depth) -> Limits:
    """Returns the far and the near end of the colours that suit a relative inverse depth."""
    low, high = np.percentile(plane(_thin_out(inverse_depth)), (2, 98))
    room = max(0.01 * float(high - low), 1e-6)  # a constant gets the colour in the middle
    return float(low) - room, float(high) + room


def relative_picture(inverse_depth: Depth, limits: Limits, image: Picture | None = None) -> Picture:
    """Draws an inverse depth without unit, from far to near, else as `depth_picture`."""
    low, high = limits
    position = (high - plane(_thin_out(inverse_depth))) / (high - low)
    picture = _enlarge(apply_map(DEPTH_MAP, position))
    if image is not None:
        _check_sizes(image=image, depth=inverse_depth)
        picture = _join([_enlarge(_thin_out(image)), picture], axis=1)
    return _with_scale(picture, DEPTH_MAP, [(0.0, "near"), (1.0, "far")])


def spread_picture(spread: Depth, depth: Depth) -> Picture:
    """Draws spread / depth, dark where it is small, with a scale in percent on the right.

    Where depth is nan the picture is black.
    """
    relative = plane(_thin_out(spread)) / plane(_thin_out(depth))
    known = relative[np.isfinite(relative)]
    top = max(float(np.percentile(known, 98)) if known.size else 0.0, 1e-4)
    picture = _enlarge(apply_map(ERROR_MAP, relative / top))
    marks = [(part, f"{100 * part * top:.3g} %") for part in (0, 0.5, 1)]
    return _with_scale(picture, ERROR_MAP, marks)


def denoising_pictures(trajectory: Real[np.ndarray, "steps height width"]) -> list[Picture]:
    """Draws depth in metres at the start and after each step, in the colours of the last step."""
    limits = depth_limits(trajectory[-1])
    titles = ["start", *(f"step {k} of {len(trajectory) - 1}" for k in range(1, len(trajectory)))]
    return [
        _tile(_enlarge(colorize_depth(depth, *limits)), title, _depth_legend(limits))
        for depth, title in zip(trajectory, titles, strict=True)
    ]


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
    try:
        Image.fromarray(array).save(path, format="PNG", **marks.PNG)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}); check its folder") from error


def _depth_legend(limits: Limits) -> Legend:
    return f"{limits[0]:.1f} m", DEPTH_MAP, f"{limits[1]:.1f} m"


def _summarize_error(
    prediction: Real[np.ndarray, " valid"], target: Real[np.ndarray, " valid"]
) -> str:
    """Writes abs_rel and rmse of valid pixels in metres."""
    if not target.size:
        return "no ground truth"
    abs_rel = np.mean(np.abs(prediction - target) / target)
    rmse = np.sqrt(np.mean((prediction - target) ** 2))
    return f"abs_rel {abs_rel:.3f}, rmse {rmse:.2f} m"


def _enlarge(picture: Picture) -> Picture:
    """Repeats the pixels of a small picture so that it can be seen."""
    height, width = picture.shape[:2]
    factor = max(1, min(-(-_MIN_HEIGHT // height), _MAX_WIDTH // width))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _thin_out(array: np.ndarray) -> np.ndarray:
    """Takes every k-th row and column of a very large [H, W, ...]."""
    step = -(-max(array.shape[:2]) // _MAX_SIDE)
    return array[::step, ::step]


def _tile(picture: Picture, title: str, legend: Legend | None) -> Picture:
    """Puts a caption over a picture: the title, and a legend if there is one."""
    width = picture.shape[1]
    size = min(max(width // 24, 11), 24)  # pixels; a title of 34 letters fits into 192
    font = ImageFont.load_default(size)
    canvas = Image.new("RGB", (width, 3 * size), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((0, 0), title, _TEXT_COLOR, font)
    if legend:
        near, color_map, far = legend
        left = int(draw.textlength(f"{near} ", font))
        length = max(1, width // 4)
        bar = Image.fromarray(color_table(color_map)[None]).resize((length, size))
        draw.text((0, 1.4 * size), near, _TEXT_COLOR, font)
        canvas.paste(bar, (left, int(1.5 * size)))
        draw.text((left + length, 1.4 * size), f" {far}", _TEXT_COLOR, font)
    return np.concatenate([np.array(canvas), picture])


def _nice_depths(low: float, high: float) -> list[float]:
    """Returns round depths from `low` to `high` metres for a logarithmic scale.

    Where fewer than three are round, returns `low` and `high` themselves.
    """
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in _NICE_STEPS:
        depths = np.outer(decades, steps).ravel()
        depths = depths[(low <= depths) & (depths <= high)]
        if len(depths) >= 3:
            return [float(f"{depth:.6g}") for depth in depths]
    return [float(f"{depth:.3g}") for depth in (low, high)]


def _with_scale(picture: Picture, color_map: ColorMap, marks: Sequence[Mark]) -> Picture:
    """Puts a colour bar with marks on the right of a picture.

    The bar runs upwards. A mark that would touch the one below it is left out.
    """
    size = min(max(picture.shape[0] // 24, 11), 32)  # pixels of the font
    height = max(picture.shape[0], 6 * size)
    picture = np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255)
    font = ImageFont.load_default(size)
    width = 2 * size + max(int(font.getlength(text)) for _, text in marks) + 2 * _GAP
    canvas = Image.new("RGB", (width, height), "white")
    bar = color_table(color_map)[::-1, None]
    canvas.paste(Image.fromarray(bar).resize((size, height - size)), (_GAP, size // 2))
    draw = ImageDraw.Draw(canvas)
    free = np.inf
    for position, text in marks:
        bottom = size // 2 + (1 - position) * (height - size)
        if bottom <= free:
            draw.text((_GAP + 1.5 * size, bottom), text, _TEXT_COLOR, font, anchor="lm")
            free = bottom - 1.2 * size
    return np.concatenate([picture, np.array(canvas)], axis=1)


def _grid(tiles: Sequence[Picture], columns: int) -> Picture:
    """Puts pictures of one size in rows, with white between and around them."""
    rows = [_join(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.pad(_join(rows, axis=0), ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)


def _join(pictures: Sequence[Picture], axis: int) -> Picture:
    """Joins pictures of one size along an axis, with a white gap between two."""
    gap = [(0, 0), (0, 0), (0, 0)]
    gap[axis] = (_GAP, 0)
    padded = [np.pad(picture, gap, constant_values=255) for picture in pictures[1:]]
    return np.concatenate([pictures[0], *padded], axis=axis)


def _check_sizes(**arrays: np.ndarray) -> None:
    sizes = {name: array.shape[:2] for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size[0]} x {size[1]}" for name, size in sizes.items())
        raise UserError(f"panel of different sizes: {listed}; resize them to the image's size")
