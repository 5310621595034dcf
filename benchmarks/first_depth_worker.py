"""A process of `first_depth`: runs the real prediction program and times its parts.

python -m benchmarks.first_depth_worker START MARKS.json MODEL PHOTO OUTPUT

START is the monotonic clock's time when the process was started. Before the program runs, some of
its functions are wrapped so that they note when they end.
"""

import json
import pathlib
import sys
import time


class Clock:
    """Measures the seconds between one `mark` and the next; a mark names the part before it."""

    def __init__(self, start):
        self._last, self.parts = start, {}

    def mark(self, name):
        now = time.monotonic()
        self.parts[name] = now - self._last
        self._last = now

    def marking(self, name, function):
        """Wraps a function so that a mark follows each call."""

        def marked(*args, **kwargs):
            result = function(*args, **kwargs)
            self.mark(name)
            return result

        return marked


def _staged(clock, jitted):
    """Splits a jitted function's call into three timed stages; compiles again at every call."""

    def call(*arrays, **options):
        clock.mark("reading and placing the photo")
        lowered = jitted.lower(*arrays, **options)
        clock.mark("tracing")
        compiled = lowered.compile()
        clock.mark("compiling or loading")
        result = compiled(*arrays)
        for leaf in result.values():
            leaf.block_until_ready()
        clock.mark("computing")
        return result

    return call


def main(start, marks, model, photo, output):
    clock = Clock(float(start))
    import jax

    from diffdepth_jax import predict
    from diffdepth_jax.prediction.estimator import DepthEstimator
    from diffdepth_jax.prediction.outputs import OutputWriter

    clock.mark("Python and imports")
    jax.devices()
    clock.mark("finding the device")
    load = DepthEstimator.from_checkpoint
    compiled = DepthEstimator._compiled.func
    DepthEstimator.from_checkpoint = clock.marking("reading the model", load)
    DepthEstimator._compiled = property(lambda self: _staged(clock, compiled(self)))
    OutputWriter.write = clock.marking("writing", OutputWriter.write)
    named = {"checkpoint": model, "input": photo, "output": output}
    sys.argv = ["predict", *(f"--{name}={value}" for name, value in named.items())]
    try:
        predict.main()
    finally:
        pathlib.Path(marks).write_text(json.dumps(clock.parts))


if __name__ == "__main__":
    main(*sys.argv[1:])
