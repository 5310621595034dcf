"""Measures the time from the start of the command to its first depth map, and the time's parts.

python -m benchmarks.first_depth MODEL PHOTO [--repeats=3] [--output=FILE.json]

Every run is a new process. A cold run starts with an empty compilation cache; a warm run uses the
cache that a cold run has filled. In both, the system may hold Python's files and the model in
memory. The table shows the repeat with the median total, so that the parts add up. The machine
should do nothing else meanwhile.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from diffdepth_jax.errors import UserError
from diffdepth_jax.program.entry import one_line_errors

Parts = dict[str, float]  # {part: seconds}


def measure(model: str | os.PathLike, photo: str | os.PathLike, cache: str | os.PathLike) -> Parts:
    """Runs the command once; returns {part: seconds}. `cache` is the user's cache directory."""
    environment = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}
    with tempfile.TemporaryDirectory() as directory:
        marks = pathlib.Path(directory) / "marks.json"
        arguments = map(str, [time.monotonic(), marks, model, photo, directory])
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.first_depth_worker", *arguments],
            env=environment | {"XDG_CACHE_HOME": str(cache)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"ended: status {done.returncode}"]
            raise UserError(lines[-1].removeprefix("error: "))
        return json.loads(marks.read_text())


def median_run(runs: list[Parts]) -> Parts:
    """Returns the run with the median total; of an even number of runs the faster middle one."""
    return sorted(runs, key=lambda run: sum(run.values()))[(len(runs) - 1) // 2]


def measure_all(
    model: str | os.PathLike, photo: str | os.PathLike, repeats: int
) -> dict[str, Parts]:
    """Returns {"cold": {part: seconds}, "warm": {part: seconds}}."""
    runs = {"cold": [], "warm": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for kind in runs:
                runs[kind].append(measure(model, photo, cache))
    return {kind: median_run(own) for kind, own in runs.items()}


def table(result: dict[str, Parts]) -> list[str]:
    """Returns a line for each part, and one for their sum."""
    totals = {kind: sum(parts.values()) for kind, parts in result.items()}
    rows = [(name, result["cold"][name], result["warm"][name]) for name in result["cold"]]
    rows.append(("first depth map written", totals["cold"], totals["warm"]))
    lines = [f"{'seconds':<32}{'cold':>8}{'warm':>8}"]
    return lines + [f"{name:<32}{cold:>8.2f}{warm:>8.2f}" for name, cold, warm in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="model directory, such as runs/synthetic")
    parser.add_argument("photo")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=pathlib.Path, help="JSON file for the same")
    options = parser.parse_args()
    if options.repeats < 1:
        raise UserError(f"--repeats={options.repeats}: must be 1 or more")
    result = measure_all(options.model, options.photo, options.repeats)
    print("\n".join(table(result)))
    if options.output is not None:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    with one_line_errors():
        main()
