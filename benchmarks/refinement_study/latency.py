"""Time of a prediction of each kind of model in the study, and its multiply-adds.

python -m benchmarks.refinement_study.latency [--output=FILE.json]

The models take turns; a number is the median processor time of 20 pictures, for one picture.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.flops import count_multiply_adds
from benchmarks.refinement_study import unet
from benchmarks.refinement_study.rows import ROWS, create_config
from diffdepth_jax.method import diffusion, refinement
from diffdepth_jax.method.noise import normal_per_image
from diffdepth_jax.models.assembly import create_model

NAMES = ("before", "synthetic", "feed_forward", "unet")
BATCH, ROUNDS, SIZE = 20, 15, (64, 96)


def prediction(name: str) -> tuple[Callable, Any]:
    """(variables, images) -> log depth, and random variables."""
    images = jnp.ones((1, *SIZE, 3))
    if ROWS[name].kind == "unet":
        network = unet.UNet()
        return network.apply, network.init(jax.random.key(0), images)
    config = create_config(ROWS[name], 0)
    model, schedule = (
        create_model(config.model),
        diffusion.create_schedule(**vars(config.diffusion)),
    )
    depth = jnp.ones((1, *SIZE, 1))

    def predict(variables, images):
        keys = jax.random.split(jax.random.key(0), len(images))
        noise = normal_per_image(keys, model.latent_shape(*SIZE))
        settings = {"schedule": schedule, "keys": keys, **vars(config.sampler)}
        return refinement.predict(model, variables, images, noise, **settings).log_depth

    return predict, jax.jit(model.init)(jax.random.key(0), images, depth, depth > 0)


def measure() -> dict[str, dict[str, float]]:
    """{row: {"milliseconds", "multiply_adds", "ratio" to `before`}}."""
    one, many = (jnp.ones((count, *SIZE, 3)) for count in (1, BATCH))
    parts = {name: prediction(name) for name in NAMES}
    compiled = {name: jax.jit(function) for name, (function, _) in parts.items()}
    seconds = {name: [] for name in NAMES}
    for index in range(ROUNDS + 1):
        for name, (_, variables) in parts.items():
            started = time.process_time()
            jax.block_until_ready(compiled[name](variables, many))
            if index:  # the first call compiles
                seconds[name].append(time.process_time() - started)
    medians = {name: 1000 * statistics.median(times) / BATCH for name, times in seconds.items()}
    return {
        name: {
            "milliseconds": round(medians[name], 2),
            "ratio": round(medians[name] / medians["before"], 3),
            "multiply_adds": count_multiply_adds(*parts[name], one, platform="cpu"),
        }
        for name in NAMES
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=pathlib.Path)
    given = parser.parse_args()
    found = measure()
    text = json.dumps(found, indent=1)
    print(text)
    if given.output:
        given.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
