"""The groups that training and evaluation read: `loss`, `augmentation`, `train` and so on.

See `groups`.
"""

import itertools
import re
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from diffdepth_jax.configuration.values import (
    STRICT,
    BelowOne,
    Count,
    CountOrNone,
    Flag,
    Fraction,
    NotNegative,
    Number,
    Positive,
    Size,
    Text,
    UserPath,
    require,
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Weights:
    """The weight of each term of the loss."""

    ddim: float
    silog: float
    gradient_matching: float
    crps: float
    crps_pooled: float
    pixel_as_printed: float
    l1: float
    l2: float
    laplace: float
    validity: float
    scale_shift_invariant: float
    latent: float
    reconstruction: float


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Loss:
    """The training objective."""

    target: Literal["self", "self_attached", "ground_truth"]
    gradient_steps: CountOrNone
    pixel_losses_on_every_step: Flag
    random_timesteps: Flag
    samples: Count
    own_noise: Flag
    silog_lambda: Number
    clamp_depth: NotNegative
    l1_l2_until: Fraction
    weights: Weights


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Augmentation:
    """What is changed at random in a training sample."""

    valid_pixel_fraction: Annotated[float, Field(strict=True, ge=1e-6, le=1)]
    box: tuple[()] | tuple[CountOrNone, Count, CountOrNone, Count]
    rotation: Annotated[float, Field(strict=True, ge=0, le=180)]
    zoom: Annotated[float, Field(strict=True, ge=1, le=10)]
    crop_size: Size
    flip_probability: Fraction
    color_probability: Fraction
    gamma: Fraction
    brightness: Fraction
    color: Fraction

    def __post_init__(self) -> None:
        rule = "(top, bottom, left, right) with top < bottom and left < right, or ()"
        valid = not self.box or (self.box[0] < self.box[1] and self.box[2] < self.box[3])
        require(valid, "augmentation.box", self.box, rule)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Train:
    """The training loop."""

    batch_size: Count
    accumulate: Count
    parallel: Literal["jit", "pmap", "fsdp"]
    num_steps: Count
    initial_weights: UserPath
    ema_decay: BelowOne
    log_every: Count
    evaluate_every: Count
    checkpoint_every: Count
    remat_backbone: Flag
    cache_features: CountOrNone
    features_dir: UserPath
    num_threads: Count
    max_unreadable: CountOrNone
    max_skipped: CountOrNone
    profile_steps: tuple[Annotated[int, Field(strict=True)], Annotated[int, Field(strict=True)]]

    def __post_init__(self) -> None:
        first, last = self.profile_steps
        rule = (
            "(first, last) with 0 <= first <= last <= train.num_steps "
            f"{self.num_steps}; (0, 0) for no trace"
        )
        inside = 0 <= first <= last <= self.num_steps
        require(inside, "train.profile_steps", self.profile_steps, rule)


def _is_expression(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Optimizer:
    """The learning rate by step, and the update."""

    name: Literal["adamw", "adam", "sgd"]
    schedule: Literal["cosine", "polynomial", "steps", "constant"]
    learning_rate: Positive
    warmup_steps: CountOrNone
    end_fraction: Fraction
    power: Positive
    boundaries: Annotated[tuple[Positive, ...], Field(max_length=1000)]
    factors: Annotated[tuple[Positive, ...], Field(max_length=1000)]
    weight_decay: NotNegative
    b1: BelowOne
    b2: BelowOne
    eps: Positive
    momentum: BelowOne
    clip_norm: NotNegative
    backbone_multiplier: NotNegative
    layer_decay: Annotated[float, Field(strict=True, gt=0, le=1)]
    freeze: Text

    def __post_init__(self) -> None:
        rule = "a regular expression of parameters' paths, such as 'backbone/.*'"
        require(_is_expression(self.freeze), "optimizer.freeze", self.freeze, rule)

    def starts(self, num_steps: int) -> tuple[int, ...]:
        """The boundaries as steps of a run. Boundaries below 1 are fractions of the run.

        In a very short run two may round to one step; the piece between them is then skipped.
        """
        if self.schedule != "steps":
            return ()
        rule = f"as many as the {len(self.boundaries)} boundaries"
        matching = len(self.factors) == len(self.boundaries)
        require(matching, "optimizer.factors", self.factors, rule)
        starts = [round(x * num_steps) if x < 1 else x for x in self.boundaries]
        rising = [self.warmup_steps, *starts] == sorted([self.warmup_steps, *starts])
        rule = (
            f"steps, or fractions of the {num_steps} steps, that rise from the warm-up's end, "
            f"{self.warmup_steps}"
        )
        valid = rising and all(x == int(x) for x in starts)
        require(valid, "optimizer.boundaries", self.boundaries, rule)
        return tuple(int(x) for x in starts)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Evaluation:
    """How predictions are made and scored."""

    batch_size: Count
    protocol: Text
    alignment: Text
    distances: Annotated[tuple[Positive, ...], Field(max_length=1000)]
    by_scene: Flag
    flip_average: Flag
    ensemble: Count
    baselines: Flag
    num_panels: Count

    def __post_init__(self) -> None:
        ends = self.distances
        rule = "metres that increase"
        require(all(a < b for a, b in itertools.pairwise(ends)), "evaluation.distances", ends, rule)
