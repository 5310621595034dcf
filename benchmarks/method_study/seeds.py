"""The trainings of one variant with all its seeds at once, as one program: for a GPU.

python -m benchmarks.method_study.seeds NAME SEED,SEED,... SIZE WORKDIR RESULTS

The program's own pure step is mapped over the seeds: each has its parameters, its order of samples
and its noise. Nothing is saved on the way: an interrupted training starts anew.
"""

import functools
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.method_study import compilation, pretraining, scenes, training
from benchmarks.method_study.variants import SIZES, VARIANTS, Size, create_config
from diffdepth_jax.arrays import Variables
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.samples import Source
from diffdepth_jax.distributed import sharding
from diffdepth_jax.training import batches, configured
from diffdepth_jax.training.pretrained import start_from
from diffdepth_jax.training.state import create_train_state


class SeedsLayout(sharding.Layout):
    """A layout on one device; every leaf has an axis of seeds in front."""

    def __init__(self) -> None:
        super().__init__("jit", sharding.create_mesh(jax.devices()[:1]))

    def compile(self, step: Callable, state: Any) -> Callable:
        """Compiles a step (states, batches, keys) -> (states, terms), mapped over the seeds."""
        return jax.jit(jax.vmap(step), donate_argnums=0)


def _state(config, model, optimizer):
    create = functools.partial(
        create_train_state, model, optimizer, ema_decay=config.train.ema_decay
    )
    state = jax.jit(create)(key=jax.random.key(config.seed))
    variables, _ = start_from(
        state.variables,
        backbone_weights=config.model.backbone_weights,
        initial_weights="",
        position_interpolation=config.model.position_interpolation,
    )
    return state.started_from(variables)


def _stack(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def train_all(configs: Sequence[Configuration], source: Source) -> list[Variables]:
    """Variables of each configuration, which differ in their seeds alone."""
    model, schedule = training.create_parts(configs[0])
    _, optimizer = configured.configured_optimizer(configs[0])
    state = _stack([_state(config, model, optimizer) for config in configs])
    keys = jax.vmap(jax.random.key)(np.array([config.seed for config in configs]))
    step = configured.create_step(configs[0], model, schedule, optimizer, SeedsLayout(), state)
    streams = [batches.augmented_batches(config, source, 0) for config in configs]
    for _ in range(configs[0].train.num_steps):
        state, _ = step(state, _stack([next(stream) for stream in streams]), keys)
    variables = jax.device_get(state.evaluated)
    return [jax.tree.map(lambda leaf: leaf[i], variables) for i in range(len(configs))]  # noqa: B023


def run(
    name: str,
    seeds: Sequence[int],
    size: Size,
    workdir: str | os.PathLike,
    directory: str | os.PathLike,
) -> None:
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


def main() -> None:
    name, seeds, size, workdir, directory = sys.argv[1:]
    compilation.keep_in(workdir)
    run(name, [int(s) for s in seeds.split(",")], SIZES[size], pathlib.Path(workdir), directory)


if __name__ == "__main__":
    main()
