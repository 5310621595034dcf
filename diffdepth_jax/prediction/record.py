"""The record in an output folder of which input each result was made of.

Without it results of one input would be taken for those of another of the same name: of a photo
with this name in another folder, of a photo that was changed since, or of a video's frames. And a
depth file without a line may be somebody's ground truth. The record is a hidden file with lines of
JSON for each input, of which the last one counts: one before its first result is written, and one
after the last. Several programs may append to it.
"""

import functools
import hashlib
import json
import os
import pathlib
import types
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from diffdepth_jax.media.photo_formats import open_file
from diffdepth_jax.prediction.output_kinds import FRAME

FILE = ".diffdepth_inputs.jsonl"
_Key = tuple[str, bool]  # a name, and whether it is that of a video: files of the two differ


class Fingerprint(NamedTuple):
    """By which a file is known again.

    Attributes:
      path: its absolute path.
      size: its number of bytes.
      modified: when it was last changed, in nanoseconds.
      sha256: of its content; a file that was moved or copied has the same.
    """

    path: str
    size: int
    modified: int
    sha256: str


def fingerprint(path: pathlib.Path) -> Fingerprint | None:
    """Returns the fingerprint of a file; None if it cannot be read."""
    try:
        status = path.stat()
        return Fingerprint(os.path.abspath(path), status.st_size, status.st_mtime_ns, _digest(path))
    except (OSError, ValueError):  # ValueError: a zero in the path
        return None


def _digest(path: pathlib.Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Made(NamedTuple):
    """What a line says.

    Attributes:
      source: the input.
      frames: the number of frames of a video, or 1 until all are written; 0 of a photo.
      settings: by which the results were made, see `settings`; older lines have none.
      kinds: the kinds of output that were begun, and whether all files of a kind are written;
        None, of older lines: any kind, and they are.
    """

    source: Fingerprint
    frames: int
    settings: Mapping[str, str] = types.MappingProxyType({})
    kinds: Mapping[str, bool] | None = None

    def has(self, kind: str) -> bool:
        """Whether files of a kind are results, and nobody else's."""
        return self.kinds is None or kind in self.kinds

    def is_whole(self, kinds: Iterable[str]) -> bool:
        """Whether no run was stopped that wrote one of these kinds."""
        return self.kinds is None or all(self.kinds.get(kind, False) for kind in kinds)

    def is_of(self, path: pathlib.Path) -> bool:
        """Whether the results are those of the file as it is now."""
        try:
            status = path.stat()
            if status.st_size != self.source.size:
                return False
            same_place = os.path.abspath(path) == self.source.path
            unchanged = same_place and status.st_mtime_ns == self.source.modified
            return unchanged or _digest(path) == self.source.sha256
        except OSError:  # it is reported when it is read
            return False

    def is_of_other(self, path: pathlib.Path) -> bool:
        """Whether the results are those of another file, and not of this one before a change."""
        return os.path.abspath(path) != self.source.path and not self.is_of(path)


class Record:
    """The record of an output folder; names are those of `InputFile`."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Reads the record, if there is one."""
        self._path = folder / FILE
        self._made: dict[_Key, Made] = {}
        try:
            lines = self._path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []
        for line in lines:
            self._made.update(_parsed(line))

    def made(self, name: str, *, is_video: bool) -> Made | None:
        """Returns of what the results with a name were made, as far as the record tells."""
        return self._made.get((name, is_video))

    def sharing_frames(self, name: str, *, is_video: bool) -> Made | None:
        """Returns of what results lie where frames of a video do, as those with the name would.

        That is a video in whose folder the name is one of a frame; or for a video, a photo.
        """
        if is_video:
            return self._folders_like_frames.get(name)
        folder, _, last = name.rpartition("/")
        return self._made.get((folder, True)) if FRAME.fullmatch(last) else None

    @functools.cached_property
    def _folders_like_frames(self) -> dict[str, Made]:
        """The folders with results of photos that are named like a video's frames."""
        split = ((*name.rpartition("/"), made) for (name, _), made in self._made.items())
        return {folder: made for folder, _, last, made in split if folder and FRAME.fullmatch(last)}

    def add(self, name: str, made: Made) -> None:
        """Appends a line that says something new; raises an OSError if that fails."""
        key = name, made.frames > 0
        if self._made.get(key) == made:
            return
        fields = {"frames": made.frames, "settings": dict(made.settings)}
        source = made.source._asdict()
        kinds = {} if made.kinds is None else {"kinds": dict(made.kinds)}
        line = json.dumps({"name": name, **source, **fields, **kinds})
        with open(self._path, "a") as file:
            file.write(f"\n{line}")  # so that half a line of a killed program spoils no other
        self._made[key] = made


def _parsed(line: str) -> dict[_Key, Made]:
    """Returns what a line says; nothing if it is damaged, as after a full disk."""
    try:
        fields: Any = json.loads(line)
        source = Fingerprint(*(fields[name] for name in Fingerprint._fields))
        settings = {str(name): str(x) for name, x in dict(fields.get("settings", {})).items()}
        kinds = {str(kind): bool(whole) for kind, whole in dict(fields.get("kinds", {})).items()}
        known = kinds if "kinds" in fields else None
        made = Made(source, int(fields["frames"]), settings, known)
        return {(str(fields["name"]), made.frames > 0): made}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
