"""The trainings of one variant with all its seeds at once, as one program: for a GPU.

python -m benchmarks.method_study.seeds NAME SEED,SEED,... SIZE WORKDIR RESULTS

The program's own pure step is mapped over the seeds: each has its parameters, its order of samples
and its noise. Nothing is saved on the way: an interrupted training starts anew.
"""

import pathlib
import sys
import time

import jax
import numpy as np

from benchmarks.method_study import compilation, pretraining, scenes, training
from benchmarks.method_study.variants import SIZES, VARIANTS, create_config
from diffdepth_jax.training import loop
from diffdepth_jax.training.pretrained import start_from
from diffdepth_jax.training.state import create_train_state


class SeedsLayout:
    """What `train.create_step` asks of a layout; every leaf has an axis of seeds in front."""

    def gather(self, params):
        return params

    def compile(self, step, state):
        return jax.jit(jax.vmap(step), donate_argnums=0)


def _state(config, model, optimizer):
    key = jax.random.key(config.seed)
    state = create_train_state(model, optimizer, key, config.train.ema_decay)
    variables, _ = start_from(
        state.variables, backbone_weights=config.model.backbone_weights, initial_weights=""
    )
    return state.started_from(variables)


def _stack(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def train_all(configs, source):
    """Variables of each configuration, which differ in their seeds alone."""
    model, schedule = training.create_parts(configs[0])
    _, optimizer = loop._create_optimizer(configs[0])
    state = _stack([_state(config, model, optimizer) for config in configs])
    keys = jax.vmap(jax.random.key)(np.array([config.seed for config in configs]))
    step = loop.create_step(configs[0], model, schedule, optimizer, SeedsLayout(), state)
    streams = [loop._training_batches(config, source, 0) for config in configs]
    for _ in range(configs[0].train.num_steps):
        state, _ = step(state, _stack([next(stream) for stream in streams]), keys)
    variables = jax.device_get(state.evaluated)
    return [jax.tree.map(lambda leaf: leaf[i], variables) for i in range(len(configs))]  # noqa: B023


def run(name, seeds, size, workdir, directory):
    """As `training.run` for all seeds."""
    source, sets = scenes.load(workdir, size)
    backbone = pretraining.directory(workdir, size)
    configs = [create_config(VARIANTS[name], seed, size, backbone) for seed in seeds]
    started = time.time()
    variables = train_all(configs, source)
    seconds = (time.time() - started) / len(seeds)
    for config, own in zip(configs, variables, strict=True):
        facts = {"seeds_at_once": len(seeds)}
        training.write_result(name, config, size, own, sets, directory, seconds, facts)


def main():
    name, seeds, size, workdir, directory = sys.argv[1:]
    compilation.keep_in(workdir)
    run(name, [int(s) for s in seeds.split(",")], SIZES[size], pathlib.Path(workdir), directory)


if __name__ == "__main__":
    main()
