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
from diffdepth_jax.method.refinement import DepthModel, apply, decode
from diffdepth_jax.models.assembly import FeedForwardDepth
from diffdepth_jax.models.codec import Decoded

# Of each sample of an image by itself, and of all of them together.
SAMPLE_LOSSES = ("silog", "gradient_matching", "pixel_as_printed", "l1", "l2")
PIXEL_LOSSES = (*SAMPLE_LOSSES, "crps", "crps_pooled")

_Metres = Float[Array, "images height width 1"]
_Where = Bool[Array, "images height width 1"]
# Depth in metres, its log, where there is ground truth; for validity (surface, hole), see `Batch`.
Truth = tuple[_Metres, _Metres, _Where, tuple[_Where, _Where] | None]


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

    def pixel_counts(self, batch: Batch) -> dict[str, Scalar]:
        """{term: count} of what `compare` returns, computed without running the model."""
        images = batch["mask"].any((1, 2, 3)).sum()
        counts = dict.fromkeys(PIXEL_LOSSES, images)
        if "laplace" in self.weights:
            counts["laplace"] = images
        if "scale_shift_invariant" in self.weights:
            counts["scale_shift_invariant"] = images
        if "validity" in self.weights:
            counts["validity"] = (batch["surface"] | batch["hole"]).any((1, 2, 3)).sum()
        return counts

    def truth(self, batch: Batch) -> Truth:
        """What `compare` compares with."""
        depth, mask = batch["depth"], batch["mask"]
        known = (batch["surface"], batch["hole"]) if "validity" in self.weights else None
        return depth, jnp.log(jnp.where(mask, depth, 1.0)), mask, known

    def compare(
        self,
        variables: Variables,
        latent: Latent,
        details: Details | None,
        depth: _Metres,
        log_target: _Metres,
        mask: _Where,
        known: tuple[_Where, _Where] | None,
    ) -> tuple[dict[str, Term], Variables]:
        """The pixel losses of the depth that latents stand for, and the variables after them.

        The latents of an image's samples follow each other.
        """
        decoded, variables = decode(
            self.model, variables, latent, *depth.shape[1:3], details=details, train=True
        )
        members = decoded.log_depth.reshape(len(depth), -1, *decoded.log_depth.shape[1:])
        truth = repeated((depth, log_target, mask, known), len(latent))
        terms = self._of_each_sample(decoded, *truth)
        terms = {name: per_sample(term, members.shape[1]) for name, term in terms.items()}
        terms["crps"] = losses.crps(members, log_target, mask)
        terms["crps_pooled"] = losses.crps_pooled(members, log_target, mask)
        return terms, variables

    def _of_each_sample(
        self,
        decoded: Decoded,
        depth: Depth,
        log_target: Depth,
        mask: Mask,
        known: tuple[Mask, Mask] | None,
    ) -> dict[str, Term]:
        log_depth = decoded.log_depth
        metres, bound = jnp.exp(log_depth), self.clamp_depth
        clamped = [jnp.clip(x, 0, bound) if bound else x for x in (metres, depth)]
        return {
            "silog": losses.silog(log_depth, log_target, mask, self.silog_lambda),
            "gradient_matching": losses.gradient_matching(log_depth, log_target, mask),
            "pixel_as_printed": losses.pixel_as_printed(metres, depth, mask, self.silog_lambda),
            "l1": losses.l1(*clamped, mask),
            "l2": losses.l2(*clamped, mask),
            **self._further_losses(decoded, log_target, mask, known),
        }

    def _further_losses(
        self, decoded: Decoded, log_target: Depth, mask: Mask, known: tuple[Mask, Mask] | None
    ) -> dict[str, Term]:
        """The losses of further outputs; a model has those outputs whose losses have weights."""
        terms = {}
        if "laplace" in self.weights:
            scale = decoded.log_scale
            terms["laplace"] = losses.laplace(decoded.log_depth, log_target, mask, scale)
        if "scale_shift_invariant" in self.weights:
            pair = decoded.inverse_depth, jnp.exp(-log_target)
            terms["scale_shift_invariant"] = losses.scale_shift_invariant(*pair, mask)
        if known is not None:
            terms["validity"] = losses.validity(decoded.validity, *known)
        return terms


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression(PixelObjective):
    """The pixel losses of a feed-forward model. It draws no random numbers."""

    model: FeedForwardDepth

    def draw(self, keys: ImageKeys, height: int, width: int) -> tuple[()]:
        """Returns nothing; `Objective.draw` returns the noise."""
        return ()

    def counts(self, batch: Batch) -> dict[str, Scalar]:
        """See `Objective.counts`."""
        return self.pixel_counts(batch)

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
        return self.compare(variables, latent, details, *self.truth(batch))


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
