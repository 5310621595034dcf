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
from diffdepth_jax.web.hosts import Hosts, is_loopback
from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.upload_limits import Share, UploadLimits

if TYPE_CHECKING:  # JAX takes seconds, for which --help and wrong flags need not wait
    from diffdepth_jax.prediction.estimator import DepthEstimator
    from diffdepth_jax.web.model_facts import ModelFacts
    from diffdepth_jax.web.password import Password

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
_AUTH = flags.DEFINE_string(
    "auth",
    None,
    "USER:FILE. Browsers ask for this name, and for the password in the file's first line.",
)
_MAX_UPLOAD_MB = flags.DEFINE_float(
    "max_upload_mb", 20.0, "Size in MB of the largest photo that can be uploaded."
)
_SESSION_UPLOADS = flags.DEFINE_integer(
    "session_uploads", 60, "Photos that one browser may upload within an hour."
)
_SESSION_UPLOAD_MB = flags.DEFINE_float(
    "session_upload_mb", 300.0, "MB that one browser may upload within an hour."
)
_TOTAL_UPLOADS = flags.DEFINE_integer(
    "total_uploads", 600, "Photos that all browsers together may upload within an hour."
)
_TOTAL_UPLOAD_MB = flags.DEFINE_float(
    "total_upload_mb", 2000.0, "MB that all browsers together may upload within an hour."
)
_TOTAL_RESULTS_MB = flags.DEFINE_float(
    "total_results_mb", 4000.0, "MB that all results together take; the oldest are deleted first."
)
_MUST_BE_POSITIVE = (
    _MAX_UPLOAD_MB,
    _SESSION_UPLOADS,
    _SESSION_UPLOAD_MB,
    _TOTAL_UPLOADS,
    _TOTAL_UPLOAD_MB,
    _TOTAL_RESULTS_MB,
)
_PAGE = Page(
    __doc__,
    {
        "The model": ("checkpoint",),
        "The server": ("host", "port", "allowed_hosts", "auth"),
        "What visitors may send": (
            "max_upload_mb",
            "session_uploads",
            "session_upload_mb",
            "total_uploads",
            "total_upload_mb",
        ),
        "What the page keeps": ("total_results_mb",),
    },
)


def _page() -> ModuleType:
    """Imports the module that needs Gradio."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the page needs Gradio: pip install gradio, or pip install '.[app]' in the checkout"
        ) from error

    from diffdepth_jax.web import page

    return page


def run() -> None:
    _check_numbers()
    hosts = Hosts(_HOST.value, _ALLOWED_HOSTS.value)
    # Gradio, and the Hugging Face library that it uses, would call servers of their makers.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    page = _page()
    from diffdepth_jax.program import compilation_cache
    from diffdepth_jax.web.password import read_password  # it needs a library of Gradio's

    password = read_password(_AUTH.value) if _AUTH.value is not None else None
    _warn_of_strangers(password)
    with compilation_cache.kept():
        _run_page(page, hosts, password)


def _run_page(page: ModuleType, hosts: Hosts, password: "Password | None") -> None:
    model = _load()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with _temporary_folder() as directory:
        address = _serve(page, directory, *model, hosts=hosts, password=password)
        print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
        stop.wait()
    sys.stdout.flush()
    os._exit(0)  # a thread that predicts cannot be ended, and `sys.exit` would wait for it


def _load() -> "tuple[DepthEstimator, ModelFacts]":
    from diffdepth_jax.checkpoints.model_names import find_model
    from diffdepth_jax.prediction.estimator import DepthEstimator
    from diffdepth_jax.web.model_facts import read_facts

    model = find_model(default_model.chosen(_CHECKPOINT.value))
    estimator = DepthEstimator.from_checkpoint(model)
    if estimator.is_relative:
        raise UserError("the page shows metres, and this model is relative: give a metric one")
    return estimator, read_facts(model)


def _serve(
    page: ModuleType,
    directory: str,
    estimator: "DepthEstimator",
    facts: "ModelFacts",
    **access: "Hosts | Password | None",
) -> str:
    """Starts the page, whose files are in the folder, and returns its address."""
    from diffdepth_jax.web.uploads import Uploads

    os.environ["GRADIO_TEMP_DIR"] = directory
    files = OwnedFiles(directory, _bytes(_TOTAL_RESULTS_MB))
    files.sweep_forever()
    uploads = Uploads(files, _upload_limits(), _bytes(_MAX_UPLOAD_MB))
    created = page.create(estimator, files, uploads, facts)
    return page.serve(created, files, uploads, host=_HOST.value, port=_PORT.value, **access)


def _check_numbers() -> None:
    if not 1 <= _PORT.value <= 65535:
        raise UserError(f"port {_PORT.value}: must be 1 to 65535")
    for flag in _MUST_BE_POSITIVE:
        if not 0 < flag.value < float("inf"):
            raise UserError(f"{flag.name} {flag.value}: must be positive")


def _bytes(flag: flags.FlagHolder) -> int:
    return int(flag.value * 2**20)


def _upload_limits() -> UploadLimits:
    return UploadLimits(
        Share(_SESSION_UPLOADS.value, _bytes(_SESSION_UPLOAD_MB)),
        Share(_TOTAL_UPLOADS.value, _bytes(_TOTAL_UPLOAD_MB)),
    )


def _warn_of_strangers(password: "Password | None") -> None:
    """Says plainly what listening beyond this machine means."""
    if is_loopback(_HOST.value):
        return
    if password is None:
        warning = (
            "whoever reaches this machine can use the page, without a password: give "
            "--auth=USER:FILE, or leave --host out"
        )
    else:
        warning = (
            "the password and the photos travel unencrypted: put a reverse proxy with HTTPS before "
            "the page (docs/predicting.md)"
        )
    print(f"warning: --host={_HOST.value}: {warning}", file=sys.stderr, flush=True)


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


def main() -> None:
    start(run, required=[], page=_PAGE)


if __name__ == "__main__":
    main()
