"""List files of datasets: which file it is, and where the files that it names lie."""

import pathlib

from diffdepth_jax.data.frames import Found, Options
from diffdepth_jax.media import path_lists


def find_list(options: Options, split: str, defaults: tuple[str, ...]) -> pathlib.Path | None:
    """The list file that the command line names, or the first default that the source holds."""
    if split in options.lists:
        named = pathlib.Path(options.lists[split])
        candidates = [named, options.source / named]
    else:
        candidates = [options.source / name for name in defaults]
    return next((path for path in candidates if path.is_file()), None)


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
        if path.is_file():
            return path
    found.problems.append(f"{what}: {candidates[0]} is missing{advice}")
    return None


def frame_name(listed: str, path: pathlib.Path, roots: list[pathlib.Path]) -> pathlib.PurePosixPath:
    """The name of an image as it is listed, without extension.

    If the list has its absolute path, it is the path below the innermost root that holds it.
    """
    names = [path_lists.name_below(path, root) for root in roots]
    relative = listed.replace("\\", "/").lstrip("/")
    is_relative = relative in names and pathlib.Path(listed) != path
    name = relative if is_relative else min(names, key=len)
    return pathlib.PurePosixPath(name).with_suffix("")
