"""The groups of a configuration, one frozen dataclass for each; each checks its fields when built.

`configs/default.py` says what each field means and holds the only defaults. `read` turns a
configuration file's ConfigDict, or the JSON of a run, into a `Configuration`.
"""

import operator
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ml_collections import ConfigDict
from pydantic import Field, ValidationError
from pydantic.dataclasses import dataclass

from diffdepth_jax.configuration.data import Data
from diffdepth_jax.configuration.estimate import check_size
from diffdepth_jax.configuration.model import (
    RELEASED_TIMESTEPS,
    Diffusion,
    Frame,
    Model,
    Sampler,
)
from diffdepth_jax.configuration.training import (
    Augmentation,
    Evaluation,
    Loss,
    Optimizer,
    Train,
)
from diffdepth_jax.configuration.values import STRICT, require, sentence
from diffdepth_jax.errors import UserError


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
        if self.model.kind == "feed_forward":
            require(steps == 1, "sampler.num_steps", steps, "1 for a feed_forward model")
        embedded = self.model.denoiser == "attention" or total <= RELEASED_TIMESTEPS
        rule = f"at most {RELEASED_TIMESTEPS} with model.denoiser {self.model.denoiser}"
        require(embedded, "diffusion.num_timesteps", total, rule)
        check_size(self.model, self.frame)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Configuration(ModelConfiguration):
    """A whole configuration: what training, evaluation and prediction read."""

    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)]
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
        rule = f"0 or more, and below train.num_steps {steps}: set --config.optimizer.warmup_steps"
        require(warmup < steps, "optimizer.warmup_steps", warmup, rule)
        self.optimizer.starts(steps)
        self._check_samples()
        if self.model.kind == "feed_forward":
            self._check_feed_forward()
        if self.train.cache_features:
            self._check_cached_features()
        self._check_outputs()
        self._check_relative()
        self._check_missing_depth()
        self._check_parts()

    def _check_samples(self) -> None:
        """Options of samples must have noise to work on, and samples a loss that compares them."""
        loss, sampler, share = self.loss, self.sampler, self.sampler.global_noise
        samples, weights = loss.samples, loss.weights
        diffuses, starts = self.model.kind == "diffusion", sampler.start != "zeros"
        random = diffuses and (starts or sampler.eta > 0)
        rule = "1 for a model whose samples are all equal: feed_forward, or sampler.start zeros"
        require(samples == 1 or random, "loss.samples", samples, rule)
        require(share == 0 or random, "sampler.global_noise", share, "0 where there is no noise")
        rule = (
            "False unless a sample follows from its start: not zeros (sampler.start), sampler.eta 0"
        )
        follows = diffuses and starts and sampler.eta == 0
        require(not loss.own_noise or follows, "loss.own_noise", loss.own_noise, rule)
        members = self.evaluation.ensemble
        valid = members == 1 or sampler.has_samples or not diffuses  # see _check_feed_forward
        rule = "1 where all samples are equal: sampler.start zeros or sampler.temperature 0"
        require(valid, "evaluation.ensemble", members, rule)
        if samples > 1:
            rule = "1 unless loss.weights.crps or crps_pooled scores the samples together"
            together = weights.crps > 0 or weights.crps_pooled > 0
            require(together, "loss.samples", samples, rule)
            rule = "0 with several loss.samples: it would pull all of them to one depth"
            require(weights.laplace == 0, "loss.weights.laplace", weights.laplace, rule)

    def _check_feed_forward(self) -> None:
        for name in ("ddim", "latent", "reconstruction"):
            weight = getattr(self.loss.weights, name)
            rule = "0 for a feed_forward model, which diffuses no latent"
            require(weight == 0, f"loss.weights.{name}", weight, rule)
        members = self.evaluation.ensemble
        require(members == 1, "evaluation.ensemble", members, "1 for a feed_forward model")

    def _check_outputs(self) -> None:
        """Each output of the decoder needs its loss."""
        for name, output in (("laplace", "laplace_scale"), ("validity", "validity")):
            weight, given = getattr(self.loss.weights, name), getattr(self.model, output)
            rule = f"above 0 with model.{output}, and 0 without"
            valid = weight > 0 if given else weight == 0
            require(valid, f"loss.weights.{name}", weight, rule)

    def _check_relative(self) -> None:
        """A relative model learns and is scored up to the scale and the shift it does not know."""
        weights, relative = self.loss.weights, self.model.is_relative
        name, weight = "scale_shift_invariant", self.loss.weights.scale_shift_invariant
        rule = "above 0 for a relative model (model.max_depth 0), and 0 for others"
        require(weight > 0 if relative else weight == 0, f"loss.weights.{name}", weight, rule)
        if relative:
            for other in (each for each in vars(weights) if each != name):
                given = getattr(weights, other)
                require(given == 0, f"loss.weights.{other}", given, f"0 beside {name}")
            fitted, canonical = self.evaluation.alignment, self.frame.canonical_focal_length
            rule = "scale_shift_disparity for a relative model, which knows no metres"
            require(fitted == "scale_shift_disparity", "evaluation.alignment", fitted, rule)
            flips = self.evaluation.flip_average
            require(not flips, "evaluation.flip_average", flips, "False for a relative model")
            rule = "0 for a relative model, which knows no metres"
            require(canonical == 0, "frame.canonical_focal_length", canonical, rule)

    def _check_missing_depth(self) -> None:
        """Validity needs to know holes from somewhere, and nothing else has a use for them."""
        origins, validity = self.data.origins, self.model.validity
        known = any(x.source == "synthetic" or x.missing_depth == "hole" for x in origins.values())
        for prefix, data in origins.items():
            name, missing = f"{prefix}.missing_depth", data.missing_depth
            rule = "hole with model.validity, and the ground truth dense"
            require(known or not validity, name, missing, rule)
            rule = "unknown without model.validity, which alone learns from holes"
            require(validity or missing == "unknown", name, missing, rule)
            rule = "unknown for rendered scenes, which tell where the sky is"
            require(data.source != "synthetic" or missing == "unknown", name, missing, rule)

    def _check_parts(self) -> None:
        """The limits of `frame`, which are the model's, hold those of each part of a mixture."""
        if self.data.source != "mixture":
            return
        least, greatest = self.frame.min_depth, self.frame.max_depth
        for name, part in self.data.mixture.items():
            low, high = part.limits(self.frame)
            rule = f"at most frame.max_depth, {greatest:g}: raise that to the greatest of all parts"
            require(high <= greatest, f"data.mixture.{name}.max_depth", high, rule)
            rule = f"frame.min_depth, {least:g}, or more, and below the part's maximum, {high:g}"
            require(least <= low < high, f"data.mixture.{name}.min_depth", low, rule)

    def _check_cached_features(self) -> None:
        """What the backbone sees and computes must be the same in each epoch."""
        names = {
            "augmentation.rotation": (0.0,),
            "augmentation.zoom": (1.0,),
            "augmentation.color_probability": (0.0,),
            "augmentation.flip_probability": (0.0, 0.5),
            "model.drop_path_rate": (0.0,),
            "train.max_unreadable": (0,),
        }
        for name, allowed in names.items():
            given = operator.attrgetter(name)(self)
            rule = f"{' or '.join(map(str, allowed))} with train.cache_features"
            require(given in allowed, name, given, rule)


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
