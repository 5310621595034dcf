"""The web page, in Gradio. All of it comes from this machine; nothing is loaded from elsewhere."""

from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.web import answers, layout, style
from diffdepth_jax.web.answers import Answers
from diffdepth_jax.web.guard import Guard
from diffdepth_jax.web.hosts import Hosts
from diffdepth_jax.web.layout import Parts
from diffdepth_jax.web.model_facts import ModelFacts
from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.password import Password
from diffdepth_jax.web.uploads import Uploads

_WAITING = 32  # requests in the queue; the page refuses more
_SESSIONS = 200  # browser sessions whose last result is remembered for clicks
# Of events that cost nothing: they do not wait for a prediction.
_QUICK: dict[str, Any] = {
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "private",
}


def create(
    estimator: DepthEstimator, files: OwnedFiles, uploads: Uploads, facts: ModelFacts
) -> gr.Blocks:
    """Creates the page for an estimator; results are written below the folder of `files`."""
    with gr.Blocks(title="Metric depth from one photo", analytics_enabled=False) as page:
        parts = layout.create(estimator, facts)
        called = Answers(estimator, files, uploads, parts)
        _estimate(called, parts)
        _tell_metres(called, parts)
        _change_inputs(called, parts)
        parts.theme.click(None, js=style.TOGGLE_THEME)
        page.load(None, js=style.ON_LOAD)
    return page.queue(max_size=_WAITING)


def _estimate(called: Answers, parts: Parts) -> None:
    """An example is estimated as soon as it is chosen."""
    sides = [*parts.left, *parts.right]
    filled = [part for part in parts if isinstance(part, gr.components.Component)]
    event: dict[str, Any] = {
        "fn": called.estimate,
        "inputs": [*parts.inputs, parts.kept],
        "outputs": [*filled, parts.tabs, *sides],
        "concurrency_limit": 1,
        "concurrency_id": "estimate",
        "show_progress_on": [parts.depth],
        "api_visibility": "private",
    }
    parts.estimate.click(**event)
    for button, path in zip(parts.examples, style.EXAMPLES, strict=True):
        chosen = [parts.inputs.photo, parts.message]
        choice = button.click(called.choose_example(path), None, chosen, **_QUICK)
        choice.success(**event)
    parts.keep.click(
        called.keep, parts.result, [parts.kept, parts.summary, parts.message, *sides], **_QUICK
    )


def _tell_metres(called: Answers, parts: Parts) -> None:
    places = [parts.column, parts.row]
    parts.depth.select(called.clicked, parts.result, [parts.metres, *places], **_QUICK)
    for place in places:
        place.input(called.typed, [parts.result, *places], parts.metres, **_QUICK)
    for side, result in ((parts.left, parts.kept), (parts.right, parts.result)):
        side.depth.select(called.clicked_side, result, side.metres, **_QUICK)


def _change_inputs(called: Answers, parts: Parts) -> None:
    inputs = parts.inputs
    inputs.camera.input(answers.show_camera_value, inputs.camera, inputs.camera_value, **_QUICK)
    inputs.photo.input(None, None, parts.message, js=style.CLEAR)


def serve(
    page: gr.Blocks,
    files: OwnedFiles,
    uploads: Uploads,
    hosts: Hosts,
    *,
    host: str,
    port: int,
    password: Password | None = None,
) -> str:
    """Starts the server in a thread and returns its address.

    Args:
      page: see `create`.
      files: as for `create`; GRADIO_TEMP_DIR has to name its folder.
      uploads: as for `create`.
      hosts: the names under which the page is served.
      host: the address to listen at.
      port: the port to listen at.
      password: without which nobody sees the page.

    Raises:
      UserError: the host has no such address, or the port is in use.
    """
    guard = Middleware(Guard, hosts=hosts, files=files, uploads=uploads, password=password)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            max_file_size=uploads.max_size,
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
            theme=gr.themes.Soft(font=["system-ui", "sans-serif"]),
            css=style.css(),
        )
    except OSError as error:
        raise UserError(
            f"port {port} of {host} cannot be had: give another --port or --host"
        ) from error
    return address
