"""Scores folders of depth files, from any programs, on a configuration's evaluation sets."""

import dataclasses
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
    programs = _programs(directories, options)
    _, sources = create_sources(config.data, config.seed)
    scorer = Scorer(config, sources)
    for name in scorer.sets:
        options.check_alignment(protocol_of(config, name).alignment)
    scorer.check_ground_truth()
    means, lines = {}, []
    for name in scorer.sets:
        rows = {}
        for program in programs:
            rows[program.name], left_out = program.score(scorer, name)
            own = means[program.title(name)] = scorer.means(name, rows[program.name])
            description = "; ".join([describe(config, [name], program.origin), *left_out])
            where = pathlib.Path(results) / program.name
            write_results(where, name, own, rows[program.name], description)
            lines += left_out
        if len(programs) > 1:
            files = {program.name: program.files(scorer, name) for program in programs}
            lines += comparison.compare(scorer, name, rows, files, pathlib.Path(results))
    origin = programs[0].origin if len(programs) == 1 else "depth files of several programs"
    return "\n".join([format_report(config, means, origin), *lines])


@dataclasses.dataclass(frozen=True)
class _Program:
    """A program's depth files.

    Attributes:
      name: "" for the only program.
      directory: of the files; of several evaluation sets each lies in the subfolder of its name.
      options: how the files are read.
    """

    name: str
    directory: pathlib.Path
    options: FileOptions

    @property
    def origin(self) -> str:
        """Where its predictions come from, for a report."""
        return f"depth files of {self.directory}{self.options.describe()}"

    def title(self, name: str) -> str:
        """Its row in the table of an evaluation set."""
        return f"{name}: {self.name}" if self.name else name

    def files(self, scorer: Scorer, name: str) -> DepthFiles:
        """Its predictions of an evaluation set."""
        return DepthFiles(self.directory / (name if len(scorer.sets) > 1 else ""), self.options)

    def score(self, scorer: Scorer, name: str) -> tuple[list[Row], list[str]]:
        """Scores one set: its rows, and lines about what was left out."""
        files = self.files(scorer, name)
        stated = functools.partial(uncertainty.stated_scores, level=self.options.interval)
        score_maps = stated if self.options.has_maps else None
        rows = scorer.score(name, files, input_crop="none", holes=True, score_maps=score_maps)
        return rows, [
            *_check_missing(files.missing, len(rows), files.directory, self.options.skip_missing),
            *_check_holes(rows, files.directory),
        ]


def _programs(directories: Sequence[Folder], options: FileOptions) -> list[_Program]:
    folders = [pathlib.Path(directory) for directory in directories]
    names = [folder.name for folder in folders] if len(folders) > 1 else [""]
    if len(set(names)) < len(names):
        raise UserError("--predictions: two folders have the same name: rename one")
    return [_Program(*each, options) for each in zip(names, folders, strict=True)]


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
