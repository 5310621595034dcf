"""Animations of the denoising: the photo beside depth at the start and after each step."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image, ImageDraw, ImageFont

from diffdepth_jax.media import marks
from diffdepth_jax.media.defaults import COLORMAP
from diffdepth_jax.media.drawing import depth_limits, depth_picture
from diffdepth_jax.media.frame_times import Span, clock
from diffdepth_jax.media.preprocessing import (
    Size,
    letterbox_size,
    resize_image,
    resize_map,
    resize_nearest,
)
from diffdepth_jax.media.reading import RGB, FilePath
from diffdepth_jax.media.scale import Limits, Picture, text_size
from diffdepth_jax.media.video import VideoWriter

_MAX_SIDE = 1280  # pixels of the photo in an animation; larger photos are reduced
_STEP_SECONDS, _END_SECONDS = Fraction(3, 10), Fraction(2)
_TEXT_COLOR = (40, 40, 40)

Trajectory = Float32[np.ndarray, "latents rows columns"]


def pictures(
    image: RGB,
    trajectory: Trajectory,
    valid: Bool[np.ndarray, "height width"] | None = None,
    *,
    limits: Limits | None = None,
    colormap: str = COLORMAP,
) -> Iterator[Picture]:
    """Draws each latent's depth beside the image, at the image's size.

    Args:
      image: of any size; beyond 1280 pixels a side it is reduced.
      trajectory: metres of any size, at the start and after each step.
      valid: False where there is no depth, of the image's size.
      limits: metres at the two ends of the colours; by default those that suit the last step.
      colormap: see `color_maps.depth_map`.
    """
    size = _size(*image.shape[:2])
    photo, last = resize_image(image, size), len(trajectory) - 1
    shown = None if valid is None else resize_nearest(valid, size)
    limits = limits or depth_limits(trajectory[-1])
    for step, metres in enumerate(trajectory):
        depth = resize_map(metres, size)
        depth = depth if shown is None else np.where(shown, depth, np.float32(np.nan))
        picture = depth_picture(depth, limits, photo, colormap=colormap)
        yield _titled(picture, f"step {step} of {last}" if step else "noise", text_size(*size))


def write_gif(path: FilePath, animation: Iterator[Picture]) -> None:
    """Writes an endless GIF; the last picture stays for longer."""
    frames = list(animation)
    # Colours of one palette, chosen for both ends, do not change from one picture to the next.
    palette = Image.fromarray(np.concatenate([frames[0], frames[-1]])).quantize(256)
    first, *others = (
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    )
    durations = [int(1000 * _STEP_SECONDS)] * len(others) + [int(1000 * _END_SECONDS)]
    first.save(path, save_all=True, append_images=others, loop=0, duration=durations, **marks.GIF)


def write_mp4(path: FilePath, animation: Iterator[Picture]) -> None:
    """Writes an MP4 with a frame for each picture; the last one stays for longer.

    Raises:
      UserError: PyAV is not installed.
    """
    frames = list(animation)
    with VideoWriter(path, clock(1 / _STEP_SECONDS, _STEP_SECONDS)) as video:
        for number, frame in enumerate(frames, start=1):
            seconds = _END_SECONDS if number == len(frames) else _STEP_SECONDS
            video.write(frame, Span((number - 1) * _STEP_SECONDS, seconds))
    marks.mark_video(path)


def _size(height: int, width: int) -> Size:
    if max(height, width) <= _MAX_SIDE:
        return height, width
    return letterbox_size(height, width, (_MAX_SIDE, _MAX_SIDE))


def _titled(picture: Picture, title: str, letters: int) -> Picture:
    canvas = Image.new("RGB", (picture.shape[1], 2 * letters), "white")
    font = ImageFont.load_default(letters)
    ImageDraw.Draw(canvas).text((letters // 2, letters), title, _TEXT_COLOR, font, "lm")
    return np.concatenate([np.array(canvas), picture])
