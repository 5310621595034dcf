"""Measures speed and memory of prediction and training, beside PyTorch's in the same run.

python -m benchmarks.speed [--peer] [--only=WORD,...] [--size=HxW] [--output=FILE.json]

A row's name is made of words, such as "swin_tiny 228x304 steps20 batch1 predict"; --only chooses
the rows that have all of the given words. swin_tiny and swin_large are the default model, released
is the released architecture with Swin-L, and swin_micro is small enough to try the command. On a
GPU both sides compute in bfloat16. --peer needs PyTorch and also times the same network there, in
the forms of torch_peer.py.

Each side is a process, and all are pinned to the same cores. Our side takes turns with one form of
PyTorch after the other; only one of the two computes at a time. A ratio compares the two medians of
such a series.

Memory on CPU is the most that a process held, libraries included, while it ran the compiled
program. On a GPU it is the compiled program's need for our side, and the most that PyTorch's
allocator gave out for the other. The share of peak compares the program's multiply-adds per second
on this backend, without rematerialisation, with the row's best matrix product of either side. The
compile time is the first call's time less the median.

New rows are added to the file; rows in it are measured again only if a side failed.
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import speed_rows
from diffdepth_jax.errors import UserError
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.backbones import swin
from diffdepth_jax.program.entry import one_line_errors

TURN_SECONDS = 0.5  # a turn has as many calls as fit into this time, and at least one
MAX_CALLS = 50
CPU_FORMS = ("eager", "channels_last", "compiled")
GPU_FORMS = tuple(f"{form}_bfloat16" for form in CPU_FORMS)
CACHES = {
    # No cache may shorten compilation; on a GPU both sides need room.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
GIB = 2**30
Facts = dict[str, Any]  # about a side or a row, as the JSON file holds them


class Process:
    """A worker process; `ask(do=..., ...)` sends a command and returns the answer.

    After a failure every answer is the failure. `variables` are added to the worker's environment.
    """

    def __init__(self, side: str, cores: list[int], **variables: str) -> None:
        environment = os.environ | CACHES | {"OMP_NUM_THREADS": str(len(cores))} | variables
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed_worker", side, ",".join(map(str, cores))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=pathlib.Path(__file__).parents[1],
        )
        self.failure = None

    def ask(self, **command: Any) -> Facts:
        if self.failure is None:
            answer = self._exchange(command)
            if "error" not in answer:
                return answer
            self.failure = answer
        return self.failure

    def _exchange(self, command):
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the worker has ended, as the next lines find
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"ended: status {self._process.wait()}"}

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # the worker has ended
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def peer_request(row: speed_rows.Row, form: str) -> Facts:
    """Returns the request that prepares PyTorch's side for a row."""
    config = speed_rows.create_config(row)
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    timesteps = diffusion.sampling_timesteps(
        schedule.num_timesteps, row.num_steps, config.sampler.spacing
    )
    variant = swin.VARIANTS[config.model.backbone]
    return {
        "fields": speed_rows.peer_fields(config, variant, schedule.alpha_bar, timesteps),
        "form": form,
        "batch_size": row.batch_size,
        "size": row.size,
        "latent_shape": create_model(config.model).latent_shape(*row.size),
        "task": row.task,
    }


def measure(row: speed_rows.Row, peer: bool, cores: list[int], rounds: int) -> Facts:
    """Measures a row; returns {"sides": {name: facts}, "product": best matrix product}.

    The names of the sides are "ours" and those of the forms.
    """
    with contextlib.closing(Process("ours", cores)) as process:
        ours = process.ask(do="prepare", request={"row": row.__dict__})
        sides, products = {"ours": ours}, [0.0]
        on_gpu = ours.get("environment", {}).get("backend") == "gpu"
        forms = (GPU_FORMS if on_gpu else CPU_FORMS) * peer
        for form in forms:
            sides[form], product = measure_form(row, form, process, ours, cores, rounds)
            products.append(product)
        if not forms:
            products.append(take_turns({"ours": process}, {"ours": ours}, rounds))
        ours |= process.ask(do="finish")
    return {
        "sides": {name: summarise(facts) for name, facts in sides.items()},
        "product": max(products),
    }


def measure_form(
    row: speed_rows.Row, form: str, our_process: Process, ours: Facts, cores: list[int], rounds: int
) -> tuple[Facts, float]:
    """Measures a form in turns with our side; returns (the form's facts, best matrix product).

    The facts' "ours_seconds" are our side's times in this series.
    """
    with contextlib.closing(Process("torch", cores)) as process:
        facts = process.ask(do="prepare", request=peer_request(row, form))
        check_same_kind(ours, facts)
        before = len(ours.get("seconds", []))
        both = {"ours": our_process, form: process}
        product = take_turns(both, {"ours": ours, form: facts}, rounds)
        facts |= process.ask(do="finish")
        facts["ours_seconds"] = ours.get("seconds", [])[before:]
    return facts, product


def check_same_kind(ours: Facts, theirs: Facts) -> None:
    """Raises UserError if one side computes on an accelerator and the other does not."""
    kinds = [facts.get("on_accelerator") for facts in (ours, theirs)]
    if None not in kinds and kinds[0] != kinds[1]:
        names = [{True: "an accelerator", False: "the CPU"}[kind] for kind in kinds]
        raise UserError(
            f"JAX computes on {names[0]}, PyTorch on {names[1]}: install both for the "
            "same device, or hide it from both"
        )


def take_turns(
    processes: Mapping[str, Process], results: Mapping[str, Facts], rounds: int
) -> float:
    """Adds "seconds" of all processes to the results; returns the best matrix product.

    The processes take turns, every second round in reverse order.
    """
    products = [0.0]
    order = list(processes)
    for _ in range(rounds):
        for name in order:
            take_turn(processes[name], results[name])
            products.append(processes[name].ask(do="product").get("flops", 0.0))
        order.reverse()
    return max(products)


def take_turn(process: Process, facts: Facts) -> None:
    """Adds the "seconds" of some calls to the facts."""
    calls = math.ceil(TURN_SECONDS / facts.get("second_seconds", math.inf))
    answer = process.ask(do="time", calls=min(max(calls, 1), MAX_CALLS))
    facts.setdefault("seconds", []).extend(answer.get("seconds", []))


def summarise(facts: Facts) -> Facts:
    """Adds median and compile time to a side's facts; a failed side keeps only its failure."""
    if "error" in facts:
        return {"error": facts["error"]}
    median = statistics.median(facts["seconds"])
    return facts | {"median": median, "compile_seconds": max(facts["first_seconds"] - median, 0)}


# Report


def difference(sides: Mapping[str, Facts], form: str) -> float | None:
    """Returns the largest difference of log depth from ours, as a fraction of its range.

    None if a side has no log depth.
    """
    ours, theirs = (sides[name].get("probe") for name in ("ours", form))
    if ours is None or theirs is None:
        return None
    largest = np.abs(np.subtract(ours, theirs)).max()  # nan if one of them is
    return float(largest / np.ptp(theirs))


def _ours_columns(row, result):
    ours = result["sides"]["ours"]
    if "error" in ours:
        return ours["error"]
    flops = 2 * ours["multiply_adds"]
    share = flops / ours["median"] / result["product"]
    batch = int(row.split()[3].removeprefix("batch"))
    return (
        f"{1e3 * ours['median']:>10.1f}{batch / ours['median']:>9.2f}"
        f"{ours['compile_seconds']:>9.1f}{ours['peak_bytes'] / GIB:>7.2f}"
        f"{ours['xla_bytes']['temporary'] / GIB:>7.2f}{flops / 1e9:>10.1f}{share:>7.1%}"
    )


def _width(form):
    """Of a form's column."""
    return max(16, len(form) + 2)


def _peer_column(sides, form):
    """Formats our time and memory, each divided by the form's."""
    if form not in sides:
        return ""
    ours, theirs = sides["ours"], sides[form]
    if "error" in ours or "error" in theirs:
        return f"{'failed':>{_width(form)}}"
    time = statistics.median(theirs["ours_seconds"]) / theirs["median"]
    return f"{time:>{_width(form) - 7}.2f}{ours['peak_bytes'] / theirs['peak_bytes']:>7.2f}"


def format_table(rows: Mapping[str, Facts]) -> str:
    """Returns a table with a line for each row; PyTorch's forms are given as ratios to ours."""
    every = (*CPU_FORMS, *GPU_FORMS)
    forms = [form for form in every if any(form in row["sides"] for row in rows.values())]
    lines = [
        f"{'architecture size steps batch task':<44}{'ms':>10}{'images/s':>9}{'compile':>9}"
        f"{'GiB':>7}{'XLA':>7}{'GFLOP':>10}{'peak':>7}"
        + "".join(f"{form:>{_width(form)}}" for form in forms)
    ]
    for name, result in rows.items():
        columns = [_peer_column(result["sides"], form) for form in forms]
        lines.append(f"{name:<44}" + _ours_columns(name, result) + "".join(columns))
        for form in forms:
            if form in result["sides"] and "error" in result["sides"][form]:
                lines.append(f"  {form}: {result['sides'][form]['error']}")
    worst = [
        d
        for r in rows.values()
        for f in forms
        if f in r["sides"]
        if (d := difference(r["sides"], f)) is not None
    ]
    if forms:
        dtypes = sorted({row["sides"]["ours"].get("dtype", "no") for row in rows.values()})
        lines.append(
            f"Of PyTorch's forms: ours ({' or '.join(dtypes)}) / theirs, time and memory; "
            "below 1 is better."
        )
    if worst:
        lines.append(f"Log depth of both sides differs by {max(worst):.1e} of its range at most.")
    return "\n".join(lines)


def read_report(path: pathlib.Path | None) -> Facts:
    return json.loads(path.read_text()) if path and path.exists() else {"rows": {}}


def write_report(path: pathlib.Path, report: Facts) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(report, indent=1) + "\n")
    partial.replace(path)


def check_devices(report: Facts, environment: Facts) -> None:
    """Raises a UserError if the report's rows come from other devices than the environment's.

    An empty report takes this environment.
    """
    known = report.setdefault("environment", environment)
    if known["devices"] != environment["devices"]:
        raise UserError(
            f"the file's rows are of {known['devices']}, not of {environment['devices']}: name "
            "another --output"
        )


def add_row(
    report: Facts, row: speed_rows.Row, result: Facts, cores: list[int], rounds: int
) -> None:
    environment = result["sides"]["ours"].pop("environment", None)
    if environment:
        check_devices(report, environment)
        result["commit"] = environment.get("commit")
    report["rows"][row.name] = {"cores": len(cores), "rounds": rounds, **result}


def lacks(report: Facts, row: speed_rows.Row, peer: bool) -> bool:
    """Whether the row is not measured yet, lacks the wanted peer, or has a failed side."""
    sides = report["rows"].get(row.name, {"sides": {}})["sides"]
    failed = any("error" in facts for facts in sides.values())
    return not sides or failed or (peer and len(sides) == 1)


def parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UserError(f"--size {text!r}: must be HEIGHTxWIDTH in pixels, such as 228x304")
    return int(height), int(width)


def parse_cores(text: str | None) -> list[int]:
    """Returns the cores that --cores names; by default the first two."""
    free = sorted(os.sched_getaffinity(0))
    if not text:
        return free[:2]
    if not all(core.isdecimal() and int(core) in free for core in text.split(",")):
        raise UserError(f"--cores={text}: must be numbers with commas, of {free}")
    return [int(core) for core in text.split(",")]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="store_true", help="beside PyTorch")
    parser.add_argument("--only", default="", help="words of the rows' names, with commas")
    parser.add_argument("--size", help="HEIGHTxWIDTH in place of the three sizes")
    parser.add_argument("--output", type=pathlib.Path, help="JSON, added to")
    parser.add_argument("--cores", help="with commas; default: the first two")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    flags = parser.parse_args(arguments)
    if flags.rounds < 1:
        raise UserError(f"--rounds={flags.rounds}: must be 1 or more")
    return flags


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parse(arguments)
    sizes = [parse_size(flags.size)] if flags.size else speed_rows.SIZES
    only = [word for word in flags.only.split(",") if word]
    rows = speed_rows.select(speed_rows.all_rows(sizes), only)
    if not rows:
        raise UserError(
            f"--only={flags.only}: no row has all of these words; one is named "
            f"{speed_rows.all_rows(sizes)[0].name!r}"
        )
    cores = parse_cores(flags.cores)
    report = read_report(flags.output)
    for row in rows:
        if lacks(report, row, flags.peer):
            print(row.name, file=sys.stderr, flush=True)
            result = measure(row, flags.peer, cores, flags.rounds)
            add_row(report, row, result, cores, flags.rounds)
            if flags.output:
                write_report(flags.output, report)
    wanted = {row.name for row in rows}
    print(format_table({name: x for name, x in report["rows"].items() if name in wanted}))


if __name__ == "__main__":
    with one_line_errors():
        main()
