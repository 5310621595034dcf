"""The parts of the page and their places."""

from typing import Any, NamedTuple

import gradio as gr

from diffdepth_jax.media.defaults import DENOISING_STEPS
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.web import cameras, results, style
from diffdepth_jax.web.model_facts import ModelFacts
from diffdepth_jax.web.owned_files import KEPT

FIRST_TAB, PAIR_TAB = "depth", "compare"
CLICK = "Click on the picture for metres, or type a pixel."
_FROM_THE_CAMERA = (90, 80, None)  # the 3D view's two angles in degrees, and its distance
_TITLE = "# Metric depth from one photo"
_INTRODUCTION = """How far everything in a photo is, in metres. Photos stay on the machine that runs
this page, and are deleted after an hour."""
_BEGIN = "Choose an example, or upload a photo and press *Estimate depth*."
_EXPLANATIONS = {
    "slider": "Drag the handle: the photo on the left, its depth on the right.",
    "pair": "Estimate a photo, press *Keep for comparison*, and estimate another one, or the same "
    "one with other settings. Both then have the same colours.",
    "uncertainty": "The spread of what depth may be, in percent of the depth: bright "
    "is uncertain. It needs an ensemble of two or more, or a model that knows its scale of error.",
    "denoising": "Depth is refined from pure noise; each frame is one step of the sampler. The "
    f"denoising takes {DENOISING_STEPS} steps at least, also where the depth takes fewer.",
    "3D": "Drag to turn, scroll to zoom. Nothing is drawn across the edges of objects.",
    "downloads": "`.npy`: float32 metres; `.png`: 16 bit, metres x 1000; `_color.png`: a picture; "
    "`.ply` and `.glb`: a surface in metres; `_trajectory.gif`: the denoising; `_spread.npy`: "
    "the spread in metres; `_low.npy` and `_high.npy`: the ends of an interval.",
}


class Inputs(NamedTuple):
    """What an estimate depends on; steps and ensemble show only for a model that diffuses."""

    photo: gr.Image
    steps: gr.Slider
    ensemble: gr.Slider
    camera: gr.Dropdown
    camera_value: gr.Number


class Side(NamedTuple):
    """One of two results beside each other."""

    photo: gr.Image
    depth: gr.Image
    metres: gr.Markdown


class Parts(NamedTuple):
    """The parts that events read or fill."""

    theme: gr.Button
    inputs: Inputs
    examples: list[gr.Button]
    estimate: gr.Button
    message: gr.HTML
    tabs: gr.Tabs
    depth: gr.Image
    metres: gr.Markdown
    column: gr.Number
    row: gr.Number
    slider: gr.ImageSlider
    left: Side
    right: Side
    spread: gr.Image
    denoising: gr.Image
    files: gr.Files
    summary: gr.Markdown
    keep: gr.Button
    archive: gr.DownloadButton
    surface: gr.Model3D
    result: gr.State
    kept: gr.State


def create(estimator: DepthEstimator, facts: ModelFacts) -> Parts:
    """Creates all parts within the Blocks that are open."""
    theme = _head(facts)
    states = {name: gr.State(time_to_live=KEPT) for name in ("result", "kept")}
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            inputs, examples, button = _inputs(estimator)
        with gr.Column(scale=6, min_width=340):
            shown = _outputs(estimator)
        with gr.Column(scale=4, min_width=320):
            surface = _surface()
    return Parts(
        theme=theme,
        inputs=inputs,
        examples=examples,
        estimate=button,
        surface=surface,
        **shown,
        **states,
    )


def _head(facts: ModelFacts) -> gr.Button:
    with gr.Row(elem_id="head"):
        gr.Markdown(_TITLE)
        theme = gr.Button("Dark or light", size="sm", elem_id="theme")
    gr.Markdown(f"{_INTRODUCTION}\n\n{facts.line}", elem_id="model")
    if facts.more:
        with gr.Accordion("More about the model, and what it is not fit for", open=False):
            gr.Markdown(facts.more)
    return theme


def _inputs(estimator: DepthEstimator) -> tuple[Inputs, list[gr.Button], gr.Button]:
    photo = _photo()
    with gr.Row(elem_id="examples"):
        examples = [
            gr.Button(path.stem.capitalize(), size="sm", elem_id=f"example_{path.stem}")
            for path in style.EXAMPLES
        ]
    button = gr.Button("Estimate depth", variant="primary", elem_id="estimate")
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        return Inputs(photo, *_sampling(estimator), *_camera(estimator)), examples, button


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
        height=260,
        elem_id="photo",
    )
    photo.preprocess = lambda payload: None if payload is None else payload.path
    return photo


def _sampling(estimator: DepthEstimator) -> tuple[gr.Slider, gr.Slider]:
    num_steps = estimator.num_steps
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
    return steps, ensemble


def _camera(estimator: DepthEstimator) -> tuple[gr.Dropdown, gr.Number]:
    choice = gr.Dropdown(
        cameras.CHOICES,
        value=cameras.default(has_canonical_camera=estimator.has_canonical_camera),
        label="Camera",
        info="for which metres hold",
        elem_id="camera",
    )
    value = gr.Number(60, label="Degrees or pixels", visible=False, elem_id="camera_value")
    return choice, value


def _picture(name: str, **options: Any) -> gr.Image:
    return gr.Image(
        label=name,
        show_label=False,
        interactive=False,
        buttons=[],
        elem_id=name,
        elem_classes="picture",
        **options,
    )


def _metres(text: str = "") -> gr.Markdown:
    return gr.Markdown(text, elem_classes=["metres", "told"])


def _outputs(estimator: DepthEstimator) -> dict[str, Any]:
    """Creates the column in the middle."""
    message = gr.HTML(elem_id="message")
    with gr.Tabs() as tabs:
        shown = {**_depth_tabs(), **_uncertainty_tabs(estimator), **_downloads_tab()}
    summary = gr.Markdown(elem_id="summary", elem_classes="told")
    with gr.Row():
        keep = gr.Button("Keep for comparison", elem_id="keep", interactive=False)
        archive = gr.DownloadButton("All files (zip)", elem_id="archive", interactive=False)
    return {
        **shown,
        **dict(message=message, tabs=tabs, summary=summary, keep=keep, archive=archive),
    }


def _depth_tabs() -> dict[str, Any]:
    with gr.Tab("Depth", id=FIRST_TAB):
        depth = _picture("depth")
        with gr.Row(elem_id="pixel"):
            metres = _metres(_BEGIN)
            column, row = _place("column"), _place("row")
    with gr.Tab("Slider"):
        gr.Markdown(_EXPLANATIONS["slider"])
        slider = gr.ImageSlider(
            show_label=False, interactive=False, buttons=[], max_height=460, elem_id="compare"
        )
    with gr.Tab("Compare", id=PAIR_TAB):
        gr.Markdown(_EXPLANATIONS["pair"])
        with gr.Row():
            left, right = _side("left"), _side("right")
    shown = {"depth": depth, "metres": metres, "column": column, "row": row}
    return {**shown, "slider": slider, "left": left, "right": right}


def _place(name: str) -> gr.Number:
    """Creates a field for those who cannot click."""
    return gr.Number(0, label=name.capitalize(), precision=0, minimum=0, min_width=90, elem_id=name)


def _side(name: str) -> Side:
    with gr.Column(min_width=240):
        return Side(_picture(f"{name}_photo"), _picture(f"{name}_depth"), _metres())


def _uncertainty_tabs(estimator: DepthEstimator) -> dict[str, Any]:
    """Only a model that diffuses has samples that differ, and steps of denoising.

    A Laplace scale says how uncertain a single sample is.
    """
    with gr.Tab("Uncertainty", visible=estimator.diffuses or estimator.has_scale):
        gr.Markdown(_EXPLANATIONS["uncertainty"])
        spread = _picture("spread", visible=False)
    with gr.Tab("Denoising", visible=estimator.diffuses):
        gr.Markdown(_EXPLANATIONS["denoising"])
        denoising = _picture("denoising")
    return {"spread": spread, "denoising": denoising}


def _downloads_tab() -> dict[str, Any]:
    with gr.Tab("Files"):
        gr.Markdown(_EXPLANATIONS["downloads"])
        return {"files": gr.Files(show_label=False, interactive=False, elem_id="downloads")}


def _surface() -> gr.Model3D:
    """Creates the 3D view. It stands in no tab, because a hidden view misses a new result."""
    surface = gr.Model3D(
        label="In three dimensions",
        height=460,
        camera_position=_FROM_THE_CAMERA,
        elem_id="surface",
    )
    gr.Markdown(_EXPLANATIONS["3D"])
    return surface
