"""Draws the plot of `benchmarks.scaling`."""

import pathlib

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, NullLocator

from benchmarks.scaling import Point
from benchmarks.speed import Facts
from benchmarks.speed_rows import Row

COLORS = {"predict": "tab:blue", "train": "tab:orange", "jit": "tab:orange", "fsdp": "tab:green"}
LABELS = {
    "predict": "prediction",
    "train": "training step (jit)",
    "fsdp": "training step, state split (fsdp)",
}
STYLES = {
    "measured; memory: temporary": {"marker": "o"},
    "memory: arguments (state, batch)": {"ls": "--", "marker": "s", "markerfacecolor": "white"},
    "expected": {"ls": ":"},
}
EXPECTED = (
    "Expected: time in proportion to multiply-adds, through the largest point; "
    "temporary memory in proportion to the axis, through the first"
)
VIRTUAL = (
    "Devices are virtual and share the cores: time shows what splitting costs, memory what it saves"
)
AXES = {
    "pixels": "image, height x width",
    "steps": "sampler steps",
    "batch": "images in a batch",
    "devices": "devices, {batch} images in all",
}
MIB = 2**20


def draw(report: Facts, series: list[list[Point]], base: Row, path: pathlib.Path) -> None:
    """Draws a column for each sweep, with time above memory.

    Args:
      report: {"environment": ..., "rows": {name of a point: facts}}.
      series: lists of points; points without a measurement are left out.
      base: the row that each sweep changes.
      path: the PNG file to write.
    """
    virtual = report["environment"]["backend"] == "cpu"
    sweeps = list(dict.fromkeys(points[0].sweep for points in series))
    figure = Figure((14, 7.2), layout="constrained")
    grid = figure.subplots(2, len(sweeps), sharex="col", sharey="row", squeeze=False)
    for points in series:
        times, memories = grid[:, sweeps.index(points[0].sweep)]
        measured = [point for point in points if "median" in report["rows"].get(point.name, {})]
        if measured:
            facts = [report["rows"][point.name] for point in measured]
            _draw_time(times, measured, facts, virtual)
            _draw_memory(memories, measured, facts)
        _finish(times, memories, points)
    grid[0, 0].set_ylabel("time (ms)")
    grid[1, 0].set_ylabel("memory of a device (MiB)")
    _explain(figure, report, base, virtual)
    figure.savefig(path, dpi=100)


def expected_times(points: list[Point], facts: list[Facts], virtual: bool) -> list[float]:
    """Returns seconds in proportion to multiply-adds, equal to the measurement at the most of them.

    Virtual devices share the cores, so that several are not faster than one.
    """
    work = [
        fact["multiply_adds"] / (1 if virtual else point.num_devices)
        for point, fact in zip(points, facts, strict=True)
    ]
    largest = max(range(len(work)), key=work.__getitem__)  # the first of equals: one device
    return [facts[largest]["median"] * count / work[largest] for count in work]


def expected_memory(points: list[Point], facts: list[Facts]) -> list[float]:
    """Returns temporary bytes in proportion to x or 1 / devices, equal to the first measurement."""
    power = -1 if points[0].sweep == "devices" else 1
    first = facts[0]["xla_bytes"]["temporary"]
    return [first * (point.x / points[0].x) ** power for point in points]


def _draw_time(axes, points, facts, virtual):
    x, color = [point.x for point in points], COLORS[points[0].series]
    milliseconds = [1e3 * seconds for seconds in expected_times(points, facts, virtual)]
    axes.plot(x, milliseconds, ":", color=color)
    axes.plot(x, [1e3 * fact["median"] for fact in facts], "o-", color=color)


def _draw_memory(axes, points, facts):
    x, color = [point.x for point in points], COLORS[points[0].series]
    memory = {
        part: [fact["xla_bytes"][part] / MIB for fact in facts]
        for part in ("temporary", "arguments")
    }
    axes.plot(x, [size / MIB for size in expected_memory(points, facts)], ":", color=color)
    axes.plot(x, memory["temporary"], "o-", color=color)
    axes.plot(x, memory["arguments"], "s--", color=color, markersize=4, markerfacecolor="white")


def _finish(times, memories, points):
    for axes in (times, memories):
        axes.set(xscale="log", yscale="log")
        axes.grid(alpha=0.3)
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(NullLocator())
    ticks = [_tick(point) for point in points]
    memories.set_xticks([point.x for point in points], ticks, fontsize="small")
    memories.set_xlabel(AXES[points[0].sweep].format(batch=points[0].row.batch_size))
    times.set_title(points[0].sweep)


def _tick(point):
    return "x".join(map(str, point.row.size)) if point.sweep == "pixels" else str(point.x)


def _explain(figure, report, row, virtual):
    """Writes the base point and the devices as the title, and draws the legend."""
    height, width = row.size
    title = f"{row.architecture}; unless the axis says otherwise {height}x{width}, "
    title += f"{row.num_steps} steps, batch {row.batch_size}; {report['environment']['devices'][0]}"
    caption = [title, EXPECTED, VIRTUAL] if virtual else [title, EXPECTED]
    figure.suptitle("\n".join(caption), fontsize="medium")
    lines = [
        Line2D([], [], color=COLORS[name], lw=4, label=label) for name, label in LABELS.items()
    ]
    lines += [Line2D([], [], color="gray", label=label, **style) for label, style in STYLES.items()]
    figure.legend(handles=lines, loc="outside lower center", ncols=6)
