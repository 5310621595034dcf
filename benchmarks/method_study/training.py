"""One training of the study, in a process of its own, and its result.

python -m benchmarks.method_study.training NAME SEED SIZE WORKDIR RESULTS
"""

import os
import pathlib
import platform
import shutil
import sys
import time
from typing import Any

import jax

from benchmarks.method_study import compilation, pretraining, results, scenes, scores
from benchmarks.method_study.scenes import Sets
from benchmarks.method_study.variants import (
    SCENE_SEED,
    SIZES,
    UNCERTAINTY,
    VARIANTS,
    Size,
    complete,
    create_config,
)
from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints.model_directory import load_variables
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import DiffusionDepth, create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.training.loop import train


def fields(name: str, size: Size) -> dict[str, Any]:
    """What a result must have in common with a training to stand for it."""
    return {
        "config": complete(VARIANTS[name], size, pretrained=True),
        "scene_seed": SCENE_SEED,
        "pretraining": pretraining.fields(size),
    }


def run(
    name: str, seed: int, size: Size, workdir: str | os.PathLike, directory: str | os.PathLike
) -> None:
    """Trains, scores and writes the result; leaves nothing in `workdir` but what others share."""
    workdir = pathlib.Path(workdir)
    sources = scenes.load(workdir, size)
    config = create_config(VARIANTS[name], seed, size, pretraining.directory(workdir, size))
    run_directory = workdir / "runs" / f"{name}-seed{seed}"
    shutil.rmtree(run_directory, ignore_errors=True)
    started = time.time()
    own = train(config, run_directory, sources)
    seconds = time.time() - started
    model, _ = create_parts(config)
    variables = load_variables(run_directory, lambda: abstract_variables(model))
    facts = {"program_abs_rel": {kind: own[kind]["abs_rel"] for kind in own}}
    write_result(name, config, size, variables, sources[1], directory, seconds, facts)
    shutil.rmtree(run_directory)


def create_parts(config: Configuration) -> tuple[DiffusionDepth, diffusion.NoiseSchedule]:
    """(model, schedule)"""
    return create_model(config.model), diffusion.create_schedule(**vars(config.diffusion))


def write_result(
    name: str,
    config: Configuration,
    size: Size,
    variables: Variables,
    sets: Sets,
    directory: str | os.PathLike,
    seconds: float,
    facts: dict[str, Any],
) -> None:
    """Scores variables on the held-out scenes; writes the result, with `facts`, and predictions."""
    seed = config.seed
    found, kept = _score(config, variables, sets, ensemble=name in UNCERTAINTY)
    result = {
        "name": name,
        "seed": seed,
        "overrides": VARIANTS[name],
        **fields(name, size),
        "trained_steps": config.sampler.num_steps,
        "images_seen": size.images_seen,
        "train_seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time(), 1),  # of the process, compiling and scoring too
        "commit": results.commit(),
        "command": f"python -m benchmarks.method_study --workdir=DIR --only={name} --seeds={seed}",
        "environment": f"jax {jax.__version__}, {jax.default_backend()}, {platform.machine()}",
        **facts,
        **found,
    }
    if seed == 0:
        results.write_predictions(directory, name, seed, kept)
    results.write(directory, result)


def _score(config, variables, sets, ensemble):
    """({"metrics": {set: {steps: ...}}} and row 7 if asked, {set: metres at the trained steps})."""
    model, schedule = create_parts(config)
    steps = scores.steps_to_score(config)
    predict = scores.create_predict(model, schedule, config.sampler, steps)
    metrics, kept, spread = {}, {}, {}
    for kind, (_, held_out) in sets.items():
        metrics[kind], found = scores.score_all(predict, variables, held_out, config)
        kept[kind] = found[config.sampler.num_steps]
    if ensemble:
        one = scores.create_predict(model, schedule, config.sampler, (config.sampler.num_steps,))
        spread = {
            kind: scores.score_ensemble(one, variables, held_out, config)
            for kind, (_, held_out) in sets.items()
        }
    return {"metrics": metrics, **({"uncertainty": spread} if ensemble else {})}, kept


def main() -> None:
    name, seed, size, workdir, directory = sys.argv[1:]
    compilation.keep_in(workdir)
    run(name, int(seed), SIZES[size], workdir, directory)


if __name__ == "__main__":
    main()
