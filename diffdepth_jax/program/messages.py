"""What a program says while it runs: absl's logging as plain lines on stderr, above any bar."""

import logging
import pathlib
import sys

from absl import logging as absl_logging
from tqdm import tqdm

from diffdepth_jax.errors import UserError

LEVELS = ("debug", "info", "warning", "error")
_PACKAGE = str(pathlib.Path(__file__).parents[1])


class _Handler(logging.Handler):
    """Libraries log at info what concerns their developers: without debug only what is worse."""

    def __init__(self, level):
        super().__init__(level.upper())
        self._libraries = logging.DEBUG if level == "debug" else logging.WARNING

    def filter(self, record):
        return _is_own(record) or record.levelno >= self._libraries

    def format(self, record):
        message, level = super().format(record), record.levelname.lower()
        if not _is_own(record):
            return f"{record.filename}:{record.lineno}: {level}: {message}"
        return message if level == "info" else f"{level}: {message}"

    def emit(self, record):
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:  # as logging's own handlers: what cannot be said ends nothing
            self.handleError(record)


def _is_own(record):
    return record.pathname.startswith(_PACKAGE)


def show_messages(level):
    """Shows what is logged from this level on, in place of what an earlier call set."""
    if level not in LEVELS:
        raise UserError(f"log_level {level}: must be one of {', '.join(LEVELS)}")
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Handler | absl_logging.ABSLHandler):
            root.removeHandler(handler)
    root.addHandler(_Handler(level))
    root.setLevel(level.upper())
    absl_logging.set_verbosity(level)
