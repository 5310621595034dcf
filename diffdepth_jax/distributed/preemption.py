"""SIGTERM and SIGINT as a request to save and stop, which a training loop can answer."""

import contextlib
import os
import signal
import sys

# EX_TEMPFAIL of sysexits.h: run the same command again to go on.
EXIT_STATUS = 75


class Preemption:
    """Between __enter__ and __exit__ the first signal is noted and the second ends the process.

    Attributes:
      requested: name of the signal that asked to stop, or None.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.requested = None

    def __enter__(self):
        self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, _frame):
        if self.requested is not None:  # a second one means now
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.requested = signal.Signals(number).name
        # Nobody may be reading (Ctrl-C ends a whole pipe), or the signal may have met a print.
        with contextlib.suppress(OSError, RuntimeError):
            print(
                f"{self.requested}: saving after this step; a second one ends at once",
                file=sys.stderr,
            )
