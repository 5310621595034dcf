"""A process that runs one side of the speed benchmark; JAX and PyTorch never share a process.

Commands arrive on standard input and answers leave on standard output, each a line of JSON:
  {"do": "prepare", "request": ...}  builds, compiles and warms up; facts about it
  {"do": "time", "calls": n}         {"seconds": [n]}, after one more call
  {"do": "product"}                  {"flops": per second, of a large matrix product}
  {"do": "finish"}                   {"peak_bytes": of timed calls, "resident_bytes": at import},
                                     and the facts that need memory to find out
A failure answers {"error": text}. Memory is the GPU's, or on CPU the process's. Linux only.
"""

import ctypes
import gc
import importlib
import json
import os
import pathlib
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from diffdepth_jax.program.heap import keep_freed_memory

SIDES = {"ours": "benchmarks.speed_ours", "torch": "benchmarks.speed_torch"}
MEMORY_SHARE = 0.9  # of the free memory; where PyTorch needs more its row fails, not the machine
STATUS = pathlib.Path("/proc/self/status")
KIB = 1024


def process_memory(field: str) -> int:
    """Returns bytes of memory: VmRSS is the present, VmHWM the most since `reset_high_water`."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * KIB
    raise OSError(f"{STATUS} has no {field}")


def reset_high_water() -> None:
    """Resets the memory's high-water mark to the present memory."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def give_back() -> None:
    """Gives memory that compilation left back to the system; the next call asks for it again."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def limit_memory() -> None:
    """Limits this process's memory; PyTorch then reports a failure."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * KIB
    limit = int(MEMORY_SHARE * free)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


class Worker:
    """Answers commands with a side's module, which has a `Side` and a `product`."""

    def __init__(self, module: Any) -> None:
        self._module, self._side = module, None
        self._resident, self._peak = process_memory("VmRSS"), 0

    def answer(self, command: Mapping[str, Any]) -> dict[str, Any]:
        command = dict(command)
        return getattr(self, command.pop("do"))(**command)

    def prepare(self, request: Mapping[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        self._side = self._module.Side(**request)
        built, (first, second) = time.perf_counter() - start, self._times(2)
        give_back()
        self._side.call()
        reset_high_water()
        self._side.reset_memory()
        facts = {"build_seconds": built, "first_seconds": first, "second_seconds": second}
        return facts | self._side.facts()

    def time(self, calls: int) -> dict[str, Any]:
        """Times calls after an untimed one: the first call after another process's turn is slow."""
        self._side.call()
        seconds = self._times(calls)
        self._peak = max(self._peak, process_memory("VmHWM"))
        return {"seconds": seconds}

    def _times(self, calls):
        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            self._side.call()
            seconds.append(time.perf_counter() - start)
        return seconds

    def product(self) -> dict[str, Any]:
        flops = self._module.product()
        reset_high_water()
        return {"flops": flops}

    def finish(self) -> dict[str, Any]:
        peak = self._side.device_memory()
        on_host = peak is None
        memory = {
            "peak_bytes": self._peak if on_host else peak,
            "resident_bytes": self._resident if on_host else 0,
        }
        return memory | self._side.late_facts()


def serve(worker: Worker, commands: Iterable[str], answers: TextIO) -> None:
    for line in commands:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # a failure is a result of the benchmark
            answer = {"error": f"{type(error).__name__}: {error}"[:400]}
        print(json.dumps(answer), file=answers, flush=True)


def main(side: str, cores: str) -> None:
    os.sched_setaffinity(0, map(int, cores.split(",")))  # before a library counts the cores
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries' prints must not look like answers
    if side == "ours":
        sys.modules["torch"] = None  # else tensorboardX loads PyTorch, which takes memory
        keep_freed_memory()  # as the programs do; what it asks for leaves no limit that would help
    module = importlib.import_module(SIDES[side])
    if side == "torch" and not module.on_accelerator():
        limit_memory()
    serve(Worker(module), sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
