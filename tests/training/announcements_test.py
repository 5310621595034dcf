"""What a run says: of a whole one, of one that goes on, and of one whose loss stands still."""

import re
import shutil

import jax
import jax.numpy as jnp
import pytest

from diffdepth_jax.program import devices
from diffdepth_jax.training import loop
from diffdepth_jax.training.announcements import (
    describe_parameters,
    inform_of_start,
    warn_of_other_samples,
)
from diffdepth_jax.training.stuck_loss import StuckLoss
from tests.support import small_run


@pytest.fixture
def said(caplog, monkeypatch):
    """Trains, and returns the lines that a person would read."""
    monkeypatch.setattr(loop, "describe_environment", dict)

    def train(workdir):
        caplog.clear()
        with caplog.at_level("INFO", logger="absl"):
            loop.train(small_run.config(), workdir)
        own = [x for x in caplog.records if "/diffdepth_jax/" in x.pathname]
        return [record.getMessage() for record in own]

    return train


def test_a_finished_run_waits_for_no_step(tmp_path, caplog):
    with caplog.at_level("INFO", logger="absl"):
        inform_of_start(tmp_path, samples=8, held_out={}, parameters="9", steps=(6, 6))
    assert len(caplog.records) == 4 and not any(
        "first waits" in x.getMessage() for x in caplog.records
    )


def test_a_run_says_what_it_is_what_it_does_and_where_the_model_is(finished_run, tmp_path, said):
    """The finished run is broken off before its last evaluation; from there on it goes on."""
    workdir = shutil.copytree(finished_run[0], tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/6")
    lines = said(workdir)
    state = small_run.read_state(workdir, 6)
    count = sum(leaf.size for leaf in jax.tree.leaves(state["variables"]["params"]))
    assert lines[:5] == [
        f"device: {devices.describe_devices()}",
        "data: 8 training samples; evaluation samples: 3 (rooms), 3 (streets)",
        f"parameters: {count:,}",
        f"work directory: {workdir}, going on from step 3",
        "3 steps; the first waits until it is compiled: one to three minutes on two cores, some "
        "seconds if that was done before",
    ]
    assert lines[5] == "resuming from checkpoints/3"
    rest = "\n".join(lines[6:])
    seconds, score = r"\d+\.\d s", r"\d\.\d{4}"
    best = rf"abs_rel rooms {score}, streets {score}; (the best so far, kept|not the best so far)"
    assert re.fullmatch(
        rf"step 3: evaluating \.\.\.\nstep 3: evaluated in {seconds}: {best}\n"
        rf"compiling the training step \.\.\.\ncompiled; the first step is done after {seconds}\n"
        "step 6: saving to checkpoints/6\n"
        rf"step 6: evaluating \.\.\.\nstep 6: evaluated in {seconds}: {best}\n"
        rf"trained 6 steps; the model, of step [36]: {workdir}/model\.safetensors",
        rest,
    )


def test_a_run_that_goes_on_with_other_data_warns(tmp_path, caplog):
    for damaged in ("[]\n", "\0\0\n"):
        (tmp_path / "environment.jsonl").write_text(damaged)
        warn_of_other_samples(tmp_path, {"train": 18, "eval": 2})
    lines = '{"samples": {"train": 1}}\n{"samples": {"train": 18, "eval": 2}}\n{"samp'
    (tmp_path / "environment.jsonl").write_text(lines)
    warn_of_other_samples(tmp_path, {"train": 18, "eval": 2})
    assert not caplog.messages
    warn_of_other_samples(tmp_path, {"train": 19, "eval": 2})
    assert "{'train': 19, 'eval': 2} samples were {'train': 18, 'eval': 2}" in caplog.text


def test_frozen_parameters_are_not_counted_as_trained():
    params = {"backbone": {"kernel": jnp.ones((30, 40))}, "head": {"kernel": jnp.ones(34)}}
    assert describe_parameters(params, "backbone/.*") == "1,234, of which 34 are trained"
    assert describe_parameters(params, "") == "1,234"


def _warnings(caplog, *reports):
    watch = StuckLoss()
    for step, report in enumerate(reports):
        watch.see(step, *report)
    return [record.getMessage() for record in caplog.records]


def test_a_loss_of_0_is_told_once(caplog):
    (line,) = _warnings(caplog, (0.5, 1.0), (0.0, 0.0), (0.0, 0.0))
    assert line.startswith("step 1: the loss is exactly 0, so nothing is learned: look at loss.")


def test_a_loss_that_rests_is_told_once(caplog):
    (line,) = _warnings(caplog, *[(0.25, 1.0)] * 5)
    assert line.startswith("step 2: the loss does not move from 0.25, so nothing is learned")


def test_a_gradient_of_0_is_told(caplog):
    (line,) = _warnings(caplog, (0.5, 0.0))
    assert "the gradient is exactly 0, so nothing is learned: look at optimizer.freeze" in line


@pytest.mark.parametrize(
    "losses", [(0.5, 0.5, 0.501), (0.5, 0.5), (float("nan"),) * 4, (-0.1, 0.1, -0.1)]
)
def test_a_loss_that_moves_is_not_told(caplog, losses):
    assert _warnings(caplog, *[(loss, 1.0) for loss in losses]) == []
