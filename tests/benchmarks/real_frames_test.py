"""Frames are read in metres, and scored as by hand."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import real_frames
from diffdepth_jax.prediction.estimator import DepthEstimator
from tests.support import small_model


def test_scores_are_those_by_hand():
    """Half of the pixels at 2 m, half at 4 m, the first not measured; 3 m are predicted."""
    truth = np.full((2, 4), 2.0, np.float32)
    truth[1], truth[0, 0] = 4, 0
    found = real_frames.scores(np.full((2, 4), 3.0, np.float32), truth)
    assert found["abs_rel"] == pytest.approx((3 / 2 + 4 / 4) / 7)
    assert found["rmse"] == pytest.approx(1) and found["d1"] == 0
    assert found["aligned_abs_rel"] == pytest.approx(3 * 1 / 7)  # 4 m, the median, everywhere


def test_a_folder_is_scored_with_and_without_its_focal_length(tmp_path):
    """Twice the model's focal length: twice the metres."""
    small_model.save(tmp_path / "model")
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (48, 32), (9, 90, 200)).save(tmp_path / "rgb/0.jpg")
    Image.fromarray(np.full((32, 48), 2000, np.uint16)).save(tmp_path / "depth/0.png")
    ((picture, truth),) = real_frames.frames(tmp_path)
    assert picture.name == "0.jpg" and (truth == 2).all()
    estimator = DepthEstimator.from_checkpoint(tmp_path / "model")
    for factor in (1, 2):
        depth = factor * estimator(picture).depth
        expected = real_frames.scores(depth, truth)
        focal = factor * estimator.focal_length
        assert real_frames.score(estimator, tmp_path, focal, 1) == pytest.approx(expected, rel=1e-4)
