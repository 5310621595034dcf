"""Several sources in one training run: the parts of a mixture, with what each has for itself."""

import bisect
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from diffdepth_jax.configuration.data import fields_of_part
from diffdepth_jax.datasets import transforms
from diffdepth_jax.datasets.canonical import METRES, CanonicalCamera
from diffdepth_jax.datasets.ground_truth import Limits, check_ground_truth
from diffdepth_jax.datasets.samples import Sample, Source
from diffdepth_jax.media import camera as cameras

# Indices of a source that are drawn from on their own, and how often in relation to the others.
Share = tuple[range, float]


class PartSource:
    """The samples of a part, with a camera; errors name the part's fields."""

    def __init__(self, source: Source, part: str, focal_length: float):
        """Takes the focal length, in pixels, of samples whose own is unknown; 0: not known."""
        self._source, self._part, self._focal_length = source, part, focal_length

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        with fields_of_part(self._part):
            sample = self._source[index]
        if "intrinsics" in sample or not self._focal_length:
            return sample
        pinhole = cameras.centred(self._focal_length, *sample["image"].shape[:2], "")
        return {**sample, "intrinsics": np.array(pinhole.rows)}

    def __repr__(self) -> str:
        return repr(self._source)

    def __str__(self) -> str:
        return str(self._source)


@dataclasses.dataclass(frozen=True)
class TrainingPart:
    """What training draws from a part.

    Attributes:
      name: the part's.
      source: its training samples.
      weight: of its samples, relative to those of the other parts; above 0.
      limits: in metres; ground truth counts strictly between the two.
    """

    name: str
    source: Source
    weight: float
    limits: Limits = (0.0, np.inf)


class Mixture:
    """The samples of all parts, one part after the other, each within the limits of its part.

    Training draws from each part on its own, see `pipeline.train_iterator`.
    """

    def __init__(self, parts: Sequence[TrainingPart]):
        self.parts = tuple(parts)
        self._ends = [*itertools.accumulate(len(part.source) for part in self.parts)]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        number = bisect.bisect(self._ends, index)
        part, start = self.parts[number], [0, *self._ends][number]
        return transforms.valid_range(part.source[index - start], *part.limits)

    @property
    def shares(self) -> list[Share]:
        """The indices of each part, and its weight."""
        spans = itertools.pairwise([0, *self._ends])
        return [(range(*span), part.weight) for span, part in zip(spans, self.parts, strict=True)]


def shares_of(source: Source, views: int = 1) -> list[Share]:
    """How training draws from a source with this many views of each sample."""
    if not isinstance(source, Mixture):
        return [(range(len(source) * views), 1.0)]
    return [
        (range(indices.start * views, indices.stop * views), weight)
        for indices, weight in source.shares
    ]


def check_training_source(
    source: Source,
    limits: Limits,
    *,
    max_unreadable: int = 0,
    camera: CanonicalCamera = METRES,
) -> None:
    """`check_ground_truth` of a training source; of a mixture each part, within its own limits."""
    fields: dict[str, Any] = {"max_unreadable": max_unreadable, "camera": camera}
    if not isinstance(source, Mixture):
        return check_ground_truth(source, "training set", limits, **fields)
    for part in source.parts:
        both = max(part.limits[0], limits[0]), min(part.limits[1], limits[1])
        with fields_of_part(part.name):
            check_ground_truth(part.source, f"training part {part.name!r}", both, **fields)
