"""Several programs on the same pictures: paired differences, and where they differ most."""

import pathlib
from collections.abc import Mapping

import numpy as np

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.scorer import Scorer, panel
from diffdepth_jax.evaluation.scoring import Predictor, Row
from diffdepth_jax.media import drawing

_COMPARED = ("abs_rel", "rmse", "d1")
_RESAMPLES, _LEVEL = 2000, 0.95
_SHOWN = 6  # pictures of a sheet


def compare(
    scorer: Scorer,
    name: str,
    rows: Mapping[str, list[Row]],
    files: Mapping[str, Predictor],
    directory: pathlib.Path,
) -> list[str]:
    """Compares each program with the first on one evaluation set.

    Writes DIRECTORY/SET_SECOND_and_FIRST.png: the pictures whose abs_rel differs most.

    Args:
      scorer: of the rows.
      name: of the set.
      rows: {program: what the scorer said of its files}.
      files: {program: its files}.
      directory: of the sheets, which is there.

    Returns:
      For each further program a line on its mean differences from the first, and one on the sheet.

    Raises:
      UserError: two programs have no picture in common.
    """
    first, *others = rows
    lines = []
    for other in others:
        pairs = _pairs(rows[first], rows[other])
        if not pairs:
            raise UserError(f"{name}: {first} and {other} have no picture in common")
        sheet = directory / f"{name}_{other}_and_{first}.png"
        shown = {program: files[program] for program in (first, other)}
        drawing.write_png(sheet, _sheet(scorer, name, shown, pairs))
        lines += [f"{name}: {other} minus {first}, {_differences(pairs)}"]
        lines += [f"{name}: where {other} and {first} differ most: {sheet}"]
    return lines


def _pairs(first: list[Row], second: list[Row]) -> list[tuple[Row, Row]]:
    """The rows of both programs for each picture that both have."""
    scored = {row["index"]: row for row in first if row["valid"]}
    both = [row for row in second if row["valid"] and row["index"] in scored]
    return [(scored[row["index"]], row) for row in both]


def _differences(pairs: list[tuple[Row, Row]]) -> str:
    texts = []
    for metric in _COMPARED:
        differences = np.array([second[metric] - first[metric] for first, second in pairs])
        low, high = bootstrap_interval(differences)
        texts.append(f"{metric} {differences.mean():+.4f} ({low:+.4f} to {high:+.4f})")
    return f"{len(pairs)} pictures: {', '.join(texts)}"


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of a mean over pictures, by resampling the pictures."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.percentile(values[drawn].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)


def _sheet(
    scorer: Scorer, name: str, files: Mapping[str, Predictor], pairs: list[tuple[Row, Row]]
) -> drawing.Picture:
    """For each of the pictures that differ most one program's panel above the other's."""
    most = sorted(pairs, key=lambda pair: -abs(pair[0]["abs_rel"] - pair[1]["abs_rel"]))
    panels: list[drawing.Picture] = []
    for first, _ in most[:_SHOWN]:
        indices = range(first["index"], first["index"] + 1)
        for program, predict in files.items():
            (image,) = scorer.images(name, predict, indices, input_crop="none", holes=True)
            panels.append(panel(image, program, titled=not panels))
    return drawing.stack_panels(panels)
