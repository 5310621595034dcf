"""Which browser session each upload and each result belongs to, and how long they are kept."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import secrets
import shutil
import threading
import time

KEPT = 3600  # seconds that uploads and results stay on disk
_KEPT_EACH = 3  # results, and uploads that were predicted, that a session keeps
_SWEEP = 300  # seconds between two deletions of old files


@dataclasses.dataclass(frozen=True)
class _Folder:
    """A folder of its own for an upload or a result.

    Attributes:
      owner: the session that may see its files.
      files: their sizes in bytes, by their paths.
      is_upload: whether the session sent them; otherwise they are a result.
    """

    owner: str
    files: dict[str, int]
    is_upload: bool


class OwnedFiles:
    """The uploads and results below a folder, each with the session that may see it.

    A path counts only as it was entered, letter by letter: any other path is refused before the
    disk is asked. No answer tells whether a file exists.
    """

    def __init__(self, directory: str | os.PathLike[str], max_results: int = 2**32) -> None:
        """Keeps files below `directory`; all results together take `max_results` bytes at most."""
        self.directory = pathlib.Path(os.path.realpath(directory))
        self._max_results = max_results
        self._waiting: dict[pathlib.Path, _Folder] = {}  # uploads that were not predicted yet
        # Results and predicted uploads; what was used last stands last.
        self._used: collections.OrderedDict[pathlib.Path, _Folder] = collections.OrderedDict()
        self._lock = threading.RLock()

    def new_folder(self) -> pathlib.Path:
        """Creates a folder for an upload or a result; nobody can guess its name."""
        folder = self.directory / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder

    def add_upload(self, owner: str, folder: pathlib.Path) -> None:
        """Notes that a session sent the files of this folder."""
        with self._lock:
            self._waiting[folder] = _Folder(owner, _sizes(folder), is_upload=True)

    def add_result(self, owner: str, folder: pathlib.Path) -> None:
        """Notes that the files of this folder were computed for a session.

        Its older results are deleted, and those of everybody where they are too large together.
        """
        with self._lock:
            self._used[folder] = _Folder(owner, _sizes(folder), is_upload=False)
            self.use(folder)
            results = [each for each, found in self._used.items() if not found.is_upload]
            while len(results) > 1 and self._size_of_results() > self._max_results:
                self.delete(results.pop(0))

    def use(self, folder: pathlib.Path) -> None:
        """Notes that an upload was predicted, or a result is shown again.

        The session keeps it, and deletes those that it used the longest ago.
        """
        with self._lock:
            if folder in self._waiting:
                self._used[folder] = self._waiting.pop(folder)
            if folder not in self._used:
                return
            self._used.move_to_end(folder)
            kind = self._used[folder].owner, self._used[folder].is_upload
            kin = [each for each, x in self._used.items() if (x.owner, x.is_upload) == kind]
            for old in kin[:-_KEPT_EACH]:
                self.delete(old)

    def _size_of_results(self) -> int:
        return sum(sum(x.files.values()) for x in self._used.values() if not x.is_upload)

    def upload(self, owner: str, path: str) -> pathlib.Path | None:
        """Returns a file that this session sent; None for every other path."""
        folder = self._folder_of(owner, path)
        return self._whole(path) if folder and folder.is_upload else None

    def file(self, owner: str, path: str) -> pathlib.Path | None:
        """Returns a file that this session sent or got; None for every other path."""
        return self._whole(path) if self._folder_of(owner, path) else None

    def _folder_of(self, owner: str, path: str) -> _Folder | None:
        """Returns the folder of a path that this session may see."""
        place = pathlib.Path(path).parent
        with self._lock:
            folder = self._waiting.get(place) or self._used.get(place)
        return folder if folder and folder.owner == owner and path in folder.files else None

    def _whole(self, path: str) -> pathlib.Path | None:
        """Returns the file at a path; None if it was deleted, or a link leads out of the folder."""
        real = pathlib.Path(os.path.realpath(path))
        return real if real.is_relative_to(self.directory) and real.is_file() else None

    def delete(self, folder: pathlib.Path) -> None:
        """Deletes a folder with its files, and forgets its owner."""
        shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self._waiting.pop(folder, None)
            self._used.pop(folder, None)

    def sweep(self, age: float) -> None:
        """Deletes the folders that are older than `age` seconds, and forgets their owners."""
        for folder in self.directory.iterdir():
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                if time.time() - folder.stat().st_mtime > age:
                    self.delete(folder)

    def sweep_forever(self) -> None:
        """Starts a thread that sweeps as long as the program runs."""

        def work() -> None:
            while True:
                time.sleep(_SWEEP)
                self.sweep(KEPT)

        threading.Thread(target=work, daemon=True).start()


def _sizes(folder: pathlib.Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.iterdir()}
