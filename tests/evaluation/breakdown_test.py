"""Scores by distance and by scene, on frames whose errors are known by hand."""

import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import breakdown

TRUTH = np.array([[1, 1.5, 2, 3, 5, 9]], np.float32)[..., None]
EVERYWHERE = np.ones(TRUTH.shape, bool)


def test_each_range_has_the_scores_of_its_own_pixels():
    """Nearer than 2 m all is right, from 2 to 4 m 10 % too far, beyond 50 %."""
    prediction = TRUTH * np.array([[1, 1, 1.1, 1.1, 1.5, 1.5]], np.float32)[..., None]
    scored = breakdown.distance_scores(prediction, TRUTH, EVERYWHERE, (2.0, 4.0))["by_distance"]
    assert list(scored) == ["0 to 2 m", "2 to 4 m", "beyond 4 m"]
    found = [(part["abs_rel"], part["d1"]) for part in scored.values()]
    np.testing.assert_allclose(found, [(0, 1), (0.1, 1), (0.5, 0)], atol=1e-6)
    rmse = [part["rmse"] for part in scored.values()]
    np.testing.assert_allclose(
        rmse, [0, np.sqrt((0.04 + 0.09) / 2), np.sqrt((6.25 + 20.25) / 2)], rtol=1e-5
    )


def test_only_scored_pixels_count_and_empty_ranges_have_no_scores():
    mask = EVERYWHERE.copy()
    mask[:, :2] = False
    scored = breakdown.distance_scores(TRUTH, TRUTH, mask, (2.0, 20.0))
    parts = scored["by_distance"]
    assert parts["0 to 2 m"] is None and parts["beyond 20 m"] is None
    assert list(breakdown.over_distances([scored])["by_distance"]) == ["2 to 20 m"]


def test_a_range_is_averaged_over_the_images_that_reach_it():
    near = {"abs_rel": 0.1, "rmse": 1.0, "d1": 0.5}
    far = {"abs_rel": 0.3, "rmse": 3.0, "d1": 0.1}
    rows = [
        {"by_distance": {"0 to 2 m": near, "2 to 10 m": None, "beyond 10 m": far}},
        {"by_distance": {"0 to 2 m": far, "2 to 10 m": near, "beyond 10 m": None}},
        {},
    ]
    parts = breakdown.over_distances(rows)["by_distance"]
    assert list(parts) == ["0 to 2 m", "2 to 10 m", "beyond 10 m"]
    assert parts["0 to 2 m"] == pytest.approx({"abs_rel": 0.2, "rmse": 2.0, "d1": 0.3, "images": 2})
    assert parts["beyond 10 m"]["images"] == 1
    assert breakdown.over_distances([{}]) == {}


def test_scenes_are_the_folders_of_the_images_and_the_worst_comes_first():
    def row(name, abs_rel, valid=9):
        return {"name": name, "abs_rel": abs_rel, "rmse": 1.0, "d1": 1.0, "valid": valid}

    rows = [row("a/1.jpg", 0.1), row("b/x/1.jpg", 0.5), row("a/2.jpg", 0.3), row("c/1.jpg", 9, 0)]
    parts = breakdown.over_scenes(rows)["by_scene"]
    assert list(parts) == ["b/x", "a"]
    assert parts["a"]["abs_rel"] == pytest.approx(0.2) and parts["a"]["images"] == 2
    with pytest.raises(UserError, match=r"by_scene: the name '7.jpg' has no folder"):
        breakdown.over_scenes([row("7.jpg", 0.1)])
