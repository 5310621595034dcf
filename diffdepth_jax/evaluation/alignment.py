"""Fits a prediction to the ground truth of its image, as models that do not know the scale need it.

An aligned prediction knows part of the answer: its scores compare with aligned scores only.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from diffdepth_jax.errors import UserError

Map = Float[np.ndarray, "height width 1"]
Mask = Bool[np.ndarray, "height width 1"]
Values = Float[np.ndarray, " pixels"]


@dataclasses.dataclass(frozen=True)
class Alignment:
    """One way to align.

    Attributes:
      title: what is fitted, to stand under a table.
      space: depth, disparity (1 / depth) or log (of depth): where the fit is made.
      fit: (prediction, truth) in that space, float64 -> (scale, shift).
      unknowns: of the fit; 0: nothing is fitted.
    """

    title: str
    space: str
    fit: Callable[[Values, Values], tuple[float, float]]
    unknowns: int


def _keep(prediction: Values, truth: Values) -> tuple[float, float]:
    return 1.0, 0.0


def _median(prediction: Values, truth: Values) -> tuple[float, float]:
    return float(np.median(truth) / np.median(prediction)), 0.0


def _scale(prediction: Values, truth: Values) -> tuple[float, float]:
    square = float(prediction @ prediction)
    return float(prediction @ truth) / square if square else 0.0, 0.0


def _shift(prediction: Values, truth: Values) -> tuple[float, float]:
    return 1.0, float(np.mean(truth - prediction))


def _scale_and_shift(prediction: Values, truth: Values) -> tuple[float, float]:
    centred = prediction - prediction.mean()
    square = float(centred @ centred)  # 0 for a constant, whose best fit is the truth's mean
    scale = float(centred @ truth) / square if square else 0.0
    return scale, float(truth.mean() - scale * prediction.mean())


_SQUARES = "by least squares"
ALIGNMENTS = {
    "none": Alignment("not aligned", "depth", _keep, 0),
    "median": Alignment("one factor of depth, of the medians", "depth", _median, 1),
    "scale": Alignment(f"one factor of depth, {_SQUARES}", "depth", _scale, 1),
    "scale_shift": Alignment(f"scale and shift of depth, {_SQUARES}", "depth", _scale_and_shift, 2),
    "scale_disparity": Alignment(
        f"one factor of disparity (1 / depth), {_SQUARES}", "disparity", _scale, 1
    ),
    "scale_shift_disparity": Alignment(
        f"scale and shift of disparity (1 / depth), {_SQUARES}", "disparity", _scale_and_shift, 2
    ),
    "scale_log": Alignment(f"one factor of depth, {_SQUARES} of log depth", "log", _shift, 1),
    "scale_shift_log": Alignment(
        f"scale and shift of log depth, {_SQUARES}", "log", _scale_and_shift, 2
    ),
}


def check_alignment(name: str) -> None:
    """Raises a UserError unless this is a name in ALIGNMENTS."""
    if name not in ALIGNMENTS:
        raise UserError(f"evaluation.alignment {name!r}: must be one of {', '.join(ALIGNMENTS)}")


def align(prediction: Map, truth: Map, mask: Mask, alignment: str, image: str) -> Map:
    """Aligns the prediction of one image to its ground truth.

    The fit is made in float64 over the pixels where the mask is True and the prediction is a number
    in the alignment's space. Align before predictions are clamped.

    Args:
      prediction: metres, or what stands for them; nan stays nan.
      truth: metres; may be anything where the mask is False.
      mask: True where a pixel is scored.
      alignment: a name in ALIGNMENTS.
      image: its name, for errors.

    Returns:
      float32 metres. Where an aligned disparity is not positive they are inf: infinitely far.

    Raises:
      UserError: fewer pixels are valid than the fit has unknowns. An image without any valid pixel
        comes back as it is.
    """
    chosen = ALIGNMENTS[alignment]
    if not chosen.unknowns or not mask.any():
        return prediction
    with np.errstate(divide="ignore", invalid="ignore"):
        values = _to(chosen.space, prediction.astype(np.float64))
        valid = mask & np.isfinite(values)
        _check_count(int(valid.sum()), chosen.unknowns, alignment, image)
        scale, shift = chosen.fit(values[valid], _to(chosen.space, truth[valid].astype(np.float64)))
        return _from(chosen.space, scale * values + shift).astype(np.float32)


def _check_count(count: int, unknowns: int, alignment: str, image: str) -> None:
    if count < unknowns:
        raise UserError(
            f"image {image}: evaluation.alignment {alignment} has {unknowns} unknowns, but only "
            f"{count} pixels have ground truth and a prediction: leave the image out, or take "
            "another alignment"
        )


def _to(space: str, depth: np.ndarray) -> np.ndarray:
    return {"depth": lambda x: x, "disparity": lambda x: 1 / x, "log": np.log}[space](depth)


def _from(space: str, values: np.ndarray) -> np.ndarray:
    if space == "disparity":  # nan is neither, and stays
        return np.where(values <= 0, np.inf, 1 / values)
    return np.exp(values) if space == "log" else values
