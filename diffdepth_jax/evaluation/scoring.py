"""Scores predictions against ground truth: the same path for models, baselines and files."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from diffdepth_jax.arrays import Array
from diffdepth_jax.datasets.samples import EvaluationSample
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import breakdown, edges, metrics, uncertainty_report
from diffdepth_jax.evaluation.alignment import align
from diffdepth_jax.evaluation.protocols import Protocol, Resize
from diffdepth_jax.evaluation.uncertainty_report import ScoreMaps
from diffdepth_jax.media.preprocessing import Size, input_box
from diffdepth_jax.models import layers

# A predictor maps (samples, index of the first) to one prediction for each sample: metres [h, w, 1]
# of what the model sees of the frame, at any resolution, or None where it has no prediction. A
# prediction may have more maps than its depth: its spread, the part of the spread that is of
# Laplace scales, and, of an ensemble, its members.
Prediction = Float[Array, "height width maps"]
Map = Shaped[Array, "height width 1"]
Predictor = Callable[[Sequence[EvaluationSample], int], Sequence[Prediction | None]]
Batches = Iterable[Sequence[EvaluationSample]]  # see `pipeline.evaluation_batches`
Row = dict[str, Any]  # of one image: its name and the values of a ScoredImage
Means = dict[str, Any]  # {metric: mean over images}, and the number of "images" that count


def resize_depth(depth: Prediction, size: Size, rule: Resize = "bilinear") -> Prediction:
    """Metres [H, W, C] -> [*size, C]; maps of that size come back unchanged.

    "bilinear" puts the centre of pixel i at i + 1/2, PyTorch's align_corners=False;
    "bilinear_corners" is align_corners=True; "nearest" mixes no two depths; "bilinear_disparity"
    mixes 1 / depth, for relative models.
    """
    if depth.shape[:2] == tuple(size):
        return depth
    if rule == "bilinear_corners":
        return layers.resize_align_corners(depth[None], *size)[0]
    if rule == "bilinear_disparity":
        return 1 / resize_depth(1 / depth, size)
    return jax.image.resize(depth, (*size, depth.shape[-1]), rule, antialias=False)


@functools.partial(jax.jit, static_argnames=("size", "input_crop", "resize"))
def to_frame(
    prediction: Prediction, *, size: Size, input_crop: str, resize: Resize = "bilinear"
) -> Prediction:
    """Puts the metres of the input crop, [h, w, C], in their place in the frame, [*size, C].

    Outside the crop a pixel takes the nearest value inside. KITTI's cropped protocols score no
    pixel there.
    """
    top, bottom, left, right = input_box(*size, input_crop)
    inside = resize_depth(prediction, (bottom - top, right - left), resize)
    padding = ((top, size[0] - bottom), (left, size[1] - right), (0, 0))
    return jnp.pad(inside, padding, mode="edge")


def sample_name(sample: EvaluationSample, index: int) -> str:
    """The name that the source gives to a sample; without one, its index."""
    return sample.get("name", f"{index:010d}")


def predict_frames(
    predict: Predictor,
    batches: Batches,
    input_crop: str = "none",
    first: int = 0,
    resize: Resize = "bilinear",
) -> Iterator[tuple[int, EvaluationSample, Prediction]]:
    """Yields (index, sample, metres [H, W, C] at the size of the sample's ground truth).

    Samples without a prediction are left out. `first` is the index of the first sample.
    """
    index = first
    for samples in batches:
        for sample, depth in zip(samples, predict(samples, index), strict=True):
            if depth is not None:
                place = {"size": sample["depth"].shape[:2], "input_crop": input_crop}
                yield index, sample, to_frame(depth, **place, resize=resize)
            index += 1


@dataclasses.dataclass(frozen=True)
class ScoredImage:
    """One scored prediction.

    Attributes:
      index: of the sample in its set.
      sample: with the ground truth.
      prediction: metres [H, W, 1], clamped as the protocol says.
      values: {metric: float}, the number of "valid" pixels, over which the metrics are taken, and
        of "holes", see `score_images`. Those of `edges.NAMES` are nan where no edges are scored.
        Predictions with a spread also have those of `uncertainty.image_scores`, and those with a
        calibration `calibrated_scores.NAMES`.
    """

    index: int
    sample: EvaluationSample
    prediction: np.ndarray
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """See `sample_name`."""
        return sample_name(self.sample, self.index)


def scored_mask(depth: Map, mask: Map, protocol: Protocol) -> Map:
    """True where the mask is and a pixel counts by the protocol; all [H, W, 1]."""
    mask = metrics.evaluation_mask(depth, mask, *protocol.truth)
    return mask & protocol.mask(*depth.shape[:2])


@functools.partial(jax.jit, static_argnames=("protocol", "holes"))
def _score(prediction, depth, mask, *, protocol, holes):
    mask = scored_mask(depth, mask, protocol)
    hole = mask & jnp.isnan(prediction) if holes else jnp.zeros_like(mask)
    prediction = metrics.clamp_prediction(prediction, *protocol.clamp)
    values = metrics.depth_metrics(prediction[None], depth[None], (mask & ~hole)[None])
    return prediction, {name: value[0] for name, value in values.items()} | {"holes": hole.sum()}


@functools.partial(jax.jit, static_argnames=("protocol", "holes"))
def _score_shape(prediction, depth, mask, dense_depth, dense_mask, *, protocol, holes):
    """The scores after alignment, and those at edges, which are taken from the dense depth.

    A program of its own, so that the compiler cannot round the metrics of `_score` in another way.
    """
    truth = scored_mask(dense_depth, dense_mask, protocol)[None]
    mask = scored_mask(depth, mask, protocol)[None]
    prediction, depth, dense_depth = prediction[None], depth[None], dense_depth[None]
    found = ~jnp.isnan(prediction) if holes else True
    aligned = metrics.align_median(prediction, depth, mask & found)
    prediction, aligned = (
        metrics.clamp_prediction(x, *protocol.clamp) for x in (prediction, aligned)
    )
    values = metrics.aligned_metrics(aligned, depth, mask & found)
    values |= edges.edge_scores(prediction, aligned, dense_depth, truth, truth & found)
    return {name: value[0] for name, value in values.items()}


def _dense_truth(sample):
    """Depth and mask of the pixels at which edges are scored."""
    if "dense_depth" in sample:
        return sample["dense_depth"], sample["dense_depth"] > 0
    return sample["depth"], sample["mask"]


def score_images(
    predict: Predictor,
    batches: Batches,
    *,
    protocol: Protocol,
    input_crop: str = "none",
    first: int = 0,
    holes: bool = False,
    score_maps: ScoreMaps | None = None,
    distances: Sequence[float] = (),
) -> Iterator[ScoredImage]:
    """Yields a ScoredImage for each frame with a prediction, see `predict_frames`.

    Args:
      predict, batches: what is scored.
      protocol: how.
      input_crop, first: see `predict_frames`.
      holes: whether nan says that there is no depth: these pixels are left out of the metrics and
        counted as "holes". Otherwise they are clamped.
      score_maps: scores the further maps of a prediction, such as its spread. Not of aligned ones:
        an alignment does not say how they move.
      distances: ends in metres of ranges that are scored apart, see `breakdown`.
    """
    frames = predict_frames(predict, batches, input_crop, first, protocol.resize)
    for index, sample, maps in frames:
        truth, name = (sample["depth"], sample["mask"]), sample_name(sample, index)
        mask = np.asarray(scored_mask(*truth, protocol))
        depth = align(np.asarray(maps[..., :1]), truth[0], mask, protocol.alignment, name)
        fields = {"protocol": protocol, "holes": holes}
        scored = _score(depth, *truth, **fields)
        shape = _score_shape(depth, *truth, *_dense_truth(sample), **fields)
        clamped, values = jax.device_get((scored[0], scored[1] | shape))
        values = {name: value.item() for name, value in values.items()}
        seen = mask & ~np.isnan(depth) if holes else mask
        if score_maps is not None and protocol.alignment == "none":
            values |= score_maps(clamped_maps(maps, protocol), truth[0][..., 0], seen[..., 0])
        if distances:
            values |= breakdown.distance_scores(clamped, truth[0], seen, distances)
        yield ScoredImage(index, sample, clamped, values)


def clamped_maps(maps: Prediction, protocol: Protocol) -> Float[np.ndarray, "maps height width"]:
    """Depth and members clamped as the protocol says; the spread and its part as they are."""
    maps = np.moveaxis(np.asarray(maps), -1, 0)
    clamped = np.array(metrics.clamp_prediction(maps, *protocol.clamp))
    clamped[1:3] = maps[1:3]
    return clamped


def mean_over_images(rows: Iterable[Row], protocol: Protocol) -> Means:
    """Means of per-image values over the images with valid pixels.

    Returns:
      {name: float} for metrics.ALL_NAMES and metrics.ALIGNED_NAMES, and "images", the number of
      images that count. For edges.NAMES the means over those of them in which edges are scored, or
      None if there are none; "edge_images" is their number. Also what
      `uncertainty_report.over_images` and `breakdown.over_distances` return.

    Raises:
      UserError: no image has a valid pixel.
    """
    rows = [row for row in rows if row["valid"] > 0]
    if not rows:
        raise UserError(
            "no evaluation image has ground truth between {} and {} m inside the crop: check the "
            "depth scale, and frame.min_depth and frame.max_depth, unless the protocol fixes these "
            "limits".format(*protocol.truth)
        )
    with_edges = [row for row in rows if not np.isnan(row["boundary_f1"])]
    means = {name: _mean(rows, name) for name in metrics.ALL_NAMES + metrics.ALIGNED_NAMES}
    means |= {name: _mean(with_edges, name) if with_edges else None for name in edges.NAMES}
    means |= uncertainty_report.over_images(rows) | breakdown.over_distances(rows)
    return means | {"images": len(rows), "edge_images": len(with_edges)}


def _mean(rows, name):
    return float(np.mean([row[name] for row in rows]))


def mean_of(results: Mapping[str, Means], name: str = "abs_rel") -> float:
    """The score that picks the best checkpoint: the mean of a metric over the evaluation sets."""
    return float(jnp.mean(jnp.array([values[name] for values in results.values()])))
