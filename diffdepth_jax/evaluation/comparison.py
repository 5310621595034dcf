"""Depth files of several programs on the same pictures: one table, and paired differences."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.depth_files import FileOptions, score_set
from diffdepth_jax.evaluation.report import describe, format_report, write_results
from diffdepth_jax.evaluation.scorer import Scorer
from diffdepth_jax.evaluation.scoring import Row

_COMPARED = ("abs_rel", "rmse", "d1")
_RESAMPLES, _LEVEL = 2000, 0.95


def compare_folders(
    config: Configuration,
    directories: Sequence[str | os.PathLike],
    results: str | os.PathLike,
    options: FileOptions = FileOptions(),  # noqa: B008  it cannot be changed
) -> str:
    """Scores several folders as `score_folder` does, and compares each with the first.

    A program is called by its folder's name. `results` gets a folder for each program.

    Raises:
      UserError: as of `score_folder`, or two folders have one name.
    """
    programs = {pathlib.Path(directory).name: directory for directory in directories}
    if len(programs) < len(directories):
        raise UserError("--predictions: two folders have the same name: rename one")
    _, sources = create_sources(config.data, config.seed)
    scorer = Scorer(config, sources)
    scorer.check_ground_truth()
    means, lines, origin = {}, [], "depth files of several programs"
    for name in sources:
        rows = {}
        for program, directory in programs.items():
            rows[program], left_out = score_set(scorer, name, directory, options)
            own = means[f"{name}: {program}"] = scorer.means(name, rows[program])
            own_origin = f"depth files of {directory}"
            description = "; ".join([describe(config, [name], own_origin), *left_out])
            write_results(pathlib.Path(results) / program, name, own, rows[program], description)
            lines += left_out
        first, *others = programs
        lines += [_difference(name, (first, other), rows, config.seed) for other in others]
    return "\n".join([format_report(config, means, origin), *lines])


def _difference(name: str, pair: tuple[str, str], rows: dict[str, list[Row]], seed: int) -> str:
    """A line on the second program minus the first, over the pictures that both have."""
    first, second = ({row["name"]: row for row in rows[x] if row["valid"]} for x in pair)
    shared = [x for x in first if x in second]
    if not shared:
        raise UserError(f"{name}: {pair[0]} and {pair[1]} have no picture in common")
    texts = []
    for metric in _COMPARED:
        differences = np.array([second[x][metric] - first[x][metric] for x in shared])
        low, high = bootstrap_interval(differences, seed)
        texts.append(f"{metric} {differences.mean():+.4f} ({low:+.4f} to {high:+.4f})")
    return f"{name}: {pair[1]} minus {pair[0]}, {len(shared)} pictures: {', '.join(texts)}"


def bootstrap_interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of a mean over pictures, by resampling the pictures."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.percentile(values[drawn].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)
