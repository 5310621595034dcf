"""A run that is killed at any moment ends as one that was not."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.checkpoints.run_checkpoints import RunCheckpoints
from tests.support import chaos


@pytest.mark.slow
def test_what_is_killed_thirty_times_ends_as_if_it_had_not_been(tmp_path, capsys):
    """Of training, of the preparation of data and of prediction."""
    assert chaos.chaos(tmp_path, kills=30, seconds=3600, seed=0)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("kill ")]) == 30
    assert lines[-1].startswith("30 of 30 kills; equal, bit for bit")


def test_a_difference_in_one_bit_is_found(tmp_path):
    for name, value in (("a", 1.0), ("b", np.nextafter(np.float32(1), np.float32(2)))):
        state = {"same": jnp.ones(3), "other": jnp.full(2, value, jnp.float32)}
        with RunCheckpoints(tmp_path / name) as checkpoints:
            checkpoints.save(7, state)
            checkpoints.save_best(7, {"params": {"same": jnp.ones(3)}}, score=0.5)
    assert chaos.differing(tmp_path / "a", tmp_path / "a", 7) == []
    assert chaos.differing(tmp_path / "a", tmp_path / "b", 7) == ["[0]['other']"]


def test_the_plan_follows_the_seed_and_has_each_signal_at_each_place():
    plan = list(chaos.plan(20, seed=0))
    assert plan == list(chaos.plan(20, seed=0)) != list(chaos.plan(20, seed=1))
    for start in (0, 10):
        assert len({(number, place) for number, place, _ in plan[start : start + 10]}) == 10
    assert all(0 <= share < 1 for *_, share in plan)


def test_a_file_that_is_missing_or_new_or_other_is_found(tmp_path):
    for folder, files in (("a", "xyz"), ("b", "xyw")):
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).write_text(folder if name == "y" else name)
    assert chaos.differing_files(tmp_path / "a", tmp_path / "b") == ["w", "y", "z"]
    assert chaos.differing_files(tmp_path / "a", tmp_path / "a") == []
