"""From random-access sources to batches; the only module that knows grain."""

import functools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
from absl import logging

from diffdepth_jax.arrays import Batch
from diffdepth_jax.datasets import intrinsics, transforms
from diffdepth_jax.datasets.canonical import METRES, NAMELESS, CanonicalCamera
from diffdepth_jax.datasets.mixture import Share, shares_of
from diffdepth_jax.datasets.samples import EvaluationSample, Sample, Source, Views
from diffdepth_jax.datasets.thinning import thinned
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing


class Tolerant:
    """If a sample cannot be read, the next readable one takes its place; up to `limit` samples.

    The stream keeps its length and order. A warning names each unreadable sample. With a limit of 0
    the first one ends the run.
    """

    def __init__(self, source: Source, limit: int):
        self._source, self._limit = source, limit
        self._unreadable: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        while True:
            try:
                return self._source[index]
            except UserError as error:
                self._note(index, error)
            index = (index + 1) % len(self._source)

    def _note(self, index: int, error: UserError) -> None:
        with self._lock:
            known = index in self._unreadable
            self._unreadable.add(index)
            count = len(self._unreadable)
        if count > self._limit or count == len(self._source):
            raise UserError(
                f"{error} (unreadable training samples: {count}, allowed by "
                f"train.max_unreadable: {self._limit})"
            ) from error
        if not known:
            logging.warning("skipped, %d of at most %d: %s", count, self._limit, error)


class _Share:
    """The samples that one process reads from a stream: its part of each batch, from a step on.

    The unit is a sample, not a batch, so that several threads can read one batch.
    """

    def __init__(
        self,
        stream: grain.MapDataset,
        batch_size: int,
        process: tuple[int, int],
        first_step: int,
    ):
        self._stream, self._batch_size, self._first_step = stream, batch_size, first_step
        self._index, self._count = process

    def __len__(self) -> int:
        return len(self._stream) // self._count

    def __getitem__(self, position: int) -> Any:
        step, place = divmod(position, self._batch_size)
        part = (self._first_step + step) * self._count + self._index
        return self._stream[part * self._batch_size + place]


def cut(sample: Sample, input_crop: str) -> Sample:
    """The part of a frame that the model sees: all ("none"), or KITTI's benchmark crop ("kb")."""
    return transforms.kb_crop(sample) if input_crop == "kb" else sample


def fit(sample: Sample, size: tuple[int, int]) -> Sample:
    """Resizes a sample, aspect kept, to fit inside `size` (H, W)."""
    return transforms.resize(sample, preprocessing.letterbox_size(*sample["image"].shape[:2], size))


def augment(
    sample: Sample,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    min_depth: float,
    max_depth: float,
    rotation: float,
    zoom: float,
    crop_size: tuple[int, int],
    flip_probability: float,
    color_probability: float,
    gamma: float,
    brightness: float,
    color: float,
    box: tuple[int, ...] = (),
    input_crop: str = "none",
    camera: CanonicalCamera = METRES,
) -> Sample:
    """A sample as training sees it, of a source's sample and a generator.

    Args:
      sample: of a source.
      rng: draws the augmentation.
      size: (H, W), see `fit`.
      min_depth, max_depth: metres, see `transforms.valid_range`.
      rotation, zoom, crop_size, flip_probability, color_probability, gamma, brightness, color, box:
        the fields of the `augmentation` group.
      input_crop: see `cut`.
      camera: depth comes in its units.

    Raises:
      UserError: the units need the sample's focal length, which is unknown.
    """
    frame = cut(sample, input_crop)
    fitted = fit(frame, size)
    # Of the frame before the zoom, which divides depth instead of changing the lens.
    own = intrinsics.focal_length(fitted)
    metres_per_unit = camera.metres_per_unit(own, sample.get("name", NAMELESS))
    sample = transforms.crop_box(fitted, box, frame["image"].shape[:2])
    sample = transforms.random_rotation(sample, rng, rotation)
    sample = transforms.random_zoom(sample, rng, zoom)
    sample = transforms.random_crop(sample, rng, crop_size)
    sample = transforms.random_flip(sample, rng, flip_probability)
    sample = transforms.color_jitter(sample, rng, color_probability, gamma, brightness, color)
    sample = transforms.valid_range(sample, min_depth, max_depth)
    return transforms.scale_depth(sample, 1 / metres_per_unit)


def training_sample(
    sample: Sample, rng: np.random.Generator, *, validity: bool = False, **fields: Any
) -> dict[str, np.ndarray]:
    """What a batch needs of `augment`; with `validity` the sample's `surface` and `hole`, too."""
    augmented = augment(sample, rng, **fields)
    if validity and "surface" not in augmented:  # what is measured is a surface, and no hole known
        mask = augmented["mask"]
        augmented = {**augmented, "surface": mask, "hole": np.zeros_like(mask)}
    names = ("image", "depth", "mask", *(("surface", "hole") if validity else ()))
    return {name: augmented[name] for name in names}


def _normalize(batch: dict[str, Any]) -> dict[str, Any]:
    """Normalises after batching: until then an image takes a quarter of the memory."""
    return {**batch, "image": preprocessing.normalize_image(batch["image"])}


def _dataset(source: Any) -> Any:
    """Grain's data set over a source. Grain's types accept fewer sources than grain, hence Any."""
    return grain.MapDataset.source(source)


def train_iterator(
    source: Source,
    *,
    seed: int,
    batch_size: int,
    num_threads: int,
    max_unreadable: int = 0,
    process: tuple[int, int] = (0, 1),
    first_step: int = 0,
    valid_pixel_fraction: float = 1.0,
    **augmentation: Any,
) -> Iterator[Batch]:
    """Yields the augmented batches of the training steps from `first_step` on, without end.

    Of a mixture each part has an order of its own, and its weight says how often it comes; grain
    rounds shares to about 1 % of the largest one. Batches have the same proportions throughout.

    A sample is a function of the seed and of its position in the stream. Global batch k has the
    positions k B to (k + 1) B - 1, and each process reads a contiguous part of them. So a global
    batch depends neither on the number of threads nor on the number of processes.

    Args:
      source: random access to samples.
      seed: of order and augmentation.
      batch_size: this process's; B is this times the number of processes.
      num_threads: the threads that read and augment.
      max_unreadable: this many samples of the source may be replaced by others, see `Tolerant`.
      process: (index, count).
      first_step: of the run, from 0.
      valid_pixel_fraction: see `thinned`.
      **augmentation: the arguments of `training_sample`, with the fields of the `augmentation`
        group.

    Yields:
      image float32 [B, H, W, 3] normalised, depth float32 [B, H, W, 1] in metres or the units of
      the canonical camera, mask bool; with `validity` also surface and hole, bool.
    """
    shares = shares_of(source)
    source = thinned(source, valid_pixel_fraction, seed)
    stream = _in_random_order(Tolerant(source, max_unreadable), seed, shares)
    stream = stream.random_map(functools.partial(training_sample, **augmentation))
    return _batches(stream, batch_size, num_threads, process, first_step)


def view_iterator(
    views: Views,
    shares: Sequence[Share],
    *,
    seed: int,
    batch_size: int,
    num_threads: int,
    process: tuple[int, int] = (0, 1),
    first_step: int = 0,
) -> Iterator[Batch]:
    """Yields batches as `train_iterator` does, of samples that are not augmented any more.

    `shares` are those of the views, see `shares_of`.
    """
    stream = _in_random_order(views, seed, shares)
    return _batches(stream, batch_size, num_threads, process, first_step)


def _in_random_order(source: Any, seed: int, shares: Sequence[Share]) -> grain.MapDataset:
    """All samples in random order, then all in another order, and so on; of each share apart."""
    if len(shares) == 1:
        return _dataset(source).seed(seed).shuffle().repeat()
    streams = []
    for number, (indices, _) in enumerate(shares):
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        samples = _dataset(source)[indices.start : indices.stop]
        streams.append(samples.seed(own).shuffle().repeat())
    return grain.MapDataset.mix(streams, [weight for _, weight in shares])


def _batches(
    stream: grain.MapDataset,
    batch_size: int,
    num_threads: int,
    process: tuple[int, int],
    first_step: int,
) -> Iterator[Batch]:
    share = _dataset(_Share(stream, batch_size, process, first_step))
    # The samples prepared ahead: two batches, or one sample for each thread if that is more.
    ahead = max(2 * batch_size, num_threads)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)
    batches: Any = share.to_iter_dataset(options).batch(batch_size, drop_remainder=True)
    return iter(batches.map(_normalize))


def evaluation_sample(
    sample: Sample,
    *,
    size: tuple[int, int],
    min_depth: float,
    max_depth: float,
    input_crop: str = "none",
) -> EvaluationSample:
    """Adds the model's input to a frame and its ground truth, see EvaluationSample.

    The image is cut, fitted and padded to `size`, and normalised. Metrics are taken at the size of
    the ground truth. Other keys pass through.
    """
    truth = transforms.valid_range(sample, min_depth, max_depth)
    seen = fit(cut(sample, input_crop), size)
    image = transforms.pad_to(seen, size)["image"]
    return {
        **truth,
        "picture": sample["image"],
        "image": preprocessing.normalize_image(image),
        "content": np.array(seen["image"].shape[:2]),
        "focal_length": intrinsics.focal_length(seen),
    }


def evaluation_batches(
    source: Source, indices: range, *, batch_size: int, **fields: Any
) -> Iterator[list[EvaluationSample]]:
    """Yields these samples once, in order, in lists of `batch_size`; the last list may be shorter.

    Args:
      source: random access to samples.
      indices: the samples.
      batch_size: the length of a list.
      **fields: for `evaluation_sample`.
    """
    stream = _dataset(source)[indices.start : indices.stop]
    stream = stream.map(functools.partial(evaluation_sample, **fields))
    stream = stream.batch(batch_size, batch_fn=list)
    return iter(stream.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)))
