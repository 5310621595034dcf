"""List files of datasets: which file it is, and where the files that it names lie."""

import os
import pathlib

from diffdepth_jax.data.frames import Found, Options
from diffdepth_jax.media import path_lists


def find_list(options: Options, split: str, defaults: tuple[str, ...]) -> pathlib.Path | None:
    """The list file that the command line names, or the first default that the source holds."""
    if split in options.lists:
        named = pathlib.Path(options.lists[split])
        candidates = [named, *(root / named for root in options.roots)]
    else:
        candidates = [root / name for root in options.roots for name in defaults]
    return next((path for path in candidates if os.path.isfile(path)), None)


def missing_list(options: Options, split: str, defaults: tuple[str, ...]) -> str:
    """The problem to report where `find_list` finds no file."""
    looked_for = options.lists.get(split) or " or ".join(defaults)
    return (
        f"split {split}: list file {looked_for} is not in {options.source};"
        f" name it with --{split}_list=FILE, or leave the split out with --splits"
    )


def resolve(
    candidates: list[pathlib.Path], what: str, found: Found, advice: str = ""
) -> pathlib.Path | None:
    """The first candidate that exists; if none exists, the first is reported as missing."""
    for path in candidates:
        if os.path.isfile(path):  # of a name that is too long, too, it says that there is none
            return path
    found.problems.append(f"{what}: {candidates[0]} is missing{advice}")
    return None


def or_jpeg(paths: list[pathlib.Path]) -> list[pathlib.Path]:
    """The paths, and then those of JPEG files: many keep KITTI so, because it takes less space."""
    return [*paths, *(path.with_suffix(".jpg") for path in paths if path.suffix == ".png")]


def note_jpeg(split: str, found: Found) -> None:
    """Reports how many images of a split are JPEG files, though PNG files were published."""
    frames = found.frames[split]
    count = sum(frame.image_path.endswith(".jpg") for frame in frames)
    if count:
        found.notes.append(
            f"split {split}: {count} of {len(frames)} images are .jpg files, where .png were"
            " published; their bytes are kept"
        )


def frame_name(listed: str, path: pathlib.Path, roots: list[pathlib.Path]) -> pathlib.PurePosixPath:
    """The name of an image as it is listed, without extension.

    If the list has its absolute path, it is the path below the innermost root that holds it.
    """
    names = [path_lists.name_below(path, root) for root in roots]
    relative = listed.replace("\\", "/").lstrip("/")
    is_relative = relative in names and pathlib.Path(listed) != path
    name = relative if is_relative else min(names, key=len)
    return pathlib.PurePosixPath(name).with_suffix("")
