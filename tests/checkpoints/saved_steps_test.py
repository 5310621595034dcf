"""Checkpoints are written in the background, whole or not at all, and damage is found."""

import os
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.checkpoints import (
    checksums,
    numbered_folders,
    run_checkpoints,
    saved_steps,
)
from diffdepth_jax.checkpoints.model_directory import load_variables
from diffdepth_jax.checkpoints.run_checkpoints import RunCheckpoints
from diffdepth_jax.errors import UserError
from tests.support import small_run


def _state(step):
    """Of noise, which does not compress."""
    kernel = jax.random.normal(jax.random.key(step), (40, 50))
    return {"step": jnp.int32(step), "params": {"kernel": kernel}}


def _assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def _save(workdir, *steps):
    with RunCheckpoints(workdir) as checkpoints:
        for step in steps:
            checkpoints.save(step, _state(step))
            checkpoints.save_best(step, _state(step), score=1 / step)


def _restore(workdir):
    with RunCheckpoints(workdir) as checkpoints:
        return checkpoints.restore(_state(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with steps 1 and 2; copy it before changing it."""
    workdir = tmp_path_factory.mktemp("saved")
    _save(workdir, 1, 2)
    return workdir


def _truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def _flip(path):
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


DAMAGES = {"deleted": os.unlink, "truncated": _truncate, "flipped": _flip}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_happens_to_a_file_the_numbers_are_right(saved, tmp_path, damage, caplog):
    folder = saved / "checkpoints/2"
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 8
    for index, path in enumerate(files):
        caplog.clear()
        workdir = shutil.copytree(saved, tmp_path / str(index))
        DAMAGES[damage](workdir / "checkpoints/2" / path)
        restored = _restore(workdir)
        if str(path) in ("_CHECKPOINT_METADATA", "commit_success.txt"):  # nothing depends on them
            _assert_equal(restored, _state(2))
        else:
            _assert_equal(restored, _state(1))
            assert not (workdir / "checkpoints/2").exists()
            assert sum(file.is_file() for file in (workdir / "damaged/2").rglob("*")) == (
                len(files) - (damage == "deleted")
            )
            (message,) = (record.getMessage() for record in caplog.records)
            assert message.startswith("checkpoints/2 is damaged (")
            assert "moved to" in message and "going on from checkpoints/1" in message


def test_a_step_that_was_moved_aside_can_be_saved_again(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    for aside in ("2", "2-again"):
        shutil.rmtree(workdir / "checkpoints/2/state/d")
        with RunCheckpoints(workdir) as checkpoints:
            assert int(checkpoints.restore(_state(0))["step"]) == 1
            checkpoints.save(2, _state(2))
        assert (workdir / "damaged" / aside).is_dir()
    _assert_equal(_restore(workdir), _state(2))


def test_if_no_checkpoint_is_whole_nothing_is_moved(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    for step in (1, 2):
        shutil.rmtree(workdir / f"checkpoints/{step}/state/d")
    with pytest.raises(UserError, match=r"checkpoints/2 cannot be restored .*nor can one before"):
        RunCheckpoints(workdir)
    assert numbered_folders.steps(workdir / "checkpoints") == [1, 2]
    assert not (workdir / "damaged").exists()


def test_if_the_newest_was_deleted_the_one_before_serves(saved, tmp_path, caplog):
    workdir = shutil.copytree(saved, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/2")
    _assert_equal(_restore(workdir), _state(1))
    assert not caplog.records


def test_an_older_damaged_checkpoint_is_let_be(saved, tmp_path):
    """A kill while the oldest is being deleted leaves half of it."""
    workdir = shutil.copytree(saved, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/1/state/d")
    _assert_equal(_restore(workdir), _state(2))
    _save(workdir, 3)
    assert numbered_folders.steps(workdir / "checkpoints") == [2, 3]


def test_damaged_best_parameters_are_refused_and_moved_aside(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    _flip(workdir / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged .*restore it from a"):
        load_variables(workdir)
    with RunCheckpoints(workdir) as checkpoints:
        checkpoints.save_best(1, _state(1), score=99.0)
    assert (workdir / "damaged/model.safetensors").is_file()
    _assert_equal(load_variables(workdir), _state(1))


def test_what_a_kill_left_of_a_save_is_removed(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    half = workdir / "checkpoints/3.orbax-checkpoint-tmp"
    shutil.copytree(workdir / "checkpoints/2", half)
    _assert_equal(_restore(workdir), _state(2))
    assert not half.exists()


def test_each_bit_of_a_folder_is_checked(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file").write_bytes(b"depth")
    (tmp_path / "empty").write_bytes(b"")
    checksums.write_checksums(tmp_path)
    assert checksums.find_damage(tmp_path) is None
    whole = (tmp_path / "in/file").read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "in/file").write_bytes(changed)
        assert checksums.find_damage(tmp_path) == "in/file is not what was written"


@pytest.mark.parametrize("text", ["", "[1]", '{"in/file": 3}', '{"in/file": [5]}', "\xff"])
def test_checksums_that_cannot_be_read_are_damage(tmp_path, text):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file").write_bytes(b"depth")
    (tmp_path / checksums.FILE).write_text(text, encoding="latin-1")
    assert "cannot be read" in checksums.find_damage(tmp_path)


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """What is saved is the state of then, though its memory was given to the next steps."""
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    steps_taken = threading.Event()

    def write_late(folder):
        assert steps_taken.wait(60)
        checksums.write_checksums(folder)

    monkeypatch.setattr(saved_steps, "write_checksums", write_late)
    state = step({"step": jnp.int32(2), "kernel": jnp.ones((4000, 500))})
    expected = jax.tree.map(np.array, state)
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(3, state)
        for _ in range(5):
            state = jax.block_until_ready(step(state))
        assert not numbered_folders.steps(tmp_path / "checkpoints")
        steps_taken.set()
    _assert_equal(small_run.read_state(tmp_path, 3), expected)


@pytest.fixture
def full_disk(monkeypatch):
    """On which the last file of a checkpoint finds no space."""

    def write(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved_steps, "write_checksums", write)


MESSAGE = r"checkpoints/3 could not be written .*No space left.* same command again to resume"


def test_a_write_that_failed_in_the_background_is_raised_by_the_next_save(full_disk, tmp_path):
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(3, _state(3))
        with pytest.raises(UserError, match=MESSAGE):
            checkpoints.save(4, _state(4))
    assert not numbered_folders.steps(tmp_path / "checkpoints")


@pytest.mark.parametrize("stop", [None, SystemExit(75)])
def test_a_write_that_failed_in_the_background_is_raised_at_the_end(full_disk, tmp_path, stop):
    with pytest.raises(UserError, match=MESSAGE), RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(3, _state(3))
        if stop:
            raise stop


def test_a_write_that_failed_in_the_background_hides_no_other_error(
    full_disk, tmp_path, monkeypatch
):
    said = []
    warn = lambda text, *args: said.append(text % args)  # noqa: E731
    monkeypatch.setattr(run_checkpoints.logging, "warning", warn)
    with pytest.raises(ZeroDivisionError), RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(3, _state(3))
        checkpoints.save_best(3, _state(3), 1 / 0)
    assert len(said) == 1 and "checkpoints/3 could not be written" in said[0]


def test_with_space_again_the_same_step_is_saved(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(saved_steps, "write_checksums", lambda _: 1 / 0)
        with pytest.raises(UserError), RunCheckpoints(tmp_path) as checkpoints:
            checkpoints.save(3, _state(3))
    _save(tmp_path, 3)
    _assert_equal(_restore(tmp_path), _state(3))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["3"]


def test_damage_beside_the_checkpoints_is_named(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    for path in workdir.rglob("_CHECKPOINT_METADATA"):
        path.write_text('{"init_timestamp_nsecs": []}')
    with pytest.raises(UserError, match=r"checkpoints cannot be read .*restore the folder"):
        _restore(workdir)
