"""Says what works on this machine and what is missing; paste all of it into a bug report.

diffdepth doctor

Its last line is a test: depth of one picture, by a model that ships, compared with what it should
be. The test takes some seconds, and the first time longer, because JAX compiles. The exit status
is 1 if it fails.
"""

import time
from typing import TYPE_CHECKING

from diffdepth_jax.program.diagnosis import reason, report
from diffdepth_jax.program.entry import start
from diffdepth_jax.program.help_page import Page
from diffdepth_jax.program.shipped_models import shipped_names

if TYPE_CHECKING:
    import numpy as np

_MODEL = "indoor_small"
_METRES = 1.2806  # mean depth of the picture, measured on a CPU with this model's present weights
_TOLERANCE = 0.01  # of these metres: devices and versions round differently


def _run() -> int:
    for line in report():
        print(line, flush=True)
    print(f"Models that ship\n  {', '.join(shipped_names())}\nTest", flush=True)
    passed, line = self_test()
    print(f"  {'passed' if passed else 'FAILED'}: {line}")
    return 0 if passed else 1


def self_test() -> tuple[bool, str]:
    """Predicts a picture with the model that ships; returns whether depth is right, and a line."""
    began = time.monotonic()
    try:
        # Here, because it imports JAX, without which the report should still be printed.
        from diffdepth_jax.prediction.estimator import DepthEstimator
        from diffdepth_jax.program import compilation_cache

        with compilation_cache.kept():
            depth = DepthEstimator.from_pretrained(_MODEL)(_picture()).depth
    except Exception as error:  # whatever is broken, the report says it
        return False, reason(error)
    mean, seconds = float(depth.mean()), time.monotonic() - began
    line = f"{_MODEL} predicts {mean:.4f} m in {seconds:.1f} s; {_METRES} m are right"
    return abs(mean - _METRES) <= _TOLERANCE * _METRES, line


def _picture() -> "np.ndarray":
    """A picture of three slopes, uint8 [240, 320, 3]."""
    import numpy as np

    row, column = np.mgrid[:240, :320]
    slopes = (column * 255 // 319, row * 255 // 239, (row + column) % 256)
    return np.stack(slopes, axis=-1).astype(np.uint8)


def main() -> None:
    start(_run, required=[], page=Page(__doc__, {}))


if __name__ == "__main__":
    main()
