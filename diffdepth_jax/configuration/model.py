"""The groups that say what a model is and how it is used: `model`, `diffusion`, `sampler`, `frame`.

See `groups`.
"""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from diffdepth_jax.configuration.values import (
    STRICT,
    Channels,
    Count,
    Flag,
    Fraction,
    Metres,
    NotNegative,
    Size,
    Text,
    UserPath,
    require,
)

# Rows of the table of time embeddings in the released denoisers; a timestep beyond would be nan.
RELEASED_TIMESTEPS = 1280
_OF_DEPTH_ANYTHING = "0 unless model.codec is depth_anything"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Frame:
    """What the network sees of an image, and between which depths."""

    size: Size
    input_crop: Literal["none", "kb"]
    focal_length: NotNegative
    canonical_focal_length: NotNegative
    min_depth: Metres
    max_depth: Metres

    def __post_init__(self) -> None:
        rule = f"below frame.max_depth {self.max_depth}"
        require(self.min_depth < self.max_depth, "frame.min_depth", self.min_depth, rule)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Model:
    """The network's parts and their sizes."""

    kind: Literal["diffusion", "feed_forward"]
    backbone: Text
    backbone_weights: UserPath
    window_size: Annotated[int, Field(strict=True, ge=1, le=128)]
    window_shift: Literal["always", "larger_axes", "larger_maps"]
    position_embedding: Flag
    backbone_layers: Annotated[tuple[Count, ...], Field(max_length=64)]
    position_interpolation: Literal["size", "size_antialiased", "scale_offset"]
    freeze_statistics: Flag
    drop_path_rate: Annotated[float, Field(strict=True, ge=0, le=0.99)]
    neck: Literal["fpn", "dpt", "depth_anything", "released", "released_hahi"]
    neck_features: Channels
    codec: Literal["bounded", "depth_anything", "released"]
    max_depth: Annotated[float, Field(strict=True, ge=0, le=1e6)]
    latent_channels: Channels
    encoder_kernel: Literal[1, 3]
    decoder_width: Annotated[int, Field(strict=True, ge=2, le=4096)]
    detail_features: Annotated[int, Field(strict=True, ge=0, le=4096)]
    laplace_scale: Flag
    validity: Flag
    denoiser: Literal["attention", "released", "released_plain"]
    denoiser_features: Annotated[int, Field(strict=True, ge=2, le=4096)]
    denoiser_blocks: Annotated[int, Field(strict=True, ge=1, le=64)]
    denoiser_heads: Count
    condition_levels: Annotated[int, Field(strict=True, ge=1, le=4)]
    self_attention: Flag
    sharpen: Annotated[int, Field(strict=True, ge=0, le=6)]
    dtype: Literal["float32", "bfloat16"]

    def __post_init__(self) -> None:
        if self.kind == "feed_forward":
            rule = "none of a released checkpoint for a feed_forward model"
            for name in ("neck", "codec", "denoiser"):
                given = getattr(self, name)
                require(not given.startswith("released"), f"model.{name}", given, rule)
        ours = self.codec == "bounded" and self.denoiser == "attention"
        rule = "0 with parts of a released checkpoint"
        valid = ours or not self.detail_features
        require(valid, "model.detail_features", self.detail_features, rule)
        for name in ("laplace_scale", "validity"):
            given = getattr(self, name) and self.codec == "released"
            require(not given, f"model.{name}", given, "False with model.codec released")
        rule = f"a divisor of denoiser_features {self.denoiser_features}"
        divides = self.denoiser_features % self.denoiser_heads == 0
        require(divides, "model.denoiser_heads", self.denoiser_heads, rule)
        for name in ("neck_features", "latent_channels") if self.denoiser != "attention" else ():
            width = getattr(self, name)
            require(width % 4 == 0, f"model.{name}", width, "a multiple of 4 for released ones")
        self._check_depth_anything()

    def _check_depth_anything(self) -> None:
        """Neck and codec belong together, and have none of our further outputs."""
        chosen = self.codec == "depth_anything"
        rule = "depth_anything together with model.codec, and no other"
        require((self.neck == "depth_anything") == chosen, "model.neck", self.neck, rule)
        require(chosen or not self.max_depth, "model.max_depth", self.max_depth, _OF_DEPTH_ANYTHING)
        if chosen:
            rule = "feed_forward with model.codec depth_anything"
            require(self.kind == "feed_forward", "model.kind", self.kind, rule)
            for name in ("laplace_scale", "validity", "sharpen"):
                given = getattr(self, name)
                require(not given, f"model.{name}", given, "off with model.codec depth_anything")

    @property
    def is_relative(self) -> bool:
        """Whether the model knows no metres: it says inverse depth up to a scale and a shift."""
        return self.codec == "depth_anything" and not self.max_depth


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Diffusion:
    """The forward process, and what the network predicts of it."""

    schedule: Literal["linear", "scaled_linear", "cosine"]
    num_timesteps: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    beta_start: Annotated[float, Field(strict=True, ge=1e-9, le=0.999)]
    beta_end: Annotated[float, Field(strict=True, ge=1e-9, le=0.999)]
    prediction_type: Literal["epsilon", "sample", "v_prediction"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Sampler:
    """How noise is refined to a clean latent."""

    num_steps: Count
    spacing: Literal["leading", "trailing"]
    start: Literal["noise", "zeros", "middle"]
    global_noise: Fraction
    temperature: Fraction
    eta: NotNegative
    clip: NotNegative
    remat: Flag

    @property
    def has_samples(self) -> bool:
        """Whether several samples of an image differ."""
        return (self.start != "zeros" and self.temperature > 0) or self.eta > 0
