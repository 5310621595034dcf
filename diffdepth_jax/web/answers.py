"""The functions that the page's events call. Each returns values for some parts of the page."""

import concurrent.futures
import contextlib
import ctypes
import html
import math
import pathlib
from collections.abc import Callable
from typing import Any

import gradio as gr

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.web import cameras, layout, photos, results
from diffdepth_jax.web.layout import Parts, Side
from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.results import Result
from diffdepth_jax.web.upload_limits import Refused
from diffdepth_jax.web.uploads import Uploads

_GONE = "This result was deleted meanwhile: estimate it again."
_KEPT = "**Kept** on the left of *Compare*: now estimate another photo."
Values = dict[Any, Any]


class Answers:
    """Results are written below the folder of `files`.

    A message shows what went wrong; it goes away with the next estimate or the next photo.
    """

    def __init__(
        self, estimator: DepthEstimator, files: OwnedFiles, uploads: Uploads, parts: Parts
    ) -> None:
        """`parts` are filled; `uploads` counts the examples, which take place, too."""
        self._estimator, self._files = estimator, files
        self._uploads, self._parts = uploads, parts
        # One thread for all, because the C library keeps what a thread freed for this thread, and
        # Gradio calls from many threads by turns.
        self._worker = concurrent.futures.ThreadPoolExecutor(1)

    def estimate(
        self,
        path: str | None,
        num_steps: float,
        ensemble: float,
        camera: int,
        camera_value: float | None,
        kept: Result | None,
        request: gr.Request,
    ) -> Values:
        """Predicts a photo's depth.

        The path counts only if the same session uploaded the file. Every other path gets the
        answer that no path gets.
        """
        owner = request.state.owner
        try:
            upload = self._files.upload(owner, path or "")
            if upload is None:
                raise UserError("no photo here: upload one, take one, or choose an example")
            options = int(num_steps), int(ensemble), camera, camera_value or 0
            result = self._worker.submit(self._created, upload, *options).result()
        except UserError as error:
            return {self._parts.message: _alert(str(error))}
        values = {**self._shown(result), **self._beside(kept, result)}
        self._files.use(upload.parent)
        self._files.add_result(owner, result.directory)
        return values

    def _created(
        self, upload: pathlib.Path, steps: int, ensemble: int, camera: int, camera_value: float
    ) -> Result:
        """Reads a photo and writes its result; one that fails leaves nothing."""
        photo = photos.read_upload(upload)
        choice = cameras.chosen(camera, camera_value, photo.scale)
        options = {"num_steps": steps, "ensemble": ensemble, "cameras": choice}
        folder = self._files.new_folder()
        try:
            return results.create(self._estimator, photo, folder, **options)
        except BaseException:
            self._files.delete(folder)
            raise
        finally:
            _give_memory_back()

    def _shown(self, result: Result) -> Values:
        parts, spread = self._parts, result.output("_spread.png")
        return {
            parts.message: "",
            parts.result: result,
            parts.summary: result.summary,
            parts.tabs: gr.Tabs(selected=layout.FIRST_TAB),
            parts.metres: layout.CLICK,
            parts.depth: result.depth,
            parts.slider: (result.photo, result.depth),
            parts.spread: gr.update(value=spread, visible=spread is not None),
            parts.denoising: result.output("_trajectory.gif"),
            parts.files: [str(path) for path in result.downloads],
            parts.keep: gr.update(interactive=True),
            parts.archive: gr.update(value=result.archive, interactive=True),
            parts.surface: result.output(".glb"),
        }

    def _beside(self, kept: Result | None, result: Result) -> Values:
        """Draws the kept result, if it is still there, and this one."""
        if kept is None:
            return {}
        try:
            pictures = results.draw_pair(kept, result, result.directory)
        except OSError:
            return {self._parts.kept: None, **_side(self._parts.left), **_side(self._parts.right)}
        self._files.use(kept.directory)
        return {
            **_side(self._parts.left, kept.photo_alone, pictures[0]),
            **_side(self._parts.right, result.photo_alone, pictures[1]),
            self._parts.tabs: gr.Tabs(selected=layout.PAIR_TAB),
        }

    def keep(self, result: Result | None) -> Values:
        """Keeps the result that is shown for a comparison with the next one."""
        if result is None or not result.depth.exists():
            return {self._parts.message: _alert(_GONE)}
        self._files.use(result.directory)
        left = _side(self._parts.left, result.photo_alone, result.depth)
        kept = {self._parts.kept: result, self._parts.summary: f"{result.summary} {_KEPT}"}
        return {**kept, **left, **_side(self._parts.right)}

    def clicked(self, result: Result | None, event: gr.SelectData) -> Values:
        """Tells the metres of the clicked pixel, and its place."""
        pixel = _clicked_pixel(result, event)
        if pixel is None:
            return {self._parts.metres: layout.CLICK if result else _GONE}
        places = dict(zip((self._parts.column, self._parts.row), pixel, strict=True))
        return {self._parts.metres: _sentence(result, *pixel), **places}

    def clicked_side(self, result: Result | None, event: gr.SelectData) -> str:
        """Tells the metres of the clicked pixel of one of two results."""
        pixel = _clicked_pixel(result, event)
        if pixel is None:
            return "" if result else _GONE
        return _sentence(result, *pixel)

    def typed(self, result: Result | None, column: float | None, row: float | None) -> str:
        """Tells the metres of the pixel whose place was typed."""
        if column is None or row is None:
            return layout.CLICK
        return _sentence(result, int(column), int(row))

    def choose_example(self, path: pathlib.Path) -> Callable[[gr.Request], Values]:
        """Returns a function that gives a session this photo, as if it had sent it."""

        def choose(request: gr.Request) -> Values:
            try:
                copy = self._uploads.copy(path, request.state.owner)
            except Refused as refusal:  # then no estimate follows
                raise gr.Error(str(refusal), print_exception=False) from refusal
            return {self._parts.inputs.photo: str(copy), self._parts.message: ""}

        return choose


def show_camera_value(camera: int) -> Values:
    """Shows the field for degrees or pixels, if the camera needs it."""
    return gr.update(visible=camera in (cameras.FIELD_OF_VIEW, cameras.FOCAL_LENGTH))


def _give_memory_back() -> None:
    """Gives what was freed back to the system at once, where the C library can (glibc)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _alert(text: str) -> str:
    """Returns HTML that screen readers tell at once."""
    return f'<p role="alert">{html.escape(text)}</p>'


def _side(
    side: Side, photo: pathlib.Path | None = None, depth: pathlib.Path | None = None
) -> Values:
    return {side.photo: photo, side.depth: depth, side.metres: "Click for metres." if depth else ""}


def _clicked_pixel(result: Result | None, event: gr.SelectData) -> tuple[int, int] | None:
    x, y = (int(position) for position in event.index)
    return result.pixel_at(x, y) if result else None


def _sentence(result: Result | None, column: int, row: int) -> str:
    """Says how far a pixel is; the result is None once it is forgotten."""
    if result is None:
        return _GONE
    if not result.holds(column, row):
        height, width = result.size
        return f"The photo has columns 0 to {width - 1} and rows 0 to {height - 1}."
    try:
        metres, interval = result.metres_at(column, row), result.interval_at(column, row)
    except OSError:
        return _GONE
    found = "**no depth**" if math.isnan(metres) else f"**{metres:.2f} m**"
    between = f", {interval}" if interval else ""
    return f"{found} at column {column}, row {row}{between}"
