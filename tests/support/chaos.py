"""Kills a training run again and again, and compares its end with that of a run left alone.

python -m tests.support.chaos --kills=20 --seconds=600 --seed=0 --workdir=DIR

Signals and moments follow from the seed, moments as shares of what start-up and a step take on the
machine. Of six kills three are SIGKILL, three SIGTERM; one of each falls anywhere from the start
on, soon after a further checkpoint, and while one is written. Exit status 1: the runs do not end
alike, or there was no time for all kills.
"""

import argparse
import dataclasses
import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

from diffdepth_jax.checkpoints.model_directory import load_variables
from tests.support import compile_flags, small_run
from tests.support.paths import ROOT

STATUSES = {signal.SIGKILL: {-9}, signal.SIGTERM: {75}}
PLACES = ("anywhere", "after a save", "in a save")
EVALUATE_EVERY = 5
PATIENCE = 300  # seconds for a run to get anywhere


@dataclasses.dataclass
class Run:
    """A training run in a directory of its own, as the command line starts it."""

    workdir: pathlib.Path
    cache: pathlib.Path
    num_steps: int

    def start(self):
        flags = small_run.command_line_flags(
            **{
                "train.num_steps": self.num_steps,
                "train.checkpoint_every": 1,
                "train.evaluate_every": EVALUATE_EVERY,
                "train.log_every": 1,
                "evaluation.baselines": False,
            }
        )
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": compile_flags.QUICK,
            "JAX_COMPILATION_CACHE_DIR": str(self.cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        command = [
            sys.executable,
            "-m",
            "diffdepth_jax.main",
            "--config=configs/synthetic.py",
            f"--workdir={self.workdir}",
            *flags,
        ]
        with open(self.workdir.with_suffix(".log"), "a") as log:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def newest(self):
        """The newest checkpoint; 0: none."""
        names = [path.name for path in self.workdir.glob("checkpoints/*")]
        return max((int(name) for name in names if name.isdigit()), default=0)

    def is_saving(self):
        return any(self.workdir.glob("checkpoints/*.orbax-checkpoint-tmp"))


def wait_until(condition, process):
    """Until it holds, or the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and not condition():
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(f"no progress in {PATIENCE} s")
        time.sleep(0.002)


def finish(run):
    """Lets a run end; raises if it does not end well."""
    process = run.start()
    if process.wait(PATIENCE):
        raise RuntimeError(f"status {process.returncode}: see {run.workdir.with_suffix('.log')}")


def compile_programs(run):
    """So that the runs that follow start alike: goes on until it has evaluated."""
    process = run.start()
    wait_until(lambda: run.newest() > EVALUATE_EVERY, process)
    process.kill()
    process.wait()


def run_undisturbed(run):
    """Returns what start-up and a step take, in seconds."""
    began = time.monotonic()
    process = run.start()
    wait_until(run.newest, process)
    first = time.monotonic()
    if process.wait(PATIENCE):
        raise RuntimeError(f"status {process.returncode}: see {run.workdir.with_suffix('.log')}")
    return first - began, (time.monotonic() - first) / run.num_steps


def plan(kills, seed):
    """Yields (signal, place, share of the span of moments that the place allows)."""
    choices, pairs = random.Random(seed), []
    for _ in range(kills):
        if not pairs:
            pairs = list(itertools.product(STATUSES, PLACES))
            choices.shuffle(pairs)
        yield *pairs.pop(), choices.random()


def kill_once(run, number, place, share, startup, step):
    """Starts a run and kills it; returns a line that says how, None if it ended before.

    Args:
      run: of which the newest checkpoint is gone on from.
      number: of the signal.
      place: one of PLACES.
      share: see `plan`.
      startup, step: seconds.
    """
    before, began = run.newest(), time.monotonic()
    process = run.start()
    if place == "anywhere":
        wait_until(lambda: time.monotonic() > began + share * (startup + 10 * step), process)
    else:
        wait_until(lambda: run.newest() > before, process)
        if place == "in a save":
            wait_until(run.is_saving, process)
        time.sleep(share * step / (1 if place == "after a save" else 4))
    process.send_signal(number)
    moment = time.monotonic() - began
    status = process.wait(PATIENCE)
    if status == 0:
        return None
    early = place == "anywhere" and status == -number  # before training listens
    if status not in STATUSES[number] and not early:
        raise RuntimeError(f"status {status}: see {run.workdir.with_suffix('.log')}")
    half = ", a save half done" if run.is_saving() else ""
    return (
        f"{number.name} after {moment:.2f} s, {place}: newest checkpoint {before} -> "
        f"{run.newest()}, status {status}{half}"
    )


def differing(ours, theirs, num_steps):
    """Names of the arrays in which two runs' directories differ at the end, bit for bit."""
    mine, others = (
        [small_run.read_state(workdir, num_steps), load_variables(workdir)]
        for workdir in (ours, theirs)
    )
    leaves = zip(jax.tree.leaves_with_path(mine), jax.tree.leaves(others), strict=True)
    return [
        jax.tree_util.keystr(path)
        for (path, a), b in leaves
        if np.asarray(a).tobytes() != np.asarray(b).tobytes()
    ]


def chaos(workdir, kills, seconds, seed):
    """Prints a line for each kill and a verdict; returns whether all is well, see above."""
    began, done = time.monotonic(), 0
    first, undisturbed, killed = (
        Run(workdir / name, workdir / "compiled", 2 * EVALUATE_EVERY + 4 * kills)
        for name in ("first", "whole", "killed")
    )
    compile_programs(first)
    startup, step = run_undisturbed(undisturbed)
    print(
        f"a start takes {startup:.1f} s, each of {killed.num_steps} steps {step:.2f} s", flush=True
    )
    for count, choice in enumerate(plan(kills, seed)):
        if time.monotonic() > began + seconds:
            print(f"time is up: {count} of {kills} kills")
            break
        line = kill_once(killed, *choice, startup, step)
        if line is None:
            print(f"the run ended before kill {count + 1}")
            break
        done = count + 1
        print(f"kill {done}: {line}", flush=True)
    finish(killed)
    names = differing(undisturbed.workdir, killed.workdir, killed.num_steps)
    verdict = f"{len(names)} arrays differ, such as {names[0]}" if names else "equal, bit for bit"
    print(f"{verdict}; {time.monotonic() - began:.0f} s")
    return not names and done == kills


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=600, help="no kill starts later")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=pathlib.Path, help="is kept; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        workdir = (options.workdir or pathlib.Path(temporary)).absolute()
        workdir.mkdir(parents=True, exist_ok=True)
        sys.exit(not chaos(workdir, options.kills, options.seconds, options.seed))


if __name__ == "__main__":
    main()
