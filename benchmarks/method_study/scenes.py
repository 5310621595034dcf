"""The study's scenes, rendered once and kept in a file that all trainings read."""

import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from benchmarks.method_study.variants import SCENE_SEED, Size
from diffdepth_jax.datasets.samples import Sample
from diffdepth_jax.datasets.synthetic import KINDS, SyntheticScenes


class Scenes:
    """Samples of arrays image uint8 [N, H, W, 3] and depth float32 [N, H, W, 1].

    Ground truth is wherever the renderer has depth, on streets too, where the program's own samples
    keep a LiDAR's pixels: how sparse it is in training is a factor of the study, and edges can only
    be judged where depth is dense.
    """

    def __init__(
        self,
        image: UInt8[np.ndarray, "scenes height width 3"],
        depth: Float32[np.ndarray, "scenes height width 1"],
    ) -> None:
        self.image, self.depth = image, depth

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: Any) -> Sample:
        depth = self.depth[index]
        return {"image": self.image[index], "depth": depth, "mask": depth > 0}

    def __repr__(self) -> str:
        return f"Scenes{self.depth.shape}"


# {kind: (training scenes of the kind, held-out scenes)}
Sets = dict[str, tuple[Scenes, Scenes]]


def render(kind: str, split: str, count: int, size: Size, seed: int = SCENE_SEED) -> Scenes:
    """Scenes of one kind, or of both in turn ("mixed")."""
    source = SyntheticScenes(kind, split, count, size.height, size.width, seed)
    samples = [source[index] for index in range(count)]
    return Scenes(*(np.stack([sample[name] for sample in samples]) for name in ("image", "depth")))


def _sets(size):
    """{name: (kind, split, number of scenes)}; even training scenes are rooms, odd ones streets."""
    return {"train": ("mixed", "train", size.num_train)} | {
        kind: (kind, "eval", size.num_eval) for kind in KINDS
    }


def load(directory: str | os.PathLike, size: Size, seed: int = SCENE_SEED) -> tuple[Scenes, Sets]:
    """(training scenes, {kind: (training scenes of the kind, held-out scenes)}).

    As `sources.create_sources` returns them. Rendered if the directory does not have them.
    """
    name = f"scenes-{seed}-{size.height}x{size.width}-{size.num_train}-{size.num_eval}.npz"
    path = pathlib.Path(directory) / name
    if not path.exists():
        _render_all(path, size, seed)
    with np.load(path) as file:
        sets = {n: Scenes(file[f"{n}/image"], file[f"{n}/depth"]) for n in _sets(size)}
    train = sets.pop("train")
    kinds = {
        kind: (Scenes(train.image[offset::2], train.depth[offset::2]), sets[kind])
        for offset, kind in enumerate(KINDS)
    }
    return train, kinds


def _render_all(path, size, seed):
    arrays = {}
    for name, fields in _sets(size).items():
        scenes = render(*fields, size, seed)
        arrays |= {f"{name}/image": scenes.image, f"{name}/depth": scenes.depth}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    with open(unfinished, "wb") as file:
        np.savez(file, **arrays)
    unfinished.replace(path)
