"""Measures how long --help of each command takes, beside `python -c "import numpy"`.

python -m benchmarks.help_speed [--repeats=9] [--output=FILE.json]

Every run is a new process; the commands and numpy take turns, and medians are compared. The files
of Python lie in the system's memory after the first round, which does not count.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

from diffdepth_jax.__main__ import COMMANDS

NUMPY = "import numpy"
LIMIT = 2.0  # times numpy


def seconds(command: list[str]) -> float:
    """How long a process takes that has to end well."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def measure(commands: dict[str, list[str]], repeats: int) -> dict[str, float]:
    """{name: median of seconds}, in turns."""
    rounds = [{name: seconds(command) for name, command in commands.items()}]
    for _ in range(repeats):
        rounds.append({name: seconds(command) for name, command in commands.items()})
    return {name: statistics.median(each[name] for each in rounds[1:]) for name in commands}


def commands() -> dict[str, list[str]]:
    """{what is measured: arguments of Python}."""
    pages = {"--help": ["-m", "diffdepth_jax", "--help"]}
    pages |= {f"{name} --help": ["-m", "diffdepth_jax", name, "--help"] for name in COMMANDS}
    return {NUMPY: ["-c", NUMPY], **pages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    medians = measure(commands(), options.repeats)
    rows = {
        name: {"seconds": value, "times_numpy": value / medians[NUMPY]}
        for name, value in medians.items()
    }
    for name, row in rows.items():
        print(f"{name:18}{row['seconds']:8.3f} s{row['times_numpy']:8.2f}")
    worst = max(row["times_numpy"] for row in rows.values())
    print(f"at most {worst:.2f} times {NUMPY}; the limit is {LIMIT:g}")
    if options.output:
        options.output.write_text(json.dumps({"repeats": options.repeats, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
