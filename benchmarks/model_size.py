"""Counts the parameters and the multiply-adds of a prediction, for each configuration.

python -m benchmarks.model_size configs/nyu.py configs/synthetic.py
"""

import functools
import importlib.util
import math
import sys
from collections.abc import Sequence

import jax

from benchmarks.flops import count_multiply_adds
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.method import diffusion, refinement
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables


def load_config(path: str) -> Configuration:
    """Reads the configuration that a Python file's `get_config` returns."""
    spec = importlib.util.spec_from_file_location("config", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return groups.read(module.get_config())


def measure(config: Configuration) -> tuple[int, int]:
    """Returns (number of parameters, multiply-adds for one image at the inference size)."""
    model = create_model(config.model)
    variables = abstract_variables(model)
    predict = functools.partial(
        refinement.predict_depth,
        model,
        schedule=diffusion.create_schedule(**vars(config.diffusion)),
        **vars(config.sampler),
    )
    height, width = config.frame.size
    image = jax.ShapeDtypeStruct((1, height, width, 3), "float32")
    noise = jax.ShapeDtypeStruct((1, *model.latent_shape(height, width)), "float32")
    parameters = sum(math.prod(x.shape) for x in jax.tree.leaves(variables["params"]))
    return parameters, count_multiply_adds(predict, variables, image, noise)


def main(paths: Sequence[str]) -> None:
    print(f"{'configuration':<24}{'size':>10}{'steps':>7}{'parameters':>14}{'multiply-adds':>20}")
    for path in paths:
        config = load_config(path)
        parameters, multiply_adds = measure(config)
        size = "x".join(map(str, config.frame.size))
        steps = config.sampler.num_steps
        print(f"{path:<24}{size:>10}{steps:>7}{parameters:>14,}{multiply_adds:>20,}")


if __name__ == "__main__":
    main(sys.argv[1:])
