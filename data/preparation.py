"""Finds, checks and writes a dataset, in this order."""

import contextlib
import dataclasses
import importlib
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from diffdepth_jax.data.archives import extract, is_archive
from diffdepth_jax.data.checks import check
from diffdepth_jax.data.frames import Found, Frame, Options, Source
from diffdepth_jax.errors import UserError
from diffdepth_jax.program.folder_lock import FolderLock

if TYPE_CHECKING:
    from diffdepth_jax.data.builder import DepthBuilder

_OLD = "replaced."  # with which the name of a dataset that is set aside begins
_INFO = "dataset_info.json"  # of TFDS; a dataset without it is none

DATASETS = ("nyu_depth", "kitti_depth")


def prepare(dataset: str, options: Options, overwrite: bool = False) -> pathlib.Path:
    """Prepares a dataset unless it is prepared already, and returns its folder.

    Args:
      dataset: DATASET/SOURCE, such as "nyu_depth/sync".
      options: the options of the command line.
      overwrite: prepare it again; the old dataset stays until the new one is complete.

    Raises:
      UserError: anything is wrong with the source. Then nothing is written.
    """
    name, config, builder_class = _builder(dataset)
    source = builder_class.SOURCES[config]
    target = options.data_dir / name / config / str(builder_class.VERSION)
    every = _with_all_splits(dataset, source, options)
    if not overwrite and _is_prepared(target, dataset, options):
        return target
    with FolderLock(target.parent) as lock:
        alone = lock.take("wait until it ends, or give another --data_dir")
        if alone:
            _bring_back(target)
        if not overwrite and _is_prepared(target, dataset, options):
            return target
        _check_dropped(target, every)
        frames, num_bytes = _frames_to_write(dataset, source, options)
        with _set_aside(target):
            builder = builder_class(config=config, data_dir=str(options.data_dir))
            builder.write(frames, num_bytes=num_bytes, num_workers=options.num_workers)
        _tidy(target, alone=alone)
    _print_summary(dataset, frames, target)
    return target


def _frames_to_write(
    dataset: str, source: Source, options: Options
) -> tuple[dict[str, list[Frame]], int]:
    """As `_checked_frames`, after a look at the options and before one at the disk."""
    _check_roots(options)
    options = _with_all_splits(dataset, source, options)
    _check_test_depth(dataset, source, options)
    if options.lists and not source.takes_lists:
        raise UserError(
            f"--train_list and --test_list mean nothing for {dataset}, whose splits are published "
            "as they are: leave them out"
        )
    frames, num_bytes = _checked_frames(source, options)
    _check_space(options.data_dir, num_bytes)
    return frames, num_bytes


def _checked_frames(source: Source, options: Options) -> tuple[dict[str, list[Frame]], int]:
    """The frames of each split, and the bytes that their records will take."""
    found = _find(source, options)
    num_bytes = check(found, source, options)
    for note in found.notes:
        print(note)
    if found.problems:
        raise UserError(_report(found.problems, options.source))
    return found.frames, num_bytes


def _find(source: Source, options: Options) -> Found:
    """Finds the frames. If files are missing, extracts archives and looks again.

    Archives beside which their files lie are therefore not extracted again.
    """
    found, archives = source.find(options), list(_archives(options))
    if not archives:
        return found
    if not found.problems and all(found.frames.values()):
        names = ", ".join(archive.name for archive in archives)
        found.notes.append(f"not extracted, because nothing is missing without: {names}")
        return found
    folder = options.data_dir / "extracted"
    extracted = tuple(extract(archive, folder, source.unread) for archive in archives)
    return source.find(dataclasses.replace(options, extracted=extracted))


def _archives(options: Options) -> Iterator[pathlib.Path]:
    """The archives that are given as roots, or lie in one."""
    for root in options.roots:
        yield from filter(is_archive, [root] if root.is_file() else sorted(root.iterdir()))


def _print_summary(dataset: str, frames: dict[str, list[Frame]], target: pathlib.Path) -> None:
    for split, members in frames.items():
        scenes = len({frame.scene for frame in members} - {""})
        of_scenes = f" of {scenes} scenes" if scenes else ""
        print(f"{dataset} {split}: {len(members)} frames{of_scenes}")
    print(f"written to {target}")


def _tidy(target: pathlib.Path, *, alone: bool) -> None:
    """Deletes what interrupted runs left beside a dataset, if surely no other run writes there."""
    for left in sorted([*target.parent.glob("incomplete.*"), *target.parent.glob(f"{_OLD}*")]):
        if alone:
            print(f"{left}, left by an interrupted run, is deleted")
            shutil.rmtree(left, ignore_errors=True)
        else:
            print(f"{left} was left by an interrupted run: delete it, unless that run still writes")


def _builder(dataset: str) -> tuple[str, str, type["DepthBuilder"]]:
    """Dataset name, source name, and the builder class."""
    name, _, config = dataset.partition("/")
    if name not in DATASETS:
        raise UserError(f"dataset {dataset!r}: must be nyu_depth/SOURCE or kitti_depth/SOURCE")
    builder = importlib.import_module(f"diffdepth_jax.data.{name}.{name}_dataset_builder").Builder
    if config not in builder.SOURCES:
        known = ", ".join(f"{name}/{source}" for source in builder.SOURCES)
        raise UserError(f"dataset {dataset!r}: must be one of {known}")
    return name, config, builder


def _check_roots(options: Options) -> None:
    for root in options.roots:
        if not root.exists():
            raise UserError(f"{root} does not exist: check --source and --depth_source")
        if root.is_file() and not (is_archive(root) or root.suffix == ".mat"):
            raise UserError(f"{root} is no folder and no .tar, .tar.gz, .tgz, .zip or .mat file")


def _check_test_depth(dataset: str, source: Source, options: Options) -> None:
    """Refuses depth maps of a test list that nothing would read."""
    if options.test_depth is None:
        return
    if not source.takes_test_depth or "test" not in options.splits:
        raise UserError(
            f"--test_depth={options.test_depth} means nothing for {dataset} with the splits"
            f" {', '.join(options.splits)}: it is for the split test of kitti_depth/eigen"
        )


def _with_all_splits(dataset: str, source: Source, options: Options) -> Options:
    """The options with the splits to prepare: the given ones, or all of the source."""
    unknown = [split for split in options.splits if split not in source.num_frames]
    if unknown:
        known = ", ".join(source.num_frames)
        raise UserError(f"splits {', '.join(unknown)}: {dataset} has {known}")
    return dataclasses.replace(options, splits=options.splits or tuple(source.num_frames))


def _report(problems: list[str], source: pathlib.Path) -> str:
    """Prints the problems; returns the message that counts them."""
    problems = list(dict.fromkeys(problems))  # one file may spoil many frames
    print(*problems, sep="\n", file=sys.stderr)
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{count} in {source}, named above; nothing was written"


@contextlib.contextmanager
def _set_aside(target: pathlib.Path) -> Generator[None]:
    """Keeps an older dataset under a name that no reader looks for, until the new one is written.

    If writing fails, the older dataset gets its name back; if the program is killed, the next run
    gives it back, see `_bring_back`.
    """
    if not target.exists():
        yield
        return
    old = pathlib.Path(tempfile.mkdtemp(prefix=_OLD, dir=target.parent))
    target.rename(old)
    try:
        yield
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _bring_back(target: pathlib.Path) -> None:
    """Gives a dataset its name back that a killed run has set aside."""
    for old in sorted(target.parent.glob(f"{_OLD}*")):
        if not target.exists() and (old / _INFO).exists():
            old.rename(target)
            print(f"{target}, set aside by an interrupted run, is there again")


def _prepared_splits(target: pathlib.Path) -> list[str]:
    path = target / _INFO
    return (
        [split["name"] for split in json.loads(path.read_text())["splits"]] if path.exists() else []
    )


def _is_prepared(target: pathlib.Path, dataset: str, options: Options) -> bool:
    """Whether a dataset is there, which is told; refuses splits that it lacks."""
    if not target.exists():
        return False
    known = _prepared_splits(target)
    if lacking := [split for split in options.splits if split not in known]:
        raise UserError(
            f"{target} was prepared without the split {lacking[0]}: prepare it anew with "
            f"--overwrite and --splits={','.join([*known, *lacking])}"
        )
    print(f"{dataset} is prepared already in {target}; --overwrite prepares it anew")
    return True


def _check_dropped(target: pathlib.Path, options: Options) -> None:
    """Refuses to replace a dataset by one that lacks a split of it."""
    known = _prepared_splits(target)
    if dropped := [split for split in known if split not in options.splits]:
        raise UserError(
            f"{target} holds the split {dropped[0]}, which --overwrite with "
            f"--splits={','.join(options.splits)} would drop: add it, or give another --data_dir"
        )


def _check_space(data_dir: pathlib.Path, num_bytes: int) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data_dir).free
    if free < num_bytes:
        raise UserError(
            f"{data_dir} has {free / 1e9:.1f} GB free, about {num_bytes / 1e9:.1f} GB are needed:"
            " make room or give another --data_dir"
        )
