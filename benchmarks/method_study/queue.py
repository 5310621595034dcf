"""Runs trainings side by side, each a process on a core of its own."""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterable

Task = tuple[str, int]  # (name of a variant, seed)


def run_all(
    tasks: Iterable[Task],
    size: str,
    workdir: str | os.PathLike,
    directory: str | os.PathLike,
    jobs: int,
) -> list[Task]:
    """Runs (name, seed) tasks, `jobs` at a time; their output is under WORKDIR/logs.

    Returns:
      The tasks that failed.
    """
    cores = sorted(os.sched_getaffinity(0))[-jobs:]
    if jobs < 1 or len(cores) < jobs:
        raise SystemExit(f"error: --jobs={jobs}: this process may use {len(cores)} cores")
    waiting, running, failed, started = list(tasks), {}, [], time.time()
    try:
        while waiting or running:
            for core in set(cores) - running.keys():
                if waiting:
                    task = waiting.pop(0)
                    running[core] = task, _start(task, size, workdir, directory, core), time.time()
            for core, (task, process, since) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[core]
                failed += [task] if process.returncode else []
                _say(
                    task,
                    process.returncode,
                    time.time() - since,
                    time.time() - started,
                    len(waiting) + len(running),
                )
            time.sleep(0.2)
    finally:
        for _, process, _ in running.values():
            process.terminate()
    return failed


def run_seeds_together(
    tasks: Iterable[Task], size: str, workdir: str | os.PathLike, directory: str | os.PathLike
) -> list[str]:
    """Runs (name, seed) tasks name by name, the seeds of a name as one program; for a GPU.

    Returns:
      The names that failed.
    """
    seeds, failed = {}, []
    for name, seed in tasks:
        seeds.setdefault(name, []).append(str(seed))
    for name, own in seeds.items():
        command = _command("seeds", name, ",".join(own), size, workdir, directory)
        print(f"{name}: seeds {', '.join(own)}", flush=True)
        failed += [name] if subprocess.run(command).returncode else []
    return failed


def pretrain(size: str, workdir: str | os.PathLike) -> None:
    """Makes the backbone, unless it is there, with all cores that this process has."""
    subprocess.run(_command("pretraining", size, workdir), check=True)


def _command(module, *arguments):
    name = f"benchmarks.method_study.{module}"
    return [sys.executable, "-m", name, *map(str, arguments)]


def _start(task, size, workdir, directory, core):
    name, seed = task
    log = pathlib.Path(workdir) / "logs" / f"{name}-seed{seed}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = _command("training", name, seed, size, workdir, directory)
    with open(log, "w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    # Not by preexec_fn: forking a process in which JAX has threads may hang.
    os.sched_setaffinity(process.pid, {core})
    return process


def _say(task, status, seconds, total, left):
    outcome = f"failed with {status}, see logs" if status else "done"
    print(
        f"{task[0]} seed {task[1]}: {outcome} in {seconds:.0f} s; {total / 60:.1f} min so far, "
        f"{left} left",
        flush=True,
    )
