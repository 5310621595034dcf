"""One side of the speed benchmark in a process of its own, so that JAX and PyTorch never share one.

Commands arrive on standard input, answers leave on standard output, a line of JSON each:
  {"do": "prepare", "request": ...}  builds, compiles and warms up; facts about it
  {"do": "time", "calls": n}         {"seconds": [n]}, after one more call
  {"do": "product"}                  {"flops": per second, of a large matrix product}
  {"do": "finish"}                   {"peak_bytes": of timed calls, "resident_bytes": at import},
                                     and what takes memory to find out
What fails answers {"error": text}. Memory is the device's, or on CPU the process's: Linux only.
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

SIDES = {"ours": "benchmarks.speed_ours", "torch": "benchmarks.speed_torch"}
MEMORY_SHARE = 0.9  # of what is free: a row too large fails and does not take the machine down
STATUS = pathlib.Path("/proc/self/status")
KIB = 1024


def resident(field):
    """VmRSS, now, or VmHWM, the most since `reset_high_water`, in bytes."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * KIB
    raise OSError(f"{STATUS} has no {field}")


def reset_high_water():
    """Of memory, to what the process holds now."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def give_back():
    """To the system, what compiling left behind. The next call has to ask for its pages again."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def limit_memory():
    """Of this process's own pages; PyTorch and XLA report what then fails."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * KIB
    limit = int(MEMORY_SHARE * free)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


class Worker:
    """Answers commands by a side's `Side`, its program, and `product`."""

    def __init__(self, module):
        self._module, self._side = module, None
        self._resident, self._peak = resident("VmRSS"), 0

    def answer(self, command):
        command = dict(command)
        return getattr(self, command.pop("do"))(**command)

    def prepare(self, request):
        start = time.perf_counter()
        self._side = self._module.Side(**request)
        built, (first, second) = time.perf_counter() - start, self._times(2)
        give_back()
        self._side.call()
        reset_high_water()
        self._side.reset_memory()
        facts = {"build_seconds": built, "first_seconds": first, "second_seconds": second}
        return facts | self._side.facts()

    def time(self, calls):
        """After an untimed call: the first after another process's turn finds memory taken away."""
        self._side.call()
        seconds = self._times(calls)
        self._peak = max(self._peak, resident("VmHWM"))
        return {"seconds": seconds}

    def _times(self, calls):
        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            self._side.call()
            seconds.append(time.perf_counter() - start)
        return seconds

    def product(self):
        flops = self._module.product()
        reset_high_water()
        return {"flops": flops}

    def finish(self):
        peak = self._side.device_memory()
        on_host = peak is None
        memory = {
            "peak_bytes": self._peak if on_host else peak,
            "resident_bytes": self._resident if on_host else 0,
        }
        return memory | self._side.late_facts()


def serve(worker, commands, answers):
    for line in commands:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # what fails is a result of the benchmark
            answer = {"error": f"{type(error).__name__}: {error}"[:400]}
        print(json.dumps(answer), file=answers, flush=True)


def main(side, cores):
    os.sched_setaffinity(0, map(int, cores.split(",")))  # before a library counts them
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    if side == "ours":
        sys.modules["torch"] = None  # tensorboardX would load it, which takes memory
    module = importlib.import_module(SIDES[side])
    if not module.on_accelerator():
        limit_memory()
    serve(Worker(module), sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
