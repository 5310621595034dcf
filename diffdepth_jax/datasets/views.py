"""Fixed views of a source: the same crops of each sample in every epoch, and their mirrors."""

from typing import Any

import numpy as np

from diffdepth_jax.datasets import pipeline
from diffdepth_jax.datasets.samples import Source


class FixedViews:
    """Random-access source of the views. The order: samples, their crops, plain before mirrored.

    Where a crop lies is a function of the seed, of the sample's index and of the crop's number.
    """

    def __init__(
        self, source: Source, seed: int, crops: int, *, flip_probability: float, **augmentation: Any
    ) -> None:
        """Reads nothing yet.

        Args:
          source: random access to samples.
          seed: of the crops.
          crops: of each sample.
          flip_probability: if it is not 0, each crop has its mirror image.
          **augmentation: the other arguments of `pipeline.training_sample`.
        """
        self._source, self._seed, self._augmentation = source, seed, augmentation
        self._flips = (0.0, 1.0) if flip_probability else (0.0,)
        self.shape = (len(source), crops, len(self._flips))

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        number, crop, mirrored = (int(i) for i in np.unravel_index(index, self.shape))
        return pipeline.training_sample(
            self._source[number],
            np.random.default_rng([number, crop, self._seed]),
            flip_probability=self._flips[mirrored],
            **self._augmentation,
        )
