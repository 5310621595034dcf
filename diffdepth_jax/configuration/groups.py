"""The groups of a configuration, one frozen dataclass for each; each checks its fields when built.

`configs/default.py` says what each field means and holds the only defaults. `read` turns a
configuration file's ConfigDict, or the JSON of a run, into a `Configuration`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ml_collections import ConfigDict
from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from diffdepth_jax.configuration.data import Data
from diffdepth_jax.configuration.values import (
    STRICT,
    BelowOne,
    Count,
    CountOrNone,
    Fraction,
    NotNegative,
    Positive,
    Size,
    require,
    sentence,
)
from diffdepth_jax.errors import UserError


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Frame:
    """What the network sees of an image, and between which depths."""

    size: Size
    input_crop: Literal["none", "kb"]
    focal_length: NotNegative
    min_depth: Positive
    max_depth: Positive

    def __post_init__(self) -> None:
        rule = f"below frame.max_depth {self.max_depth}"
        require(self.min_depth < self.max_depth, "frame.min_depth", self.min_depth, rule)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Model:
    """The network's parts and their sizes."""

    backbone: str
    backbone_weights: str
    window_size: Count
    window_shift: Literal["always", "larger_axes", "larger_maps"]
    position_embedding: bool
    backbone_layers: tuple[Count, ...]
    position_interpolation: Literal["size", "size_antialiased", "scale_offset"]
    freeze_statistics: bool
    drop_path_rate: Annotated[float, Field(ge=0, le=0.99)]
    neck: Literal["fpn", "released", "released_hahi"]
    neck_features: Count
    codec: Literal["bounded", "released"]
    latent_channels: Count
    encoder_kernel: Literal[1, 3]
    decoder_width: Annotated[int, Field(ge=2)]
    denoiser: Literal["attention", "released", "released_plain"]
    denoiser_features: Count
    denoiser_blocks: Count
    denoiser_heads: Count
    condition_levels: Annotated[int, Field(ge=1, le=4)]
    self_attention: bool
    dtype: Literal["float32", "bfloat16"]

    def __post_init__(self) -> None:
        rule = f"a divisor of denoiser_features {self.denoiser_features}"
        divides = self.denoiser_features % self.denoiser_heads == 0
        require(divides, "model.denoiser_heads", self.denoiser_heads, rule)
        for name in ("neck_features", "latent_channels") if self.denoiser != "attention" else ():
            width = getattr(self, name)
            require(width % 4 == 0, f"model.{name}", width, "a multiple of 4 for released ones")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Diffusion:
    """The forward process, and what the network predicts of it."""

    schedule: Literal["linear", "scaled_linear", "cosine"]
    num_timesteps: Count
    beta_start: Annotated[float, Field(ge=1e-9, le=0.999)]
    beta_end: Annotated[float, Field(ge=1e-9, le=0.999)]
    prediction_type: Literal["epsilon", "sample", "v_prediction"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampler:
    """How noise is refined to a clean latent."""

    num_steps: Count
    spacing: Literal["leading", "trailing"]
    start: Literal["noise", "zeros"]
    eta: NotNegative
    clip: NotNegative
    remat: bool


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Weights:
    """The weight of each term of the loss."""

    ddim: float
    silog: float
    pixel_as_printed: float
    l1: float
    l2: float
    latent: float
    reconstruction: float


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Loss:
    """The training objective."""

    target: Literal["self", "self_attached", "ground_truth"]
    gradient_steps: CountOrNone
    pixel_losses_on_every_step: bool
    random_timesteps: bool
    silog_lambda: float
    clamp_depth: NotNegative
    l1_l2_until: Fraction
    weights: Weights


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Augmentation:
    """What is changed at random in a training sample."""

    valid_pixel_fraction: Annotated[float, Field(ge=1e-6, le=1)]
    rotation: Annotated[float, Field(ge=0, le=180)]
    zoom: Annotated[float, Field(ge=1, le=10)]
    crop_size: Size
    flip_probability: Fraction
    color_probability: Fraction
    gamma: Fraction
    brightness: Fraction
    color: Fraction


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Train:
    """The training loop."""

    batch_size: Count
    accumulate: Count
    parallel: Literal["jit", "pmap", "fsdp"]
    num_steps: Count
    initial_weights: str
    ema_decay: BelowOne
    log_every: Count
    evaluate_every: Count
    checkpoint_every: Count
    remat_backbone: bool
    num_threads: Count
    max_unreadable: CountOrNone
    max_skipped: CountOrNone
    profile_steps: tuple[int, int]

    def __post_init__(self) -> None:
        first, last = self.profile_steps
        rule = (
            "(first, last) with 0 <= first <= last <= train.num_steps "
            f"{self.num_steps}; (0, 0) for no trace"
        )
        inside = 0 <= first <= last <= self.num_steps
        require(inside, "train.profile_steps", self.profile_steps, rule)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Optimizer:
    """The learning rate by step, and the update."""

    name: Literal["adamw", "adam", "sgd"]
    schedule: Literal["cosine", "polynomial", "steps", "constant"]
    learning_rate: Positive
    warmup_steps: CountOrNone
    end_fraction: Fraction
    power: Positive
    boundaries: tuple[Positive, ...]
    factors: tuple[Positive, ...]
    weight_decay: NotNegative
    b1: BelowOne
    b2: BelowOne
    eps: Positive
    momentum: BelowOne
    clip_norm: NotNegative
    backbone_multiplier: NotNegative
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    freeze: str

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
    protocol: str
    flip_average: bool
    ensemble: Count
    baselines: bool
    num_panels: Count


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfiguration:
    """What using a model needs; a model directory holds at least this."""

    model: Model
    diffusion: Diffusion
    sampler: Sampler
    frame: Frame

    def __post_init__(self) -> None:
        total = self.diffusion.num_timesteps
        steps = self.sampler.num_steps
        require(steps <= total, "sampler.num_steps", steps, f"1 to {total}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Configuration(ModelConfiguration):
    """A whole configuration: what training, evaluation and prediction read."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    log_level: Literal["debug", "info", "warning", "error"]
    data: Data
    loss: Loss
    augmentation: Augmentation
    train: Train
    optimizer: Optimizer
    evaluation: Evaluation

    def __post_init__(self) -> None:
        super().__post_init__()
        last, total = self.loss.gradient_steps, self.sampler.num_steps
        rule = f"0, for all, to sampler.num_steps {total}"
        require(last <= total, "loss.gradient_steps", last, rule)
        warmup, steps = self.optimizer.warmup_steps, self.train.num_steps
        rule = f"0 or more, and below train.num_steps {steps}"
        require(warmup < steps, "optimizer.warmup_steps", warmup, rule)
        self.optimizer.starts(steps)


def read(fields: Mapping[str, Any] | ConfigDict) -> Configuration:
    """The checked configuration of nested fields.

    Raises:
      UserError: a field is missing, unknown or out of range; the message names it.
    """
    return _built(Configuration, fields)


def read_model(fields: Mapping[str, Any] | ConfigDict) -> ModelConfiguration:
    """Takes the groups that a model needs and ignores the others, see `read`."""
    names = ModelConfiguration.__dataclass_fields__
    return _built(ModelConfiguration, {name: fields[name] for name in names if name in fields})


def _built(group: type, fields: Mapping[str, Any] | ConfigDict) -> Any:
    nested = fields.to_dict() if isinstance(fields, ConfigDict) else dict(fields)
    try:
        return group(**{name: _plain(value) for name, value in nested.items()})
    except ValidationError as error:
        raise UserError(sentence(error)) from error


def _plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, ConfigDict) else value
