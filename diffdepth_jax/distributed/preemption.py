"""Turns SIGTERM and SIGINT into a request to save and stop, which a training loop answers."""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Self

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
        # OSError: Ctrl-C ended the reader of a pipe. RuntimeError: the signal interrupted a print.
        with contextlib.suppress(OSError, RuntimeError):
            print(
                f"{self.requested}: saving after this step; a second one ends at once",
                file=sys.stderr,
            )
