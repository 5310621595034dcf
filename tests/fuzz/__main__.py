"""Reads damaged files for some minutes: no reader may end with a traceback, hang or fill memory.

python -m tests.fuzz --minutes=10 --seed=1

Small valid files of each kind are damaged at random and read by this project's readers, in
processes with limits. A UserError, or an OSError, is what the programs print as one line; it is a
refusal. Everything else is a failure, which is saved in --output; --case=KIND:SEED repeats it here.
"""

import argparse
import collections
import pathlib
import secrets
import sys
import tempfile
import threading
import time

from tests.fuzz.workers import FAILURES, GIBIBYTES, SECONDS, Outcome, Sandbox, Worker
from tests.support.paths import ROOT

KINDS = (
    *("photo", "depth", "list", "config", "model", "run"),
    *("weights", "hdf5", "matlab", "maps", "archive"),
)


class Session:
    """The counts of all workers, and where they save failures."""

    def __init__(self, seed: int, kinds: list[str], output: pathlib.Path) -> None:
        if output.resolve().is_relative_to(ROOT):
            sys.exit(f"--output={output} is in the repository: give another folder")
        self.counts: dict[str, collections.Counter] = {k: collections.Counter() for k in kinds}
        self._kinds, self._next, self._lock = kinds, seed * 10**6, threading.Lock()
        self._output, self._sandbox = output, Sandbox()

    def work(self, seconds: float) -> None:
        """Reads file after file with a worker of its own."""
        worker = Worker(self._kinds)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._lock:
                case = self._kinds[self._next % len(self._kinds)], self._next
                self._next += 1
            self._count(*case, worker.read(*case))
        worker.close()

    def _count(self, kind: str, seed: int, outcome: Outcome) -> None:
        with self._lock:
            self.counts[kind][outcome.name] += 1
            if outcome.name in FAILURES:
                self._save(kind, seed, outcome)

    def _save(self, kind: str, seed: int, outcome: Outcome) -> None:
        self._output.mkdir(parents=True, exist_ok=True)
        target, data = self._sandbox.damaged(kind, seed)
        stem = self._output / f"{kind}-{seed}"
        stem.with_name(f"{stem.name}-{target.name}").write_bytes(data)
        again = f"python -m tests.fuzz --case={kind}:{seed}"
        stem.with_suffix(".txt").write_text(f"{outcome.name}\n{again}\n{outcome.text}\n")
        last = (outcome.text.strip().splitlines() or [""])[-1]
        print(f"{outcome.name}: {again}   {last[:200]}", flush=True)

    def report(self) -> int:
        """Prints the counts; returns the number of failures."""
        names = ("read", "refused", *FAILURES)
        rows = [*self.counts.items(), ("all", sum(self.counts.values(), collections.Counter()))]
        print("".join(f"{name:>10}" for name in ("", *names)))
        for kind, counts in rows:
            print(f"{kind:>10}" + "".join(f"{counts[name]:>10}" for name in names))
        self._sandbox.close()
        return sum(rows[-1][1][name] for name in FAILURES)


def fuzz(
    minutes: float, seed: int, kinds: list[str], output: pathlib.Path, num_workers: int
) -> int:
    """Fuzzes with workers in parallel; returns the number of failures."""
    session = Session(seed, kinds, output)
    arguments = (60 * minutes,)
    threads = [threading.Thread(target=session.work, args=arguments) for _ in range(num_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return session.report()


def repeat(case: str) -> None:
    """Reads one damaged file in this process, and shows how it ends."""
    kind, _, seed = case.partition(":")
    sandbox = Sandbox()
    print(*sandbox.read(kind, int(seed)), sep="\n")
    sandbox.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=None, help="default: a fresh one")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path, default=None)
    parser.add_argument("--case", help="KIND:SEED, as a failure was reported")
    given = parser.parse_args()
    if given.case:
        return repeat(given.case)
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    output = given.output or pathlib.Path(tempfile.gettempdir()) / f"fuzz-failures-{seed}"
    print(f"seed {seed}; limits {SECONDS} s of the processor, {GIBIBYTES} GiB", flush=True)
    failures = fuzz(given.minutes, seed, given.kinds.split(","), output, given.workers)
    sys.exit(f"{failures} failures in {output}" if failures else 0)


if __name__ == "__main__":
    main()
