"""Measures how time and memory grow with pixels, steps, batch and devices, beside the expectation.

python -m benchmarks.scaling --output=FILE.json [--plot=FILE.png] [--architecture=swin_tiny]

Each of four sweeps changes one quantity of a base point (128x192 pixels, 2 steps, 1 image). The
sweep over devices trains 8 images in all on 1 to 8 devices, with whole states ("jit") and with
split states ("fsdp"). The configuration is the one of the architecture in `benchmarks.speed`, with
the default training objective, in float32 on CPU and in bfloat16 on a GPU.

Each point is a process on all cores that this process may use (taskset chooses them). The points of
a sweep hold their memory at the same time and take turns, every second round in reverse order. The
time is the median over all turns. The memory is XLA's report on the compiled program, for one
device. Multiply-adds are counted without rematerialisation. On CPU the devices are virtual and
share the cores.

New points are added to the file; points in it are measured again only if they failed. The plot
needs matplotlib, and shows all points of the architecture in the file.
"""

import argparse
import dataclasses
import functools
import math
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

from benchmarks import speed, speed_rows
from benchmarks.speed import Facts
from diffdepth_jax.configs import default
from diffdepth_jax.errors import UserError
from diffdepth_jax.program.entry import one_line_errors

SIZES = ((64, 96), (96, 144), (128, 192), (192, 288), (256, 384))
STEPS = (1, 2, 5, 10, 20)
BATCHES = (1, 2, 4, 8, 16)
DEVICES = (1, 2, 4, 8)
SWEEPS = {  # name: (what it changes, values)
    "pixels": ("size", SIZES),
    "steps": ("num_steps", STEPS),
    "batch": ("batch_size", BATCHES),
}
BASE = {"size": (128, 192), "num_steps": 2, "batch_size": 1}
SPREAD_BATCH = 8  # images of a step that devices share
ROUNDS = 5
KEPT = ("dtype", "median", "seconds", "compile_seconds", "multiply_adds", "xla_bytes")
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement of a sweep; `x` is its place on the plot's axis."""

    sweep: str
    x: int
    row: speed_rows.Row
    num_devices: int = 1
    parallel: str = "jit"

    @property
    def series(self) -> str:
        """The name of the line in the plot."""
        return self.parallel if self.sweep == "devices" else self.row.task

    @property
    def name(self) -> str:
        devices = f" devices{self.num_devices} {self.parallel}" * (self.sweep == "devices")
        return f"{self.sweep}: {self.row.name}{devices}"

    @property
    def request(self) -> Facts:
        """The arguments of `speed_ours.Side`."""
        loss = default.get_config().loss
        changes = {f"loss.{name}": loss[name] for name in speed_rows.UNSUPPORTED}
        return {
            "row": self.row.__dict__,
            "changes": changes | {"train.parallel": self.parallel},
            "num_devices": self.num_devices,
        }

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of the point's process."""
        virtual = f"--xla_force_host_platform_device_count={self.num_devices}"
        return {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {virtual}".strip()}


def all_series(architecture: str) -> list[list[Point]]:
    """Returns lists of points; each list is a line of the plot and is measured together."""
    series = []
    for sweep, (field, values) in SWEEPS.items():
        for task in speed_rows.TASKS:
            rows = [_row(architecture, task, **{field: value}) for value in values]
            series.append(
                [
                    Point(sweep, math.prod(value) if field == "size" else value, row)
                    for value, row in zip(values, rows, strict=True)
                ]
            )
    row = _row(architecture, "train", batch_size=SPREAD_BATCH)
    for parallel in ("jit", "fsdp"):
        series.append([Point("devices", count, row, count, parallel) for count in DEVICES])
    return series


def _row(architecture, task, **changes):
    return speed_rows.Row(architecture, task=task, **BASE | changes)


def measure(points: list[Point], cores: list[int]) -> dict[str, Facts]:
    """Measures the points; returns {name of a point: facts}, with the keys KEPT or "error"."""
    processes, results = {}, {}
    try:
        for point in points:
            print(point.name, file=sys.stderr, flush=True)
            processes[point.name] = speed.Process("ours", cores, **point.variables)
            results[point.name] = processes[point.name].ask(do="prepare", request=point.request)
        for turn in range(ROUNDS):
            for name in list(processes)[:: -1 if turn % 2 else 1]:
                speed.take_turn(processes[name], results[name])
        for name, process in processes.items():
            results[name] |= process.ask(do="finish")
    finally:
        for process in processes.values():
            process.close()
    return {name: speed.summarise(facts) for name, facts in results.items()}


def add(report: Facts, found: dict[str, Facts], cores: list[int]) -> None:
    """Adds facts to the report.

    Raises:
      UserError: the report's points come from other devices or another number of cores.
    """
    for name, facts in found.items():
        environment = facts.get("environment")
        if environment:
            kinds = [f"{kind}, cores: {len(cores)}" for kind in environment["devices"]]
            speed.check_devices(report, environment | {"devices": kinds})
        kept = {key: facts[key] for key in (*KEPT, "error") if key in facts}
        report["rows"][name] = kept


def measure_missing(
    report: Facts, architecture: str, cores: list[int], save: Callable[[Facts], None]
) -> None:
    for points in all_series(architecture):
        missing = [p for p in points if "median" not in report["rows"].get(p.name, {})]
        if missing:
            add(report, measure(missing, cores), cores)
            save(report)


def format_table(report: Facts, architecture: str) -> str:
    """Returns a table with a line for each measured point."""
    lines = [f"{'point':<60}{'ms':>10}{'GFLOP':>9}{'GFLOP/s':>9}{'temporary':>12}{'arguments':>12}"]
    points = [point for points in all_series(architecture) for point in points]
    for point in points:
        if point.name in report["rows"]:
            lines.append(f"{point.name:<60}" + _columns(report["rows"][point.name]))
    return "\n".join(lines)


def _columns(facts):
    if "error" in facts:
        return f"  {facts['error']}"
    flops, memory = 2e-9 * facts["multiply_adds"], facts["xla_bytes"]
    return (
        f"{1e3 * facts['median']:>10.1f}{flops:>9.2f}{flops / facts['median']:>9.1f}"
        f"{memory['temporary'] / MIB:>8.0f} MiB{memory['arguments'] / MIB:>8.0f} MiB"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="JSON, added to")
    parser.add_argument("--plot", type=pathlib.Path, help="PNG of what the file then holds")
    parser.add_argument("--architecture", default="swin_micro", choices=speed_rows.ARCHITECTURES)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    report = speed.read_report(flags.output)
    cores = sorted(os.sched_getaffinity(0))
    save = functools.partial(speed.write_report, flags.output)
    measure_missing(report, flags.architecture, cores, save)
    print(format_table(report, flags.architecture))
    if flags.plot:
        if "environment" not in report:
            raise UserError("no point could be measured: there is nothing to draw")
        from benchmarks import scaling_plot  # the only part that needs matplotlib

        base = _row(flags.architecture, "train")
        scaling_plot.draw(report, all_series(flags.architecture), base, flags.plot)


if __name__ == "__main__":
    with one_line_errors():
        main()
