"""One training of the study, in a process of its own, and its result.

python -m benchmarks.method_study.training NAME SEED SIZE WORKDIR RESULTS
"""

import pathlib
import platform
import shutil
import sys
import time

import jax

from benchmarks.method_study import results, scenes, scores
from benchmarks.method_study.variants import (
    SCENE_SEED,
    SIZES,
    UNCERTAINTY,
    VARIANTS,
    budget,
    create_config,
)
from diffdepth_jax.checkpoint import load_variables
from diffdepth_jax.evaluator import create_evaluator
from diffdepth_jax.train import train
from diffdepth_jax.train_state import abstract_variables


def fields(name, size):
    """What a result must have in common with a training to stand for it."""
    return {
        "overrides": VARIANTS[name],
        "budget": budget(size),
        "scene_seed": SCENE_SEED,
    }


def run(name, seed, size, workdir, directory):
    """Trains, scores and writes the result; leaves nothing in `workdir` but scenes and programs."""
    started = time.time()
    workdir = pathlib.Path(workdir)
    sources = scenes.load(workdir, size)
    config = create_config(VARIANTS[name], seed, size)
    run_directory = workdir / "runs" / f"{name}-seed{seed}"
    shutil.rmtree(run_directory, ignore_errors=True)
    own = train(config, run_directory, sources)
    trained = time.time()
    result, kept = _score(config, run_directory, sources[1], ensemble=name in UNCERTAINTY)
    result = {
        "name": name,
        "seed": seed,
        **fields(name, size),
        "trained_steps": config.sampler.num_steps,
        "images_seen": size.images_seen,
        "train_seconds": round(trained - started, 1),
        "total_seconds": round(time.time() - started, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "commit": results.commit(),
        "command": f"python -m benchmarks.method_study --workdir=DIR --only={name} --seeds={seed}",
        "environment": f"jax {jax.__version__}, {jax.default_backend()}, {platform.machine()}",
        "program_abs_rel": {kind: own[kind]["abs_rel"] for kind in own},
        **result,
    }
    if seed == 0:
        results.write_predictions(directory, name, seed, kept)
    results.write(directory, result)
    shutil.rmtree(run_directory)


def _score(config, directory, sets, ensemble):
    """({"metrics": {set: {steps: ...}}} and row 7 if asked, {set: metres at the trained steps})."""
    evaluator = create_evaluator(config, sets)
    model, schedule = evaluator.model, evaluator.schedule
    variables = load_variables(directory, abstract_variables(model))
    steps = scores.steps_to_score(config)
    predict = scores.create_predict(model, schedule, config.sampler, steps)
    metrics, kept, spread = {}, {}, {}
    for kind, (_, held_out) in sets.items():
        metrics[kind], found = scores.score_all(predict, variables, held_out, config)
        kept[kind] = found[config.sampler.num_steps]
        if ensemble:
            spread[kind] = scores.score_ensemble(model, schedule, variables, held_out, config)
    return {"metrics": metrics, **({"uncertainty": spread} if ensemble else {})}, kept


def main():
    name, seed, size, workdir, directory = sys.argv[1:]
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(workdir) / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    run(name, int(seed), SIZES[size], workdir, directory)


if __name__ == "__main__":
    main()
