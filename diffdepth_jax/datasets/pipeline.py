"""From random-access sources to batches: the only place that knows grain."""

import functools
import threading

import grain
import numpy as np
from absl import logging

from diffdepth_jax.datasets import transforms
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing


class Tolerant:
    """Gives for a sample that cannot be read the next one that can, up to `limit` such samples.

    The stream keeps its length and order. Each is named in a warning; with limit 0 the first ends
    the run.
    """

    def __init__(self, source, limit):
        self._source, self._limit = source, limit
        self._unreadable = set()
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        while True:
            try:
                return self._source[index]
            except UserError as error:
                self._note(index, error)
            index = (index + 1) % len(self._source)

    def _note(self, index, error):
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
    """The samples that one process reads from a stream: its part of each global batch, from a step.

    Whole batches of which every process takes its own would give the same, but would be the least
    that a thread reads and that is held ahead.
    """

    def __init__(self, stream, batch_size, process, first_step):
        self._stream, self._batch_size, self._first_step = stream, batch_size, first_step
        self._index, self._count = process

    def __len__(self):
        return len(self._stream) // self._count

    def __getitem__(self, position):
        step, place = divmod(position, self._batch_size)
        part = (self._first_step + step) * self._count + self._index
        return self._stream[part * self._batch_size + place]


def cut(sample, input_crop):
    """What of a frame the model sees: all of it ("none") or KITTI's benchmark crop ("kb")."""
    if input_crop not in ("none", "kb"):
        raise UserError(f"inference.input_crop {input_crop!r}: must be none or kb")
    return transforms.kb_crop(sample) if input_crop == "kb" else sample


def fit(sample, size):
    """Resizes a sample, aspect kept, to fit inside `size` (H, W)."""
    return transforms.resize(sample, preprocessing.letterbox_size(*sample["image"].shape[:2], size))


def _augment(
    sample,
    rng,
    *,
    size,
    min_depth,
    max_depth,
    rotation,
    zoom,
    crop_size,
    flip_probability,
    color_probability,
    gamma,
    brightness,
    color,
    input_crop="none",
):
    sample = fit(cut(sample, input_crop), size)
    sample = transforms.random_rotation(sample, rng, rotation)
    sample = transforms.random_zoom(sample, rng, zoom)
    sample = transforms.random_crop(sample, rng, crop_size)
    sample = transforms.random_flip(sample, rng, flip_probability)
    sample = transforms.color_jitter(sample, rng, color_probability, gamma, brightness, color)
    sample = transforms.valid_range(sample, min_depth, max_depth)
    return {name: sample[name] for name in ("image", "depth", "mask")}


class Thinned:
    """Keeps a fraction of each sample's valid pixels: as a sensor would, the same at each read."""

    def __init__(self, source, fraction, seed):
        self._source, self._fraction, self._seed = source, fraction, seed

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        rng = np.random.default_rng([self._seed, index])
        return transforms.thin_mask(self._source[index], rng, self._fraction)

    def __repr__(self):
        return f"Thinned({self._source!r}, {self._fraction})"


def _normalize(batch):
    """After batching, because until then an image is a quarter as large."""
    return {**batch, "image": preprocessing.normalize_image(batch["image"])}


def train_iterator(
    source,
    *,
    seed,
    batch_size,
    num_threads,
    max_unreadable=0,
    process=(0, 1),
    first_step=0,
    keep_valid=1.0,
    **augmentation,
):
    """Endless iterator of augmented batches, those of the training steps from `first_step` on.

    Samples are a function of the seed and of their position in the stream: global batch k is
    positions k B to (k + 1) B - 1, of which each process reads one contiguous part, in turn. So
    batches neither depend on the number of threads nor, put together, on that of processes.

    Args:
      source: random access to samples.
      seed: of order and augmentation.
      batch_size: of this process; B is this times the number of processes.
      num_threads: that read and augment.
      max_unreadable: samples of the source that are replaced by others, see `Tolerant`.
      process: (index, count).
      first_step: of the run, from 0.
      keep_valid: fraction of each sample's valid pixels, see `Thinned`.
      **augmentation: size, depth limits, and the fields of the `augmentation` group.

    Yields:
      image float32 [B, H, W, 3] normalised, depth float32 [B, H, W, 1] metres, mask bool.
    """
    if keep_valid < 1:
        source = Thinned(source, keep_valid, seed)
    tolerant = Tolerant(source, max_unreadable)
    stream = grain.MapDataset.source(tolerant).seed(seed).shuffle().repeat()
    stream = stream.random_map(functools.partial(_augment, **augmentation))
    share = grain.MapDataset.source(_Share(stream, batch_size, process, first_step))
    # Samples, at most: memory is that of two more batches, or of what the threads work at.
    ahead = max(2 * batch_size, num_threads)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=ahead)
    batches = share.to_iter_dataset(options).batch(batch_size, drop_remainder=True)
    return iter(batches.map(_normalize))


def evaluation_sample(sample, *, size, min_depth, max_depth, input_crop="none"):
    """What the model sees (`image` normalised, cut, fitted and padded to size) beside native truth.

    `content` is the (h, w) of the cut within the padded image. `picture`, depth and mask keep the
    size in which they were found, for that is where metrics are taken; other keys pass through.
    """
    truth = transforms.valid_range(sample, min_depth, max_depth)
    seen = fit(cut(sample, input_crop), size)
    image = transforms.pad_to(seen, size)["image"]
    return {
        **truth,
        "picture": sample["image"],
        "image": preprocessing.normalize_image(image),
        "content": np.array(seen["image"].shape[:2]),
    }


def evaluation_batches(source, indices, *, batch_size, **fields):
    """Each of these samples once, in order: lists of `batch_size` samples, the last list shorter.

    Args:
      source: random access to samples.
      indices: a range.
      batch_size: of a list.
      **fields: for `evaluation_sample`.
    """
    stream = grain.MapDataset.source(source)[indices.start : indices.stop]
    stream = stream.map(functools.partial(evaluation_sample, **fields))
    stream = stream.batch(batch_size, batch_fn=list)
    return iter(stream.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)))
