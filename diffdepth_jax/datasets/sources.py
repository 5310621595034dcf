"""The sources of training and evaluation samples that a configuration names."""

import functools
import inspect
import threading

from diffdepth_jax.datasets.folder import RGBDFolder
from diffdepth_jax.datasets.records import Records
from diffdepth_jax.datasets.synthetic import SyntheticScenes
from diffdepth_jax.errors import UserError


class Cached:
    """Keeps every sample of a source in memory once it was read."""

    def __init__(self, source):
        self._source = source
        self._samples = [None] * len(source)
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        if self._samples[index] is None:
            sample = self._source[index]
            with self._lock:
                self._samples[index] = sample
        return self._samples[index]


def create_sources(*, source: str, seed: int, **fields):
    """The training source and {name: (training, evaluation) source}, from the `data` group.

    The pairs are what evaluation reports apart, each with the training samples of its own kind, to
    which the baselines are fitted. Of the group's fields each source takes its own.
    """
    sources = {
        "synthetic": functools.partial(_synthetic_sources, seed=seed),
        "folder": _folder_sources,
        "records": _records_sources,
    }
    if source not in sources:
        raise UserError(f"data.source {source!r}: must be synthetic, folder or records")
    own = inspect.signature(sources[source]).parameters.keys() - {"seed"}
    return sources[source](**{name: fields[name] for name in own})


def _synthetic_sources(*, seed, num_train, num_eval, height, width):
    if num_train < 2:
        raise UserError(f"data.num_train {num_train}: must be 2 or more, a room and a street")
    scenes = functools.partial(SyntheticScenes, height=height, width=width, seed=seed)
    train = Cached(scenes("mixed", "train", num_train))
    pairs = {
        # Even scenes of the mixed source are rooms, odd ones streets.
        kind: (_EveryOther(train, offset), scenes(kind, "eval", num_eval))
        for offset, kind in enumerate(("rooms", "streets"))
    }
    return train, pairs


class _EveryOther:
    def __init__(self, source, offset):
        self._source, self._offset = source, offset

    def __len__(self):
        return (len(self._source) - self._offset + 1) // 2

    def __getitem__(self, index):
        return self._source[2 * index + self._offset]


def _folder_sources(
    *, root, image_pattern, depth_pattern, list_file, eval_list_file, depth_scale, holdout_every
):
    if not root:
        raise UserError("data.root is empty: set --config.data.root to the folder of your data")
    folder = functools.partial(RGBDFolder, root, image_pattern, depth_pattern)
    train = folder(list_file, depth_scale)
    if eval_list_file:
        return train, {"eval": (train, folder(eval_list_file, depth_scale))}
    if not holdout_every:
        return train, {"train": (train, train)}
    if holdout_every < 2 or len(train) < holdout_every:
        raise UserError(
            f"data.holdout_every {holdout_every} with {len(train)} samples holds out none or all: "
            "set 2 up to the number of samples, or 0 to evaluate on the training samples"
        )
    every = range(len(train))
    held_out = train.select(every[holdout_every - 1 :: holdout_every])
    train = train.select([i for i in every if (i + 1) % holdout_every])
    return train, {"eval": (train, held_out)}


def _records_sources(*, name, data_dir, train_split, eval_split):
    train = Records(name, train_split, data_dir)
    return train, {eval_split: (train, Records(name, eval_split, data_dir))}
