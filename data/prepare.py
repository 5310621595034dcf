"""Prepares a dataset: checks every file of a raw download, then writes records.

python -m data.prepare --dataset=nyu_depth/sync --source=DIR --data_dir=DIR

data/README.md says what the source of each dataset holds.
"""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import shutil
import sys
import tempfile

from absl import app, flags, logging

from data.checks import check
from data.frames import Options
from diffdepth_jax.entry import one_line_errors, parse_flags
from diffdepth_jax.errors import UserError

DATASETS = ("nyu_depth", "kitti_depth")

_DATASET = flags.DEFINE_string("dataset", None, "DATASET/SOURCE, such as nyu_depth/sync.")
_SOURCE = flags.DEFINE_string("source", None, "Folder or file of the raw download.")
_DEPTH_SOURCE = flags.DEFINE_string(
    "depth_source", None, "Folder of the depth (KITTI: data_depth_annotated), if elsewhere."
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared datasets are kept.")
_SPLITS = flags.DEFINE_list("splits", None, "Splits to prepare; default: all of the source.")
_TRAIN_LIST = flags.DEFINE_string("train_list", None, "List file of the training split.")
_TEST_LIST = flags.DEFINE_string("test_list", None, "List file of the test split.")
_ANY_SIZE = flags.DEFINE_bool(
    "any_size", False, "Accept other numbers of frames and picture sizes than the published ones."
)
_ALLOW_SHARED_SCENES = flags.DEFINE_bool(
    "allow_shared_scenes", False, "Accept scenes or drives that train shares with another split."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the dataset if it is prepared already.")
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", None, "Processes that read and check; default: one for each core.", lower_bound=1
)


def prepare(dataset: str, options: Options, overwrite: bool = False) -> pathlib.Path:
    """Finds, checks and writes; returns the folder. Nothing is written if anything is wrong."""
    name, config, builder_class = _builder(dataset)
    source = builder_class.SOURCES[config]
    target = options.data_dir / name / config / str(builder_class.VERSION)
    if target.exists() and not overwrite:
        print(f"{dataset} is prepared already in {target}; --overwrite prepares it anew")
        return target
    for root in options.roots:
        if not root.exists():
            raise UserError(f"{root} does not exist: check --source and --depth_source")
    options = _with_all_splits(dataset, source, options)
    found = source.find(options)
    num_bytes = check(found, source, options)
    for note in found.notes:
        print(note)
    if found.problems:
        raise UserError(_report(found.problems, options.source))
    _check_space(options.data_dir, num_bytes)
    with _set_aside(target):
        builder = builder_class(config=config, data_dir=str(options.data_dir))
        builder.write(found.frames, num_bytes=num_bytes, num_workers=options.num_workers)
    _print_summary(dataset, found.frames, target)
    return target


def _print_summary(dataset, frames, target):
    for split, members in frames.items():
        scenes = len({frame.scene for frame in members} - {""})
        of_scenes = f" of {scenes} scenes" if scenes else ""
        print(f"{dataset} {split}: {len(members)} frames{of_scenes}")
    for left in sorted(target.parent.glob("incomplete.*")):
        print(f"{left} was left by an interrupted run: delete it, unless that run still writes")
    print(f"written to {target}")


def _builder(dataset):
    """Dataset name, source name, and the builder class."""
    name, _, config = dataset.partition("/")
    if name not in DATASETS:
        raise UserError(f"dataset {dataset!r}: must be nyu_depth/SOURCE or kitti_depth/SOURCE")
    builder = importlib.import_module(f"data.{name}.{name}_dataset_builder").Builder
    if config not in builder.SOURCES:
        known = ", ".join(f"{name}/{source}" for source in builder.SOURCES)
        raise UserError(f"dataset {dataset!r}: must be one of {known}")
    return name, config, builder


def _with_all_splits(dataset, source, options):
    unknown = [split for split in options.splits if split not in source.num_frames]
    if unknown:
        known = ", ".join(source.num_frames)
        raise UserError(f"splits {', '.join(unknown)}: {dataset} has {known}")
    return dataclasses.replace(options, splits=options.splits or tuple(source.num_frames))


def _report(problems, source):
    problems = list(dict.fromkeys(problems))  # a file may be used by several frames
    print(*problems, sep="\n", file=sys.stderr)
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{count} in {source}, named above; nothing was written"


@contextlib.contextmanager
def _set_aside(target):
    """Keeps what was prepared before under a name that is not read, until the new is written."""
    if not target.exists():
        yield
        return
    old = pathlib.Path(tempfile.mkdtemp(prefix="incomplete.", dir=target.parent))
    target.rename(old)
    try:
        yield
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _check_space(data_dir, num_bytes):
    data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data_dir).free
    if free < num_bytes:
        raise UserError(
            f"{data_dir} has {free / 1e9:.1f} GB free, about {num_bytes / 1e9:.1f} GB are needed:"
            " make room or give another --data_dir"
        )


def _run(argv):
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]}: every option starts with --")
    lists = {"train": _TRAIN_LIST.value, "test": _TEST_LIST.value}
    depth_source = _DEPTH_SOURCE.value and pathlib.Path(_DEPTH_SOURCE.value).expanduser()
    options = Options(
        source=pathlib.Path(_SOURCE.value).expanduser(),
        data_dir=pathlib.Path(_DATA_DIR.value).expanduser(),
        splits=tuple(_SPLITS.value or ()),
        depth_source=depth_source,
        lists={split: path for split, path in lists.items() if path},
        any_size=_ANY_SIZE.value,
        allow_shared_scenes=_ALLOW_SHARED_SCENES.value,
        num_workers=_NUM_WORKERS.value or os.cpu_count(),
    )
    prepare(_DATASET.value, options, _OVERWRITE.value)


def main():
    flags.mark_flags_as_required(["dataset", "source", "data_dir"])
    logging.set_verbosity(logging.WARNING)
    with one_line_errors():
        app.run(_run, flags_parser=parse_flags)


if __name__ == "__main__":
    main()
