"""Compares this checkout with an earlier one, in turns: training, first maps, a folder of photos.

python -m benchmarks.against EARLIER_CHECKOUT --output=FILE.json [--rounds=3] [--steps=200] \
    [--photos=200] [--only=training ...]

Every run is a new process of the programs, as a user starts them. Training is that of
`configs/synthetic.py` from random weights: what 20 steps take is taken off what 20 and --steps
take, so that imports, compilation and evaluation do not count. The share of the kernel and the page
faults are of the same difference. "cold" has no compiled programs, "warm" those of the run before.
A result is written as soon as a round is complete, and the command goes on from there.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
PHOTO = ROOT / "docs" / "photos"
START = 20  # steps of a training that only starts
Row = dict[str, float]


class Side:
    """A checkout, with a cache of compiled programs of its own."""

    def __init__(self, checkout: pathlib.Path, folder: pathlib.Path, cores: str) -> None:
        self.checkout, self.folder, self._cores = checkout.resolve(), folder, cores
        self.is_compiled = False  # the training step
        folder.mkdir()

    def forget_compiled(self) -> None:
        self.is_compiled = False
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def run(self, module: str, *arguments: str) -> Row:
        """Seconds of the clock, the processor and the kernel, and page faults of a program."""
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")}
        command = ["taskset", "-c", self._cores, sys.executable, "-m", module, *arguments]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, cwd=self.checkout, env=environment, capture_output=True)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr.decode()[-1000:]}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        system, user = (getattr(after, x) - getattr(before, x) for x in ("ru_stime", "ru_utime"))
        faults = after.ru_minflt - before.ru_minflt
        return {"seconds": seconds, "kernel": system, "cpu": system + user, "faults": faults}


def training(side: Side, steps: int) -> tuple[Row, list[float]]:
    """What so many steps take without their start, and their losses."""
    counts = START, START + steps
    if not side.is_compiled:  # the number of steps is a constant of the compiled step
        for count in counts:
            _train(side, count)
    side.is_compiled = True
    short, whole = (_train(side, count) for count in counts)
    return {
        "images_per_second": 4 * steps / (whole[0]["seconds"] - short[0]["seconds"]),
        "kernel_share": (whole[0]["kernel"] - short[0]["kernel"])
        / (whole[0]["cpu"] - short[0]["cpu"]),
        "faults_per_step": (whole[0]["faults"] - short[0]["faults"]) / steps,
    }, whole[1]


def _train(side: Side, steps: int) -> tuple[Row, list[float]]:
    with tempfile.TemporaryDirectory(dir=side.folder) as workdir:
        fields = {
            "model.backbone_weights": "none",
            "optimizer.freeze": "",
            "optimizer.backbone_multiplier": 1.0,
            "train.num_steps": steps,
            "train.evaluate_every": steps,
            "train.checkpoint_every": 10_000,
            "optimizer.warmup_steps": START // 2,
            "train.log_every": 10,
            "data.synthetic.num_eval": 4,
            "evaluation.num_panels": 1,
            "evaluation.baselines": False,
        }
        flags = [f"--config.{name}={value}" for name, value in fields.items()]
        flags = ["--config=configs/synthetic.py", f"--workdir={workdir}", *flags]
        taken = side.run("diffdepth_jax.main", *flags)
        lines = (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return taken, [each["train/loss"] for each in records if "train/loss" in each]


def first_depth(side: Side) -> Row:
    """Seconds from the start of `predict` to its end, of one photo."""
    side.forget_compiled()
    return {
        name: _predict(side, "synthetic_small", _photos(side, 1))["seconds"]
        for name in ("cold", "warm")
    }


def folder_of_photos(side: Side, count: int) -> Row:
    """Photos a second of `predict`, its start and its writing included."""
    taken = _predict(side, "indoor_small", _photos(side, count))
    return {"photos_per_second": count / taken["seconds"]}


def _photos(side: Side, count: int) -> pathlib.Path:
    """A folder beside the side's with so many photos of 1600x1200 pixels; both sides share it."""
    folder = side.folder.parent / f"photos-{count}"
    if not folder.exists():
        folder.mkdir()
        found = sorted(PHOTO.glob("*.jpg"))
        for number in range(count):
            with Image.open(found[number % len(found)]) as photo:
                photo.convert("RGB").resize((1600, 1200)).save(
                    folder / f"{number:03}.jpg", quality=90
                )
    return folder


def _predict(side: Side, model: str, photos: pathlib.Path) -> Row:
    with tempfile.TemporaryDirectory(dir=side.folder) as output:
        flags = f"--checkpoint={model}", f"--input={photos}", f"--output={output}"
        return side.run("diffdepth_jax.predict", *flags)


def measure(sides: dict[str, Side], options: argparse.Namespace, path: pathlib.Path) -> Any:
    """Adds rounds to what the file holds until there are enough of each measurement."""
    results = json.loads(path.read_text()) if path.exists() else {}
    measurements: dict[str, Callable[[Side], Any]] = {
        "training": lambda side: training(side, options.steps),
        "first_depth": first_depth,
        "folder": lambda side: folder_of_photos(side, options.photos),
    }
    for name in options.only or measurements:
        while len(rounds := results.setdefault(name, [])) < options.rounds:
            order = list(sides) if len(rounds) % 2 else [*reversed(sides)]
            rounds.append({side: measurements[name](sides[side]) for side in order})
            path.write_text(json.dumps(results, indent=1) + "\n")
    return results


def summary(results: dict[str, Any]) -> list[str]:
    """A line for each number: the medians of both sides, and ours divided by the earlier one's."""
    lines = []
    for name, rounds in results.items():
        if name == "training":
            losses = {side: rounds[0][side][1] for side in rounds[0]}
            pairs = zip(losses["ours"], losses["earlier"], strict=True)
            worst = max(abs(a - b) / abs(b) for a, b in pairs)
            lines.append(
                f"losses of {len(losses['ours'])} logged steps differ by {worst:.1e} at most"
            )
            rounds = [{side: row for side, (row, _) in each.items()} for each in rounds]
        for key in rounds[0]["ours"]:
            ours, earlier = (
                statistics.median(each[side][key] for each in rounds)
                for side in ("ours", "earlier")
            )
            lines.append(f"{name} {key:20}{earlier:12.3f}{ours:12.3f}{ours / earlier:8.2f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("earlier", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--cores", default="0,1")
    parser.add_argument("--only", nargs="*", choices=("training", "first_depth", "folder"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {"earlier": options.earlier, "ours": ROOT}
        sides = {
            name: Side(checkout, pathlib.Path(folder) / name, options.cores)
            for name, checkout in checkouts.items()
        }
        print("\n".join(summary(measure(sides, options, options.output))))


if __name__ == "__main__":
    main()
