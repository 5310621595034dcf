"""Measures prediction and training on a CUDA GPU beside PyTorch, in about six minutes.

python -m benchmarks.gpu --output=FILE.json [--minutes=6] [--size=HxW] [--only=WORD,...]

It needs jax[cuda13] and PyTorch for CUDA. Both sides compute in bfloat16; PyTorch's forms are
eager, with its fused attention, and compiled. Before anything is timed, both sides predict with a
small model, and the command ends if their depths differ. Then come the rows, those that tell most
first, each as in `benchmarks.speed`. None is begun that would not end in time, if it took as long
as the slowest so far; one that has begun is finished. File and output name those that were left
out. On a CPU it works alike, in float32.
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Sequence

from benchmarks import speed, speed_rows
from diffdepth_jax.errors import UserError
from diffdepth_jax.program.entry import one_line_errors

CHECKED = speed_rows.Row("swin_micro", (64, 96), 5, 1, "predict")
# The largest difference of log depth as a fraction of its range: rounding of bfloat16 and float32.
LIMITS = {"bfloat16": 0.1, "float32": 1e-4}
ROUNDS = 3


def rows(size: tuple[int, int], only: Sequence[str]) -> list[speed_rows.Row]:
    """What is measured, in this order."""
    kinds = [
        ("swin_tiny", 20, 1, "predict"),
        ("swin_tiny", 20, 8, "train"),
        ("swin_large", 20, 8, "predict"),
        ("swin_large", 20, 8, "train"),
        ("released", 20, 8, "predict"),
        ("released", 20, 8, "train"),
        ("swin_tiny", 5, 1, "predict"),
        ("swin_micro", 5, 1, "predict"),
        ("swin_micro", 5, 8, "train"),
    ]
    every = [speed_rows.Row(name, size, *rest) for name, *rest in kinds]
    return speed_rows.select(every, only)


def check(cores: list[int]) -> speed.Facts:
    """Compares the depths of both sides; {form: difference}.

    Raises:
      UserError: a side fails, or they differ.
    """
    sides = speed.measure(CHECKED, True, cores, rounds=1)["sides"]
    failed = {name: facts["error"] for name, facts in sides.items() if "error" in facts}
    if failed:
        raise UserError(f"{CHECKED.name}: {failed}")
    limit = LIMITS[sides["ours"]["dtype"]]
    found = {form: speed.difference(sides, form) for form in sides if form != "ours"}
    if not all(difference <= limit for difference in found.values()):
        raise UserError(f"{CHECKED.name}: log depths differ by more than {limit:g}: {found}")
    return found


def measure(
    path: pathlib.Path, wanted: Sequence[speed_rows.Row], cores: list[int], minutes: float
) -> speed.Facts:
    """Checks, then measures the rows that there is time for; the report, which is also written."""
    started = time.monotonic()
    report = {"rows": {}, "differences": check(cores), "left_out": [row.name for row in wanted]}
    slowest = time.monotonic() - started
    speed.write_report(path, report)
    for row in wanted:
        begun = time.monotonic()
        if begun - started + slowest > 60 * minutes:
            break
        speed.add_row(report, row, speed.measure(row, True, cores, ROUNDS), cores, ROUNDS)
        report["left_out"].remove(row.name)
        speed.write_report(path, report)
        slowest = max(slowest, time.monotonic() - begun)
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="JSON, written anew")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--size", type=speed.parse_size, default=(228, 304), help="HEIGHTxWIDTH")
    parser.add_argument("--only", default="", help="words of the rows' names, with commas")
    parser.add_argument("--cores", help="with commas; default: the first two")
    flags = parser.parse_args(arguments)
    wanted = rows(flags.size, [word for word in flags.only.split(",") if word])
    if not wanted:
        raise UserError(f"--only={flags.only}: no row has all of these words; see rows() in gpu.py")
    report = measure(flags.output, wanted, speed.parse_cores(flags.cores), flags.minutes)
    print(speed.format_table(report["rows"]))
    if report["left_out"]:
        print(f"No time for: {', '.join(report['left_out'])}", file=sys.stderr)


if __name__ == "__main__":
    with one_line_errors():
        main()
