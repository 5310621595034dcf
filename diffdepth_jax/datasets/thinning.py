"""Sparser ground truth, to try how much sparsity costs."""

import numpy as np

from diffdepth_jax.datasets import transforms
from diffdepth_jax.datasets.samples import Sample, Source


class Thinned:
    """Keeps a random fraction of each sample's valid pixels, the same pixels at each read."""

    def __init__(self, source: Source, fraction: float, seed: int):
        self._source, self._fraction, self._seed = source, fraction, seed

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self._seed, index])
        return transforms.thin_mask(self._source[index], rng, self._fraction)

    def __repr__(self) -> str:
        return f"Thinned({self._source!r}, {self._fraction})"

    def __str__(self) -> str:
        return str(self._source)


def thinned(source: Source, fraction: float, seed: int) -> Source:
    """The source, or, for a fraction below 1, `Thinned`."""
    return Thinned(source, fraction, seed) if fraction < 1 else source
