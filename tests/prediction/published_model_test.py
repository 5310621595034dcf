"""A published model predicts the same, takes half the space, and tells nothing of its machine."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from diffdepth_jax.checkpoints import calibration as calibrations
from diffdepth_jax.checkpoints.calibration import Calibration, IntervalWidths
from diffdepth_jax.checkpoints.model_directory import load_variables, write_variables
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.identity import parameters_identity
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.published_model import LARGEST_MOVE, publish_model
from tests.support import small_model, small_run

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


@pytest.fixture
def model(tmp_path):
    """A model directory whose configuration names a folder."""
    config = small_run.config(data__folder={"root": "/home/ann/rgbd"})
    small_model.save(tmp_path / "run", config)
    return tmp_path / "run"


def test_depth_hardly_moves_and_the_file_is_half_as_large(model, tmp_path):
    write_variables(model, jax.tree.map(lambda x: 0.1 * x, load_variables(model)))
    line = publish_model(model, tmp_path / "copy")
    assert f"{tmp_path / 'copy'}: float16, because" in line
    sizes = [(path / "model.safetensors").stat().st_size for path in (model, tmp_path / "copy")]
    assert sizes[1] < 0.7 * sizes[0]
    before, after = (
        DepthEstimator.from_checkpoint(x)(IMAGE).depth for x in (model, tmp_path / "copy")
    )
    np.testing.assert_allclose(after, before, rtol=2 * LARGEST_MOVE)
    assert not np.array_equal(before, after)


def test_weights_that_float16_cannot_hold_stay_float32(model, tmp_path):
    variables = load_variables(model)
    variables["params"]["neck"]["lateral0_norm"]["scale"] *= 1e6  # float16 ends at 65504
    write_variables(model, variables)
    assert ": float32, because" in publish_model(model, tmp_path / "copy")
    jax.tree.map(np.testing.assert_array_equal, load_variables(tmp_path / "copy"), variables)


def test_paths_of_the_machine_stay_there(model, tmp_path):
    publish_model(model, tmp_path / "copy")
    ours, theirs = (json.loads((x / "config.json").read_text()) for x in (model, tmp_path / "copy"))
    assert ours["data"]["folder"]["root"] == "/home/ann/rgbd"
    assert theirs["data"]["folder"]["root"] == ""
    ours["data"]["folder"]["root"] = ours["data"]["records"]["data_dir"] = ""
    assert ours == theirs


def _calibration_of(identity):
    widths = IntervalWidths([0.9], [], [[]], [[[0.3]]])
    return Calibration(widths, 1.0, 8, 2, identity, "a test", {})


def test_a_calibration_of_other_parameters_stays_there(model, tmp_path):
    calibrations.save_calibration(model, _calibration_of("0" * 64))
    assert "its calibration was made for other parameters" in publish_model(
        model, tmp_path / "copy"
    )
    assert calibrations.load_calibration(tmp_path / "copy") is None


def test_card_and_calibration_come_along(model, tmp_path):
    (model / "README.md").write_text("a card")
    identity = parameters_identity(load_variables(model))
    found = _calibration_of(identity)
    calibrations.save_calibration(model, found)
    publish_model(model, tmp_path / "copy")
    assert (tmp_path / "copy/README.md").read_text() == "a card"
    copied = calibrations.load_calibration(tmp_path / "copy")
    copied.check(tmp_path, parameters_identity(load_variables(tmp_path / "copy")), 8, 2)
    assert dataclasses.replace(copied, parameters=identity) == found


def test_an_existing_output_is_refused(model, tmp_path):
    with pytest.raises(UserError, match="exists: give another name"):
        publish_model(model, model)
