"""The calibration of a model directory, in `calibration.json`: how far off its depth may be."""

import dataclasses
import json
import os
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from diffdepth_jax.errors import UserError
from diffdepth_jax.whole_files import whole_file

FILE = "calibration.json"
_AGAIN = "calibrate it again (--mode=calibrate)"
Metres = Float[np.ndarray, "*shape"]
Members = Float[np.ndarray, "members *shape"]


@dataclasses.dataclass(frozen=True)
class IntervalWidths:
    """Half the width of an interval in log depth, by predicted distance and relative spread.

    The relative spread is spread / depth: to first order the spread of log depth.

    Attributes:
      levels: the nominal coverages, increasing.
      distances: metres of predicted depth, at which D bins of distance meet: D - 1 numbers.
      spreads: for each bin of distance the relative spreads at which its G bins of spread meet.
      half_widths: for each bin of distance and each level the half widths of the G bins of spread;
        they decrease neither with the spread nor with the level.
    """

    levels: Sequence[float]
    distances: Sequence[float]
    spreads: Sequence[Sequence[float]]
    half_widths: Sequence[Sequence[Sequence[float]]]

    def row(self, level: float) -> int:
        """Returns the number of a level; a UserError if there are no widths of this level."""
        if level not in self.levels:
            known = ", ".join(f"{known:g}" for known in self.levels)
            raise UserError(f"interval {level:g}: the calibration knows {known}; give one of these")
        return list(self.levels).index(level)

    def half_width(self, depth: Metres, spread: Metres, level: float) -> Metres:
        """Returns half widths in log depth for a depth and its spread in metres."""
        row = self.row(level)
        bins, relative = np.searchsorted(self.distances, depth), spread / depth
        result = np.zeros(np.shape(depth), np.float32)
        for n, (ends, widths) in enumerate(zip(self.spreads, self.half_widths, strict=True)):
            inside = bins == n
            result[inside] = np.array(widths[row])[np.searchsorted(ends, relative[inside])]
        return result

    def interval(self, depth: Metres, spread: Metres, level: float) -> tuple[Metres, Metres]:
        """Returns the ends of the interval in metres, see `half_width`."""
        factor = np.exp(self.half_width(depth, spread, level))
        return depth / factor, depth * factor


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes:
      widths: of the intervals.
      stretch: by this factor members stand farther from their median, in log depth.
      ensemble, num_steps: the number of samples, and of sampler steps, that it holds for.
      parameters: the `parameters_identity` of the variables that predicted.
      description: how the numbers came about, and from how many pictures.
      held_out: the scores of pictures that were left out of the fit.
    """

    widths: IntervalWidths
    stretch: float
    ensemble: int
    num_steps: int
    parameters: str
    description: str
    held_out: dict[str, dict[str, float | None]]

    def check(
        self, directory: str | os.PathLike, parameters: str, ensemble: int, num_steps: int
    ) -> None:
        """Raises a UserError unless the calibration of a directory holds for these predictions.

        `parameters` is the identity of the variables that are in use. The directory may hold others
        by now, if training goes on.
        """
        path = pathlib.Path(directory) / FILE
        if self.parameters != parameters:
            raise UserError(f"{path} was made for other parameters of the model: {_AGAIN}")
        for name, ours, own in (
            ("ensemble", ensemble, self.ensemble),
            ("num_steps", num_steps, self.num_steps),
        ):
            if ours != own:
                raise UserError(
                    f"{path} was made with {name} {own}, not {ours}: use {own}, or {_AGAIN}"
                )

    def stretched(self, members: Members) -> Members:
        """Returns members in log depth, stretched about their median."""
        return stretched(members, self.stretch)


def stretched(members: Members, factor: float) -> Members:
    """Returns members that are `factor` times as far from their median."""
    median = np.median(members, axis=0)
    return median + factor * (members - median)


def save_calibration(directory: str | os.PathLike, calibration: Calibration) -> None:
    """Writes the file into a model directory, whole or not at all, with a checksum."""
    fields = dataclasses.asdict(calibration)
    text = json.dumps({"checksum": _checksum(fields), **fields}, indent=1, allow_nan=False)
    with whole_file(pathlib.Path(directory) / FILE) as unfinished:
        unfinished.write_text(text + "\n")


def load_calibration(directory: str | os.PathLike) -> Calibration | None:
    """Reads a model directory's calibration; None if it has none.

    Raises:
      UserError: the file is damaged.
    """
    path = pathlib.Path(directory) / FILE
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text())
        if fields.pop("checksum") != _checksum(fields):
            raise ValueError("its checksum differs")
        found = Calibration(widths=IntervalWidths(**fields.pop("widths")), **fields)
        _check_fields(found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, or {_AGAIN}") from error
    return found


def _check_fields(found: Calibration) -> None:
    """Raises a ValueError or TypeError unless fields have the types and shapes of their classes."""
    widths = found.widths
    numbers = (widths.levels, widths.distances, (found.stretch,), *widths.spreads)
    for ends in numbers:
        rising = np.asarray(ends, np.float64)
        if rising.ndim != 1 or not np.isfinite(rising).all() or (np.diff(rising) < 0).any():
            raise ValueError("its numbers do not rise, or are not finite")
    for spreads, rows in zip(widths.spreads, widths.half_widths, strict=True):
        shape = len(widths.levels), len(spreads) + 1
        if np.shape(rows) != shape or not np.isfinite(np.asarray(rows, np.float64)).all():
            raise ValueError(f"its half widths are not {shape[0]} x {shape[1]} finite numbers")
    if len(widths.spreads) != len(widths.distances) + 1 or found.stretch <= 0:
        raise ValueError("its bins do not fit together")
    _check_types(found)


def _check_types(found: Calibration) -> None:
    for name, kind in (("ensemble", int), ("num_steps", int), ("parameters", str)):
        if not isinstance(getattr(found, name), kind):
            raise TypeError(f"its {name} is {getattr(found, name)!r}")
    if not isinstance(found.held_out, dict) or not isinstance(found.description, str):
        raise TypeError("its description or scores are of another type")


def _checksum(fields: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(fields, sort_keys=True).encode())
