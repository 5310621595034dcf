"""The sources of training and evaluation samples that a configuration names."""

import dataclasses
import functools
import os
import threading

import numpy as np
from absl import logging

from diffdepth_jax.configuration import data as groups
from diffdepth_jax.configuration.data import fields_of_part
from diffdepth_jax.datasets import presets
from diffdepth_jax.datasets.folder import RGBDFolder
from diffdepth_jax.datasets.mixture import Mixture, PartSource, TrainingPart
from diffdepth_jax.datasets.records import Records
from diffdepth_jax.datasets.samples import Sample, Source
from diffdepth_jax.datasets.synthetic import SyntheticScenes
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.depth_reading import DepthForm

# {name of an evaluation set: (training samples of the same kind, evaluation samples)}.
EvaluationSets = dict[str, tuple[Source, Source]]


class DenselyMeasured:
    """Says of pixels with ground truth that they are a surface, and that all others are holes."""

    def __init__(self, source: Source):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        sample = self._source[index]
        return {**sample, "surface": sample["mask"], "hole": ~sample["mask"]}

    def __repr__(self) -> str:
        return f"DenselyMeasured({self._source!r})"

    def __str__(self) -> str:
        return str(self._source)


class Cached:
    """Keeps samples of a source in memory after their first reading, while there is room."""

    def __init__(self, source: Source, room: int = 2**30) -> None:
        """`room` is in bytes."""
        self._source, self._room = source, room
        self._samples: list[Sample | None] = [None] * len(source)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        sample = self._samples[index]
        if sample is None:
            sample = self._source[index]
            with self._lock:
                self._keep(index, sample)
        return sample

    def _keep(self, index: int, sample: Sample) -> None:
        size = sum(np.asarray(value).nbytes for value in sample.values())
        if size <= self._room and self._samples[index] is None:
            self._samples[index], self._room = sample, self._room - size


def create_sources(data: groups.Data | groups.Part, seed: int) -> tuple[Source, EvaluationSets]:
    """The training source, and the evaluation sets by name.

    Evaluation reports each set apart, and fits the baselines to the set's training samples.

    Raises:
      UserError: the data are not there or do not fit together.
    """
    if isinstance(data, groups.Data) and data.source == "mixture":
        return _mixture_sources(data.mixture, seed)
    if data.source == "synthetic":
        return _synthetic_sources(data.synthetic, seed)
    if data.source == "folder":
        return _folder_sources(data.folder)
    return _records_sources(data.records)


def _synthetic_sources(fields: groups.Synthetic, seed: int) -> tuple[Source, EvaluationSets]:
    scenes = functools.partial(SyntheticScenes, height=fields.height, width=fields.width, seed=seed)
    held_out = functools.partial(scenes, focal_range=fields.eval_focal_range)
    train = Cached(scenes(fields.kind, "train", fields.num_train, focal_range=fields.focal_range))
    if fields.kind != "mixed":
        return train, {fields.kind: (train, held_out(fields.kind, "eval", fields.num_eval))}
    # Even scenes of the mixed source are rooms, odd ones are streets.
    return train, {
        kind: (_EveryOther(train, offset), held_out(kind, "eval", fields.num_eval))
        for offset, kind in enumerate(("rooms", "streets"))
    }


class _EveryOther:
    def __init__(self, source: Source, offset: int):
        self._source, self._offset = source, offset

    def __len__(self) -> int:
        return (len(self._source) - self._offset + 1) // 2

    def __getitem__(self, index: int) -> Sample:
        return self._source[2 * index + self._offset]


def _folder_sources(fields: groups.Folder) -> tuple[Source, EvaluationSets]:
    if not fields.root:
        raise UserError(
            "data.folder.root is empty: set --config.data.folder.root to the folder of your data"
        )
    lists_training = bool(fields.list_file)  # by choice, not by a preset
    fields = presets.resolved(fields)
    if fields.eval_depth_list_file and not fields.eval_list_file:
        raise UserError(
            f"data.folder.eval_depth_list_file {fields.eval_depth_list_file} means nothing without "
            "eval_list_file: give both"
        )
    train = open_folder(fields)
    if fields.eval_list_file:
        lists = {"list_file": fields.eval_list_file, "depth_list_file": fields.eval_depth_list_file}
        held_out = open_folder(dataclasses.replace(fields, **lists))
        train = _without(train, held_out, drop=not lists_training)
        return train, {"eval": (train, held_out)}
    every = fields.holdout_every
    if not every:
        return train, {"train": (train, train)}
    if every < 2 or len(train) < every:
        raise _holdout_error(every, train)
    held_out = train.select(range(len(train))[every - 1 :: every])
    rest = train.select([i for i in range(len(train)) if (i + 1) % every])
    rest = _without(rest, held_out, drop=True)  # in a list that names some twice
    return rest, {"eval": (rest, held_out)}


def _places(source: RGBDFolder) -> list[str]:
    """Where the images lie, links followed."""
    return [os.path.realpath(source.paths(index)[0]) for index in range(len(source))]


def _without(train: RGBDFolder, held_out: RGBDFolder, *, drop: bool) -> RGBDFolder:
    """The training pairs without those that are scored; without `drop` a warning tells of them."""
    scored = set(_places(held_out))
    others = [index for index, place in enumerate(_places(train)) if place not in scored]
    shared = len(train) - len(others)
    if shared and not (drop and others):
        logging.warning("%d of %d training pairs are evaluated on, too", shared, len(train))
    elif shared:
        logging.info("%d pairs are left out of training: they are evaluated on", shared)
        return train.select(others)
    return train


def _holdout_error(every: int, train: RGBDFolder) -> UserError:
    train[0]  # a pair that cannot be read is the first thing to say
    count = len(train)
    some = f"2 (every second pair) up to {count}, or to " if count > 1 else ""
    return UserError(
        f"data.folder.holdout_every {every} with {count} samples holds out none or all: set "
        f"--config.data.folder.holdout_every to {some}0, which evaluates on the training samples; "
        "a dozen pairs or more can be scored better"
    )


def open_folder(fields: groups.Folder) -> RGBDFolder:
    """The pairs that the fields describe; `preset` is not looked at, see `presets.resolved`."""
    form = DepthForm(
        fields.depth_scale, fields.invalid_values, fields.eight_bit_scale, fields.eight_bit_offset
    )
    return RGBDFolder(
        fields.root,
        fields.image_pattern,
        fields.depth_pattern,
        list_file=fields.list_file,
        depth_root=fields.depth_root,
        depth_list_file=fields.depth_list_file,
        depth_form=form,
        mask_pattern=fields.mask_pattern,
        resize_depth=fields.resize_depth,
        depth_orientation=fields.depth_orientation,
        focal_length=fields.focal_length,
    )


def _mixture_sources(parts: dict[str, groups.Part], seed: int) -> tuple[Source, EvaluationSets]:
    """A set is called as its part, or PART-SET where a part has several."""
    drawn, sets = [], {}
    for name, part in sorted(parts.items()):  # the order of a recipe and that of JSON may differ
        train, own_sets = _part_sources(name, part, seed)
        alone = len(own_sets) == 1
        sets |= {name if alone else f"{name}-{key}": pair for key, pair in own_sets.items()}
        if part.weight:
            limits = part.min_depth, part.max_depth or np.inf
            drawn.append(TrainingPart(name, train, part.weight, limits))
    return Mixture(drawn), sets


def _part_sources(name: str, part: groups.Part, seed: int) -> tuple[Source, EvaluationSets]:
    with fields_of_part(name):
        train, sets = create_sources(part, seed)
        if part.weight and any(fitted is scored for fitted, scored in sets.values()):
            raise UserError(
                f"part {name!r} would be evaluated on its training samples: set "
                "data.folder.eval_list_file or data.folder.holdout_every, or its weight to 0"
            )

    def of_part(source: Source) -> Source:
        return PartSource(source, name, part.focal_length)

    sets = {key: (of_part(fitted), of_part(scored)) for key, (fitted, scored) in sets.items()}
    dense = part.missing_depth == "hole"
    return of_part(DenselyMeasured(train) if dense else train), sets


def _records_sources(fields: groups.Records) -> tuple[Source, EvaluationSets]:
    train = Records(fields.name, fields.train_split, fields.data_dir)
    held_out = Records(fields.name, fields.eval_split, fields.data_dir)
    return train, {fields.eval_split: (train, held_out)}
