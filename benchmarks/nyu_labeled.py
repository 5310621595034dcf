"""Trains a small model on the labelled set of NYU Depth V2, from a frozen backbone, and scores it.

python -m benchmarks.nyu_labeled --data=DIR --weights=FILE --workdir=DIR [--held_out] \
    [--samples_of=DIR] [--output=FILE.json] [model.neck=fpn ...]

DIR holds train.txt and test.txt, the official split as lists "rgb depth", the depth in millimetres.
The recipe is configs/frozen_features.py; with --samples_of it is configs/frozen_samples.py, and
starts from the model of that directory, a run of the first. Fields may follow. With --held_out the
model is trained without three blocks of 40 neighbouring training images, and scored on them:
choices are made so, because neighbours show the same scene. Without it the model is trained on all
training images and scored on the test images. The mean map of the training images is scored beside
it.
"""

import argparse
import ast
import dataclasses
import json
import pathlib
import time
from typing import Any

from diffdepth_jax.configs import frozen_features, frozen_samples
from diffdepth_jax.configuration import groups
from diffdepth_jax.evaluation.report import format_table
from diffdepth_jax.media.camera import NYU
from diffdepth_jax.training.loop import train

BLOCK = 40
HELD_OUT = (3, 9, 15)  # blocks of the training list

Fields = dict[str, Any]


def split(lines: list[str], held_out: tuple[int, ...] = HELD_OUT) -> tuple[list[str], list[str]]:
    """(the rest, the held-out blocks) of a list in the order of scenes."""
    chosen = [line for i, line in enumerate(lines) if i // BLOCK in held_out]
    return [line for i, line in enumerate(lines) if i // BLOCK not in held_out], chosen


def lists(data: pathlib.Path, workdir: pathlib.Path, held_out: bool) -> tuple[str, str]:
    """The paths of the training list and of the evaluation list."""
    if not held_out:
        return str(data / "train.txt"), str(data / "test.txt")
    workdir.mkdir(parents=True, exist_ok=True)
    parts = split((data / "train.txt").read_text().splitlines())
    paths = workdir / "train_part.txt", workdir / "held_out.txt"
    for path, lines in zip(paths, parts, strict=True):
        path.write_text("\n".join(lines) + "\n")
    return str(paths[0]), str(paths[1])


def configuration(
    data: pathlib.Path,
    weights: str,
    workdir: pathlib.Path,
    held_out: bool,
    fields: Fields,
    samples_of: str = "",
) -> groups.Configuration:
    """The recipe on this data."""
    config = (frozen_samples if samples_of else frozen_features).get_config()
    config.train.initial_weights = samples_of
    config.data.folder.root = str(data)
    config.data.folder.list_file, config.data.folder.eval_list_file = lists(data, workdir, held_out)
    config.model.backbone_weights = weights
    config.evaluation.protocol = "nyu_eigen"
    config.evaluation.baselines = True
    config.update_from_flattened_dict(fields)
    if not held_out:
        config.train.evaluate_every = config.train.num_steps  # once: nothing is chosen on them
    config.frame.focal_length = NYU.fx * config.frame.size[1] / 640
    return groups.read(config)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--held_out", action="store_true")
    parser.add_argument("--samples_of", default="")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("fields", nargs="*", help="such as train.num_steps=4000")
    return parser.parse_args()


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> None:
    given = _arguments()
    fields = {name: _value(text) for name, _, text in (x.partition("=") for x in given.fields)}
    where = given.data, given.weights, given.workdir
    config = configuration(*where, given.held_out, fields, given.samples_of)
    started = time.monotonic()
    rows = train(config, given.workdir)
    print(format_table(rows))
    if given.output:
        facts = {"fields": fields, "held_out": given.held_out, "rows": dict(rows)}
        facts["model"] = dataclasses.asdict(config.model)
        facts["frame"], facts["loss"] = vars(config.frame), dataclasses.asdict(config.loss)
        facts["augmentation"], facts["train"] = vars(config.augmentation), vars(config.train)
        facts["minutes"] = round((time.monotonic() - started) / 60, 1)
        given.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
