"""One training of the study, and its scores as a JSON file.

python -m benchmarks.refinement_study.training NAME --seed=N --workdir=DIR [--results=DIR] \
    [--nyu=DIR --weights=FILE --percent=100]

A row that starts from another needs that row's run in the same workdir. The same command goes on
after an interruption.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.refinement_study import grounds, rows, unet
from benchmarks.refinement_study.grounds import Ground
from benchmarks.refinement_study.rows import MEMBERS, ROWS, SAMPLER_STEPS, SCENES, Row
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.samples import Source
from diffdepth_jax.datasets.sources import EvaluationSets
from diffdepth_jax.evaluation.evaluator import load_evaluator
from diffdepth_jax.evaluation.scorer import Scorer
from diffdepth_jax.evaluation.scoring import Predictor
from diffdepth_jax.evaluation.uncertainty_report import create_score_maps
from diffdepth_jax.method import losses
from diffdepth_jax.method.pixel_objective import total_loss
from diffdepth_jax.program.entry import one_line_errors
from diffdepth_jax.program.messages import show_messages
from diffdepth_jax.training.batches import augmented_batches
from diffdepth_jax.training.configured import configured_optimizer
from diffdepth_jax.training.loop import train

PRINTED = ("abs_rel", "rmse", "d1", "aligned_abs_rel", "boundary_f1", "aligned_edge_abs_rel")


def directory(workdir: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    """The run directory of a training."""
    return workdir / f"{name}-seed{seed}"


def run(name: str, seed: int, workdir: pathlib.Path, ground: Ground = SCENES) -> dict[str, Any]:
    """Trains a row and returns its result."""
    row = ROWS[name]
    start = str(directory(workdir, row.start, seed)) if row.start else ""
    config = rows.create_config(row, seed, start, ground)
    sources = ground.sources(config)
    started = time.monotonic()
    if row.kind == "unet":
        predict = train_unet(config, sources[0])
        seconds = time.monotonic() - started
        scores = {"1": score_all(config, lambda _: predict, sources[1])}
    else:
        train(config, directory(workdir, name, seed), sources)
        seconds = time.monotonic() - started
        scores = dict(scores_of(config, directory(workdir, name, seed), sources[1]))
    return {
        "name": name,
        "seed": seed,
        "images_seen": _images(row, config, ground),
        "train_seconds": round(seconds, 1),
        "row": dataclasses.asdict(row),
        "jax": jax.__version__,
        "scores": scores,
    }


def _images(row: Row, config: Configuration, ground: Ground) -> int:
    steps = ground.num_steps + (ground.late_steps if row.start else 0)
    return steps * config.train.batch_size


def scores_of(
    config: Configuration, workdir: pathlib.Path, sets: EvaluationSets
) -> Iterator[tuple[str, Any]]:
    """(name, {set: scores}) of a run's model.

    "2" has 2 sampler steps; "middle 2", of samples that learn as a group, starts from zeros;
    "ensemble" is the median of several samples.
    """
    score = functools.partial(
        score_all, predictor=lambda config: _predictor(config, workdir), sets=sets
    )
    if config.model.kind == "feed_forward":
        yield "1", score(config)
        return
    starts = {"noise": "", "middle": "middle "} if config.loss.own_noise else {"noise": ""}
    for (start, name), steps in itertools.product(starts.items(), SAMPLER_STEPS):
        sampler = dataclasses.replace(config.sampler, start=start, num_steps=steps)
        yield f"{name}{steps}", score(dataclasses.replace(config, sampler=sampler))
    fields = dataclasses.replace(config.evaluation, ensemble=MEMBERS)
    yield "ensemble", score(dataclasses.replace(config, evaluation=fields))


def _predictor(config: Configuration, workdir: pathlib.Path) -> Predictor:
    evaluator, variables = load_evaluator(config, workdir)
    return evaluator.predictor(variables, members=evaluator.has_spread)


def score_all(
    config: Configuration, predictor: Callable, sets: EvaluationSets
) -> dict[str, dict[str, float]]:
    """{set: means over the held-out pictures}."""
    scorer, predict = Scorer(config, sets), predictor(config)
    has_spread = config.evaluation.ensemble > 1 or config.model.laplace_scale
    score = functools.partial(scorer.score, score_maps=create_score_maps(has_spread, None))
    return {kind: scorer.means(kind, score(kind, predict)) for kind in scorer.sets}


def train_unet(config: Configuration, source: Source) -> Predictor:
    """Trains the U-Net by the same losses, optimizer and batches; returns its predictor."""
    network = unet.UNet()
    image = jnp.zeros((1, *config.frame.size, 3))
    params = network.init(jax.random.key(config.seed), image)["params"]
    _, optimizer = configured_optimizer(config)

    def loss(params, batch):
        log_depth = network.apply({"params": params}, batch["image"])
        target = jnp.log(jnp.where(batch["mask"], batch["depth"], 1.0))
        truth, member = (target, batch["mask"]), log_depth[:, None]
        terms = {
            "crps": losses.crps(member, *truth),
            "crps_pooled": losses.crps_pooled(member, *truth),
            "gradient_matching": losses.gradient_matching(log_depth, *truth),
        }
        return total_loss(terms, {name: getattr(config.loss.weights, name) for name in terms})

    @jax.jit
    def update(params, state, batch):
        updates, state = optimizer.update(jax.grad(loss)(params, batch), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    batches = augmented_batches(config, source, 0)
    for _ in range(config.train.num_steps):
        params, state = update(params, state, next(batches))
    apply = jax.jit(lambda image: jnp.exp(network.apply({"params": params}, image)))

    def predict(samples, first):
        depth = np.asarray(apply(np.stack([sample["image"] for sample in samples])))
        sizes = [sample["content"] for sample in samples]
        return [x[:height, :width] for x, (height, width) in zip(depth, sizes, strict=True)]

    return predict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("name", choices=ROWS)
    grounds.add_arguments(parser)
    given = parser.parse_args()
    show_messages("info")
    ground, workdir, results = grounds.chosen(given)
    result = run(given.name, given.seed, workdir, ground)
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{given.name}-seed{given.seed}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    for steps, sets in result["scores"].items():
        for kind, means in sets.items():
            print(given.name, steps, kind, {key: means[key] for key in PRINTED})


if __name__ == "__main__":
    with one_line_errors():
        main()
