"""The pixel losses, which compare predicted with true depth, and an objective of them alone."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PyTree

from diffdepth_jax.arrays import (
    Array,
    Batch,
    Depth,
    Details,
    ImageKeys,
    Latent,
    Mask,
    Scalar,
    Term,
    Variables,
)
from diffdepth_jax.method import losses
from diffdepth_jax.method.refinement import DepthModel, apply, decode_log_depth
from diffdepth_jax.models.assembly import FeedForwardDepth

# Of each sample of an image by itself, and of all of them together.
SAMPLE_LOSSES = ("silog", "gradient_matching", "pixel_as_printed", "l1", "l2")
PIXEL_LOSSES = (*SAMPLE_LOSSES, "crps", "crps_pooled")

_Truth = Float[Array, "images height width 1"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PixelObjective:
    """What the objectives of both kinds of model share.

    Attributes:
      model: the network.
      silog_lambda: lambda in silog and pixel_as_printed.
      clamp_depth: metres; bounds both maps in l1 and l2, as in the released code. 0: no bound.
      weights: {term: weight}.
      l1_l2_steps: l1 and l2 count before this update and not from it on.
    """

    model: DepthModel
    silog_lambda: float
    clamp_depth: float
    weights: Mapping[str, float]
    l1_l2_steps: int

    def weights_at(self, step: Int[jax.Array, ""]) -> dict[str, Any]:
        """{term: weight} in the update from this step."""
        early = (step < self.l1_l2_steps).astype(jnp.float32)
        metres = ("l1", "l2")
        return {name: w * early if name in metres else w for name, w in self.weights.items()}

    def compare(
        self,
        variables: Variables,
        latent: Latent,
        details: Details | None,
        depth: _Truth,
        log_target: _Truth,
        mask: Bool[Array, "images height width 1"],
    ) -> tuple[dict[str, Term], Variables]:
        """The pixel losses of the depth that latents stand for, and the variables after them.

        The latents of an image's samples follow each other.
        """
        log_depth, variables = decode_log_depth(
            self.model, variables, latent, *depth.shape[1:3], details=details, train=True
        )
        members = log_depth.reshape(len(depth), -1, *log_depth.shape[1:])
        terms = self._of_each_sample(log_depth, *repeated((depth, log_target, mask), len(latent)))
        terms = {name: per_sample(term, members.shape[1]) for name, term in terms.items()}
        terms["crps"] = losses.crps(members, log_target, mask)
        terms["crps_pooled"] = losses.crps_pooled(members, log_target, mask)
        return terms, variables

    def _of_each_sample(
        self, log_depth: Depth, depth: Depth, log_target: Depth, mask: Mask
    ) -> dict[str, Term]:
        metres, bound = jnp.exp(log_depth), self.clamp_depth
        clamped = [jnp.clip(x, 0, bound) if bound else x for x in (metres, depth)]
        return {
            "silog": losses.silog(log_depth, log_target, mask, self.silog_lambda),
            "gradient_matching": losses.gradient_matching(log_depth, log_target, mask),
            "pixel_as_printed": losses.pixel_as_printed(metres, depth, mask, self.silog_lambda),
            "l1": losses.l1(*clamped, mask),
            "l2": losses.l2(*clamped, mask),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression(PixelObjective):
    """The pixel losses of a feed-forward model. It draws no random numbers."""

    model: FeedForwardDepth

    def draw(self, keys: ImageKeys, height: int, width: int) -> tuple[()]:
        """Returns nothing; `Objective.draw` returns the noise."""
        return ()

    def counts(self, mask: Mask) -> dict[str, Scalar]:
        """See `Objective.counts`."""
        return dict.fromkeys(PIXEL_LOSSES, mask.any((1, 2, 3)).sum())

    def terms(
        self, variables: Variables, batch: Batch, draws: tuple[()], drop_path_key: jax.Array | None
    ) -> tuple[dict[str, Term], Variables]:
        """See `Objective.terms`."""
        rngs = None if drop_path_key is None else {"drop_path": drop_path_key}
        image = batch["image"]
        details, _ = apply(self.model, variables, image, method="image_details", train=False)
        condition, variables = apply(
            self.model,
            variables,
            image,
            maps=batch.get("features"),
            details=details,
            method="encode_image",
            train=True,
            rngs=rngs,
        )
        latent, _ = apply(self.model, variables, condition, method="predict_latent", train=False)
        log_target = jnp.log(jnp.where(batch["mask"], batch["depth"], 1.0))
        return self.compare(variables, latent, details, batch["depth"], log_target, batch["mask"])


def repeated(arrays: PyTree, size: int) -> Any:
    """Arrays [B, ...] -> [size, ...]: each image as often as it has samples, in a row."""
    return jax.tree.map(lambda x: jnp.repeat(x, size // len(x), axis=0), arrays)


def per_sample(term: Term, samples: int) -> Term:
    """(sum, count) over samples -> over images: the mean over an image's samples."""
    total, count = term
    return total / samples, count / samples


def total_loss(
    terms: Mapping[str, Term], weights: Mapping[str, float | Float[Array, ""]]
) -> Scalar:
    """Sum of weight * sum / count over the terms; a count of 0 (no ground truth at all) gives 0."""
    return sum(
        weight * terms[name][0] / jnp.maximum(terms[name][1], 1) for name, weight in weights.items()
    )
