"""Scores by distance and by scene: where is a model wrong?"""

import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import metrics

NAMES = ("abs_rel", "rmse", "d1")
MAX_SCENES = 20  # that are printed; the files have all

Map = Float[np.ndarray, "height width 1"]
Row = dict[str, Any]  # of an image, see `scoring.Row`
Parts = dict[str, dict[str, Any]]  # {title of a part: {name in NAMES: mean, "images": number}}


def distance_scores(
    prediction: Map, truth: Map, mask: Bool[np.ndarray, "height width 1"], ends: Sequence[float]
) -> dict[str, dict[str, dict[str, float] | None]]:
    """Scores the pixels of an image by their true distance.

    Args:
      prediction: positive metres.
      truth: metres.
      mask: True where a pixel is scored.
      ends: metres, increasing, where one range ends and the next begins; the first range begins at
        0, and the last has no end.

    Returns:
      {"by_distance": {title of a range: {name in NAMES: value}}}, the nearest first; None for a
      range without pixels.
    """
    ranges = list(itertools.pairwise((0.0, *ends, np.inf)))
    masks = np.stack([mask & (truth >= low) & (truth < high) for low, high in ranges])
    values = jax.device_get(_scores(prediction, truth, masks))
    scored = {}
    for index, span in enumerate(ranges):
        found = {name: float(values[name][index]) for name in NAMES}
        scored[_title(*span)] = found if values["valid"][index] else None
    return {"by_distance": scored}


@jax.jit
def _scores(prediction, truth, masks):
    same = (jnp.broadcast_to(x, masks.shape) for x in (prediction, truth))
    return metrics.depth_metrics(*same, masks)


def _title(low: float, high: float) -> str:
    return f"{low:g} to {high:g} m" if high < np.inf else f"beyond {low:g} m"


def over_distances(rows: Sequence[Row]) -> dict[str, Parts]:
    """{"by_distance": means over the images that have pixels there}; {} if none was scored so."""
    scored = [row["by_distance"] for row in rows if "by_distance" in row]
    parts = {}
    for title in scored[0] if scored else ():
        reached = [each[title] for each in scored if each[title] is not None]
        parts |= {title: _means(reached)} if reached else {}
    return {"by_distance": parts} if parts else {}


def over_scenes(rows: Sequence[Row]) -> dict[str, Parts]:
    """{"by_scene": means over the images of each scene}, the worst abs_rel first.

    A scene is the folder in the names of images: bathroom_0001 of bathroom_0001/rgb_00045.jpg.

    Raises:
      UserError: the name of an image has no folder.
    """
    scenes: dict[str, list[Row]] = {}
    for row in rows:
        if row["valid"]:
            scenes.setdefault(scene_of(row["name"]), []).append(row)
    means = {scene: _means(images) for scene, images in scenes.items()}
    worst = sorted(means, key=lambda scene: -means[scene]["abs_rel"])
    return {"by_scene": {scene: means[scene] for scene in worst}}


def scene_of(name: str) -> str:
    """Returns the folder in a sample's name; a UserError if there is none."""
    folder = str(pathlib.PurePosixPath(name).parent)
    if folder == ".":
        raise UserError(
            f"evaluation.by_scene: the name {name!r} has no folder that tells its scene: set it to "
            "False, or keep each scene in a folder of its own"
        )
    return folder


def _means(rows: Sequence[Row]) -> dict[str, Any]:
    values = {name: float(np.mean([row[name] for row in rows])) for name in NAMES}
    return values | {"images": len(rows)}
