"""Progress bars on a terminal, elsewhere a line now and then; and what a program waits for."""

import contextlib
import sys
import threading
import time
from collections.abc import Generator, Iterable
from typing import Any

from tqdm import tqdm

EVERY = 30.0  # seconds from one line to the next
MOMENT = 1.0  # seconds that a program may be silent


class _Stderr:
    """The stream of bars and lines; a closed one, as after Ctrl-C to a pipe, ends no program."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()

    def __eq__(self, other: object) -> bool:
        """Equal to stderr, so that `tqdm.write` keeps messages and bars apart."""
        return other is sys.stderr

    def __hash__(self) -> int:
        return hash(sys.stderr)


class _Lines(tqdm):
    """A bar that is printed as a line, after each `EVERY` seconds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._printed = time.monotonic()
        form = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"
        super().__init__(*args, gui=True, bar_format=form, **options)  # gui: draws by itself

    def display(self, *_: Any, **__: Any) -> None:
        """Called by tqdm at every opportunity."""
        now = time.monotonic()
        if now - self._printed >= EVERY:
            self._printed = now
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def clear(self, *_: Any, **__: Any) -> None:
        """Does nothing: lines stay."""


def bar(iterable: Iterable[Any] | None = None, desc: str | None = None, **options: Any) -> tqdm:
    """Does what `tqdm` does where stderr is a terminal, and prints a line now and then elsewhere.

    `options` are those of `tqdm`.
    """
    kind = tqdm if sys.stderr.isatty() else _Lines
    return kind(iterable, desc, file=_Stderr(), **options)


@contextlib.contextmanager
def reminders(what: str) -> Generator[None]:
    """Says on stderr after each `EVERY` seconds for how long the block has run."""
    began, ended = time.monotonic(), threading.Event()

    def tell() -> None:
        while not ended.wait(EVERY):
            tqdm.write(f"{what}: {time.monotonic() - began:.0f} s so far", file=sys.stderr)

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextlib.contextmanager
def awaited(what: str) -> Generator[None]:
    """Says on stderr what the block does if it takes longer than a moment, and then how long."""
    began, told = time.monotonic(), threading.Event()

    def tell() -> None:
        told.set()
        tqdm.write(f"{what} ...", file=sys.stderr)

    timer = threading.Timer(MOMENT, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if told.is_set():
        tqdm.write(f"{what}: {time.monotonic() - began:.1f} s", file=sys.stderr)
