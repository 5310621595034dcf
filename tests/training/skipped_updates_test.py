"""Skipped updates: the right batch is written, the count is borne, the message helps."""

import jax
import numpy as np
import pytest
from absl import logging

from diffdepth_jax.errors import UserError
from diffdepth_jax.training.skipped_updates import SkippedUpdates


def _batch(step):
    return {
        "image": np.full((2, 4, 6, 3), step, np.float32),
        "depth": np.full((2, 4, 6, 1), np.nan, np.float32),
        "mask": np.ones((2, 4, 6, 1), bool),
    }


def _terms(skipped, loss=1.0, so_far=0):
    return {"loss": (np.float32(loss), 1), "skipped": (skipped, 1), "skipped_so_far": (so_far, 1)}


def _files(workdir):
    return sorted(path.name for path in workdir.glob("nonfinite/*"))


def test_finite_updates_leave_nothing(tmp_path):
    updates = SkippedUpdates(tmp_path, 0)
    updates.check(0, None)
    for step in range(3):
        updates.keep(step, _batch(step))
        updates.check(step, _terms(0))
    assert not (tmp_path / "nonfinite").exists()


@pytest.mark.parametrize("late", [0, 1])
def test_the_batch_of_the_skipped_update_is_written_as_it_was_fed(late, tmp_path):
    updates = SkippedUpdates(tmp_path, 1)
    for step in range(5):
        updates.keep(step, _batch(step))
    updates.check(4 - late, _terms(1, np.nan, 1))
    (name,) = _files(tmp_path)
    assert name == f"step_{4 - late}.npz"
    with np.load(tmp_path / "nonfinite" / name) as written:
        assert written["step"] == 4 - late
        assert sorted(written) == ["depth", "image", "mask", "step"]
        for key, value in _batch(4 - late).items():
            np.testing.assert_array_equal(written[key], value)
            assert written[key].dtype == value.dtype


def test_no_more_than_two_batches_are_held(tmp_path):
    updates = SkippedUpdates(tmp_path, 1)
    for step in range(3):
        updates.keep(step, _batch(step))
    with pytest.raises(KeyError):
        updates.check(0, _terms(1, so_far=1))


def test_one_warning_names_loss_count_and_file(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
    updates = SkippedUpdates(tmp_path, 3)
    updates.keep(7, _batch(7))
    updates.check(7, _terms(1, np.inf, 2))
    (line,) = lines
    for words in ("loss inf", "step 7", "2 of at most 3", str(tmp_path / "nonfinite/step_7.npz")):
        assert words in line


def test_one_more_than_allowed_ends_the_run(tmp_path):
    updates = SkippedUpdates(tmp_path, 2)
    for step, count in ((9, 1), (10, 2), (11, 3)):
        updates.keep(step, _batch(step))
        if count <= 2:
            updates.check(step, _terms(1, so_far=count))
    with pytest.raises(UserError, match=r"3 updates.*at most 2.*max_skipped.*9, 10, 11: ") as error:
        updates.check(11, _terms(1, so_far=3))
    message = str(error.value)
    assert str(tmp_path / "nonfinite") in message and "\n" not in message
    for remedy in ("checkpoint", "learning_rate", "model.dtype", "float32", "batches"):
        assert remedy in message


def test_each_process_writes_its_own_part(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for index in range(2):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        updates = SkippedUpdates(tmp_path, 0)
        updates.keep(5, _batch(index))
        with pytest.raises(UserError, match="steps 5: "):
            updates.check(5, _terms(1, so_far=1))
    assert _files(tmp_path) == ["step_5_process_0.npz", "step_5_process_1.npz"]
