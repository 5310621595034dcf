"""Diffusion: noise schedules, the forward process and the DDIM sampler. No network lives here.

alpha_bar is the cumulative product of 1 - beta. With a = sqrt(alpha_bar) and
s = sqrt(1 - alpha_bar), the noisy sample is x_t = a x_0 + s noise. A network predicts one of
  epsilon        noise
  sample         x_0
  v_prediction   a noise - s x_0   (Salimans and Ho 2022, arXiv 2202.00512)
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from diffdepth_jax.arrays import Array, ImageKeys
from diffdepth_jax.errors import UserError
from diffdepth_jax.method.noise import noise_for_step, with_global_part

Samples = Float[Array, "batch *shape"]
Timesteps = Int[Array, " batch"]
Amplitude = Float[Array, "..."] | np.floating | float  # shaped so that it multiplies samples
Trajectory = tuple[Float[Array, "latents batch *shape"], Float[Array, "steps batch *shape"]]
Denoise = Callable[[Samples, Timesteps], Samples]


@dataclasses.dataclass(frozen=True)
class NoiseSchedule:
    """The forward process.

    Attributes:
      alpha_bar: float32 [T], falling.
      prediction_type: what a network predicts: "epsilon", "sample" or "v_prediction".
    """

    alpha_bar: Float32[np.ndarray, " timesteps"]
    prediction_type: str

    @property
    def num_timesteps(self) -> int:
        """T, 1000 in the paper."""
        return len(self.alpha_bar)


def create_schedule(
    schedule: str, num_timesteps: int, beta_start: float, beta_end: float, prediction_type: str
) -> NoiseSchedule:
    """The schedule of this name: "linear", "scaled_linear" or "cosine".

    The sources are Ho et al. 2020, Rombach et al. 2022 and Nichol and Dhariwal 2021. The cosine
    schedule does not use beta_start and beta_end. A UserError refuses a schedule whose alpha_bar
    falls to 0 in float32: the sampler divides by it.
    """
    alpha_bar = np.cumprod(1 - _betas(schedule, num_timesteps, beta_start, beta_end))
    if alpha_bar[-1] < np.finfo(np.float32).tiny:
        raise UserError(
            f"diffusion.beta_end {beta_end}: alpha_bar is 0 after {num_timesteps} steps; lower one"
        )
    return NoiseSchedule(alpha_bar.astype(np.float32), prediction_type)


def _betas(schedule: str, num_timesteps: int, start: float, end: float) -> np.ndarray:
    if schedule == "linear":
        return np.linspace(start, end, num_timesteps)
    if schedule == "scaled_linear":
        return np.linspace(start**0.5, end**0.5, num_timesteps) ** 2
    if schedule == "cosine":
        time = np.arange(num_timesteps + 1) / num_timesteps
        alpha_bar = np.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
        return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)
    raise ValueError(f"schedule {schedule!r}: must be linear, scaled_linear or cosine")


def sampling_timesteps(
    num_timesteps: int, num_steps: int, spacing: str
) -> Int32[np.ndarray, " steps"]:
    """The timesteps that the sampler visits, falling.

    With 20 steps of 1000, "leading" visits 950 .. 0 and "trailing" 999 .. 49.

    Raises:
      UserError: num_steps is not 1 to num_timesteps.
    """
    if not 1 <= num_steps <= num_timesteps:
        raise UserError(f"num_steps {num_steps}: must be 1 to {num_timesteps}")
    if spacing == "leading":
        steps = np.arange(num_steps)[::-1] * (num_timesteps // num_steps)
    elif spacing == "trailing":
        steps = np.round(np.arange(num_steps, 0, -1) * num_timesteps / num_steps) - 1
    else:
        raise ValueError(f"spacing {spacing!r}: must be leading or trailing")
    return steps.astype(np.int32)


def random_timesteps(
    keys: ImageKeys, num_timesteps: int, num_steps: int
) -> Int32[Array, "steps batch"]:
    """Timesteps for training: the noisiest, then random ones, falling; each image has its own.

    A network whose sampler is trained on them is accurate with any number of steps.
    """

    def draw(key):
        rest = jax.random.randint(key, (num_steps - 1,), 0, num_timesteps)
        return jnp.append(num_timesteps - 1, -jnp.sort(-rest))

    keys = jax.vmap(lambda key: jax.random.fold_in(key, num_timesteps))(keys)
    return jax.vmap(draw, out_axes=1)(keys).astype(jnp.int32)


def _alpha_bars(
    schedule: NoiseSchedule, timesteps: Int[Array, " steps *batch"], ndim: int
) -> tuple[Float[Array, " steps *_"], Float[Array, " steps *_"]]:
    """alpha_bar at each of the timesteps, and at the next one; the last step ends without noise."""
    xp = np if isinstance(timesteps, np.ndarray) else jnp
    alpha_bar = xp.asarray(schedule.alpha_bar)[timesteps]
    if timesteps.ndim == 2:
        alpha_bar = alpha_bar.reshape(alpha_bar.shape + (1,) * (ndim - 1))
    return alpha_bar, xp.concatenate([alpha_bar[1:], xp.ones_like(alpha_bar[:1])])


def _amplitudes(alpha_bar: Amplitude) -> tuple[Amplitude, Amplitude]:
    """a and s of the module's docstring."""
    return jnp.sqrt(alpha_bar), jnp.sqrt(1 - alpha_bar)


def _amplitudes_at(
    schedule: NoiseSchedule, timestep: Timesteps, ndim: int
) -> tuple[Amplitude, Amplitude]:
    """a and s at timestep [B], shaped to multiply arrays of `ndim` axes."""
    alpha_bar = jnp.asarray(schedule.alpha_bar)[timestep]
    return _amplitudes(alpha_bar.reshape(alpha_bar.shape + (1,) * (ndim - 1)))


def add_noise(schedule: NoiseSchedule, x0: Samples, noise: Samples, timestep: Timesteps) -> Samples:
    """x_t = a x_0 + s noise."""
    a, s = _amplitudes_at(schedule, timestep, x0.ndim)
    return a * x0 + s * noise


def training_target(
    schedule: NoiseSchedule, x0: Samples, noise: Samples, timestep: Timesteps
) -> Samples:
    """What the network should predict from x_t, by the schedule's prediction type."""
    a, s = _amplitudes_at(schedule, timestep, x0.ndim)
    targets = {"epsilon": noise, "sample": x0, "v_prediction": a * noise - s * x0}
    return targets[schedule.prediction_type]


def predict_x0(
    latent: Samples, prediction: Samples, alpha_bar: Amplitude, prediction_type: str
) -> Samples:
    """The clean sample that follows from a prediction at x_t = `latent`."""
    a, s = _amplitudes(alpha_bar)
    if prediction_type == "epsilon":
        return (latent - s * prediction) / a
    if prediction_type == "sample":
        return prediction
    return a * latent - s * prediction


def _clip(x0: Samples, bound: float) -> Samples:
    """Clips the value and lets the gradient pass, so that no cell is stuck outside the bound."""
    return x0 + jax.lax.stop_gradient(jnp.clip(x0, -bound, bound) - x0)


def ddim_step(
    latent: Samples,
    prediction: Samples,
    alpha_bar: Amplitude,
    alpha_bar_next: Amplitude,
    prediction_type: str,
    *,
    eta: float = 0.0,
    noise: Samples | None = None,
    clip: float = 0.0,
) -> tuple[Samples, Samples]:
    """One step of DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12).

    Args:
      latent: x_t.
      prediction: the network's output at x_t.
      alpha_bar: at this step.
      alpha_bar_next: at the next step, which is less noisy.
      prediction_type: see `NoiseSchedule`.
      eta: 0 is deterministic, 1 has the variance of DDPM.
      noise: unit Gaussian of the latent's shape; needed if eta > 0.
      clip: bound on |x_0|; 0 is none. The noise is then recomputed from latent and clipped x_0.

    Returns:
      The next latent, and this step's x_0.
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
        # A stochastic step comes with noise.
        following += eta * jnp.sqrt(variance) * noise  # ty: ignore[unsupported-operator]
    return following, x0


def ddim_sample(
    denoise: Denoise,
    noise: Samples,
    schedule: NoiseSchedule,
    *,
    num_steps: int,
    spacing: str,
    start: str = "noise",
    global_noise: float = 0.0,
    temperature: float = 1.0,
    eta: float = 0.0,
    keys: ImageKeys | None = None,
    clip: float = 0.0,
    remat: bool = True,
    gradient_steps: int = 0,
    timesteps: Int32[Array, "steps batch"] | None = None,
) -> Trajectory:
    """Refines noise to a clean sample in `num_steps` steps, by `lax.scan`.

    Args:
      denoise: the network: (latent [B, ...], timestep int32 [B]) -> prediction [B, ...].
      noise: unit Gaussian [B, ...].
      schedule: the forward process.
      num_steps, spacing: which timesteps are visited, see `sampling_timesteps`.
      start: "noise" starts from the noise; "zeros" starts from zeros, whatever the noise.
      global_noise: share of the noise's variance common to all cells, see `with_global_part`.
      temperature: factor of the starting noise (Kingma and Dhariwal 2018, arXiv 1807.03039).
      eta: stochasticity, see `ddim_step`.
      keys: one key for each image; needed if eta > 0.
      clip: bound on each step's x_0; 0 is none.
      remat: the backward pass recomputes each step, so that activations are not stored.
      gradient_steps: this many of the last steps get a gradient; 0: all steps. The backward pass
        leaves out the other steps and the start.
      timesteps: the timesteps of each image, falling. Default: the spacing's.

    Returns:
      The S + 1 latents from the start to the refined latent, and the S estimates of x_0.
    """
    if eta and keys is None:
        raise ValueError("eta > 0 draws noise at every step: pass one key for each image")
    scaled = temperature * with_global_part(noise, global_noise)
    latent = {"noise": scaled, "zeros": jnp.zeros_like(noise)}[start]
    visited = sampling_timesteps(schedule.num_timesteps, num_steps, spacing)
    visited = visited if timesteps is None else timesteps
    inputs = (visited, *_alpha_bars(schedule, visited, noise.ndim))
    draw = None
    if eta and keys is not None:
        draw = functools.partial(noise_for_step, keys, share=global_noise)
    step = _sampler_step(denoise, schedule, draw, eta, clip)
    learning_step = jax.checkpoint(step, prevent_cse=False) if remat else step
    num_detached = num_steps - (gradient_steps or num_steps)
    if not num_detached:
        return _scan(learning_step, latent, inputs)
    early, early_x0s = _scan(
        lambda *args: jax.lax.stop_gradient(step(*args)),
        jax.lax.stop_gradient(latent),
        [x[:num_detached] for x in inputs],
    )
    late, late_x0s = _scan(learning_step, early[-1], [x[num_detached:] for x in inputs])
    return jnp.concatenate([early, late[1:]]), jnp.concatenate([early_x0s, late_x0s])


def _sampler_step(
    denoise: Denoise, schedule: NoiseSchedule, draw: Callable | None, eta: float, clip: float
) -> Callable:
    """The scan's body: (latent, (timestep, alpha_bar, the next)) -> (latent, (latent, x_0))."""

    def step(latent, inputs):
        timestep, alpha_bar, alpha_bar_next = inputs
        prediction = denoise(latent, jnp.full(latent.shape[0], timestep))
        latent, x0 = ddim_step(
            latent,
            prediction,
            alpha_bar,
            alpha_bar_next,
            schedule.prediction_type,
            eta=eta,
            noise=None if draw is None else draw(timestep, latent),
            clip=clip,
        )
        return latent, (latent, x0)

    return step


def _scan(step: Callable, start: Samples, inputs: Sequence[Array]) -> Trajectory:
    """The latents, the start first, and the x_0 of each step."""
    _, (latents, x0s) = jax.lax.scan(step, start, inputs)
    return jnp.concatenate([start[None], latents]), x0s
