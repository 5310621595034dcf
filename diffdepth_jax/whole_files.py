"""Files and folders that are written whole or not at all.

Each is written under another name beside its own, and renamed when it is complete. The other name
holds the number of the process, so that two processes may write one file or folder at once.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Generator


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Generator[pathlib.Path]:
    """Yields another path in the same folder; the file written there becomes `path` at the end.

    The other path has the same suffix, by which libraries choose a format. If the block fails,
    the new file is deleted, and an older `path` stays as it was.
    """
    path = pathlib.Path(path)
    unfinished = path.with_name(f"{path.stem}.unfinished-{os.getpid()}{path.suffix}")
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
    unfinished = path.with_name(f"{path.name}.unfinished-{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
