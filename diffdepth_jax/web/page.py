"""The web page, in Gradio. All of it comes from this machine; nothing is loaded from elsewhere."""

import math
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.web import results
from diffdepth_jax.web.guard import Guard
from diffdepth_jax.web.hosts import Hosts
from diffdepth_jax.web.owned_files import KEPT, OwnedFiles

_WAITING = 32  # requests in the queue; the page refuses more
_SESSIONS = 200  # browser sessions whose last result is remembered for clicks
_FIRST_TAB = "depth"
_FROM_THE_CAMERA = (90, 80, None)  # the 3D view's two angles in degrees, and its distance
_CLICK = "Click on the picture for metres."
_INTRODUCTION = """# Metric depth from one photo
Upload a photo or take one, and see how far everything in it is, in metres. Photos stay on the
machine that runs this page and are deleted after an hour."""
_EXPLANATIONS = {
    "uncertainty": "The spread of what depth may be, in percent of the depth: bright "
    "is uncertain. It needs an ensemble of two or more, or a model that knows its scale of error.",
    "denoising": "Depth is refined from pure noise; each frame is one step of the sampler.",
    "3D": "### In three dimensions\nDrag to turn, scroll to zoom. Nothing is drawn across the "
    "edges of objects.",
    "downloads": "`.npy`: float32 metres; `.png`: 16 bit, metres x 1000; `_color.png`: a picture; "
    "`.ply` and `.glb`: a surface in metres; `_trajectory.gif`: the denoising; `_spread.npy`: "
    "the spread in metres; `_low.npy` and `_high.npy`: the ends of a calibrated interval.",
}
_CSS = """
.gradio-container {max-width: 1280px !important; margin: 0 auto !important}
#metres p {font-size: 1.2em}
#denoising img {width: 100%; height: 100%; object-fit: contain}
"""


def _photo() -> gr.Image:
    """Creates an input for a photo that passes on the path of the uploaded file.

    By default Gradio opens the file first, and a damaged file ends in Gradio's error instead of
    ours. The method is replaced here, because for a subclass Gradio writes a .pyi file into this
    folder.
    """
    photo = gr.Image(
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        label="Photo",
        height=300,
        elem_id="photo",
    )
    photo.preprocess = lambda payload: None if payload is None else payload.path
    return photo


class _Requests:
    """The functions that the page's events call; they write results below the folder of `files`."""

    def __init__(self, estimator: DepthEstimator, files: OwnedFiles) -> None:
        self._estimator, self._files = estimator, files

    def estimate(
        self,
        path: str | None,
        num_steps: float,
        ensemble: float,
        use_exif: bool,
        request: gr.Request,
    ) -> tuple[Any, ...]:
        """Predicts a photo's depth; returns a value for each output of the page.

        The path counts only if the same session uploaded the file. Every other path gets the
        answer that no path gets.
        """
        owner = request.state.owner
        try:
            upload = self._files.upload(owner, path or "")
            if upload is None:
                raise UserError("no photo here: upload one, or take one with the camera")
            result = results.create(
                self._estimator,
                results.read_upload(upload),
                self._files.new_folder(),
                num_steps=int(num_steps),
                ensemble=int(ensemble),
                use_exif=use_exif,
            )
        except UserError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error
        for file in (result.photo, result.depth, *result.downloads):
            self._files.add_result(owner, file)
        return _answer(result)

    def metres(self, result: results.Result | None, event: gr.SelectData) -> str:
        """Returns a sentence about the clicked pixel; the result is None once it is forgotten."""
        x, y = (int(position) for position in event.index)
        try:
            metres = result.metres_at(x, y) if result else None
            interval = result.interval_at(x, y) if result and metres is not None else None
        except OSError:
            result = metres = interval = None
        if result is None:
            return "This result was deleted meanwhile: estimate it again."
        if metres is None:
            return _CLICK
        found = "**no depth**" if math.isnan(metres) else f"**{metres:.2f} m**{_within(interval)}"
        return f"{found} at column {x}, row {y}"


def _within(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    return ", within {:.2f} to {:.2f} m at {:.0f} %".format(*interval, 100 * results.INTERVAL)


def _answer(result: results.Result) -> tuple[Any, ...]:
    """Returns a value for each output of the page."""
    spread = result.output("_spread.png")
    return (
        result,
        result.summary,
        gr.Tabs(selected=_FIRST_TAB),
        _CLICK,
        result.depth,
        (result.photo, result.depth),
        gr.update(value=spread, visible=spread is not None),
        result.output("_trajectory.gif"),
        [str(path) for path in result.downloads],
        result.output(".glb"),
    )


def _inputs(estimator: DepthEstimator) -> tuple[tuple[gr.Component, ...], gr.Button]:
    """Creates the left column; returns (inputs, button)."""
    num_steps = estimator.num_steps
    photo = _photo()
    button = gr.Button("Estimate depth", variant="primary", elem_id="estimate")
    with gr.Accordion("Options", open=True):
        steps = gr.Slider(
            1,
            max(20, num_steps),
            num_steps,
            step=1,
            label="Steps",
            info="of the sampler, from noise to depth",
            elem_id="steps",
            visible=estimator.diffuses,
        )
        ensemble = gr.Slider(
            1,
            results.MAX_ENSEMBLE,
            4 if estimator.diffuses else 1,
            step=1,
            label="Ensemble",
            info="samples: their median is shown, and how much they differ",
            elem_id="ensemble",
            visible=estimator.diffuses,
        )
        exif = gr.Checkbox(True, label="Use the focal length that the photo states (EXIF)")
    return (photo, steps, ensemble, exif), button


def _picture(name: str, **options: Any) -> gr.Image:
    return gr.Image(
        label=name,
        show_label=False,
        interactive=False,
        buttons=[],
        height=460,
        elem_id=name,
        **options,
    )


def _outputs(estimator: DepthEstimator) -> tuple[Any, ...]:
    """Creates the right column; returns the components that a result fills.

    Only a model that diffuses has samples that differ, and steps of denoising. A Laplace scale says
    how uncertain a single sample is.
    """
    diffuses = estimator.diffuses
    with gr.Tabs() as tabs:
        with gr.Tab("Depth", id=_FIRST_TAB):
            depth = _picture("depth")
            metres = gr.Markdown(elem_id="metres")
        with gr.Tab("Compare"):
            slider = gr.ImageSlider(
                show_label=False, interactive=False, buttons=[], max_height=460, elem_id="compare"
            )
        with gr.Tab("Uncertainty", visible=diffuses or estimator.has_scale):
            gr.Markdown(_EXPLANATIONS["uncertainty"])
            spread = _picture("spread", visible=False)
        with gr.Tab("Denoising", visible=diffuses):
            gr.Markdown(_EXPLANATIONS["denoising"])
            denoising = _picture("denoising")
        with gr.Tab("Downloads"):
            gr.Markdown(_EXPLANATIONS["downloads"])
            files = gr.Files(show_label=False, interactive=False, elem_id="downloads")
    return gr.Markdown(elem_id="summary"), tabs, metres, depth, slider, spread, denoising, files


def _surface() -> gr.Model3D:
    """Creates the 3D view. It stands in no tab, because a hidden view misses a new result."""
    gr.Markdown(_EXPLANATIONS["3D"])
    return gr.Model3D(
        show_label=False, height=420, camera_position=_FROM_THE_CAMERA, elem_id="surface"
    )


def create(estimator: DepthEstimator, files: OwnedFiles) -> gr.Blocks:
    """Creates the page for an estimator; results are written below the folder of `files`."""
    requests = _Requests(estimator, files)
    with gr.Blocks(title="Metric depth from one photo", analytics_enabled=False) as page:
        gr.Markdown(_INTRODUCTION)
        result = gr.State(time_to_live=KEPT)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                inputs, button = _inputs(estimator)
            with gr.Column(scale=4, min_width=480):
                outputs = _outputs(estimator)
        surface = _surface()
        _, _, metres, depth, *_ = outputs
        button.click(
            requests.estimate,
            inputs,
            [result, *outputs, surface],
            concurrency_limit=1,
            show_progress_on=[depth],
            api_visibility="private",
        )
        depth.select(
            requests.metres,
            result,
            metres,
            concurrency_limit=None,
            show_progress="hidden",
            api_visibility="private",
        )
    return page.queue(max_size=_WAITING)


def serve(
    page: gr.Blocks,
    files: OwnedFiles,
    hosts: Hosts,
    *,
    host: str,
    port: int,
    max_upload_mb: float,
) -> str:
    """Starts the server in a thread and returns its address.

    Args:
      page: see `create`.
      files: as for `create`; GRADIO_TEMP_DIR has to name its folder, for the uploads.
      hosts: the names under which the page is served.
      host: the address to listen at.
      port: the port to listen at.
      max_upload_mb: the size in MB of the largest upload.

    Raises:
      UserError: the host has no such address, or the port is in use.
    """
    limit = int(max_upload_mb * 2**20)
    guard = Middleware(Guard, hosts=hosts, files=files, max_upload=limit)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            max_file_size=limit,
            app_kwargs={"middleware": [guard]},
            state_session_capacity=_SESSIONS,
            share=False,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            pwa=False,
            footer_links=[],
            quiet=True,
            show_error=False,
            prevent_thread_lock=True,
            theme=gr.themes.Soft(),
            css=_CSS,
        )
    except OSError as error:
        raise UserError(
            f"port {port} of {host} cannot be had: give another --port or --host"
        ) from error
    return address
