"""Pictures of depth and of its error, as uint8 arrays [H, W, 3]; Pillow writes text and files.

Depth is drawn in `turbo` on a logarithmic scale, near in red and far in blue, so that equal
ratios of depth look equally different; relative error in `magma`, dark where the prediction is
right. Black means no value. Depth, prediction and mask may be [H, W] or [H, W, 1].
"""

import functools
from collections.abc import Sequence

import numpy as np
from cmap import Colormap
from PIL import Image, ImageDraw, ImageFont

from diffdepth_jax.errors import UserError

# Without their darkest ends, which would pass for the black of "no value".
_DEPTH_MAP = ("turbo", 0.96, 0.05)  # near to far
_ERROR_MAP = ("magma", 0.12, 1.0)
_MAX_ERROR = 0.5  # abs_rel at the bright end

_SPARSE = 0.3  # a lower fraction of valid pixels, as LiDAR has, is thickened to be visible
_MIN_HEIGHT, _MAX_WIDTH = 192, 1280  # pixels; smaller images are enlarged within these
_MAX_SIDE = 4096  # pixels; of the pictures of larger predictions every k-th row and column is drawn
_GAP = 6  # pixels
_TEXT_COLOR = (40, 40, 40)
_NICE_STEPS = ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))  # of a decade; the first with enough marks


def colorize_depth(
    depth: np.ndarray,
    min_depth: float | None = None,
    max_depth: float | None = None,
    mask: np.ndarray | None = None,
    dilate: int = 0,
) -> np.ndarray:
    """Draws depth in metres, near red to far blue, as uint8 [H, W, 3].

    The limits in metres default to the 2nd and 98th percentile of the valid pixels: finite,
    positive and inside the mask. `dilate` grows valid pixels by so many pixels into invalid
    ones; where two meet the nearer wins, as it would hide the farther.
    """
    depth = _valid_or_nan(depth, mask)
    low, high = _depth_limits(depth)
    low = low if min_depth is None else min_depth
    high = high if max_depth is None else max_depth
    if not 0 < low < high:
        raise UserError(f"depth limits {low} to {high} metres: must be positive and increasing")
    log_depth = np.log(_dilate(depth, dilate, np.fmin))
    return _apply_map(_DEPTH_MAP, (log_depth - np.log(low)) / (np.log(high) - np.log(low)))


def colorize_error(
    prediction: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None, dilate: int = 0
) -> np.ndarray:
    """Draws |prediction - target| / target from 0, dark, to 0.5 and more, as uint8 [H, W, 3].

    A prediction that is not finite counts as the largest error. `dilate` is that of
    `colorize_depth`; where two valid pixels meet the larger error wins.
    """
    error = _relative_error(_plane(prediction), _valid_or_nan(target, mask))
    return _apply_map(_ERROR_MAP, _dilate(error, dilate, np.fmax) / _MAX_ERROR)


def panel(
    image: np.ndarray,
    target: np.ndarray,
    mask: np.ndarray,
    prediction: np.ndarray,
    error_text: str | None = None,
) -> np.ndarray:
    """Puts image, ground truth, prediction and error together, as uint8 [H', W', 3].

    The four are side by side, or two by two where the image is more than twice as wide as high.
    Ground truth sets the colours of both depths. Small images are enlarged by a whole factor.

    Args:
        image: uint8 [H, W, 3].
        target: ground truth in metres.
        mask: False where there is no ground truth.
        prediction: depth in metres, of the image's size.
        error_text: what the caption says of the error; by default abs_rel and rmse over the mask.
    """
    _check_sizes(image=image, target=target, mask=mask, prediction=prediction)
    height, width = image.shape[:2]
    truth = _valid_or_nan(target, mask)
    valid = np.isfinite(truth)
    low, high = _depth_limits(truth if valid.any() else _valid_or_nan(prediction))
    dilate = 2 if valid.mean() < _SPARSE else 0
    if error_text is None:
        error_text = _summarize_error(_plane(prediction)[valid], truth[valid])
    depth_legend = (f"{low:.1f} m", _DEPTH_MAP, f"{high:.1f} m")
    error_legend = ("0", _ERROR_MAP, f"{_MAX_ERROR:.0%} of depth")
    tiles = [
        (image, "image", None),
        (colorize_depth(truth, low, high, dilate=dilate), "ground truth", depth_legend),
        (colorize_depth(prediction, low, high), "prediction", depth_legend),
        (colorize_error(prediction, truth, dilate=dilate), f"error: {error_text}", error_legend),
    ]
    tiles = [_tile(_enlarge(picture), title, legend) for picture, title, legend in tiles]
    columns = 2 if width > 2 * height else 4
    rows = [_join(tiles[i : i + columns], axis=1) for i in range(0, 4, columns)]
    return np.pad(_join(rows, axis=0), ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)


def depth_limits(depth: np.ndarray) -> tuple[float, float]:
    """Returns near and far end of the colours in metres that suit a prediction of any size."""
    return _depth_limits(_valid_or_nan(_thin_out(depth)))


def depth_picture(
    depth: np.ndarray, limits: tuple[float, float], image: np.ndarray | None = None
) -> np.ndarray:
    """Draws depth with a scale in metres on its right, uint8 [H', W', 3].

    Small ones are enlarged by a whole factor, enormous ones thinned out.

    Args:
        depth: metres.
        limits: near and far end of the colours in metres.
        image: uint8 [H, W, 3]; if given, it stands on the left.
    """
    picture = _enlarge(colorize_depth(_thin_out(depth), *limits))
    if image is not None:
        _check_sizes(image=image, depth=depth)
        picture = _join([_enlarge(_thin_out(image)), picture], axis=1)
    low, high = np.log(limits)
    marks = [((np.log(m) - low) / (high - low), f"{m:g} m") for m in _nice_depths(*limits)]
    return _with_scale(picture, _DEPTH_MAP, marks)


def spread_picture(spread: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Draws spread / depth, dark where it is small, with a scale in percent, uint8 [H', W', 3]."""
    relative = _plane(_thin_out(spread)) / _plane(_thin_out(depth))
    top = max(float(np.percentile(relative, 98)), 1e-4)
    picture = _enlarge(_apply_map(_ERROR_MAP, relative / top))
    marks = [(part, f"{100 * part * top:.3g} %") for part in (0, 0.5, 1)]
    return _with_scale(picture, _ERROR_MAP, marks)


def denoising_pictures(trajectory: np.ndarray) -> list[np.ndarray]:
    """Draws depth [S + 1, H, W] in metres, step by step, in the colours of the last."""
    limits = depth_limits(trajectory[-1])
    legend = (f"{limits[0]:.1f} m", _DEPTH_MAP, f"{limits[1]:.1f} m")
    titles = ["start", *(f"step {k} of {len(trajectory) - 1}" for k in range(1, len(trajectory)))]
    return [
        _tile(_enlarge(colorize_depth(depth, *limits)), title, legend)
        for depth, title in zip(trajectory, titles, strict=True)
    ]


def stack_panels(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Puts pictures uint8 [H, W, 3] under each other; narrower ones get white on the right."""
    width = max(picture.shape[1] for picture in panels)
    padded = [
        np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
        for picture in panels
    ]
    return np.concatenate(padded)


def write_png(path: str, array: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] or [H, W] as PNG; the folder must exist."""
    try:
        Image.fromarray(array).save(path, format="PNG")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error}); check its folder") from error


def _plane(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).reshape(array.shape[:2])  # [H, W]


def _valid_or_nan(depth: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Returns float64 [H, W]: metres where finite, positive and inside the mask, nan elsewhere."""
    depth = _plane(depth).astype(np.float64)
    valid = np.isfinite(depth) & (depth > 0)
    if mask is not None:
        valid &= _plane(mask).astype(bool)
    return np.where(valid, depth, np.nan)


def _depth_limits(depth: np.ndarray) -> tuple[float, float]:
    """Returns the near and the far limit in metres for depth [H, W] with nan where invalid."""
    values = depth[np.isfinite(depth)]
    if not values.size:
        return 1.0, 10.0  # of no consequence, for all is black
    low, high = np.percentile(values, (2, 98))
    # The little room puts constant depth in the middle of the scale, and divides by no zero.
    return float(low / 1.01), float(high * 1.01)


def _relative_error(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns abs_rel [H, W], nan where the target is nan; inf for a prediction that is not."""
    error = np.abs(np.where(np.isfinite(prediction), prediction, np.inf) - target)
    return error / target


def _summarize_error(prediction: np.ndarray, target: np.ndarray) -> str:
    """Writes abs_rel and rmse of valid pixels [N] in metres."""
    if not target.size:
        return "no ground truth"
    abs_rel = np.mean(np.abs(prediction - target) / target)
    rmse = np.sqrt(np.mean((prediction - target) ** 2))
    return f"abs_rel {abs_rel:.3f}, rmse {rmse:.2f} m"


def _dilate(values: np.ndarray, radius: int, choose: np.ufunc) -> np.ndarray:
    """Fills each nan of [H, W] from the square of this radius; `choose` is np.fmin or np.fmax."""
    padded = np.pad(values, radius, constant_values=np.nan)
    squares = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    grown = choose.reduce(squares, axis=(-2, -1))  # fmin and fmax pass over nan
    return np.where(np.isnan(values), grown, values)


@functools.cache
def _color_table(name: str, start: float, stop: float) -> np.ndarray:
    """Returns 256 colours, uint8 [256, 3], from `start` to `stop` of a colour map."""
    colors = np.asarray(Colormap(name)(np.linspace(start, stop, 256)))[:, :3]
    return np.rint(255 * colors).astype(np.uint8)


def _apply_map(color_map: tuple[str, float, float], position: np.ndarray) -> np.ndarray:
    """Colours position [H, W], from 0 to 1 and clipped there; nan becomes black."""
    invalid = np.isnan(position)
    index = np.rint(255 * np.clip(np.where(invalid, 0, position), 0, 1)).astype(np.uint8)
    return np.where(invalid[..., None], np.uint8(0), _color_table(*color_map)[index])


def _enlarge(picture: np.ndarray) -> np.ndarray:
    """Repeats pixels so that a small [H, W, 3] can be seen."""
    height, width = picture.shape[:2]
    factor = max(1, min(-(-_MIN_HEIGHT // height), _MAX_WIDTH // width))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _thin_out(array: np.ndarray) -> np.ndarray:
    """Takes every k-th row and column of an enormous [H, W, ...]."""
    step = -(-max(array.shape[:2]) // _MAX_SIDE)
    return array[::step, ::step]


def _tile(picture: np.ndarray, title: str, legend: tuple | None) -> np.ndarray:
    """Puts a caption over [H, W, 3]: the title, and a legend (label, colour map, label)."""
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
        bar = Image.fromarray(_color_table(*color_map)[None]).resize((length, size))
        draw.text((0, 1.4 * size), near, _TEXT_COLOR, font)
        canvas.paste(bar, (left, int(1.5 * size)))
        draw.text((left + length, 1.4 * size), f" {far}", _TEXT_COLOR, font)
    return np.concatenate([np.array(canvas), picture])


def _nice_depths(low: float, high: float) -> list[float]:
    """Round depths from `low` to `high` metres for a logarithmic scale; both if there are few."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in _NICE_STEPS:
        depths = np.outer(decades, steps).ravel()
        depths = depths[(low <= depths) & (depths <= high)]
        if len(depths) >= 3:
            return [float(f"{depth:.6g}") for depth in depths]
    return [float(f"{depth:.3g}") for depth in (low, high)]


def _with_scale(picture: np.ndarray, color_map: tuple, marks: Sequence[tuple]) -> np.ndarray:
    """Puts a colour bar at the right of [H, W, 3], with marks (position from 0 to 1, text).

    The bar runs upwards. Marks that would touch the one before are left out.
    """
    size = min(max(picture.shape[0] // 24, 11), 32)  # pixels of the font
    height = max(picture.shape[0], 6 * size)
    picture = np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255)
    font = ImageFont.load_default(size)
    width = 2 * size + max(int(font.getlength(text)) for _, text in marks) + 2 * _GAP
    canvas = Image.new("RGB", (width, height), "white")
    bar = _color_table(*color_map)[::-1, None]
    canvas.paste(Image.fromarray(bar).resize((size, height - size)), (_GAP, size // 2))
    draw = ImageDraw.Draw(canvas)
    free = np.inf
    for position, text in marks:
        bottom = size // 2 + (1 - position) * (height - size)
        if bottom <= free:
            draw.text((_GAP + 1.5 * size, bottom), text, _TEXT_COLOR, font, anchor="lm")
            free = bottom - 1.2 * size
    return np.concatenate([picture, np.array(canvas)], axis=1)


def _join(pictures: Sequence[np.ndarray], axis: int) -> np.ndarray:
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
