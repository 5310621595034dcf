"""Diffusion: noise schedules, the forward process and the DDIM sampler. No network lives here.

With alpha_bar the cumulative product of 1 - beta, a = sqrt(alpha_bar) and s = sqrt(1 - alpha_bar):
x_t = a x_0 + s noise. A network predicts one of
  epsilon        noise
  sample         x_0
  v_prediction   a noise - s x_0   (Salimans and Ho 2022, arXiv 2202.00512)
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from diffdepth_jax.errors import UserError, require_positive, require_within

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")
SPACINGS = ("leading", "trailing")
STARTS = ("noise", "zeros")
SCHEDULES = ("linear", "scaled_linear", "cosine")


@dataclasses.dataclass(frozen=True)
class NoiseSchedule:
    """The forward process: alpha_bar float32 [T], falling, and what a network predicts of it."""

    alpha_bar: np.ndarray
    prediction_type: str

    @property
    def num_timesteps(self) -> int:
        return len(self.alpha_bar)


def create_schedule(
    schedule: str, num_timesteps: int, beta_start: float, beta_end: float, prediction_type: str
) -> NoiseSchedule:
    """linear (Ho et al. 2020), scaled_linear (Rombach et al. 2022) or cosine (Nichol 2021).

    The cosine schedule has no use for beta_start and beta_end.
    """
    for name, value, known in (
        ("schedule", schedule, SCHEDULES),
        ("prediction_type", prediction_type, PREDICTION_TYPES),
    ):
        if value not in known:
            raise UserError(f"diffusion.{name} {value!r}: must be one of {', '.join(known)}")
    require_positive("diffusion", num_timesteps=num_timesteps)
    if schedule != "cosine":
        require_within("diffusion", 1e-9, 0.999, beta_start=beta_start, beta_end=beta_end)
    if schedule == "linear":
        betas = np.linspace(beta_start, beta_end, num_timesteps)
    elif schedule == "scaled_linear":
        betas = np.linspace(beta_start**0.5, beta_end**0.5, num_timesteps) ** 2
    else:
        time = np.arange(num_timesteps + 1) / num_timesteps
        alpha_bar = np.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)
    return NoiseSchedule(np.cumprod(1 - betas).astype(np.float32), prediction_type)


def sampling_timesteps(num_timesteps: int, num_steps: int, spacing: str) -> np.ndarray:
    """int32 [num_steps], falling. 20 of 1000: leading 950 .. 0, trailing 999 .. 49."""
    if spacing not in SPACINGS:
        raise UserError(f"sampler.spacing {spacing!r}: must be one of {', '.join(SPACINGS)}")
    if not 1 <= num_steps <= num_timesteps:
        raise UserError(f"num_steps {num_steps}: must be 1 to {num_timesteps}")
    if spacing == "leading":
        steps = np.arange(num_steps)[::-1] * (num_timesteps // num_steps)
    else:
        steps = np.round(np.arange(num_steps, 0, -1) * num_timesteps / num_steps) - 1
    return steps.astype(np.int32)


def random_timesteps(keys, num_timesteps: int, num_steps: int):
    """int32 [num_steps, B], falling, each image's from its own key: the noisiest, then any others.

    A network whose sampler is trained on them is at home at the timesteps of any number of steps.
    """

    def draw(key):
        rest = jax.random.randint(key, (num_steps - 1,), 0, num_timesteps)
        return jnp.append(num_timesteps - 1, -jnp.sort(-rest))

    keys = jax.vmap(lambda key: jax.random.fold_in(key, num_timesteps))(keys)
    return jax.vmap(draw, out_axes=1)(keys).astype(jnp.int32)


def _alpha_bars(schedule, timesteps, ndim):
    """alpha_bar at timesteps [S] or [S, B], and at the next ones, to multiply arrays [B, ...]."""
    xp = np if isinstance(timesteps, np.ndarray) else jnp
    alpha_bar = xp.asarray(schedule.alpha_bar)[timesteps]
    if timesteps.ndim == 2:
        alpha_bar = alpha_bar.reshape(alpha_bar.shape + (1,) * (ndim - 1))
    following = xp.concatenate([alpha_bar[1:], xp.ones_like(alpha_bar[:1])])
    return alpha_bar, following  # the last step ends without noise


def _amplitudes(alpha_bar):
    return jnp.sqrt(alpha_bar), jnp.sqrt(1 - alpha_bar)


def _amplitudes_at(schedule, timestep, ndim):
    """a and s at timestep [B], shaped to multiply arrays of `ndim` axes."""
    alpha_bar = jnp.asarray(schedule.alpha_bar)[timestep]
    return _amplitudes(alpha_bar.reshape(alpha_bar.shape + (1,) * (ndim - 1)))


def add_noise(schedule, x0, noise, timestep):
    """x_t for timestep [B]; x0 and noise [B, ...]."""
    a, s = _amplitudes_at(schedule, timestep, x0.ndim)
    return a * x0 + s * noise


def training_target(schedule, x0, noise, timestep):
    """What the network should predict from x_t, by the schedule's prediction type."""
    a, s = _amplitudes_at(schedule, timestep, x0.ndim)
    targets = {"epsilon": noise, "sample": x0, "v_prediction": a * noise - s * x0}
    return targets[schedule.prediction_type]


def predict_x0(latent, prediction, alpha_bar, prediction_type):
    """The clean sample that a prediction at x_t = `latent` stands for."""
    a, s = _amplitudes(alpha_bar)
    if prediction_type == "epsilon":
        return (latent - s * prediction) / a
    if prediction_type == "sample":
        return prediction
    return a * latent - s * prediction


def _clip(x0, bound):
    """Clips the value and lets the gradient pass, so that no cell is stuck outside the bound."""
    return x0 + jax.lax.stop_gradient(jnp.clip(x0, -bound, bound) - x0)


def ddim_step(
    latent, prediction, alpha_bar, alpha_bar_next, prediction_type, *, eta=0.0, noise=None, clip=0.0
):
    """One step of DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12).

    Args:
      latent, prediction: [B, ...].
      alpha_bar, alpha_bar_next: scalars, at this step and at the next, less noisy one.
      prediction_type: one of PREDICTION_TYPES.
      eta: 0 is deterministic, 1 has the variance of DDPM.
      noise: unit Gaussian as latent; needed if eta > 0.
      clip: bound on |x_0|; 0 is none. The noise is then what joins latent and clipped x_0.

    Returns:
      (the next latent, this step's x_0).
    """
    a, s = _amplitudes(alpha_bar)
    x0 = predict_x0(latent, prediction, alpha_bar, prediction_type)
    if clip:
        x0 = _clip(x0, clip)
    predicts_noise = prediction_type == "epsilon" and not clip
    epsilon = prediction if predicts_noise else (latent - a * x0) / s
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next)
    direction = jnp.sqrt(jnp.maximum(1 - alpha_bar_next - eta**2 * variance, 0))
    following = jnp.sqrt(alpha_bar_next) * x0 + direction * epsilon
    if eta:
        following += eta * jnp.sqrt(variance) * noise
    return following, x0


def ddim_sample(
    denoise: Callable,
    noise,
    schedule: NoiseSchedule,
    *,
    num_steps: int,
    spacing: str,
    start: str = "noise",
    eta: float = 0.0,
    keys=None,
    clip: float = 0.0,
    remat: bool = True,
    gradient_steps: int = 0,
    timesteps=None,
):
    """Refines noise to a clean sample in `num_steps` steps, by `lax.scan`.

    Args:
      denoise: (latent [B, ...], timestep int32 [B]) -> prediction [B, ...].
      noise: [B, ...], from which it starts, see `start`.
      schedule: the forward process.
      num_steps, spacing: which timesteps are visited, see `sampling_timesteps`.
      start: "noise", or "zeros": from the noise's mean, the same whatever the noise.
      eta: stochasticity, see `ddim_step`.
      keys: one key for each image [B]; needed if eta > 0.
      clip: bound on each step's x_0, 0 is none.
      remat: recompute each step in the backward pass instead of storing its activations.
      gradient_steps: only so many of the last steps get a gradient, 0: all. The others are not in
        the backward pass at all, and neither is the start.
      timesteps: int32 [num_steps, B], falling, of each image; default: those of the spacing.

    Returns:
      (latents, x0s): [S + 1, B, ...] from the start to the refined latent, and [S, B, ...].
    """
    if eta and keys is None:
        raise ValueError("eta > 0 draws noise at every step: pass one key for each image")
    noise = _start(noise, start)
    if timesteps is None:
        timesteps = sampling_timesteps(schedule.num_timesteps, num_steps, spacing)
    check_gradient_steps(gradient_steps, num_steps)
    num_detached = num_steps - (gradient_steps or num_steps)
    inputs = (timesteps, *_alpha_bars(schedule, timesteps, noise.ndim))

    def step(latent, inputs):
        timestep, alpha_bar, alpha_bar_next = inputs
        prediction = denoise(latent, jnp.full(latent.shape[0], timestep))
        step_noise = _noise_for_step(keys, timestep, latent) if eta else None
        latent, x0 = ddim_step(
            latent,
            prediction,
            alpha_bar,
            alpha_bar_next,
            schedule.prediction_type,
            eta=eta,
            noise=step_noise,
            clip=clip,
        )
        return latent, (latent, x0)

    def detached_step(*args):
        return jax.lax.stop_gradient(step(*args))

    learning_step = jax.checkpoint(step, prevent_cse=False) if remat else step
    if not num_detached:
        return _scan(learning_step, noise, inputs)
    start = jax.lax.stop_gradient(noise)
    early, early_x0s = _scan(detached_step, start, [x[:num_detached] for x in inputs])
    late, late_x0s = _scan(learning_step, early[-1], [x[num_detached:] for x in inputs])
    return jnp.concatenate([early, late[1:]]), jnp.concatenate([early_x0s, late_x0s])


def check_gradient_steps(gradient_steps, num_steps):
    if not 0 <= gradient_steps <= num_steps:
        raise UserError(
            f"loss.gradient_steps {gradient_steps}: must be 0, for all, to num_steps {num_steps}"
        )


def _start(noise, start):
    if start not in STARTS:
        raise UserError(f"sampler.start {start!r}: must be one of {', '.join(STARTS)}")
    return jnp.zeros_like(noise) if start == "zeros" else noise


def _scan(step, start, inputs):
    """(latents [S + 1, B, ...] with the start, x0s [S, B, ...])."""
    _, (latents, x0s) = jax.lax.scan(step, start, inputs)
    return jnp.concatenate([start[None], latents]), x0s


def normal_per_image(keys, shape):
    """Unit Gaussian [B, *shape], each image's from its own key: its place in a batch is nothing."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def _noise_for_step(keys, timestep, latent):
    keys = jax.vmap(jax.random.fold_in)(keys, jnp.broadcast_to(timestep, keys.shape))
    return normal_per_image(keys, latent.shape[1:])
