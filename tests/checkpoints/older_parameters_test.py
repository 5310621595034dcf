"""Model directories of older versions, with Orbax's `parameters/`, are read and gone on from."""

import contextlib
import json
import shutil

import jax
import numpy as np
import pytest

from diffdepth_jax.checkpoints import saved_steps, weights_file
from diffdepth_jax.checkpoints.checksums import write_checksums
from diffdepth_jax.checkpoints.model_directory import holds_steps, load_variables
from diffdepth_jax.checkpoints.run_checkpoints import RunCheckpoints
from diffdepth_jax.checkpoints.saved_steps import SavedSteps
from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.training.pretrained import start_from
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


@pytest.mark.parametrize("checksums", [True, False])
def test_numbers_that_are_not_finite_are_named(older, checksums):
    directory, variables = older
    spoiled = jax.tree.map(lambda x: x.at[...].set(np.nan), variables)
    shutil.rmtree(directory / "parameters/5")
    with contextlib.closing(SavedSteps(directory / "parameters", "default", keep=1)) as steps:
        steps.save(5, spoiled)
    if not checksums:
        (directory / "parameters/5/checksums.json").unlink()
    with pytest.raises(UserError, match=r"parameters/5: .* numbers of params/.* are not finite"):
        load_variables(directory)


def test_arrays_that_are_damaged_and_have_no_checksums_are_named(older):
    """Tensorstore raises a bare Exception."""
    directory, _ = older
    (directory / "parameters/5/checksums.json").unlink()
    for path in (directory / "parameters/5/default").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    with pytest.raises(UserError, match=r"parameters/5 does not fit the model"):
        load_variables(directory)


def test_a_start_from_it_reads_no_more_than_its_model_has(older, monkeypatch):
    """What the folder claims beyond that is refused before the arrays are read."""
    directory, variables = older
    claimed = {**variables["params"], "more": {"kernel": np.ones((300, 300), np.float32)}}
    shutil.rmtree(directory / "parameters/5")
    with contextlib.closing(SavedSteps(directory / "parameters", "default", keep=1)) as steps:
        steps.save(5, {**variables, "params": claimed})
    monkeypatch.setattr(saved_steps.ocp.StandardCheckpointer, "restore", lambda *_: pytest.fail())
    origin = {"backbone_weights": "", "initial_weights": str(directory)}
    with pytest.raises(UserError, match=r"leaves differ; params/more/kernel: saved \(300, 300\)"):
        start_from(variables, **origin, position_interpolation="resize")
