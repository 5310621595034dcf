"""A process of `first_depth`: runs the real prediction program and times its parts.

python -m benchmarks.first_depth_worker START MARKS.json MODEL PHOTO OUTPUT

START is the monotonic clock's time when the process was started. Before the program runs, some of
its functions are wrapped so that they note when they end.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable


class Clock:
    """Measures the seconds between one `mark` and the next; a mark names the part before it."""

    def __init__(self, start: float) -> None:
        self._last, self.parts = start, {}

    def mark(self, name: str) -> None:
        now = time.monotonic()
        self.parts[name] = now - self._last
        self._last = now

    def marking(self, name: str, function: Callable) -> Callable:
        """Wraps a function so that a mark follows each call."""

        def marked(*args, **kwargs):
            result = function(*args, **kwargs)
            self.mark(name)
            return result

        return marked


def _staged(clock, function):
    """Splits a kept function's call into three timed stages; compiles again at every call."""

    def call(*arrays, **options):
        clock.mark("reading and placing the photo")
        lowered = function.program(*arrays, **options).lower(*arrays)
        clock.mark("tracing or reading a trace")
        compiled = lowered.compile()
        clock.mark("compiling or loading")
        result = compiled(*arrays)
        for leaf in result.values():
            leaf.block_until_ready()
        clock.mark("computing")
        return result

    return call


def main(start: str, marks: str, model: str, photo: str, output: str) -> None:
    clock = Clock(float(start))
    from diffdepth_jax import predict
    from diffdepth_jax.program.quick_imports import quick_imports

    with quick_imports():  # as the program does when it has read its flags
        from diffdepth_jax.prediction import command
    import jax

    from diffdepth_jax.prediction.outputs import OutputWriter
    from diffdepth_jax.program import lowered_programs

    clock.mark("Python and imports")
    jax.devices()
    clock.mark("finding the device")
    load, kept = command.DepthEstimator.from_checkpoint, lowered_programs.kept
    command.DepthEstimator.from_checkpoint = clock.marking("reading the model", load)
    lowered_programs.kept = lambda *arguments: _staged(clock, kept(*arguments))
    OutputWriter.write = clock.marking("writing", OutputWriter.write)
    named = {"checkpoint": model, "input": photo, "output": output}
    sys.argv = ["predict", *(f"--{name}={value}" for name, value in named.items())]
    try:
        predict.main()
    finally:
        pathlib.Path(marks).write_text(json.dumps(clock.parts))


if __name__ == "__main__":
    main(*sys.argv[1:])
