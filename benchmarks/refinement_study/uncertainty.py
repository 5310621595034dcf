"""Scores the samples of a row against their competitors, on pictures that no model has seen.

python -m benchmarks.refinement_study.uncertainty --seed=N --workdir=DIR [--results=DIR]

It needs the runs of the rows late_samples, late_feed_forward and late_laplace of this seed, and
those of late_feed_forward of all --seeds. Scores are at the pixels that have ground truth, which
on streets are those of a LiDAR: as in training, and as a calibration on real data has them.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from benchmarks.refinement_study.competitors import (
    SCORES,
    Picture,
    competitors,
    paired_ratio,
    score,
    summary,
)
from benchmarks.refinement_study.rows import (
    CALIBRATION_SEED,
    MEMBERS,
    ROWS,
    SCENE_SEED,
    create_config,
)
from benchmarks.refinement_study.training import RESULTS, directory
from diffdepth_jax.checkpoints.model_directory import load_variables
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.samples import EvaluationSample, Sample
from diffdepth_jax.datasets.sources import EvaluationSets, create_sources
from diffdepth_jax.evaluation.evaluator import create_evaluator
from diffdepth_jax.evaluation.protocols import Protocol
from diffdepth_jax.evaluation.report import protocol_of
from diffdepth_jax.evaluation.scoring import clamped_maps, scored_mask
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.program.messages import show_messages

CALIBRATION_SCENES = 100  # of each kind
KINDS = ("rooms", "streets")


def scenes(config: Configuration, seed: int, count: int) -> EvaluationSets:
    """Held-out scenes of a seed."""
    fields = dataclasses.replace(config.data.synthetic, num_eval=count)
    return create_sources(dataclasses.replace(config.data, synthetic=fields), seed)[1]


def maps_of(
    name: str, seed: int, workdir: pathlib.Path, count: int, scene_seed: int, **evaluation: Any
) -> dict[str, list[Sample]]:
    """{kind: (maps, truth, mask) of each scene} of a row's model, see `scoring.Prediction`."""
    config = create_config(ROWS[name], seed, "unused" if ROWS[name].start else "")
    fields = dataclasses.replace(config.evaluation, **evaluation)
    config = dataclasses.replace(config, evaluation=fields)
    sets = scenes(config, scene_seed, count)
    evaluator = create_evaluator(config, sets)
    run = directory(workdir, name, seed)
    variables = load_variables(run, lambda: abstract_variables(evaluator.model))
    predict = evaluator.predictor(variables, members=evaluator.has_spread)
    found = {}
    for kind in sets:
        frames, protocol = evaluator.scorer.frames(kind, predict), protocol_of(config, kind)
        found[kind] = [
            (
                clamped_maps(np.asarray(maps), protocol),
                sample["depth"][..., 0],
                _mask(sample, protocol),
            )
            for _, sample, maps in frames
        ]
    return found


def _mask(sample: EvaluationSample, protocol: Protocol) -> Bool[np.ndarray, "height width"]:
    return np.asarray(scored_mask(sample["depth"], sample["mask"], protocol))[..., 0]


def pictures(
    seed: int, workdir: pathlib.Path, scene_seed: int, count: int, seeds: Sequence[int]
) -> list[Picture]:
    """The scenes of a seed of scenes with what all models say of them."""
    where = {"workdir": workdir, "count": count, "scene_seed": scene_seed}
    own = maps_of("late_feed_forward", seed, **where)
    flipped = maps_of("late_feed_forward", seed, **where, flip_average=True)
    laplace = maps_of("late_laplace", seed, **where)
    samples = maps_of("late_samples", seed, **where, ensemble=MEMBERS)
    others = [maps_of("late_feed_forward", other, **where) for other in seeds]
    result = []
    for kind in KINDS:
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    given = parser.parse_args()
    show_messages("info")
    fitted = pictures(given.seed, given.workdir, CALIBRATION_SEED, CALIBRATION_SCENES, given.seeds)
    scored = pictures(given.seed, given.workdir, SCENE_SEED, 200, given.seeds)
    found = compare(fitted, scored)
    path = given.results / f"uncertainty-seed{given.seed}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    names = ("crps", "crps_8x8", "crps_image", "interval_score", "coverage", "spread_rank")
    for kind, rows in found.items():
        for name, scores in rows.items():
            print(f"{kind:8}{name:18}" + "".join(f"{scores[key]:9.4f}" for key in names))


if __name__ == "__main__":
    main()
