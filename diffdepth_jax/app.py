"""Serves a web page that predicts depth.

diffdepth app
diffdepth app --checkpoint=runs/synthetic --port=8000

The page needs Gradio: pip install gradio. Only this machine can reach the page, unless --host
names another address.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Generator
from types import ModuleType
from typing import TYPE_CHECKING

from absl import flags

from diffdepth_jax.errors import UserError
from diffdepth_jax.program import default_model
from diffdepth_jax.program.entry import start
from diffdepth_jax.program.help_page import Page
from diffdepth_jax.program.path_flags import define_path
from diffdepth_jax.web.hosts import Hosts
from diffdepth_jax.web.owned_files import OwnedFiles

if TYPE_CHECKING:  # JAX takes seconds, for which --help and wrong flags need not wait
    from diffdepth_jax.prediction.estimator import DepthEstimator

_DELETIONS = 100  # tries to delete the temporary folder

_CHECKPOINT = define_path("checkpoint", default_model.HELP_WITH_DEFAULT, allow_override=True)
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen at. 0.0.0.0: any machine can use the page."
)
_PORT = flags.DEFINE_integer("port", 7860, "Port to listen at.")
_ALLOWED_HOSTS = flags.DEFINE_list(
    "allowed_hosts",
    [],
    "Names, separated by commas, under which browsers may ask for the page, such as "
    "depth.example.org. Names of this machine and of a reverse proxy belong here.",
)
_MAX_UPLOAD_MB = flags.DEFINE_float(
    "max_upload_mb", 20.0, "Size in MB of the largest photo that can be uploaded."
)
_PAGE = Page(
    __doc__,
    {
        "The model": ("checkpoint",),
        "The server": ("host", "port", "allowed_hosts", "max_upload_mb"),
    },
)


def _page() -> ModuleType:
    """Imports the module that needs Gradio."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the page needs Gradio: pip install gradio, or pip install '.[app]' in this folder"
        ) from error

    from diffdepth_jax.web import page

    return page


def run() -> None:
    if not 1 <= _PORT.value <= 65535:
        raise UserError(f"port {_PORT.value}: must be 1 to 65535")
    if not 0 < _MAX_UPLOAD_MB.value < float("inf"):
        raise UserError(f"max_upload_mb {_MAX_UPLOAD_MB.value}: must be positive")
    hosts = Hosts(_HOST.value, _ALLOWED_HOSTS.value)
    # Gradio, and the Hugging Face library that it uses, would call servers of their makers.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    page = _page()
    from diffdepth_jax.program import compilation_cache

    with compilation_cache.kept():
        _run_page(page, hosts)


def _run_page(page: ModuleType, hosts: Hosts) -> None:
    estimator = DepthEstimator.from_pretrained(default_model.chosen(_CHECKPOINT.value))
    if estimator.is_relative:
        raise UserError("the page shows metres, and this model is relative: give a metric one")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with _temporary_folder() as directory:
        _serve(page, estimator, hosts, directory)
        stop.wait()
    sys.stdout.flush()
    os._exit(0)  # a thread that predicts cannot be ended, and `sys.exit` would wait for it


@contextlib.contextmanager
def _temporary_folder() -> Generator[str, None, None]:
    """Creates a folder, and deletes it even while threads still write into it."""
    directory = os.path.realpath(tempfile.mkdtemp(prefix="diffdepth_jax_"))
    try:
        yield directory
    finally:
        for _ in range(_DELETIONS):
            shutil.rmtree(directory, ignore_errors=True)
            if not os.path.exists(directory):
                break


def _serve(page: ModuleType, estimator: "DepthEstimator", hosts: Hosts, directory: str) -> None:
    os.environ["GRADIO_TEMP_DIR"] = directory
    files = OwnedFiles(directory)
    files.sweep_forever()
    address = page.serve(
        page.create(estimator, files),
        files,
        hosts,
        host=_HOST.value,
        port=_PORT.value,
        max_upload_mb=_MAX_UPLOAD_MB.value,
    )
    print(f"the page is at {address} (Ctrl-C ends it)", flush=True)


def main() -> None:
    start(run, required=[], page=_PAGE)


if __name__ == "__main__":
    main()
