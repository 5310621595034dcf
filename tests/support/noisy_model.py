"""A model without a network, whose samples are noise around 3 m, and frames of the same kind."""

import jax.numpy as jnp
import numpy as np

from diffdepth_jax.evaluation.evaluator import Evaluator
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.codec import Decoded
from tests.support import small_run

WIDTH = 0.1  # of the noise of log depth
FIELDS = {"sampler__num_steps": 1, "sampler__clip": 100.0, "evaluation__baselines": False}


class WithoutNetwork:
    """The model's interface; a subclass has `log_depth`, which stands for the decoder."""

    sharpen = 0

    def latent_shape(self, height, width):
        return height, width, 1

    def apply(self, variables, x=None, *args, method, **kwargs):
        if method == "prepare_denoiser":
            return ()
        if method == "image_details":
            return None
        return Decoded(self.log_depth(x)) if method == "decode" else x


class NoisyModel(WithoutNetwork):
    """The log of its metres is ln 3 + WIDTH x noise."""

    def log_depth(self, x):
        return jnp.log(3.0) + WIDTH * x


def frames(count, width=WIDTH):
    """Truth with noise of this width in log depth; the second frame has no ground truth."""
    frames = []
    for index in range(count):
        noise = np.random.default_rng(index).normal(size=(*small_run.SIZE, 1))
        depth = (3 * np.exp(width * noise)).astype(np.float32)
        image, mask = np.zeros((*small_run.SIZE, 3), np.uint8), np.full(depth.shape, index != 1)
        frames.append({"image": image, "depth": depth, "mask": mask})
    return frames


def evaluator(frames, **overrides):
    """(configuration, evaluator) of the model on the frames, with one step of the sampler."""
    config = small_run.config(**FIELDS, **overrides)
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    return config, Evaluator(config, NoisyModel(), schedule, {"frames": (frames, frames)})
