"""Prints absl's log messages as plain lines on stderr, above a progress bar if there is one."""

import logging
import pathlib
import sys

from absl import logging as absl_logging
from tqdm import tqdm

from diffdepth_jax.errors import UserError, printable

LEVELS = ("debug", "info", "warning", "error")
_PACKAGE = str(pathlib.Path(__file__).parents[1])


class _Handler(logging.Handler):
    """Prints our messages from a level on, and a library's only from warning on.

    A library's info messages are for its developers. At the level debug they are printed too.
    """

    def __init__(self, level: str) -> None:
        super().__init__(level.upper())
        self._libraries = logging.DEBUG if level == "debug" else logging.WARNING

    def filter(self, record: logging.LogRecord) -> bool:
        return _is_own(record) or record.levelno >= self._libraries

    def format(self, record: logging.LogRecord) -> str:
        message, level = super().format(record), record.levelname.lower()
        if not _is_own(record):
            return f"{record.filename}:{record.lineno}: {level}: {message}"
        return message if level == "info" else f"{level}: {message}"

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lines = self.format(record).split("\n")  # a traceback has several
            tqdm.write("\n".join(map(printable, lines)), file=sys.stderr)
        except Exception:  # as in logging's handlers: a failed message ends no program
            self.handleError(record)


def _is_own(record: logging.LogRecord) -> bool:
    """Whether a module of this package logged the message."""
    return record.pathname.startswith(_PACKAGE)


def show_messages(level: str) -> None:
    """Prints messages from this level on; replaces the level of an earlier call.

    Raises:
      UserError: `level` is not one of LEVELS.
    """
    if level not in LEVELS:
        raise UserError(f"log_level {level}: must be one of {', '.join(LEVELS)}")
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Handler | absl_logging.ABSLHandler):
            root.removeHandler(handler)
    root.addHandler(_Handler(level))
    root.setLevel(level.upper())
    absl_logging.set_verbosity(level)
