"""Scores the samples of a row against their competitors, on pictures that no model has seen.

python -m benchmarks.refinement_study.uncertainty --seed=N --workdir=DIR [--seeds 0 1 2] \
    [--results=DIR] [--nyu=DIR --weights=FILE --percent=100]

It needs the runs of the rows late_samples, late_feed_forward and late_laplace of this seed, and
those of late_feed_forward of all --seeds. Scores are at the pixels that have ground truth, which
on streets are those of a LiDAR: as in training, and as a calibration on real data has them.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from benchmarks.refinement_study import grounds
from benchmarks.refinement_study.competitors import (
    SCORES,
    Picture,
    competitors,
    paired_ratio,
    score,
    summary,
)
from benchmarks.refinement_study.grounds import Ground
from benchmarks.refinement_study.rows import MEMBERS, ROWS, create_config
from benchmarks.refinement_study.training import directory
from diffdepth_jax.checkpoints.model_directory import load_variables
from diffdepth_jax.datasets.samples import EvaluationSample, Sample
from diffdepth_jax.evaluation.evaluator import create_evaluator
from diffdepth_jax.evaluation.protocols import Protocol
from diffdepth_jax.evaluation.report import protocol_of
from diffdepth_jax.evaluation.scoring import clamped_maps, scored_mask
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.program.entry import one_line_errors
from diffdepth_jax.program.messages import show_messages


def maps_of(
    name: str,
    seed: int,
    workdir: pathlib.Path,
    ground: Ground,
    calibration: bool,
    **evaluation: Any,
) -> dict[str, list[Sample]]:
    """{kind: (maps, truth, mask) of each picture} of a row's model, see `scoring.Prediction`."""
    config = create_config(ROWS[name], seed, "unused" if ROWS[name].start else "", ground)
    fields = dataclasses.replace(config.evaluation, **evaluation)
    config = dataclasses.replace(config, evaluation=fields)
    sets = ground.calibration(config) if calibration else ground.sources(config)[1]
    evaluator = create_evaluator(config, sets)
    run = directory(workdir, name, seed)
    variables = load_variables(run, lambda: abstract_variables(evaluator.model))
    predict = evaluator.predictor(variables, members=evaluator.has_spread)
    found, sparse = {}, (slice(None, None, ground.stride),) * 2
    for kind in sets:
        frames, protocol = evaluator.scorer.frames(kind, predict), protocol_of(config, kind)
        found[kind] = [
            (
                clamped_maps(np.asarray(maps[sparse]), protocol),
                sample["depth"][..., 0][sparse],
                _mask(sample, protocol)[sparse],
            )
            for _, sample, maps in frames
        ]
    return found


def _mask(sample: EvaluationSample, protocol: Protocol) -> Bool[np.ndarray, "height width"]:
    return np.asarray(scored_mask(sample["depth"], sample["mask"], protocol))[..., 0]


def pictures(seed: int, seeds: Sequence[int], **where: Any) -> list[Picture]:
    """Pictures with what all models say of them; `where` is of `maps_of`."""
    own = maps_of("late_feed_forward", seed, **where)
    flipped = maps_of("late_feed_forward", seed, **where, flip_average=True)
    laplace = maps_of("late_laplace", seed, **where)
    samples = maps_of("late_samples", seed, **where, ensemble=MEMBERS)
    others = [maps_of("late_feed_forward", other, **where) for other in seeds]
    result = []
    for kind in own:
        for index, (maps, truth, mask) in enumerate(own[kind]):
            first, mean = maps[0], flipped[kind][index][0][0]
            depth, deviation = laplace[kind][index][0][:2]
            predictions = {
                "feed_forward": maps[:1],
                # The mean of both views and one of them give the other.
                "flips": np.stack([first, np.maximum(2 * mean - first, 1e-3)]),
                "seeds": np.stack([model[kind][index][0][0] for model in others]),
                "samples": samples[kind][index][0][3:],
            }
            logs = {name: np.log(x) for name, x in predictions.items()}
            logs["laplace"] = np.stack([np.log(depth), np.log(deviation / depth / 2**0.5)])
            log_truth = np.log(np.where(mask, truth, 1))
            result.append(Picture(kind, log_truth, mask, logs))
    return result


def compare(fitted: list[Picture], scored: list[Picture]) -> dict[str, Any]:
    """{kind: {competitor: its scores}}, beside the ratios of the samples' scores to its own."""
    found = {}
    every = competitors(fitted)
    if len(scored[0].predictions["seeds"]) == 1:
        del every["seeds"]  # a single model disagrees with nobody
    rows = {name: [*score(competitor, fitted, scored)] for name, competitor in every.items()}
    for kind in sorted({picture.kind for picture in scored}):
        chosen = [index for index, picture in enumerate(scored) if picture.kind == kind]
        of_kind = {name: [scores[index] for index in chosen] for name, scores in rows.items()}
        found[kind] = {
            name: summary(scores)
            | {
                "samples_ratio": {
                    key: paired_ratio(of_kind["samples"], scores, key) for key in SCORES
                }
            }
            for name, scores in of_kind.items()
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    grounds.add_arguments(parser)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    show_messages("info")
    ground, workdir, results = grounds.chosen(given)
    results.mkdir(parents=True, exist_ok=True)
    of_seed = functools.partial(pictures, given.seed, given.seeds, workdir=workdir, ground=ground)
    found = compare(of_seed(calibration=True), of_seed(calibration=False))
    path = results / f"uncertainty-seed{given.seed}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    names = ("crps", "crps_8x8", "crps_image", "interval_score", "coverage", "spread_rank")
    for kind, rows in found.items():
        for name, scores in rows.items():
            print(f"{kind:8}{name:18}" + "".join(f"{scores[key]:9.4f}" for key in names))


if __name__ == "__main__":
    with one_line_errors():
        main()
