"""The training objective: L = l1 L_ddim + l2 L_pixel + l3 L_latent, and what anchors the codec."""

import jax
import jax.numpy as jnp

from diffdepth_jax import diffusion, inference, losses
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.depth_codec import fill_invalid

TARGETS = ("self", "ground_truth")


def split_by_name(keys, names):
    """One key for each image [B] -> {name: keys [B]}."""
    split = jax.vmap(lambda key: jax.random.split(key, len(names)))(keys)
    return {name: split[:, index] for index, name in enumerate(names)}


def loss_terms(
    model, variables, batch, keys, drop_path_key, *, schedule, target, every_step,
    silog_lambda, **sampler,
):  # fmt: skip
    """Every loss of the method on one batch.

    Args:
      model: DiffusionDepth.
      variables: its variables.
      batch: image [B, H, W, 3] normalised, depth [B, H, W, 1] metres, mask bool [B, H, W, 1].
      keys: one key for each image [B].
      drop_path_key: for the backbone's stochastic depth.
      schedule: the forward process.
      target: what is diffused: "self", the model's own refined latent (the paper's self-diffusion),
        or "ground_truth", the encoded ground truth where there is some.
      every_step: put the pixel losses on every step's decoded x_0 instead of on the last only.
      silog_lambda: lambda of both pixel losses.
      **sampler: for `diffusion.ddim_sample`.

    Returns:
      {name: (sum, count)}, see `losses`.
    """
    image, depth, mask = batch["image"], batch["depth"], batch["mask"]
    keys = split_by_name(keys, ("start", "timestep", "noise", "sampler"))
    start = diffusion.normal_per_image(keys["start"], model.latent_shape(*image.shape[1:3]))
    refinement = inference.refine(
        model, variables, image, start, schedule=schedule, train=True,
        rngs={"drop_path": drop_path_key}, keys=keys["sampler"], **sampler,
    )  # fmt: skip
    encoded, cell_mask = model.apply(variables, depth, mask, method="encode_depth")
    cell_mask = jnp.broadcast_to(cell_mask, encoded.shape)
    log_target = jnp.log(jnp.where(mask, depth, 1.0))
    decoded = refinement.x0s if every_step else refinement.latents[-1:]
    return {
        **_pixel_losses(model, variables, decoded, depth, log_target, mask, silog_lambda),
        "latent": losses.l2(refinement.latent, encoded, cell_mask),
        "reconstruction": _reconstruction_loss(
            model, variables, encoded, cell_mask, log_target, mask
        ),
        "ddim": _denoising_loss(
            model, variables, refinement, encoded, cell_mask, keys, schedule, target
        ),
    }


def _pixel_losses(model, variables, latents, depth, log_target, mask, silog_lambda):
    """On the depth decoded from latents [S, B, h, w, d]; the mean over the S steps."""
    steps, batch, *latent_shape = latents.shape
    log_depth = inference.decode_log_depth(
        model, variables, latents.reshape(steps * batch, *latent_shape), *depth.shape[1:3]
    )

    def repeat(x):  # [B, ...] -> [S * B, ...]
        return jnp.tile(x, (steps, 1, 1, 1))

    mask, depth, log_target = repeat(mask), repeat(depth), repeat(log_target)
    metres = jnp.exp(log_depth)
    pairs = {
        "silog": losses.silog(log_depth, log_target, mask, silog_lambda),
        "literal_pixel": losses.literal_pixel(metres, depth, mask, silog_lambda),
        "l1": losses.l1(metres, depth, mask),
        "l2": losses.l2(metres, depth, mask),
    }
    # Counts are of images, so that pairs mean the same whether one step is decoded or all.
    return {name: (total / steps, count // steps) for name, (total, count) in pairs.items()}


def _reconstruction_loss(model, variables, encoded, cell_mask, log_target, mask):
    """|log decode(encode(gt)) - log gt|, ours: the latent loss alone would shrink the latents."""
    filled = fill_invalid(encoded, cell_mask)
    log_depth = inference.decode_log_depth(model, variables, filled, *mask.shape[1:3])
    return losses.l1(log_depth, log_target, mask)


def _denoising_loss(model, variables, refinement, encoded, cell_mask, keys, schedule, target):
    """L_ddim: the network denoises its own refined latent, which gets no gradient from this."""
    if target not in TARGETS:
        raise UserError(f"loss.target {target!r}: must be one of {', '.join(TARGETS)}")
    if target == "self":
        x0, mask = refinement.latent, jnp.ones_like(cell_mask)
    else:
        x0, mask = encoded, cell_mask
    x0 = jax.lax.stop_gradient(x0)
    noise = diffusion.normal_per_image(keys["noise"], x0.shape[1:])
    timestep = jax.vmap(
        lambda key: jax.random.randint(key, (), 0, schedule.num_timesteps)
    )(keys["timestep"])  # fmt: skip
    noisy = diffusion.add_noise(schedule, x0, noise, timestep)
    prediction = model.apply(
        variables, noisy, timestep, refinement.condition, method="denoise"
    )
    return losses.l2(prediction, diffusion.training_target(schedule, x0, noise, timestep), mask)


def total_loss(terms, weights):
    """Sum of weight * sum / count over the terms; count 0 (no ground truth at all) gives 0."""
    return sum(
        weight * terms[name][0] / jnp.maximum(terms[name][1], 1) for name, weight in weights.items()
    )
