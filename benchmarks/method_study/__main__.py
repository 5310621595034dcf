"""Runs what of the study is not done yet, and rewrites its report.

python -m benchmarks.method_study --workdir=DIR [--only=NAME,ROW ...] [--seeds=0,1,2] [--jobs=N]

Each training is a process pinned to one core; its result is a file under docs/method_study/results.
A result that is there, of the same configuration, is not made again, so the same command
goes on after an interruption. --plan lists what is missing; --report only rewrites
docs/method_study.md. --size=gpu trains larger models for longer, all seeds of a variant as one
program; give it a --results of its own.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from benchmarks.method_study import baselines, report, results, scenes
from benchmarks.method_study.queue import Task, pretrain, run_all, run_seeds_together
from benchmarks.method_study.training import fields
from benchmarks.method_study.variants import ROWS, SIZES, VARIANTS, Size


def names_of(only: str) -> list[str]:
    """Names of a comma-separated list of names and numbers of rows, in the order of ROWS."""
    wanted = set(only.split(",")) if only else {row[0] for row in ROWS}
    known = set(VARIANTS) | {row[0] for row in ROWS}
    if wanted - known:
        raise SystemExit(
            f"error: --only={only}: {', '.join(sorted(wanted - known))} unknown; "
            f"rows {', '.join(row[0] for row in ROWS)}, or {', '.join(VARIANTS)}"
        )
    return [name for row, names in ROWS.items() for name in names if {row[0], name} & wanted]


def missing(
    names: Sequence[str], seeds: Sequence[int], size: Size, directory: str | os.PathLike
) -> list[Task]:
    """(name, seed) still to be run: of each row one seed of all first, then the next."""
    tasks = []
    for row in ROWS.values():
        tasks += [(name, seed) for seed in seeds for name in row if name in names]
    return [t for t in tasks if not results.is_done(directory, *t, fields(t[0], size))]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.method_study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", help="scenes, compiled programs, runs in progress")
    parser.add_argument("--only", default="", help="names of variants or numbers of rows")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, a core each")
    parser.add_argument("--size", default="cpu", choices=SIZES)
    parser.add_argument("--results", default=str(results.DIRECTORY))
    parser.add_argument("--plan", action="store_true", help="list what is missing, and stop")
    parser.add_argument("--report", action="store_true", help="rewrite the report, and stop")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    flags = parse(arguments)
    size, directory = SIZES[flags.size], pathlib.Path(flags.results)
    seeds = [int(seed) for seed in flags.seeds.split(",")]
    tasks = missing(names_of(flags.only), seeds, size, directory)
    if flags.plan:
        print(*(f"{name} seed {seed}" for name, seed in tasks), f"{len(tasks)} to run", sep="\n")
        return 0
    failed = []
    if not flags.report:
        if not flags.workdir:
            raise SystemExit("error: --workdir=DIR is needed, for scenes and runs in progress")
        _, sets = scenes.load(flags.workdir, size)  # before any job, so that none renders twice
        baselines.write(directory, size, sets)
        pretrain(flags.size, flags.workdir)
        where = flags.size, flags.workdir, directory
        if flags.size == "gpu":
            failed = run_seeds_together(tasks, *where)
        else:
            failed = run_all(tasks, *where, flags.jobs)
    print(f"wrote {report.write(directory)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
