"""A look at a source before it is used: does its ground truth lie within the limits of depth?"""

import textwrap
from collections.abc import Callable, Iterator

import numpy as np
from absl import logging
from jaxtyping import Float32

from diffdepth_jax.datasets.canonical import METRES, CanonicalCamera
from diffdepth_jax.datasets.samples import Sample, Source
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.preprocessing import Size

NUM_SAMPLES = 16  # spread over a source
SMALLEST_SHARE = 0.01  # of ground truth within the limits; less is taken for a mistake
# Of pixels with ground truth in a source that claims to be dense; LiDAR has far fewer.
SMALLEST_DENSITY = 0.3
_OTHER_SHAPE = 1.5  # between the ratios of two pictures' sides: rooms and streets differ by 2.5
_NUM_VALUES = 10_000  # of a sample, spread over it, for the median: large photos cost no memory
# Ground truth this many times beyond the maximum is in another unit, not merely farther away.
_OTHER_UNIT = 25
LIMITS = "frame.min_depth and frame.max_depth"
_MILLIMETRES = (
    "it looks like millimetres; float files hold metres: divide them by 1000, or save integers "
    "with data.folder.depth_scale 1000, and check the scale if they are integers"
)
_UNKNOWN_UNIT = "check the unit of the depth files, data.folder.depth_scale, and these two limits"

Values = Float32[np.ndarray, " values"]  # metres
Limits = tuple[float, float]  # metres; ground truth counts strictly between the two


def check_ground_truth(
    source: Source,
    name: str,
    limits: Limits,
    *,
    limits_of: str = LIMITS,
    max_unreadable: int = 0,
    camera: CanonicalCamera = METRES,
    check: Callable[[Sample], object] = lambda _: None,
) -> None:
    """Reads a few samples and refuses a source that has hardly any ground truth in the limits.

    Warnings say how many of these samples have none, if some have, and whether the shapes of their
    pictures are very different, as in a list that mixes two data sets.

    Args:
      source: random access to samples.
      name: what messages call the source.
      limits: (frame.min_depth, frame.max_depth), or those of the evaluation.
      limits_of: what messages call these.
      max_unreadable: this many of the samples may be unreadable. They are left out in silence: the
        pipeline warns of them.
      camera: depth is learned in its units.
      check: a further check of a sample.

    Raises:
      UserError: see above, or too many samples are unreadable, or the units need the focal length
        of one of them, which is unknown, or gaps of sparse ground truth are taken for holes.
    """
    truths, densities, sizes = [], [], []
    for sample in _some(source, max_unreadable):
        sizes.append(sample["image"].shape[:2])
        camera.check(sample)
        check(sample)
        truths.append(sample["depth"][sample["mask"]])
        if "hole" in sample and np.array_equal(sample["hole"], ~sample["mask"]):
            densities.append(sample["mask"].mean())
    _check_density(densities, name)
    _warn_of_shapes(sizes, name)
    shares = [_share_within(truth, limits) for truth in truths]
    if shares and np.mean(shares) < SMALLEST_SHARE:
        described = f"{name} ({textwrap.shorten(str(source), 200)})"
        raise UserError(f"{described}: {_fault(truths, limits, limits_of)}")
    if 0 in shares:
        text = "%s: %d of %d samples looked at have no ground truth within %g to %g m"
        logging.warning(text, name, shares.count(0), len(shares), *limits)


def _check_density(densities: list[float], name: str) -> None:
    """Refuses sparse ground truth whose gaps are taken for holes."""
    if densities and np.mean(densities) < SMALLEST_DENSITY:
        raise UserError(
            f"{name}: only {np.mean(densities):.1%} of its pixels have ground truth, so that the "
            "others are not all holes: set data.missing_depth to unknown, and model.validity to "
            "False"
        )


def _warn_of_shapes(sizes: list[Size], name: str) -> None:
    """Warns if the sides of pictures have very different ratios, whichever side is the longer."""
    ratios = {max(size) / min(size): size for size in sizes}
    if ratios and max(ratios) > _OTHER_SHAPE * min(ratios):
        text = (
            "%s: it has pictures of %d x %d and of %d x %d (height x width); if its list mixes two"
            " data sets, give each a list of its own, because depth_scale is the same for all"
        )
        logging.warning(text, name, *ratios[min(ratios)], *ratios[max(ratios)])


def _some(source: Source, max_unreadable: int) -> Iterator[Sample]:
    """The samples to look at, the same at each call."""
    unreadable = 0
    for index in np.unique(np.linspace(0, len(source) - 1, NUM_SAMPLES).round().astype(int)):
        try:
            sample = source[int(index)]
        except UserError:
            unreadable += 1
            if unreadable > max_unreadable:
                raise
        else:
            yield sample


def _share_within(truth: Values, limits: Limits) -> float:
    return float(np.mean((truth > limits[0]) & (truth < limits[1]))) if len(truth) else 0.0


def _fault(truths: list[Values], limits: Limits, limits_of: str) -> str:
    """What is seen in ground truth of which hardly any is within the limits, and what to do."""
    values = np.concatenate([truth[:: max(1, len(truth) // _NUM_VALUES)] for truth in truths])
    if not len(values):
        return "no sample looked at has ground truth: check the depth files"
    median, (low, high) = float(np.median(values)), limits
    millimetres = median > _OTHER_UNIT * high and low < median / 1000 < high
    return (
        f"the median of its ground truth is {median:.4g} m, and hardly any is within {low:g} and "
        f"{high:g} m, {limits_of}: "
        f"{_MILLIMETRES if millimetres else _UNKNOWN_UNIT}"
    )
