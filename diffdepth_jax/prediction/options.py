"""How images are predicted, and which choices a model has."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.preprocessing import Size

if TYPE_CHECKING:  # pydantic takes .1 s to import, which --help of `predict` does not need
    from diffdepth_jax.configuration.groups import ModelConfiguration


@dataclasses.dataclass(frozen=True)
class Options:
    """How images are predicted; `DepthEstimator.__call__` explains each field."""

    num_steps: int | None = None
    seed: int = 0
    ensemble: int = 1
    trajectory: bool | int = False
    native_size: bool = False
    padded_sizes: Sequence[Size] = ()
    batch_size: int = 1
    interval: float | None = None

    @property
    def samples(self) -> int:
        """The number of samples that are computed at the same time."""
        return self.ensemble * self.batch_size

    def trajectory_steps(self, num_steps: int, num_timesteps: int) -> int:
        """Returns the number of steps of the trajectory if depth takes `num_steps`; 0: none."""
        return self.trajectory and min(max(self.trajectory, num_steps), num_timesteps)


class Keywords(TypedDict, total=False):
    """The fields of `Options` as keywords."""

    num_steps: int | None
    seed: int
    ensemble: int
    trajectory: bool | int
    native_size: bool
    padded_sizes: Sequence[Size]
    batch_size: int
    interval: float | None


def check_options(options: Options, config: "ModelConfiguration") -> None:
    """Raises a UserError if an option is out of range or means nothing to the model."""
    steps, total = options.num_steps, config.diffusion.num_timesteps
    for name, count in (("ensemble", options.ensemble), ("batch_size", options.batch_size)):
        if count < 1:
            raise UserError(f"{name} {count}: must be 1 or more")
    if options.trajectory < 0:
        raise UserError(f"trajectory {options.trajectory}: must be a number of steps")
    if options.interval is not None and not 0 < options.interval < 1:
        raise UserError(f"interval {options.interval:g}: must be between 0 and 1, such as 0.9")
    if options.interval is not None and config.model.is_relative:
        raise UserError("interval: this model is relative and knows no metres: leave it out")
    if steps is not None and not 1 <= steps <= total:
        raise UserError(f"num_steps {steps}: must be 1 to {total}")
    if config.model.kind == "feed_forward":
        _check_feed_forward(options)
    elif options.ensemble > 1 and not config.sampler.has_samples:
        raise UserError(
            f"ensemble {options.ensemble}: all samples of this model are the same, because its "
            "sampler starts from zeros (sampler.start, or sampler.temperature 0) and adds no noise "
            "(sampler.eta): use 1"
        )


def _check_feed_forward(options: Options) -> None:
    reason = "this model is a feed-forward one, without diffusion (synthetic_small is one with it)"
    if options.num_steps not in (None, 1):
        raise UserError(f"num_steps {options.num_steps}: {reason}: leave num_steps out")
    if options.ensemble > 1:
        raise UserError(f"ensemble {options.ensemble}: {reason}, so that all samples agree: use 1")
    if options.trajectory:
        raise UserError(
            f"trajectory: {reason}, so that there is no denoising to show: leave it out"
        )
