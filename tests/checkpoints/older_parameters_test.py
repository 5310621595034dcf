"""Model directories of older versions, with Orbax's `parameters/`, are read and gone on from."""

import contextlib
import json

import jax
import numpy as np
import pytest

from diffdepth_jax.checkpoints import weights_file
from diffdepth_jax.checkpoints.checksums import write_checksums
from diffdepth_jax.checkpoints.model_directory import holds_steps, load_variables
from diffdepth_jax.checkpoints.run_checkpoints import RunCheckpoints
from diffdepth_jax.checkpoints.saved_steps import SavedSteps
from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.estimator import DepthEstimator
from tests.support import small_model


@pytest.fixture
def older(tmp_path):
    """A directory as older versions wrote it: step 5 with a score of .25."""
    directory = tmp_path / "model"
    small_model.save(directory)
    variables = load_variables(directory)
    (directory / weights_file.FILE).unlink()
    with contextlib.closing(SavedSteps(directory / "parameters", "default", keep=1)) as steps:
        steps.save(5, variables)
    folder = directory / "parameters/5"
    (folder / "metrics").mkdir()
    (folder / "metrics/metrics").write_text(json.dumps({"score": 0.25}))
    write_checksums(folder)
    return directory, variables


def test_it_is_read(older):
    directory, variables = older
    assert holds_steps(directory)
    jax.tree.map(np.testing.assert_array_equal, load_variables(directory), variables)
    DepthEstimator.from_checkpoint(directory)


def test_a_run_goes_on_with_the_best_score_so_far(older):
    directory, variables = older
    other = jax.tree.map(lambda x: x + 1, variables)
    for score, kept in ((0.3, variables), (0.2, other)):
        with RunCheckpoints(directory) as checkpoints:
            assert checkpoints.save_best(6, other, score) == (score < 0.25)
        jax.tree.map(np.testing.assert_array_equal, load_variables(directory), kept)


def test_damage_is_named_and_the_next_best_is_saved(older):
    directory, variables = older
    (directory / "parameters/5/metrics/metrics").write_text("{}")
    with pytest.raises(UserError, match=r"parameters/5 is damaged \(metrics/metrics has 2 of"):
        load_variables(directory)
    with RunCheckpoints(directory) as checkpoints:
        assert checkpoints.save_best(6, variables, 99.0)
    jax.tree.map(np.testing.assert_array_equal, load_variables(directory), variables)


def test_another_model_is_refused(older):
    directory, _ = older
    text = (directory / "config.json").read_text()
    changed = text.replace('"neck_features": 8', '"neck_features": 16')
    assert changed != text
    (directory / "config.json").write_text(changed)
    with pytest.raises(UserError, match="parameters/5 does not fit the model"):
        DepthEstimator.from_checkpoint(directory)
