"""Scores a model on folders of real frames, with and without their focal length.

python -m benchmarks.real_frames --checkpoint=MODEL [--ensemble=8] [--output=FILE.json] \
    NAME=DIR:FOCAL ...

DIR holds rgb/ and depth/, whose files pair up in the order of their names; depth is in 16-bit
millimetres, 0 where nothing was measured. FOCAL is in pixels of the frames. All pixels from 1 mm to
10 m count, and the numbers are means over the frames.
"""

import argparse
import json
import pathlib

import numpy as np
from PIL import Image

from diffdepth_jax import DepthEstimator
from diffdepth_jax.evaluation.metrics import align_median, clamp_prediction, depth_metrics

LIMITS = (1e-3, 10.0)  # metres
NAMES = ("abs_rel", "rmse", "d1")

Scores = dict[str, float]


def frames(directory: pathlib.Path) -> list[tuple[pathlib.Path, np.ndarray]]:
    """The paths of the pictures and their depth, float32 metres [H, W]."""
    pictures, maps = (sorted((directory / name).iterdir()) for name in ("rgb", "depth"))
    depth = [np.asarray(Image.open(path), np.float32) / 1000 for path in maps]
    return list(zip(pictures, depth, strict=True))


def scores(depth: np.ndarray, truth: np.ndarray) -> Scores:
    """The metrics of one frame, also after median alignment."""
    prediction, target = depth[None, ..., None], truth[None, ..., None]
    mask = (target > LIMITS[0]) & (target < LIMITS[1])
    aligned = clamp_prediction(align_median(prediction, target, mask), *LIMITS)
    values = depth_metrics(clamp_prediction(prediction, *LIMITS), target, mask)
    found = {name: float(values[name][0]) for name in NAMES}
    return found | {"aligned_abs_rel": float(depth_metrics(aligned, target, mask)["abs_rel"][0])}


def score(
    estimator: DepthEstimator, directory: pathlib.Path, focal: float | None, ensemble: int
) -> Scores:
    """The means over the frames of a folder."""
    rows = [
        scores(estimator(picture, focal_length=focal, ensemble=ensemble).depth, truth)
        for picture, truth in frames(directory)
    ]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--ensemble", type=int, default=1)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("places", nargs="+", help="NAME=DIR:FOCAL")
    options = parser.parse_args()
    estimator, result = DepthEstimator.from_pretrained(options.checkpoint), {}
    for name, _, place in (text.partition("=") for text in options.places):
        directory, _, focal = place.rpartition(":")
        for kind, given in (("focal length given", float(focal)), ("not given", None)):
            found = score(estimator, pathlib.Path(directory), given, options.ensemble)
            result[f"{name}, {kind}"] = found
            print(name, kind, {key: round(value, 4) for key, value in found.items()}, flush=True)
    if options.output:
        facts = {"checkpoint": options.checkpoint, "ensemble": options.ensemble, "scores": result}
        options.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
