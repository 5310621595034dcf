"""Two processes that talk over gloo train one model: killed, resumed, equal to a single process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from diffdepth_jax.distributed.preemption import EXIT_STATUS
from tests.support import compile_flags, small_run
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

LAST = 8
SGD = {
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 1e-2,
    "optimizer.warmup_steps": 1,
    "train.num_steps": LAST,
    "train.checkpoint_every": 2,
    "train.evaluate_every": LAST,
    "train.log_every": 1,
    "log_level": "warning",
}


def _free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


class Group:
    """A training run of `count` processes with one device each, on one work directory."""

    def __init__(self, workdir, count, cache, mode="train", **overrides):
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "XLA_FLAGS": compile_flags.QUICK,
        }
        self._workdir = workdir
        address = f"localhost:{_free_port()}"
        self.processes = []
        for index in range(count):
            flags = small_run.command_line_flags(**{**SGD, **overrides})
            if count > 1:
                flags += [
                    f"--coordinator={address}",
                    f"--num_processes={count}",
                    f"--process_id={index}",
                ]
            command = [
                sys.executable,
                "-m",
                "diffdepth_jax.main",
                f"--mode={mode}",
                "--config=configs/synthetic.py",
                f"--workdir={workdir}",
            ]
            process = subprocess.Popen(
                [*command, *flags],
                cwd=ROOT,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self.processes.append(process)

    def wait_for_a_checkpoint(self):
        deadline = time.monotonic() + 300
        while not any(path.name.isdigit() for path in self._workdir.glob("checkpoints/*")):
            assert all(process.poll() is None for process in self.processes)
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def send(self, number, processes=None):
        for process in processes or self.processes:
            process.send_signal(number)

    def finish(self, status=0):
        """What each wrote to stdout; all have to end with this status."""
        ends = [process.communicate(timeout=300) for process in self.processes]
        statuses = [process.returncode for process in self.processes]
        assert statuses == [status] * len(statuses), [err[-3000:] for _, err in ends]
        return [out for out, _ in ends]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def single(tmp_path_factory, cache):
    """(work directory, table) of the run of one process."""
    workdir = tmp_path_factory.mktemp("runs") / "single"
    (table,) = Group(workdir, 1, cache).finish()
    return workdir, table


def _assert_same_end(workdir, single):
    """Parameters within 1e-5 of each tensor's maximum, losses and metrics within 1e-4."""

    def compare(ours, theirs):
        scale = max(np.abs(theirs).max(initial=0), 1e-3)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)

    states = [small_run.read_state(path, LAST) for path in (workdir, single)]
    jax.tree.map(compare, *(state["variables"]["params"] for state in states))
    losses = [
        {
            line["step"]: line["train/loss"]
            for line in small_run.read_metrics(path)
            if "train/loss" in line
        }
        for path in (workdir, single)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for name in ("rooms", "streets"):
        ours, theirs = (
            json.loads((path / f"evaluation/{name}.json").read_text())["means"]
            for path in (workdir, single)
        )
        assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("parallel", ["jit", "pmap", "fsdp"])
def test_two_processes_that_are_killed_and_resumed_equal_one(parallel, single, cache, tmp_path):
    workdir, fields = tmp_path / parallel, {"train.parallel": parallel}
    group = Group(workdir, 2, cache, **fields)
    group.wait_for_a_checkpoint()
    group.send(signal.SIGKILL)
    group.finish(-signal.SIGKILL)
    tables = Group(workdir, 2, cache, **fields).finish()
    assert "rooms" in tables[0] and "rooms" not in tables[1]
    _assert_same_end(workdir, single[0])
    reports = Group(workdir, 2, cache, mode="evaluate", **fields).finish()
    assert reports[0].splitlines()[:2] == tables[0].splitlines()[:2]


def test_two_processes_start_from_the_weights_of_a_model(single, cache, tmp_path):
    fields = {"train.initial_weights": single[0], "train.num_steps": 2}
    losses = []
    for count in (1, 2):
        workdir = tmp_path / str(count)
        Group(workdir, count, cache, **fields).finish()
        losses.append(small_run.read_metrics(workdir)[0]["train/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_one_process_that_fails_does_not_leave_the_other_waiting(cache, tmp_path):
    workdir = tmp_path / "file"
    workdir.write_text("no directory")
    group = Group(workdir, 2, cache)
    ends = [process.communicate(timeout=200)[1] for process in group.processes]
    assert all(process.returncode not in (0, None) for process in group.processes)
    assert any(line.startswith("error: ") for line in ends[0].splitlines())


def test_a_signal_to_one_process_stops_all_at_one_step(single, cache, tmp_path):
    """And a single process goes on from what two have saved."""
    workdir = tmp_path / "stopped"
    group = Group(workdir, 2, cache)
    group.wait_for_a_checkpoint()
    group.send(signal.SIGTERM, group.processes[1:])
    group.finish(EXIT_STATUS)
    Group(workdir, 1, cache).finish()
    _assert_same_end(workdir, single[0])
