"""The training objective: L = w1 L_ddim + w2 L_pixel + w3 L_latent, and a term for the codec.

The paper's three losses, and a reconstruction loss of ours: the latent loss alone would let the
latents shrink to a point.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool

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
from diffdepth_jax.method import diffusion, losses
from diffdepth_jax.method.noise import with_global_part
from diffdepth_jax.method.pixel_objective import PixelObjective, Truth, per_sample, repeated
from diffdepth_jax.method.refinement import Refinement, apply, decode_log_depth, refine
from diffdepth_jax.models.assembly import DiffusionDepth
from diffdepth_jax.models.codec import fill_invalid


# The fields are Any, because jax.tree.map also builds this class with leaves that are no arrays.
@struct.dataclass
class Draws:
    """The random numbers of one step; each of the N samples of an image has its own key.

    Attributes:
      start: unit Gaussian [B, N, h, w, d] from which the sampler starts.
      timestep: int32 [B, N], at which the denoising loss adds noise.
      noise: unit Gaussian [B, N, h, w, d] that the denoising loss adds.
      sampler_keys: [B, N], for a stochastic sampler and for random timesteps.
    """

    start: Any
    timestep: Any
    noise: Any
    sampler_keys: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(PixelObjective):
    """All losses of the method for one model.

    Attributes:
      model: the network.
      schedule: the forward process.
      sampler: arguments of `diffusion.ddim_sample`, num_steps and remat among them. With remat the
        backward pass recomputes the sampler's steps, and each step's decoded depth.
      target: what is diffused. "self" is the model's own refined latent (the paper's
        self-diffusion). "self_attached" is the same latent, and the gradient runs on into the
        sampler, as in the released code. "ground_truth" is the encoded ground truth.
      pixel_losses_on_every_step: the pixel losses see every step's decoded x_0. Otherwise they see
        the last step's alone.
      random_timesteps: the sampler visits `diffusion.random_timesteps`.
      samples: N, the starting noises of an image in one step; it is encoded once.
      own_noise: the denoising loss adds the sample's own noise, from which it started, instead of
        fresh noise.
      gradient_steps: see `diffusion.ddim_sample`. With pixel losses on every step, only the steps
        that have a gradient are decoded.
    """

    model: DiffusionDepth
    schedule: diffusion.NoiseSchedule
    sampler: Mapping[str, Any]
    target: str
    pixel_losses_on_every_step: bool
    random_timesteps: bool
    samples: int
    own_noise: bool
    gradient_steps: int

    def draw(self, keys: ImageKeys, height: int, width: int) -> Draws:
        """The draws for images of this size, from one key for each image."""
        shape = self.model.latent_shape(height, width)
        total = self.schedule.num_timesteps

        def of_sample(key: jax.Array) -> Draws:
            start, timestep, noise, sampler = jax.random.split(key, 4)
            return Draws(
                start=jax.random.normal(start, shape),
                timestep=jax.random.randint(timestep, (), 0, total),
                noise=jax.random.normal(noise, shape),
                sampler_keys=sampler,
            )

        # A single sample has the image's own key, as in runs of versions without several samples.
        split = jax.vmap(lambda key: jax.random.split(key, self.samples))
        keys = jnp.expand_dims(keys, 1) if self.samples == 1 else split(keys)
        return jax.vmap(jax.vmap(of_sample))(keys)

    def counts(self, batch: Batch) -> dict[str, Scalar]:
        """The counts that `terms` returns, {term: count}, computed without running the model."""
        images = batch["mask"].any((1, 2, 3)).sum()
        denoised = images if self.target == "ground_truth" else len(batch["mask"])
        terms = dict.fromkeys(("latent", "reconstruction"), images)
        return {**self.pixel_counts(batch), **terms, "ddim": denoised}

    def terms(
        self, variables: Variables, batch: Batch, draws: Draws, drop_path_key: jax.Array | None
    ) -> tuple[dict[str, Term], Variables]:
        """Every loss on one batch.

        Args:
          variables: the model's.
          batch: normalised images, depth in metres, and where there is ground truth; for validity
            also where there is known to be a depth or none.
          draws: see `draw`.
          drop_path_key: for the backbone's stochastic depth; None if the backbone has none.

        Returns:
          {term: (sum, count)}, see `losses`, and the variables with updated batch statistics.
        """
        samples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), draws)
        refinement = self._refine(variables, batch, samples, drop_path_key)
        truth = self.truth(batch)
        depth, log_target, mask, _ = truth
        (encoded, cell_mask), variables = apply(
            self.model, refinement.variables, depth, mask, method="encode_depth", train=True
        )
        cell_mask = jnp.broadcast_to(cell_mask, encoded.shape)
        pixel, variables = self._pixel_losses(variables, refinement, truth)
        reconstruction = self._reconstruction_loss(
            variables, encoded, refinement.details, cell_mask, log_target, mask
        )
        encoded, cell_mask = repeated((encoded, cell_mask), len(refinement.latent))
        latent = losses.l2(refinement.latent, encoded, cell_mask)
        ddim = self._denoising_loss(variables, refinement, encoded, cell_mask, samples)
        terms = {
            **pixel,
            "latent": per_sample(latent, self.samples),
            "reconstruction": reconstruction,
            "ddim": per_sample(ddim, self.samples),
        }
        return terms, variables

    def _refine(
        self, variables: Variables, batch: Batch, draws: Draws, drop_path_key: jax.Array | None
    ) -> Refinement:
        timesteps = None
        if self.random_timesteps:
            # All samples of an image visit the same ones, because they are compared at each step.
            keys = draws.sampler_keys[:: self.samples]
            total, steps = self.schedule.num_timesteps, self.sampler["num_steps"]
            timesteps = diffusion.random_timesteps(keys, total, steps)
            timesteps = jnp.repeat(timesteps, self.samples, axis=1)
        return refine(
            self.model,
            variables,
            batch["image"],
            draws.start,
            maps=batch.get("features"),
            schedule=self.schedule,
            train=True,
            rngs=None if drop_path_key is None else {"drop_path": drop_path_key},
            keys=draws.sampler_keys,
            gradient_steps=self.gradient_steps,
            timesteps=timesteps,
            **self.sampler,
        )

    def _pixel_losses(
        self, variables: Variables, refinement: Refinement, truth: Truth
    ) -> tuple[dict[str, Term], Variables]:
        """Means over the decoded steps, and the variables after the last of them.

        The steps are decoded in a loop, so that with remat the memory does not grow with their
        number. Batch norms see the latents of one step at a time, as in prediction.
        """
        every = self.pixel_losses_on_every_step
        # A gradient_steps of 0 stands for all steps, and [-0:] takes all.
        details = refinement.details
        latents = refinement.x0s[-self.gradient_steps :] if every else refinement.latents[-1:]

        def step(statistics, latent):
            pairs, updated = self.compare({**variables, **statistics}, latent, details, *truth)
            return {name: updated[name] for name in statistics}, pairs

        recompute = self.sampler.get("remat", True) and len(latents) > 1
        body = jax.checkpoint(step, prevent_cse=False) if recompute else step
        statistics = {name: variables[name] for name in variables.keys() & {"batch_stats"}}
        statistics, pairs = jax.lax.scan(body, statistics, latents)
        # Counts are numbers of images, whether one step is decoded or all.
        pairs = {name: (totals.mean(), counts[0]) for name, (totals, counts) in pairs.items()}
        return pairs, {**variables, **statistics}

    def _reconstruction_loss(
        self,
        variables: Variables,
        encoded: Latent,
        details: Details | None,
        cell_mask: Bool[Array, "batch rows columns channels"],
        log_target: Depth,
        mask: Mask,
    ) -> Term:
        """|log decode(encode(ground truth)) - log ground truth|.

        The decoder runs a second time here. The batch statistics of this run are dropped, because
        prediction decodes refined latents, not encoded ones.
        """
        filled = fill_invalid(encoded, cell_mask[..., :1])
        details = jax.tree.map(lambda x: x[:: self.samples], details)
        log_depth, _ = decode_log_depth(
            self.model, variables, filled, *mask.shape[1:3], details=details, train=True
        )
        return losses.l1(log_depth, log_target, mask)

    def _denoising_loss(
        self,
        variables: Variables,
        refinement: Refinement,
        encoded: Latent,
        cell_mask: Bool[Array, "batch rows columns channels"],
        draws: Draws,
    ) -> Term:
        """L_ddim: the network denoises the target at a random timestep.

        Unless the target is "self_attached", the target gets no gradient from this loss. With fresh
        noise the network learns the mean of all samples at high noise levels. With the sample's own
        noise it learns to lead from there to the same sample in any number of steps.
        """
        x0, mask = encoded, cell_mask
        if self.target != "ground_truth":
            x0, mask = refinement.latent, jnp.ones_like(cell_mask)
        if self.target != "self_attached":
            x0 = jax.lax.stop_gradient(x0)
        noise = refinement.latents[0]  # the sample's own
        if not self.own_noise:
            noise = with_global_part(draws.noise, self.sampler.get("global_noise", 0.0))
        noisy = diffusion.add_noise(self.schedule, x0, noise, draws.timestep)
        inputs = noisy, draws.timestep, refinement.condition
        prediction, _ = apply(self.model, variables, *inputs, method="denoise", train=False)
        goal = diffusion.training_target(self.schedule, x0, noise, draws.timestep)
        return losses.l2(prediction, goal, mask)
