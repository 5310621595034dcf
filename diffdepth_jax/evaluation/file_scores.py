"""Scores folders of depth files, from any programs, on a configuration's evaluation sets."""

import functools
import os
import pathlib
from collections.abc import Sequence

from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import comparison, uncertainty
from diffdepth_jax.evaluation.depth_files import DepthFiles, FileOptions
from diffdepth_jax.evaluation.report import describe, format_report, protocol_of, write_results
from diffdepth_jax.evaluation.scorer import Scorer
from diffdepth_jax.evaluation.scoring import Row

Folder = str | os.PathLike


def score_folders(
    config: Configuration,
    directories: Sequence[Folder],
    results: Folder,
    options: FileOptions = FileOptions(),  # noqa: B008  it cannot be changed
) -> str:
    """Scores the depth files of one or several programs, and compares each with the first.

    Args:
      config: names the data and the protocol.
      directories: a folder for each program, which is called by its name; of several evaluation
        sets each lies in the subfolder of its name.
      results: folder for SET.json and SET.csv, see `write_results`; of several programs each has a
        folder in it, and beside those are the sheets, see `comparison.compare`.
      options: how the files are read.

    Returns:
      The report to print.

    Raises:
      UserError: a file is missing, unreadable, without any depth to score, or of another size than
        its frame; or two folders have one name.
    """
    programs = {pathlib.Path(directory).name: directory for directory in directories}
    if len(programs) < len(directories):
        raise UserError("--predictions: two folders have the same name: rename one")
    options.check_alignment(protocol_of(config).alignment)
    _, sources = create_sources(config.data, config.seed)
    scorer = Scorer(config, sources)
    scorer.check_ground_truth()
    several, means, lines = len(programs) > 1, {}, []
    for name in scorer.sets:
        rows = {}
        for program, directory in programs.items():
            rows[program], left_out = _score_set(scorer, name, directory, options)
            own = means[f"{name}: {program}" if several else name] = scorer.means(rows[program])
            where = pathlib.Path(results) / (program if several else "")
            origin = f"depth files of {directory}{options.describe()}"
            write_results(
                where, name, own, rows[program], "; ".join([describe(config, origin), *left_out])
            )
            lines += left_out
        if several:
            files = {x: _files(scorer, name, y, options) for x, y in programs.items()}
            lines += comparison.compare(scorer, name, rows, files, pathlib.Path(results))
    origin = (
        "depth files of "
        + ("several programs" if several else str(directories[0]))
        + options.describe()
    )
    return "\n".join([format_report(config, means, origin), *lines])


def _files(scorer: Scorer, name: str, directory: Folder, options: FileOptions) -> DepthFiles:
    return DepthFiles(_inside(scorer, name, directory), options)


def _inside(scorer: Scorer, name: str, directory: Folder) -> pathlib.Path:
    return pathlib.Path(directory) / (name if len(scorer.sets) > 1 else "")


def _score_set(
    scorer: Scorer, name: str, directory: Folder, options: FileOptions
) -> tuple[list[Row], list[str]]:
    """Scores the files of one set; returns its rows, and lines about what was left out."""
    files = _files(scorer, name, directory, options)
    stated = functools.partial(uncertainty.stated_scores, level=options.interval)
    score_maps = stated if options.has_maps else None
    rows = scorer.score(name, files, input_crop="none", holes=True, score_maps=score_maps)
    inside = _inside(scorer, name, directory)
    return rows, [
        *_check_missing(files.missing, len(rows), inside, options.skip_missing),
        *_check_holes(rows, inside),
    ]


def _check_missing(
    missing: list[str], found: int, directory: pathlib.Path, skip: bool
) -> list[str]:
    """Lines about the samples without a file; a UserError unless these may be left out."""
    if not missing:
        return []
    total = found + len(missing)
    text = f"{len(missing)} of {total} samples have no file in {directory}: {', '.join(missing)}"
    if not (skip and found):
        raise UserError(
            f"{text}; add NAME.npy, NAME.png or the like, or score the others: --skip_missing"
        )
    return [f"left out: {text}"]


def _check_holes(rows: list[Row], directory: pathlib.Path) -> list[str]:
    """Lines about pixels that have ground truth, but no depth in the files.

    Raises:
      UserError: an image has no other pixels.
    """
    holes = [row for row in rows if row["holes"]]
    empty = [row["name"] for row in holes if not row["valid"]]
    if empty:
        raise UserError(
            f"{len(empty)} of {len(rows)} files in {directory} hold no depth (only 0, negative "
            f"numbers or nan) where there is ground truth: {', '.join(empty[:3])}; predict them "
            "again, or write PNG files with a smaller scale: 65535 / scale metres is their limit"
        )
    if not holes:
        return []
    missing = sum(row["holes"] for row in holes)
    total = missing + sum(row["valid"] for row in rows)
    return [
        f"left out: {missing} of {total} pixels with ground truth ({100 * missing / total:.2g} %), "
        f"in {len(holes)} of {len(rows)} images: the files hold no depth there (0, negative or nan)"
    ]
