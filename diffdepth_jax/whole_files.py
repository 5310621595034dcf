"""Files and folders that are written whole or not at all.

Each is written under another name beside its own, and renamed when it is complete. That name is
drawn at random, so that it is nobody's, and programs of several machines, or of containers whose
processes have equal numbers, may write one file or folder at once.
"""

import contextlib
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Generator

_UNFINISHED = re.compile(r"\.unfinished-[0-9a-f]{16}(\.[^/]*)?")


def _unfinished(path: pathlib.Path) -> pathlib.Path:
    """Another name in the same folder: short, with the same suffix."""
    return path.with_name(f".unfinished-{secrets.token_hex(8)}{path.suffix}")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Generator[pathlib.Path]:
    """Yields another path in the same folder; the file written there becomes `path` at the end.

    The other path has the same suffix, by which libraries choose a format. If the block fails,
    the new file is deleted, and an older `path` stays as it was.
    """
    path = pathlib.Path(path)
    unfinished = _unfinished(path)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike) -> Generator[pathlib.Path]:
    """Yields a new folder beside `path`, which becomes `path` at the end.

    `path` must not exist, or be an empty folder. If the block fails, the new folder is deleted.
    """
    path = pathlib.Path(path)
    unfinished = _unfinished(path)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Deletes what killed programs left below a folder, in which no other program may write."""
    for path in pathlib.Path(folder).rglob(".unfinished-*"):
        if not _UNFINISHED.fullmatch(path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
