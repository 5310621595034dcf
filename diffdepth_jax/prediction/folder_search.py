"""Searches folders for photos and videos, and keeps account of what is passed over."""

import collections
import itertools
import os
import pathlib
from collections.abc import Mapping

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import marks, photo_formats, video
from diffdepth_jax.prediction import record
from diffdepth_jax.program import folder_lock

# Why a file or folder is passed over, and the names of those that are.
PassedOver = Mapping[str, list[str]]

OTHER_KIND = "files of other kinds"
RESULT = "results of this program"
HIDDEN = "hidden files and folders"
READ_ALREADY = "links to folders that are read already"
UNREADABLE = "files and folders that cannot be read"
NAMED_AGAIN = "that were named before"
_ONE_OF = {  # the same of one
    OTHER_KIND: "file of another kind",
    RESULT: "result of this program",
    HIDDEN: "hidden file or folder",
    READ_ALREADY: "link to a folder that is read already",
    UNREADABLE: "file or folder that cannot be read",
}
_SHOWN = 3  # names, and extensions


def is_known(path: pathlib.Path) -> bool:
    """Whether a file is a photo or a video, by its extension."""
    return path.suffix.lower() in photo_formats.extensions() | video.EXTENSIONS


class FolderSearch:
    """Finds the photos and videos of a folder and its subfolders, also behind links.

    Each folder is read once, however many links lead to it; folders of the tree go before linked
    ones. Results of this program are told by their mark, see `media.marks`.

    Attributes:
      files: the photos and videos, sorted.
      passed_over: everything else.
    """

    def __init__(self, root: pathlib.Path, left_out: pathlib.Path, pattern: str = "") -> None:
        """Searches `root`, or what matches a pattern in it; the folder `left_out` is not read.

        Raises:
          UserError: the pattern is none, or `root` cannot be read.
        """
        self.passed_over = collections.defaultdict[str, list[str]](list)
        self._root, self._found = root, set[pathlib.Path]()
        self._seen = {os.path.realpath(left_out)} - {os.path.realpath(root)}
        self._folders, self._links = collections.deque[pathlib.Path](), collections.deque()
        for entry in _matches(root, pattern, self._seen) if pattern else [root]:
            self._folders.append(entry) if entry.is_dir() else self._take(entry)
        while self._folders or self._links:
            self._read((self._folders or self._links).popleft())
        self.files = sorted(self._found)

    def _read(self, folder: pathlib.Path) -> None:
        place = os.path.realpath(folder)
        if place in self._seen:
            if folder.is_symlink():
                self._pass_over(READ_ALREADY, folder)
            return
        self._seen.add(place)
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            if folder == self._root:
                text = f"input {folder} cannot be read ({error.strerror}): make it readable"
                raise UserError(f"{text} (chmod +rx)") from error
            return self._pass_over(UNREADABLE, folder)
        for entry in entries:
            try:
                self._take(entry)
            except PermissionError:  # the folder may be listed, and not entered
                self._pass_over(UNREADABLE, entry)

    def _take(self, entry: pathlib.Path) -> None:
        if entry.name in (record.FILE, folder_lock.FILE):
            return
        if entry.name.startswith("."):
            self._pass_over(HIDDEN, entry)
        elif entry.is_dir():
            (self._links if entry.is_symlink() else self._folders).append(entry)
        elif not is_known(entry):
            self._pass_over(OTHER_KIND, entry)
        elif not entry.is_file():
            self._pass_over(UNREADABLE, entry)
        elif marks.is_marked(entry):
            self._pass_over(RESULT, entry)
        else:
            self._found.add(entry)

    def _pass_over(self, reason: str, path: pathlib.Path) -> None:
        self.passed_over[reason].append(str(path.relative_to(self._root)))


def _matches(root: pathlib.Path, pattern: str, left_out: set[str]) -> list[pathlib.Path]:
    """Returns what a pattern matches as shells do: hidden names only if the pattern has a dot."""
    try:
        found = sorted(root.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"input {root / pattern} is no pattern ({error})") from error
    hidden = any(part.startswith(".") for part in pathlib.PurePath(pattern).parts)
    return [path for path in found if hidden or not _is_hidden(path, root, left_out)]


def _is_hidden(path: pathlib.Path, root: pathlib.Path, left_out: set[str]) -> bool:
    """Whether a name from the root on begins with a dot, or a folder is left out."""
    parts = path.relative_to(root).parts
    places = (os.path.realpath(folder) for folder in itertools.islice(path.parents, len(parts[1:])))
    return any(part.startswith(".") for part in parts) or not left_out.isdisjoint(places)


def describe(passed_over: PassedOver) -> str:
    """Returns one line with the numbers, the reasons and the first names; "" for nothing."""
    parts = [
        f"{_counted(len(names), reason)}{_examples(reason, names)}"
        for reason, names in passed_over.items()
    ]
    return f"passed over: {'; '.join(parts)}" if parts else ""


def _counted(count: int, reason: str) -> str:
    return f"{count} {_ONE_OF.get(reason, reason) if count == 1 else reason}"


def _examples(reason: str, names: list[str]) -> str:
    if reason in (HIDDEN, RESULT):
        return ""
    shown = [", ".join([*names[:_SHOWN], *["..."] * (len(names) > _SHOWN)])]
    if reason == OTHER_KIND:
        kinds = collections.Counter(pathlib.PurePath(name).suffix.lower() for name in names)
        counts = [f"{count} {kind or 'without extension'}" for kind, count in kinds.most_common()]
        shown.insert(0, ", ".join(counts[:_SHOWN] + ["others"] * (len(counts) > _SHOWN)))
    return f" ({': '.join(shown)})"
