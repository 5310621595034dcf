"""The training objective: L = l1 L_ddim + l2 L_pixel + l3 L_latent, and what anchors the codec."""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from diffdepth_jax.errors import UserError
from diffdepth_jax.method import diffusion, losses
from diffdepth_jax.method.refinement import apply, decode_log_depth, refine
from diffdepth_jax.models.codec import fill_invalid

TARGETS = ("self", "self_attached", "ground_truth")


@struct.dataclass
class Draws:
    """What chance decides in one step, each image's from its own key.

    Attributes:
      start: [B, h, w, d] unit Gaussian from which the sampler starts.
      timestep: int32 [B] and
      noise: [B, h, w, d] of the denoising loss.
      sampler_keys: [B], used if the sampler is stochastic.
    """

    start: jnp.ndarray
    timestep: jnp.ndarray
    noise: jnp.ndarray
    sampler_keys: jnp.ndarray


def draw(keys, latent_shape, num_timesteps) -> Draws:
    """The draws of a batch from one key for each image [B]."""
    start, timestep, noise, sampler = jax.vmap(lambda key: jax.random.split(key, 4))(keys).T
    return Draws(
        start=diffusion.normal_per_image(start, latent_shape),
        timestep=jax.vmap(lambda key: jax.random.randint(key, (), 0, num_timesteps))(timestep),
        noise=diffusion.normal_per_image(noise, latent_shape),
        sampler_keys=sampler,
    )


def loss_terms(
    model,
    variables,
    batch,
    draws,
    drop_path_key,
    *,
    schedule,
    target,
    every_step,
    silog_lambda,
    clamp_depth,
    random_timesteps=False,
    remat=True,
    gradient_steps=0,
    **sampler,
):
    """Every loss of the method on one batch.

    Args:
      model: DiffusionDepth.
      variables: its variables.
      batch: image [B, H, W, 3] normalised, depth [B, H, W, 1] metres, mask bool [B, H, W, 1].
      draws: see `draw`.
      drop_path_key: for the backbone's stochastic depth; None: no image encoder has any.
      schedule: the forward process.
      target: what is diffused: "self", the model's own refined latent (the paper's self-diffusion);
        "self_attached", the same with the gradient running on into the sampler, as in the released
        code; "ground_truth", the encoded ground truth where there is some.
      every_step: put the pixel losses on every step's decoded x_0 instead of on the last only.
      silog_lambda: lambda of both pixel losses.
      clamp_depth: bound in metres on both maps in l1 and l2, as in the released code; 0: none.
      random_timesteps: the sampler visits those of `diffusion.random_timesteps`.
      gradient_steps: see `diffusion.ddim_sample`; with every_step only those steps are decoded.
      remat: recompute the sampler's steps, and each step's decoded depth, in the backward pass.
      **sampler: for `diffusion.ddim_sample`.

    Returns:
      {name: (sum, count)}, see `losses`; and the variables with batch statistics updated.
    """
    depth, mask = batch["depth"], batch["mask"]
    rngs = None if drop_path_key is None else {"drop_path": drop_path_key}
    if random_timesteps:
        sampler["timesteps"] = diffusion.random_timesteps(
            draws.sampler_keys, schedule.num_timesteps, sampler["num_steps"]
        )
    refinement = refine(
        model,
        variables,
        batch["image"],
        draws.start,
        schedule=schedule,
        train=True,
        rngs=rngs,
        keys=draws.sampler_keys,
        remat=remat,
        gradient_steps=gradient_steps,
        **sampler,
    )
    (encoded, cell_mask), variables = apply(
        model, refinement.variables, depth, mask, method="encode_depth", train=True
    )
    cell_mask = jnp.broadcast_to(cell_mask, encoded.shape)
    log_target = jnp.log(jnp.where(mask, depth, 1.0))
    compare = functools.partial(
        _pixel_losses, model, silog_lambda=silog_lambda, clamp_depth=clamp_depth
    )
    # With gradient_steps 0 that is all of them.
    decoded = refinement.x0s[-gradient_steps:] if every_step else refinement.latents[-1:]
    pixel, variables = _mean_over_steps(compare, remat, variables, decoded, depth, log_target, mask)
    return {
        **pixel,
        "latent": losses.l2(refinement.latent, encoded, cell_mask),
        "reconstruction": _reconstruction_loss(
            model, variables, encoded, cell_mask, log_target, mask
        ),
        "ddim": _denoising_loss(
            model, variables, refinement, encoded, cell_mask, draws, schedule, target
        ),
    }, variables


def check_target(target):
    if target not in TARGETS:
        raise UserError(f"loss.target {target!r}: must be one of {', '.join(TARGETS)}")


def counts(mask, target):
    """{name: count} as of `loss_terms`, which depends on the mask [B, H, W, 1] alone."""
    images = mask.any((1, 2, 3)).sum()
    names = ("silog", "literal_pixel", "l1", "l2", "latent", "reconstruction")
    denoised = images if target == "ground_truth" else len(mask)
    return {**dict.fromkeys(names, images), "ddim": denoised}


def _mean_over_steps(compare, remat, variables, latents, *truth):
    """The pairs of `compare`, means over latents [S, B, h, w, d]; variables after the last.

    A loop, so that with `remat` the memory does not grow with the steps. Batch norms see a step's
    latents at a time, as in prediction.
    """

    def step(statistics, latent):
        pairs, updated = compare({**variables, **statistics}, latent, *truth)
        return {name: updated[name] for name in statistics}, pairs

    statistics = {name: variables[name] for name in variables.keys() & {"batch_stats"}}
    if remat and len(latents) > 1:
        step = jax.checkpoint(step, prevent_cse=False)
    statistics, pairs = jax.lax.scan(step, statistics, latents)
    # Counts are of images, so that pairs mean the same whether one step is decoded or all.
    pairs = {name: (totals.mean(), counts[0]) for name, (totals, counts) in pairs.items()}
    return pairs, {**variables, **statistics}


def _pixel_losses(model, variables, latent, depth, log_target, mask, *, silog_lambda, clamp_depth):
    """On the depth decoded from latent [B, h, w, d]."""
    log_depth, variables = decode_log_depth(model, variables, latent, *depth.shape[1:3], train=True)
    metres = jnp.exp(log_depth)
    clamped = [jnp.clip(x, 0, clamp_depth) if clamp_depth else x for x in (metres, depth)]
    return {
        "silog": losses.silog(log_depth, log_target, mask, silog_lambda),
        "literal_pixel": losses.literal_pixel(metres, depth, mask, silog_lambda),
        "l1": losses.l1(*clamped, mask),
        "l2": losses.l2(*clamped, mask),
    }, variables


def _reconstruction_loss(model, variables, encoded, cell_mask, log_target, mask):
    """|log decode(encode(gt)) - log gt|, ours: the latent loss alone would shrink the latents.

    The batch statistics of this second use of the decoder are not kept: predictions need those of
    refined latents.
    """
    filled = fill_invalid(encoded, cell_mask[..., :1])
    log_depth, _ = decode_log_depth(model, variables, filled, *mask.shape[1:3], train=True)
    return losses.l1(log_depth, log_target, mask)


def _denoising_loss(model, variables, refinement, encoded, cell_mask, draws, schedule, target):
    """L_ddim: the network denoises its own refined latent, which gets no gradient from this."""
    check_target(target)
    if target == "ground_truth":
        x0, mask = encoded, cell_mask
    else:
        x0, mask = refinement.latent, jnp.ones_like(cell_mask)
    if target != "self_attached":
        x0 = jax.lax.stop_gradient(x0)
    noisy = diffusion.add_noise(schedule, x0, draws.noise, draws.timestep)
    prediction = model.apply(
        variables, noisy, draws.timestep, refinement.condition, method="denoise"
    )
    goal = diffusion.training_target(schedule, x0, draws.noise, draws.timestep)
    return losses.l2(prediction, goal, mask)


def total_loss(terms, weights):
    """Sum of weight * sum / count over the terms; count 0 (no ground truth at all) gives 0."""
    return sum(
        weight * terms[name][0] / jnp.maximum(terms[name][1], 1) for name, weight in weights.items()
    )
