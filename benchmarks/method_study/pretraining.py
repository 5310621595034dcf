"""The backbone that every training of the study starts from.

Real recipes start from ImageNet weights; from random ones the study's budget would go into telling
rooms from streets. Ours is trained by direct regression, dense truth, on scenes of another seed.

python -m benchmarks.method_study.pretraining SIZE WORKDIR
"""

import os
import pathlib
import shutil
import sys
from typing import Any

from benchmarks.method_study import compilation, scenes
from benchmarks.method_study.variants import (
    DIRECT,
    SCENE_SEED,
    SIZES,
    Size,
    complete,
    create_config,
)
from diffdepth_jax.training.loop import train

_SEED = SCENE_SEED + 1


def fields(size: Size) -> dict[str, Any]:
    """How a result says which backbone it started from."""
    return {"config": complete(DIRECT, size.pretraining, pretrained=False), "scene_seed": _SEED}


def directory(workdir: str | os.PathLike, size: Size) -> pathlib.Path:
    """The model directory, there or not."""
    own = size.pretraining
    name = f"backbone-{own.height}x{own.width}-{own.num_train}-{own.batch_size}x{own.num_steps}"
    return pathlib.Path(workdir) / name


def run(workdir: str | os.PathLike, size: Size) -> pathlib.Path:
    """Trains it unless it is there; an interrupted training starts anew."""
    path = directory(workdir, size)
    if path.exists():
        return path
    sources = scenes.load(workdir, size.pretraining, _SEED)
    unfinished = path.with_name(f"{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    train(create_config(DIRECT, 0, size.pretraining), unfinished, sources)
    shutil.rmtree(unfinished / "checkpoints")
    unfinished.replace(path)
    return path


def main() -> None:
    size, workdir = sys.argv[1:]
    compilation.keep_in(workdir)
    run(workdir, SIZES[size])


if __name__ == "__main__":
    main()
