"""Which browser session each upload and each result belongs to, and how long they are kept."""

import os
import pathlib
import secrets
import threading
import time

KEPT = 3600  # seconds that uploads and results stay on disk
_SWEEP = 300  # seconds between two deletions of old files


class OwnedFiles:
    """The uploads and results below a folder, each with the sessions that may see it.

    Gradio stores the uploads of all sessions in one place, where equal photos are one file. So a
    file can have more than one owner. A path counts only as it was entered, letter by letter: any
    other path is refused before the disk is asked. No answer tells whether a file exists.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = pathlib.Path(os.path.realpath(directory))
        self._uploads: set[tuple[str, str]] = set()
        self._results: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def add_upload(self, owner: str, path: str) -> None:
        """Notes that a session sent this file."""
        with self._lock:
            self._uploads.add((owner, path))

    def add_result(self, owner: str, path: str | os.PathLike[str]) -> None:
        """Notes that this file was computed for a session."""
        with self._lock:
            self._results.add((owner, str(path)))

    def upload(self, owner: str, path: str) -> pathlib.Path | None:
        """Returns a file that this session sent; None for every other path."""
        return self._whole(path) if (owner, path) in self._uploads else None

    def file(self, owner: str, path: str) -> pathlib.Path | None:
        """Returns a file that this session sent or got; None for every other path."""
        if (owner, path) in self._results:
            return self._whole(path)
        return self.upload(owner, path)

    def _whole(self, path: str) -> pathlib.Path | None:
        """Returns the file at a path; None if it was deleted, or a link leads out of the folder."""
        real = pathlib.Path(os.path.realpath(path))
        return real if real.is_relative_to(self.directory) and real.is_file() else None

    def new_folder(self) -> pathlib.Path:
        """Creates a folder for a result; nobody can guess its name."""
        folder = self.directory / f"result_{secrets.token_hex(16)}"
        folder.mkdir(mode=0o700)
        return folder

    def sweep(self, age: float) -> None:
        """Deletes the files that are older than `age` seconds, and forgets their owners."""
        for path in self.directory.rglob("*"):
            if path.is_file() and time.time() - path.stat().st_mtime > age:
                path.unlink(missing_ok=True)
        with self._lock:
            for entries in (self._uploads, self._results):
                entries -= {entry for entry in entries if not os.path.exists(entry[1])}

    def sweep_forever(self) -> None:
        """Starts a thread that sweeps as long as the program runs."""

        def work() -> None:
            while True:
                time.sleep(_SWEEP)
                self.sweep(KEPT)

        threading.Thread(target=work, daemon=True).start()
