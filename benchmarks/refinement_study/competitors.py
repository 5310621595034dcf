"""Where could the depth be? Samples of a diffusion model against what costs less, as ensembles.

Every competitor gives members in log depth, [S, H, W] for each picture, so that all are calibrated
and scored alike: one stretch and conformal widths, fitted to pictures of other scenes. All draw
their members at random, 16 unless they have fewer: the CRPS of 16 draws is a little worse than that
of the distribution that they come from.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from benchmarks.refinement_study.rows import MEMBERS
from diffdepth_jax.checkpoints.calibration import IntervalWidths, stretched
from diffdepth_jax.evaluation import uncertainty, uncertainty_report
from diffdepth_jax.evaluation.calibration_fit import Pixels, fit_stretch, fit_widths

Members = Float[np.ndarray, "members height width"]
_PER_PICTURE = 1000  # pixels of a picture that a fit sees
_BINS = 8  # of rows, of predicted depth
SCORES = ("crps", "crps_8x8", "crps_image", "interval_score")  # less is better


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture and what the models say of it.

    Attributes:
      kind: of scene; error maps are borrowed from pictures of the same kind.
      truth: log of metres where `mask` is True.
      predictions: {model: log of metres [S, H, W]}; of a Laplace head also its log scale.
    """

    kind: str
    truth: Float[np.ndarray, "height width"]
    mask: Bool[np.ndarray, "height width"]
    predictions: Mapping[str, Members]

    def residual(self) -> Float[np.ndarray, "height width"]:
        """Truth minus the feed-forward prediction; its mean where there is no truth."""
        error = self.truth - self.predictions["feed_forward"][0]
        return np.where(self.mask, error, error[self.mask].mean())


Competitor = Callable[[Picture, np.random.Generator], Members]


def competitors(fitted: Sequence[Picture]) -> dict[str, Competitor]:
    """{name: competitor}; some take errors from the pictures of the calibration."""

    def laplace(picture, rng):
        depth, scale = picture.predictions["laplace"]
        return depth + np.exp(scale) * rng.laplace(size=(MEMBERS, *depth.shape))

    def laplace_together(picture, rng):
        depth, scale = picture.predictions["laplace"]
        return depth + np.exp(scale) * rng.laplace(size=(MEMBERS, 1, 1))

    def borrowed(picture, rng):
        others = [x for x in fitted if x.kind == picture.kind and x is not picture]
        chosen = rng.choice(len(others), MEMBERS, replace=False)
        residuals = np.stack([others[index].residual() for index in chosen])
        return picture.predictions["feed_forward"] + residuals

    return {
        **{name: _given(name) for name in ("samples", "flips", "seeds")},
        "laplace": laplace,
        "laplace_together": laplace_together,
        "one_width": _by_bin(fitted, lambda picture: np.zeros_like(picture.truth)),
        "row": _by_bin(fitted, _rows),
        "depth": _by_bin(fitted, lambda picture: picture.predictions["feed_forward"][0]),
        "borrowed": borrowed,
    }


def _given(name: str) -> Competitor:
    """The members that a model has predicted."""
    return lambda picture, rng: picture.predictions[name]


def _rows(picture: Picture) -> Float[np.ndarray, "height width"]:
    height, width = picture.truth.shape
    return np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)


def _by_bin(fitted: Sequence[Picture], value: Callable) -> Competitor:
    """Quantiles of the feed-forward model's errors among pixels of about the same value."""
    values = np.concatenate([value(x)[x.mask] for x in fitted])
    errors = np.concatenate([x.residual()[x.mask] for x in fitted])
    ends = np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS))
    bins = np.searchsorted(ends, values)
    errors = [np.sort(errors[bins == n]) for n in range(len(ends) + 1) if (bins == n).any()]

    def members(picture, rng):
        """A member has the same quantile of the errors in all pixels."""
        number = np.minimum(np.searchsorted(ends, value(picture)), len(errors) - 1)
        levels = rng.random(MEMBERS)
        drawn = np.stack([of_bin[(levels * len(of_bin)).astype(int)] for of_bin in errors])
        return picture.predictions["feed_forward"] + np.moveaxis(drawn[number], -1, 0)

    return members


def pixels_of(pictures: Sequence[Picture], ensembles: Sequence[Members]) -> Pixels:
    """Some pixels of each picture, for the fits."""
    columns = []
    for number, (picture, members) in enumerate(zip(pictures, ensembles, strict=True)):
        rng = np.random.default_rng(number)
        valid = np.flatnonzero(picture.mask)
        chosen = rng.choice(valid, min(_PER_PICTURE, len(valid)), replace=False)
        x = members.reshape(len(members), -1)[:, chosen]
        depth = np.exp(np.median(x, axis=0))
        spread = depth * uncertainty.spread_of(x)
        truth = np.exp(picture.truth.reshape(-1)[chosen])
        columns.append([np.full(len(chosen), number), truth, depth, spread, *x])
    picture, truth, depth, spread, *members = np.concatenate(columns, axis=1)
    return Pixels(picture.astype(int), truth, depth, spread, np.stack(members))


def score(
    competitor: Competitor, fitted: Sequence[Picture], scored: Sequence[Picture]
) -> Iterator[dict[str, float]]:
    """Yields the scores of each scored picture, calibrated on the fitted ones."""
    rng = np.random.default_rng(0)
    pixels = pixels_of(fitted, [competitor(picture, rng) for picture in fitted])
    stretch, widths = fit_stretch(pixels), fit_widths(pixels)
    for picture in scored:
        yield _score(picture, competitor(picture, rng), stretch, widths)


def _score(picture: Picture, raw: Members, stretch: float, widths: IntervalWidths):
    mask, truth = picture.mask, picture.truth[picture.mask]
    members = stretched(raw, stretch)
    x = raw[:, mask]
    centre, spread = np.median(x, axis=0), uncertainty.spread_of(x)
    depth = np.exp(centre)
    half = widths.half_width(depth, spread * depth, uncertainty.LEVEL)
    covered = uncertainty.is_covered(centre - half, centre + half, truth)
    cells = [uncertainty.pooled(z, mask, uncertainty.CELL) for z in (members, picture.truth)]
    low, high = uncertainty.quantile_interval(x, uncertainty.LEVEL)
    scores = uncertainty.interval_score(centre - half, centre + half, truth, uncertainty.LEVEL)
    error = np.abs(centre - truth)
    return {
        "crps": uncertainty.crps(members[:, mask], truth).mean(),
        "crps_8x8": uncertainty.crps(*cells).mean(),
        "crps_image": uncertainty.crps(members[:, mask].mean(axis=1), truth.mean()),
        "interval_score": scores.mean(),
        "coverage": covered.mean(),
        "raw_coverage": uncertainty.is_covered(low, high, truth).mean(),
        "spread_rank": uncertainty.rank_correlation(spread, error),
        "spread_rank_ceiling": uncertainty.rank_ceiling(x),
        "mean_spread": spread.mean(),
        "mean_error": error.mean(),
        "stretch": stretch,
        "distances": uncertainty.count_distances(np.exp(truth), covered),
    }


def summary(rows: Sequence[Mapping]) -> dict[str, float | None]:
    """Means over pictures, the coverage of each fifth of true distance, and `image_rank`."""
    names = [name for name in rows[0] if name != "distances"]
    values = {name: _mean([row[name] for row in rows]) for name in names}
    values["image_rank"] = uncertainty.rank_correlation(
        np.array([row["mean_spread"] for row in rows]),
        np.array([row["mean_error"] for row in rows]),
    )
    distances = [entry for row in rows for entry in row["distances"]]
    parts = uncertainty_report.coverage_of_parts(
        np.array([row["coverage"] for row in rows]), distances
    )
    return values | {name: x for name, x in parts.items() if name.startswith("coverage_")}


def _mean(values: Sequence[float]) -> float | None:
    """Of the pictures that have a value; None if none has."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None


def paired_ratio(
    ours: Sequence[Mapping], theirs: Sequence[Mapping], name: str, draws: int = 2000
) -> dict[str, float]:
    """Ours / theirs of mean scores, with a 95 % interval by bootstrap over pictures."""
    pairs = np.array([[a[name], b[name]] for a, b in zip(ours, theirs, strict=True)])
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(pairs), size=(draws, len(pairs)))
    first, second = pairs[chosen].mean(axis=1).T
    low, high = np.quantile(first / second, (0.025, 0.975))
    ratio = pairs[:, 0].mean() / pairs[:, 1].mean()
    return {"ratio": float(ratio), "low": float(low), "high": float(high)}
