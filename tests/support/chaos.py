"""Kills programs again and again, and compares their ends with those of programs left alone.

python -m tests.support.chaos --kills=30 --seconds=1800 --seed=0 --workdir=DIR

Of three kills two hit a training run, and every other one of the rest `data.prepare` and `predict`.
A kill hits the whole process group. Signals and moments follow from the seed, moments as shares of
what start-up and a step take on the machine. Half of the kills are SIGKILL, half SIGTERM; in
training one of each falls anywhere from the start on, while the step compiles, soon after a further
checkpoint, while one is written, and in an evaluation. Exit status 1: the ends differ, or there was
no time for all kills.
"""

import argparse
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
from diffdepth_jax.datasets.records import Records
from diffdepth_jax.prediction import record
from tests.support import compile_flags, raw_datasets, small_model, small_run
from tests.support.paths import ROOT
from tests.support.raw_datasets import save_image

SYNC = "nyu_depth/sync"
STATUSES = {signal.SIGKILL: {-9}, signal.SIGTERM: {75}}
PLACES = ("anywhere", "in compilation", "after a save", "in a save", "in an evaluation")
EVALUATE_EVERY = 5
PATIENCE = 1800  # seconds for a program to end, also on a machine that others use
KINDS = ("rooms", "streets")  # of scenes
CLOCK = ("time", "train/images_per_second")


class Program:
    """A program of the command line that works in a directory of its own."""

    def __init__(self, workdir, cache, *arguments):
        self.workdir, self._cache, self._arguments = workdir, cache, arguments
        self.log, self._said = workdir.with_suffix(".log"), 0

    def start(self, cache=None):
        """Starts it in a process group of its own; with `cache`, compiled programs lie there."""
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": compile_flags.QUICK,
            "JAX_COMPILATION_CACHE_DIR": str(cache or self._cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self._said = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, "-m", *map(str, self._arguments)]
        with open(self.log, "a") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def has_said(self, text):
        """Whether it has, since its last start."""
        return text in self.log.read_text()[self._said :]

    def finish(self):
        """Lets it end, and returns how long that took; raises if it does not end well."""
        began = time.monotonic()
        process = self.start()
        if process.wait(PATIENCE):
            raise RuntimeError(f"status {process.returncode}: see {self.log}")
        return time.monotonic() - began


class Run(Program):
    """A training run."""

    def __init__(self, workdir, cache, num_steps):
        self.num_steps = num_steps
        flags = small_run.command_line_flags(
            **{
                "train.num_steps": num_steps,
                "train.checkpoint_every": 1,
                "train.evaluate_every": EVALUATE_EVERY,
                "train.log_every": 1,
                "evaluation.baselines": False,
            }
        )
        config = "--config=configs/synthetic.py"
        super().__init__(
            workdir, cache, "diffdepth_jax.main", config, f"--workdir={workdir}", *flags
        )

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
        raise RuntimeError(f"status {process.returncode}: see {run.log}")
    return first - began, (time.monotonic() - first) / run.num_steps


def plan(kills, seed):
    """Yields (signal, place, share of the span of moments that the place allows)."""
    choices, pairs = random.Random(seed), []
    for _ in range(kills):
        if not pairs:
            pairs = list(itertools.product(STATUSES, PLACES))
            choices.shuffle(pairs)
        yield *pairs.pop(), choices.random()


def kill_run(run, number, place, share, startup, step):
    """Starts a training run and kills it; returns a line that says how, None if it ended before.

    Args:
      run: of which the newest checkpoint is gone on from.
      number: of the signal.
      place: one of PLACES.
      share: see `plan`.
      startup, step: seconds.
    """
    before, began = run.newest(), time.monotonic()
    cold = run.workdir.with_name(f"cold-{before}-{number}") if place == "in compilation" else None
    process = run.start(cold)
    if place == "anywhere":
        wait_until(lambda: time.monotonic() > began + share * (startup + 10 * step), process)
    elif place == "in compilation":
        wait_until(lambda: run.has_said("compiling the training step"), process)
        time.sleep(2 * share)
    elif place == "in an evaluation":
        wait_until(lambda: run.has_said("evaluating ..."), process)
        time.sleep(share * step)
    else:
        wait_until(lambda: run.newest() > before, process)
        if place == "in a save":
            wait_until(run.is_saving, process)
        time.sleep(share * step / (1 if place == "after a save" else 4))
    status = kill(run, process, number, place == "anywhere")  # before training listens
    if status == 0:
        return None
    half = ", a save half done" if run.is_saving() else ""
    return (
        f"train: {number.name} after {time.monotonic() - began:.2f} s, {place}: newest checkpoint "
        f"{before} -> {run.newest()}, status {status}{half}"
    )


def kill_program(program, number, share, seconds):
    """As `kill_run`, for a program that takes so many seconds; the moment is anywhere in them."""
    began = time.monotonic()
    process = program.start()
    wait_until(lambda: time.monotonic() > began + share * seconds, process)
    status = kill(program, process, number, True)
    if status == 0:
        return None
    left = len(list(program.workdir.rglob(".unfinished-*")))
    left += len(list(program.workdir.rglob("incomplete.*")))
    return (
        f"{program.workdir.name}: {number.name} after {share * seconds:.2f} s, status {status}, "
        f"{left} unfinished files or folders left"
    )


def kill(program, process, number, may_die):
    """Kills a process group and returns the status; `may_die`: of the signal itself."""
    os.killpg(process.pid, number)
    status = process.wait(PATIENCE)
    if status and status not in STATUSES[number] | ({-number} if may_die else set()):
        raise RuntimeError(f"status {status}: see {program.log}")
    return status


def differing(ours, theirs, num_steps):
    """Names of what differs between two runs' directories at the end, bit for bit."""
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


def differing_records(ours, theirs):
    """As `differing`, of the model card, results and numbers; and files that only ours has."""
    names = ["README.md", *(f"evaluation/{x}.{end}" for x in KINDS for end in ("json", "csv"))]
    names = [x for x in names if (ours / x).read_bytes() != (theirs / x).read_bytes()]
    if logged(ours) != logged(theirs):
        names.append("metrics.jsonl")
    left = {path.name for path in ours.iterdir()} - {path.name for path in theirs.iterdir()}
    return names + sorted(left)


def logged(workdir):
    lines = small_run.read_metrics(workdir)
    return [{name: line[name] for name in line if name not in CLOCK} for line in lines]


def differing_files(ours, theirs):
    """Names of files below two folders that only one has, or that differ."""
    mine, others = (
        {str(x.relative_to(folder)): content(x) for x in folder.rglob("*") if x.is_file()}
        for folder in (ours, theirs)
    )
    return sorted(name for name in mine | others if mine.get(name) != others.get(name))


def content(path):
    """The bytes of a file; of records their values, because TFDS writes them in any order.

    Of the record of inputs its whole lines, each once: a kill may leave half a line.
    """
    if path.name == record.FILE:
        return {line for line in path.read_text().splitlines() if line.endswith("}")}
    if "array_record" not in path.name:
        return path.read_bytes()
    records, split = path.parents[3], path.name.split("-")[1].split(".")[0]
    source = Records(SYNC, split, records)
    return [
        {name: np.asarray(value).tobytes() for name, value in source[index].items()}
        for index in range(len(source))
    ]


def create_programs(workdir):
    """Pairs (left alone, to be killed) of `data.prepare` and `predict`."""
    raw_datasets.nyu_sync(workdir / "raw", num_train=40, num_test=20)
    small_model.save(workdir / "model")
    for index in range(12):
        pixels = np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8)
        save_image(workdir / f"photos/{index:02d}.png", pixels)

    def prepare(output):
        source = f"--source={workdir / 'raw'}", f"--data_dir={output}"
        how = "--any_size", "--overwrite", "--num_workers=2"
        return "data.prepare", f"--dataset={SYNC}", *source, *how

    def predict(output):
        files = f"--input={workdir / 'photos'}", f"--output={output}"
        how = f"--checkpoint={workdir / 'model'}", "--overwrite", "--outputs=npy,color,ply"
        return "diffdepth_jax.predict", *files, *how

    for name, arguments in (("prepare", prepare), ("predict", predict)):
        yield [
            Program(workdir / x, workdir / "compiled", *arguments(workdir / x))
            for x in (f"{name}-whole", name)
        ]


def kill_runs(workdir, kills, deadline, seed):
    """Prints a line for each kill of a run; returns how many there were, and what differs."""
    first, undisturbed, killed = (
        Run(workdir / name, workdir / "compiled", 2 * EVALUATE_EVERY + 5 * kills)
        for name in ("first", "whole", "killed")
    )
    compile_programs(first)
    startup, step = run_undisturbed(undisturbed)
    print(
        f"a start takes {startup:.1f} s, each of {killed.num_steps} steps {step:.2f} s", flush=True
    )
    done = 0
    for choice in plan(kills, seed):
        line = None if time.monotonic() > deadline else kill_run(killed, *choice, startup, step)
        if line is None:
            print(f"no time, or the run ended: {done} of {kills} kills")
            break
        done += 1
        print(f"kill {done}: {line}", flush=True)
    killed.finish()
    folders = killed.workdir, undisturbed.workdir
    return done, differing(*folders, killed.num_steps) + differing_records(*folders)


def kill_programs(workdir, kills, deadline, seed):
    """As `kill_runs`, of `data.prepare` and `predict` in turn."""
    pairs, done, differ = list(create_programs(workdir)), 0, []
    for whole, _ in pairs:
        whole.finish()  # compiles, if need be
    seconds = [whole.finish() for whole, _ in pairs]
    choices = random.Random(seed)
    for count in range(kills):
        program, number = pairs[count % 2][1], list(STATUSES)[count // 2 % 2]
        late = time.monotonic() > deadline
        line = None if late else kill_program(program, number, choices.random(), seconds[count % 2])
        if line is not None:
            done += 1
            print(f"kill {done}: {line}", flush=True)
    for whole, killed in pairs:
        killed.finish()
        differ += differing_files(killed.workdir, whole.workdir)
    return done, differ


def chaos(workdir, kills, seconds, seed):
    """Prints a line for each kill and a verdict; returns whether all is well, see above."""
    began = time.monotonic()
    of_runs = -(-2 * kills // 3)
    done, names = kill_runs(workdir, of_runs, began + seconds, seed)
    if kills > of_runs:
        more, others = kill_programs(workdir, kills - of_runs, began + seconds, seed)
        done, names = done + more, names + others
    verdict = f"{len(names)} differ, such as {names[0]}" if names else "equal, bit for bit"
    print(f"{done} of {kills} kills; {verdict}; {time.monotonic() - began:.0f} s")
    return not names and done == kills


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=1800, help="no kill starts later")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=pathlib.Path, help="is kept; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        workdir = (options.workdir or pathlib.Path(temporary)).absolute()
        workdir.mkdir(parents=True, exist_ok=True)
        sys.exit(not chaos(workdir, options.kills, options.seconds, options.seed))


if __name__ == "__main__":
    main()
