"""Measures the CPU time of reading and augmenting full-size frames, by stage and as a whole.

python -m benchmarks.input_speed [OUTPUT.json]

It prepares made-up frames of each form in a temporary directory, and reads them with the recipes'
pipelines on one thread. A second table has the forms that `data.source=folder` reads as they lie.
CPU time hardly depends on the machine's other work. 1000 / milliseconds is samples per second and
core.

"decoding" is a pipeline that only reads records or files and decodes them. "overhead" is the whole
pipeline's time less decoding and less the augmentations' arithmetic: masks, limits, normalisation,
batching and Grain. Each stage is timed alone, with caches and memory in another state than in the
whole pipeline, so that the stages do not add up exactly.
"""

import functools
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import grain
import numpy as np
from PIL import Image

from diffdepth_jax.configs import default, kitti, nyu
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.data import Folder
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets import pipeline, transforms
from diffdepth_jax.datasets.folder import RGBDFolder
from diffdepth_jax.datasets.records import Records, decode_depth, decode_image
from diffdepth_jax.datasets.samples import Sample, Source
from diffdepth_jax.datasets.sources import open_folder
from diffdepth_jax.media import preprocessing
from diffdepth_jax.media.depth_reading import read_values
from diffdepth_jax.media.reading import read_picture
from tests.support import depth_forms, raw_datasets

NYU_SIZE, KITTI_SIZE = (480, 640), (375, 1242)
# name: (recipe, how raw frames are written, its arguments)
FORMS = {
    "nyu_depth/sync": (nyu, raw_datasets.nyu_sync, (8, 1, NYU_SIZE)),
    "nyu_depth/hdf5": (nyu, raw_datasets.nyu_hdf5, (8, 1, NYU_SIZE)),
    "kitti_depth/eigen": (kitti, raw_datasets.kitti_eigen, (8, 1, KITTI_SIZE)),
}
_PAIRS = {"list_file": "pairs.txt"}
_TIMES = {"list_file": "rgb.txt", "depth_list_file": "depth.txt"}
# name: (suffix of the images, form of the depth, ratio of their sides, fields of data.folder)
FOLDERS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "16-bit PNG": ("jpg", "png16", 1, _PAIRS),
    "8-bit PNG": ("jpg", "png8", 1, _PAIRS | {"eight_bit_scale": 25.5}),
    "16-bit PNG, half size": ("jpg", "png16", 2, _PAIRS | {"resize_depth": True}),
    "TIFF, float32": ("jpg", "tiff", 1, _PAIRS),
    "PFM": ("jpg", "pfm", 1, _PAIRS),
    "npy, float16": ("jpg", "npy16", 1, _PAIRS),
    "npz, float32": ("jpg", "npz", 1, _PAIRS),
    "HDF5, float32": ("jpg", "h5", 1, _PAIRS),
    "TUM, PNG images": ("png", "png16", 1, _TIMES),
}
NUM_FRAMES = 24_231  # Grain's shuffle is slow on tiny sets
KINECT_NOISE = 0.004  # metres; makes depth files as large as those of NYU, 170 kB
ROTATION = {nyu: 2.5, kitti: 1.0}  # BTS
ZOOM = 1.5  # released code
REPEATS = 7  # of a stage
PASSES = 12  # of a pipeline
AUGMENTATION = ("crop", "flip", "colour")
Times = dict[str, float]  # {stage: CPU milliseconds for a sample}


class Repeated:
    """Repeats a few samples, so that a source is as long as a real one."""

    def __init__(self, read: Callable[[int], Any], count: int) -> None:
        self._read, self._count = read, count

    def __len__(self) -> int:
        return NUM_FRAMES

    def __getitem__(self, index: int) -> Any:
        return self._read(index % self._count)


def write_frames(form: str, root: pathlib.Path) -> Records:
    """Writes and prepares raw frames; returns the records."""
    _, write, arguments = FORMS[form]
    write(root / "raw", *arguments)
    for path in (root / "raw").rglob("sync_depth_*.png"):
        _add_noise(path)
    raw_datasets.prepare_small(form, root / "raw", root / "data")
    return Records(form, "train", str(root / "data"))


def _add_noise(path):
    """Adds a sensor's noise and a border without depth, so that files are as large as real ones."""
    depth = np.rint(1000 * noisy(np.array(Image.open(path)) / 1000)).astype(np.uint16)
    Image.fromarray(depth).save(path)


def noisy(depth: np.ndarray) -> np.ndarray:
    """Metres with a sensor's noise, float32, and 0 along two sides."""
    noise = np.random.default_rng(0).normal(0, KINECT_NOISE, depth.shape)
    depth = (depth + noise).astype(np.float32)
    depth[:40], depth[:, :40] = 0, 0
    return depth


def write_folder(form: str, root: pathlib.Path) -> RGBDFolder:
    """Writes pairs and their lists; returns the source that reads them."""
    suffix, kind, ratio, fields = FOLDERS[form]
    depth_suffix, save = depth_forms.FILES[kind]
    lists: dict[str, list[str]] = {"pairs": [], "rgb": [], "depth": []}
    (root / "depth").mkdir()
    for index, (image, depth) in enumerate(raw_datasets.scenes("rooms", "train", 8, NYU_SIZE)):
        names = f"image/{index}.{suffix}", f"depth/{index}.{depth_suffix}"
        raw_datasets.save_image(
            root / names[0], image, **{"quality": 95} if suffix == "jpg" else {}
        )
        save(root / names[1], noisy(depth)[::ratio, ::ratio])
        lists["pairs"].append(" ".join(names))
        lists["rgb"].append(f"{index} {names[0]}")
        lists["depth"].append(f"{index} {names[1]}")
    for name, lines in lists.items():
        depth_forms.text(root / f"{name}.txt", lines)
    folder = default.get_config().data.folder.to_dict()
    return open_folder(Folder(**{**folder, "root": str(root), **fields}))


def cpu_time(function: Callable, inputs: Sequence) -> tuple[float, list]:
    """Returns (CPU milliseconds for one input, outputs), from the fastest of several passes."""
    passes = []
    for _ in range(REPEATS):
        start = time.process_time()
        for value in inputs:
            function(value)
        passes.append(time.process_time() - start)
    return 1e3 * min(passes) / len(inputs), [function(value) for value in inputs]


def decode(records: Records, index: int) -> dict[str, int]:
    """Reads and decodes a frame, and drops the result."""
    example = records._features.deserialize_example_np(records._records[index])
    depth_of(example, decode_image(example["image"]))
    return {"index": index}


def decode_files(source: RGBDFolder, index: int) -> dict[str, int]:
    """Reads and decodes a pair, and drops the result."""
    image, depth = source.paths(index)
    read_picture(image)
    read_values("depth file", depth)
    return {"index": index}


def depth_of(example: dict[str, Any], image: np.ndarray) -> np.ndarray:
    format = example["depth_format"].decode()
    return decode_depth(example["depth"], format, example["depth_scale"], image.shape[:2])


def time_source(records: Records) -> tuple[Times, list[Sample]]:
    """Times the stages of reading; returns ({stage: milliseconds}, samples)."""
    times, indices = {}, range(len(records))
    times["read record"], data = cpu_time(records._records.__getitem__, indices)
    times["parse record"], examples = cpu_time(records._features.deserialize_example_np, data)
    times["decode image"], (image, *_) = cpu_time(lambda e: decode_image(e["image"]), examples)
    times["decode depth"], _ = cpu_time(lambda e: depth_of(e, image), examples)
    total, samples = cpu_time(records.__getitem__, indices)
    times["mask"] = max(0.0, total - sum(times.values()))
    return times, samples


def transformations(recipe: ModuleType, config: Configuration) -> dict[str, tuple[float, Callable]]:
    """Returns {stage: (share of samples, function)}; share 0 stands for: not in the recipe."""
    fields, frame = config.augmentation, config.frame
    height, width = frame.size
    rng = np.random.default_rng(0)
    jitter = fields.gamma, fields.brightness, fields.color
    limits = frame.min_depth, frame.max_depth
    return {
        "resize to half": (0, lambda s: transforms.resize(s, (height // 2, width // 2))),
        "rotation": (0, lambda s: transforms.random_rotation(s, rng, ROTATION[recipe])),
        "zoom": (0, lambda s: transforms.random_zoom(s, rng, ZOOM)),
        "crop": (1, lambda s: transforms.random_crop(s, rng, fields.crop_size)),
        "flip": (fields.flip_probability, lambda s: transforms.random_flip(s, rng, 1)),
        "colour": (fields.color_probability, lambda s: transforms.color_jitter(s, rng, 1, *jitter)),
        "depth limits": (1, lambda s: transforms.valid_range(s, *limits)),
    }


def time_batching(samples: list[Sample], batch_size: int) -> Times:
    """Times the stages that work on a batch; returns {stage: milliseconds for a sample}."""
    arrays = [{name: s[name] for name in ("image", "depth", "mask")} for s in samples]
    batch = [arrays[index % len(arrays)] for index in range(batch_size)]

    def stack(batch):
        return {name: np.stack([sample[name] for sample in batch]) for name in batch[0]}

    stacking, (stacked,) = cpu_time(stack, [batch])
    normalising, _ = cpu_time(preprocessing.normalize_image, [stacked["image"]])
    return {"batch": stacking / batch_size, "normalise": normalising / batch_size}


def time_pipelines(
    source: Source, decode: Callable[[Any, int], Any], config: Configuration
) -> list[float]:
    """Returns CPU milliseconds for a sample, (of decoding alone, of the training pipeline)."""
    size = config.train.batch_size
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2 * size)
    decoded = Repeated(functools.partial(decode, source), len(source))
    stream = grain.MapDataset.source(decoded).seed(0).shuffle().repeat()
    decoding = iter(stream.to_iter_dataset(options).batch(size))
    training = pipeline.train_iterator(
        Repeated(source.__getitem__, len(source)),
        seed=0,
        batch_size=size,
        num_threads=1,
        size=config.frame.size,
        input_crop=config.frame.input_crop,
        min_depth=config.frame.min_depth,
        max_depth=config.frame.max_depth,
        **vars(config.augmentation),
    )
    # One after the other: each pipeline reads ahead, and would disturb the other's time.
    return [time_batches(batches) / size for batches in (decoding, training)]


def time_batches(batches: Iterator, count: int = 4) -> float:
    """Returns CPU milliseconds for a batch, from the fastest of several passes."""
    passes = []
    next(batches)
    for _ in range(PASSES):
        start = time.process_time()
        for _ in range(count):
            next(batches)
        passes.append(time.process_time() - start)
    return 1e3 * min(passes) / count


def measure(form: str) -> Times:
    """Measures one form; returns {stage or sum: milliseconds, or the unit in its name}."""
    recipe = FORMS[form][0]
    config = groups.read(recipe.get_config())
    with tempfile.TemporaryDirectory() as root:
        records = write_frames(form, pathlib.Path(root))
        applied, samples = time_source(records)
        times = dict(applied)
        cut = {"cut": (1, lambda s: pipeline.cut(s, config.frame.input_crop))}
        for name, (share, function) in (cut | transformations(recipe, config)).items():
            applied[name], outputs = cpu_time(function, samples)
            times[name] = share * applied[name]
            samples = outputs if share == 1 else samples
        batching = time_batching(samples, config.train.batch_size)
        applied, times = applied | batching, times | batching
        decoding, whole = time_pipelines(records, decode, config)
    augmentation = sum(times[name] for name in AUGMENTATION)
    sums = {
        "decoding": decoding,
        "augmentation": augmentation,
        "whole pipeline": whole,
        "samples per second and core": 1e3 / whole,
        "overhead, % of decoding": 100 * (whole - augmentation - decoding) / decoding,
        "overhead with augmentation, %": 100 * (whole - decoding) / decoding,
    }
    return applied | sums


def measure_folder(form: str) -> Times:
    """Measures one form of `data.source=folder` with the recipe of NYU."""
    config = groups.read(nyu.get_config())
    with tempfile.TemporaryDirectory() as root:
        source = write_folder(form, pathlib.Path(root))
        decoding, whole = time_pipelines(source, decode_files, config)
    return {
        "decoding, ms": decoding,
        "whole pipeline, ms": whole,
        "samples per second and core": 1e3 / whole,
        "decoding, % of the whole": 100 * decoding / whole,
    }


def format_folders(results: dict[str, Times]) -> str:
    names = list(next(iter(results.values())))
    rows = [f"{'data.source=folder':<24}" + "".join(f"{name:>30}" for name in names)]
    rows += [
        f"{form:<24}" + "".join(f"{times[name]:>30.1f}" for name in names)
        for form, times in results.items()
    ]
    return "\n".join(rows)


def format_table(results: dict[str, Times]) -> str:
    rows = [f"{'CPU ms for a sample':<32}" + "".join(f"{form:>20}" for form in results)]
    for name in next(iter(results.values())):
        rows.append(f"{name:<32}" + "".join(f"{row[name]:>20.2f}" for row in results.values()))
    rows.append(
        "A stage's time is that of doing it: the recipes flip and change colour half of the time, "
        "and leave resize, rotation and zoom out."
    )
    return "\n".join(rows)


def main(output: str | None = None) -> None:
    results = {form: measure(form) for form in FORMS}
    print(format_table(results))
    folders = {form: measure_folder(form) for form in FOLDERS}
    print(format_folders(folders))
    if output:
        report = {"cpus": os.cpu_count(), "milliseconds": results, "folders": folders}
        pathlib.Path(output).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
