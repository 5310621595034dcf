"""The study's results on disk: a small JSON file for each training, pictures beside some."""

import json
import os
import pathlib
import subprocess
from typing import Any

import numpy as np
from jaxtyping import Float

from diffdepth_jax.configuration.renamed import with_new_names

Scores = dict[str, float]  # {metric: mean over images}
Result = dict[str, Any]  # a file's
Found = dict[str, list[Result]]  # {variant: its results by rising seed}

ROOT = pathlib.Path(__file__).parents[2]
DIRECTORY = ROOT / "docs" / "method_study" / "results"
PANEL_SCENES = {"rooms": (0, 3), "streets": (1, 4)}  # held-out scenes whose predictions are kept


def path_of(directory: str | os.PathLike, name: str, seed: int) -> pathlib.Path:
    return pathlib.Path(directory) / f"{name}-seed{seed}.json"


def read(path: pathlib.Path) -> Result:
    """A result; its configurations have today's names of fields, whenever it was written."""
    result = json.loads(path.read_text())
    for part in (result, result.get("pretraining", {})):
        if "config" in part:
            part["config"] = with_new_names(part["config"])
    return result


def is_done(directory: str | os.PathLike, name: str, seed: int, fields: dict[str, Any]) -> bool:
    """Whether the result is there, of a training with these fields."""
    path = path_of(directory, name, seed)
    if not path.is_file():
        return False
    found = read(path)
    return fields.keys() <= found.keys() and agree(found, json.loads(json.dumps(fields)))


def agree(found: Any, wanted: Any) -> bool:
    """Whether two trees are equal where both have a leaf: a field of the configuration that came
    later is not in older results."""
    if not isinstance(wanted, dict):
        return found == wanted
    return all(agree(found[key], wanted[key]) for key in found.keys() & wanted.keys())


def read_all(directory: str | os.PathLike) -> Found:
    """{name: results by rising seed} of every file."""
    found = {}
    for path in sorted(pathlib.Path(directory).glob("*-seed*.json")):
        result = read(path) | {"file": path.name}
        found.setdefault(result["name"], []).append(result)
    return {name: sorted(rows, key=lambda row: row["seed"]) for name, rows in found.items()}


def write(directory: str | os.PathLike, result: Result) -> None:
    path = path_of(directory, result["name"], result["seed"])
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    unfinished.replace(path)


def write_predictions(
    directory: str | os.PathLike,
    name: str,
    seed: int,
    found: dict[str, Float[np.ndarray, "images height width"]],
) -> None:
    """{set: metres [N, H, W]} of PANEL_SCENES, as log metres in half precision."""
    kept = {
        kind: np.log(found[kind][list(indices)]).astype(np.float16)
        for kind, indices in PANEL_SCENES.items()
    }
    path = path_of(directory, name, seed).with_suffix(".npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **kept)


def read_predictions(
    directory: str | os.PathLike, name: str, seed: int
) -> dict[str, Float[np.ndarray, "images height width"]] | None:
    """{set: metres [scenes, H, W]}, or None if none were kept."""
    path = path_of(directory, name, seed).with_suffix(".npz")
    if not path.is_file():
        return None
    with np.load(path) as file:
        return {kind: np.exp(file[kind].astype(np.float32)) for kind in file}


def commit() -> str:
    """The revision that runs, with a mark if the program's files differ from it."""

    def git(*arguments: str) -> str:
        process = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return process.stdout.strip() if process.returncode == 0 else ""

    changed = git(
        "status",
        "--porcelain",
        "--untracked-files=no",
        "diffdepth_jax",
        "configs",
        "benchmarks/method_study",
    )
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+changes" if changed else "")
