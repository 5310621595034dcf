"""Models small enough that a test compiles them in seconds, and batches to feed them."""

import jax
import jax.numpy as jnp
import numpy as np

from diffdepth_jax.method import diffusion
from diffdepth_jax.method.objective import Objective
from diffdepth_jax.models.assembly import DiffusionDepth, FeedForwardDepth
from diffdepth_jax.models.backbones.swin import SwinTransformer
from diffdepth_jax.models.codec import DepthCodec
from diffdepth_jax.models.denoiser import Denoiser, Regressor
from diffdepth_jax.models.necks.fpn import FPN


def backbone(drop_path_rate=0.0, depths=(1, 1, 1, 1), window_size=3, dtype=jnp.float32):
    """A Swin Transformer with as many stages as `depths` has numbers."""
    return SwinTransformer(
        embed_dim=8,
        depths=depths,
        num_heads=(1, 2, 2, 4)[: len(depths)],
        window_size=window_size,
        drop_path_rate=drop_path_rate,
        dtype=dtype,
    )


def denoiser(self_attention=True, condition_levels=4, dtype=jnp.float32):
    return Denoiser(
        latent_channels=4,
        features=8,
        num_blocks=1,
        num_heads=2,
        condition_levels=condition_levels,
        self_attention=self_attention,
        dtype=dtype,
    )


def model(drop_path_rate=0.0, dtype=jnp.float32):
    """All parts of the real one, but a backbone of two stages: it is half of the compilation."""
    return DiffusionDepth(
        backbone=backbone(drop_path_rate, depths=(1, 1), dtype=dtype),
        neck=FPN(8, dtype=dtype),
        codec=DepthCodec(latent_channels=4, decoder_width=8),
        denoiser=denoiser(condition_levels=2, dtype=dtype),
    )


def feed_forward_model():
    """The parts of `model` that a feed-forward model has."""
    return FeedForwardDepth(
        backbone=backbone(depths=(1, 1)),
        neck=FPN(8),
        codec=DepthCodec(latent_channels=4, decoder_width=8),
        head=Regressor(
            latent_channels=4, features=8, num_blocks=1, num_heads=2, condition_levels=2
        ),
    )


def schedule(prediction_type="sample"):
    return diffusion.create_schedule("linear", 1000, 1e-4, 0.02, prediction_type)


def objective(model, prediction_type="sample", **overrides):
    """The losses of a model with two steps of the sampler; keywords replace its fields."""
    sampler = {"num_steps": 2, "spacing": "trailing", **overrides.pop("sampler", {})}
    fields = {
        "target": "self",
        "pixel_losses_on_every_step": False,
        "random_timesteps": False,
        "samples": 1,
        "own_noise": False,
        "gradient_steps": 0,
        "silog_lambda": 0.85,
        "clamp_depth": 0.0,
        "weights": {},
        "l1_l2_steps": 0,
    }
    fields |= {"model": model, "schedule": schedule(prediction_type), "sampler": sampler}
    return Objective(**{**fields, **overrides})


def batch(size=2, height=13, width=18, seed=0):
    """Random images; depth of 0.5 to 10 metres at 40 % of the pixels, 0 elsewhere."""
    rng = np.random.default_rng(seed)
    mask = rng.random((size, height, width, 1)) < 0.4
    return {
        "image": rng.normal(size=(size, height, width, 3)).astype(np.float32),
        "depth": np.where(mask, rng.uniform(0.5, 10, mask.shape), 0).astype(np.float32),
        "mask": mask,
    }


def init(module, *args, seed=0, **kwargs):
    """Variables whose every leaf is random, so that no zero or one of an init hides a mistake."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(seed), *args, **kwargs))
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(seed)
    leaves = [jnp.asarray(_random_leaf(rng, leaf)) for leaf in leaves]
    return jax.tree.unflatten(structure, leaves)


def _random_leaf(rng, leaf):
    """Kernels of unit gain; vectors (biases and the norms' scales) around a half."""
    if len(leaf.shape) == 1:
        return rng.normal(0.5, 0.3, leaf.shape).astype(np.float32)
    fan_in = np.prod(leaf.shape[:-1])
    return rng.normal(0, fan_in**-0.5, leaf.shape).astype(np.float32)


def init_model(module, example=None):
    example = example or batch()
    return init(module, example["image"], example["depth"], example["mask"])


def assert_trees_close(ours, theirs, tolerance):
    """Leaf by leaf, as a fraction of the largest entry of the expected leaf.

    Leaves that should be zero hold rounding (a key's bias, which softmax does not see): they are
    compared with the largest entry of all.
    """
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    paths = jax.tree.leaves_with_path(theirs)
    for (path, expected), leaf in zip(paths, jax.tree.leaves(ours), strict=True):
        atol = tolerance * max(np.abs(expected).max(), 1e-3 * largest)
        np.testing.assert_allclose(leaf, expected, 0, atol, err_msg=jax.tree_util.keystr(path))
