"""Samples depth for a batch of images, in one compiled function; sums up an image's samples."""

import functools

import jax
import jax.numpy as jnp
from jax.stages import Wrapped
from jaxtyping import Float, Key

from diffdepth_jax.arrays import Array, ImageKeys
from diffdepth_jax.configuration.model import Sampler
from diffdepth_jax.method.diffusion import NoiseSchedule
from diffdepth_jax.method.noise import antithetic, normal_per_image, settings_for
from diffdepth_jax.method.refinement import decode_steps, final_maps, refine
from diffdepth_jax.models import laplace
from diffdepth_jax.models.assembly import DepthNetwork
from diffdepth_jax.models.codec import Decoded
from diffdepth_jax.program import compiler_options

# "depth", and by choice "spread", "low" and "high", and "trajectory", in metres; "validity", a
# probability. Of a relative model "inverse_depth" alone, without unit.
Maps = dict[str, Array]


def create_predict(model: DepthNetwork, schedule: NoiseSchedule, sampler: Sampler) -> Wrapped:
    """Creates a jitted function: (variables, normalised image [B, H, W, 3], key) -> Maps.

    Each image has the same starting noises, in pairs (`antithetic`). Static keywords are:
      num_steps: of the sampler.
      ensemble: number of starting noises for each image.
      trajectory: whether the maps include the first noise's "trajectory", [B, S + 1, H, W].
      interval: see `summarize`.
    """
    settings = {name: value for name, value in vars(sampler).items() if name != "num_steps"}

    @functools.partial(
        jax.jit,
        static_argnames=("num_steps", "ensemble", "trajectory", "interval"),
        compiler_options=compiler_options.of_predictions(),
    )
    def predict(variables, image, key, *, num_steps, ensemble, trajectory, interval=None):
        size = image.shape[1:3]
        keys = member_keys(key, ensemble)
        noise = antithetic(normal_per_image(keys, model.latent_shape(*size)), ensemble)
        refinement = refine(
            model,
            variables,
            image,
            jnp.tile(noise, (len(image), 1, 1, 1)),
            schedule=schedule,
            keys=jnp.tile(keys, len(image)),
            num_steps=num_steps,
            **settings_for(ensemble, settings),
        )
        decoded = final_maps(model, variables, image, refinement)
        shape = (len(image), ensemble, *size)
        maps = _maps(jax.tree.map(lambda x: x.reshape(shape), decoded), interval)
        if trajectory:
            latents = refinement.latents[:, ::ensemble]
            first = jax.tree.map(lambda x: x[::ensemble], refinement.details)
            steps = decode_steps(model, variables, image, latents, details=first)
            maps["trajectory"] = jnp.moveaxis(steps[..., 0], 0, 1)
        return maps

    return predict


def _maps(members: Decoded, interval: float | None) -> Maps:
    """Sums up the members of each image, [B, members, H, W]; a relative model has one."""
    if members.inverse_depth is not None:
        return {"inverse_depth": members.inverse_depth[:, 0]}
    scale = None if members.log_scale is None else jnp.exp(members.log_scale)
    maps = summarize(jnp.exp(members.log_depth), scale, interval)
    if members.validity is not None:
        maps["validity"] = jax.nn.sigmoid(members.validity).mean(1)
    return maps


def member_keys(key: Key[Array, ""], ensemble: int) -> ImageKeys:
    """Returns the keys of an ensemble; the first is `key` itself, for an ensemble of any size."""
    return jnp.stack([key, *(jax.random.fold_in(key, member) for member in range(1, ensemble))])


def summarize(
    members: Float[Array, "batch members height width"],
    scale: Float[Array, "batch members height width"] | None = None,
    interval: float | None = None,
) -> Maps:
    """Returns the median of the members as "depth" and, if it is known, their "spread".

    The spread of several members is half the distance between the 16th and the 84th percentile.
    With a `scale`, b of a Laplace distribution of log depth, a member has a standard deviation of
    its own. The law of total variance joins both: the square of the spread is that of the members,
    plus the mean of their variances.

    With an `interval` of 0.9 "low" and "high" are the members' quantiles 0.05 and 0.95,
    interpolated in log depth, and widened for the scale, see `laplace.widened`.
    """
    members = jnp.moveaxis(members, 1, 0)
    depth, between, within = members[0], jnp.zeros_like(members[0]), jnp.zeros_like(members[0])
    if len(members) > 1:
        low, depth, high = jnp.percentile(members, jnp.array([16, 50, 84]), axis=0)
        between = (high - low) / 2
    if scale is not None:
        within = laplace.mean_deviation(laplace.deviation(members, jnp.moveaxis(scale, 1, 0)))
    if len(members) == 1 and scale is None:
        return {"depth": depth}
    maps = {"depth": depth, "spread": laplace.joined(between, within)}
    if interval is not None:
        ends = jnp.array([1 - interval, 1, 1 + interval]) / 2
        quantiles = jnp.quantile(jnp.log(members), ends, axis=0)
        low, high = laplace.widened(*quantiles, within / depth, interval)
        maps |= {"low": jnp.exp(low), "high": jnp.exp(high)}
    return maps
