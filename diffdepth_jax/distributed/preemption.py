"""Turns SIGTERM and SIGINT into a request to save and stop, which a training loop answers."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import Self

import jax

from diffdepth_jax.errors import UserError

# EX_TEMPFAIL of sysexits.h: to go on, run the same command again.
EXIT_STATUS = 75


class Preemption:
    """A context in which the first signal is noted and the second ends the process.

    Attributes:
      requested: name of the signal that asked to stop; None before.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.requested: str | None = None
        self._at_once = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.requested is not None:  # the second signal
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.requested = signal.Signals(number).name
        if not self._at_once:
            _say(f"{self.requested}: saving after this step; a second one ends at once")

    @contextlib.contextmanager
    def ending_at_once(self, finish: Callable[[], object] = lambda: None) -> Generator[None]:
        """A context for what can be done again: the first signal ends the process with EXIT_STATUS.

        It does so even while JAX compiles. Python calls the handler of a signal when the main
        thread is back from JAX, but writes the signal's number to a file at once; a thread reads
        it. Of several processes none may end alone, so that there the signal is noted as ever.

        Args:
          finish: is called before the end, in that thread, to complete what is being written.
        """
        if jax.process_count() > 1:
            yield
            return
        if self.requested is not None:
            raise SystemExit(EXIT_STATUS)
        with _signals_read_by(lambda number: self._end(number, finish)):
            self._at_once = True
            yield
            self._at_once = False

    def _end(self, number: int, finish: Callable[[], object]) -> None:
        if number not in self.SIGNALS:
            return
        _say(f"{signal.Signals(number).name}: ending; the same command goes on from the last save")
        status = EXIT_STATUS
        try:
            finish()
        except UserError as error:
            _say(f"error: {error}")
            status = 2
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, RuntimeError):
                    stream.flush()
            os._exit(status)


@contextlib.contextmanager
def _signals_read_by(act: Callable[[int], None]) -> Generator[None]:
    """Calls a function, in a thread of its own, with the number of each signal that comes."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # a condition of Python's

    def read() -> None:
        while number := os.read(reader, 1):
            act(number[0])

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writer)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)  # for the thread this is the end of the file
        thread.join()
        os.close(reader)


def _say(message: str) -> None:
    # OSError: Ctrl-C ended the reader of a pipe. RuntimeError: the signal interrupted a print.
    with contextlib.suppress(OSError, RuntimeError):
        print(message, file=sys.stderr)
