"""The names of outputs: none leaves the output folder, and no two inputs share one.

An input's outputs have its path in the input folder, without extension: `sub/a.jpg` becomes
`sub/a.npy` and so on. Where that would write one file for two inputs, or over an input, or through
a link to another folder, the names of all inputs concerned are longer: `sub/a.jpg.npy`, or even
`sub_a.jpg-1f2e3d4c.npy`. So is the name of an input whose results would have that of another, of an
earlier run, see `record`, and that of an input whose outputs' names would be too long. Names do not
depend on the kinds of output, so that another run finds the results of this one.
"""

import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
import unicodedata
from collections.abc import Iterator, Sequence

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import video
from diffdepth_jax.prediction.output_kinds import FRAME, KINDS
from diffdepth_jax.prediction.record import Record

_VIDEO_SUFFIXES = KINDS["video"].suffixes
_SUFFIXES = [end for kind in KINDS.values() for end in kind.suffixes if end not in _VIDEO_SUFFIXES]
_LONGEST = 255 - max(len(end) for end in (*_SUFFIXES, *_VIDEO_SUFFIXES))  # bytes of a file's name
_FIRST_FRAME = f"{0:06d}"


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A photo or a video.

    Attributes:
      path: of the file.
      name: the beginning of its outputs' paths in the output folder.
      listed: the list and the line that name it; "" if none does.
    """

    path: pathlib.Path
    name: str
    listed: str = ""

    @property
    def is_video(self) -> bool:
        """Whether the file is a video, by its extension."""
        return self.path.suffix.lower() in video.EXTENSIONS

    def frame_name(self, index: int) -> str:
        """Returns the name of the outputs of a video's frame; frames have a folder of their own."""
        return f"{self.name}/{index:06d}"

    @property
    def first_image(self) -> str:
        """The name of the outputs of a photo, or of a video's first frame."""
        return self.frame_name(0) if self.is_video else self.name


def named(
    files: Sequence[tuple[pathlib.Path, str]], output: str | os.PathLike[str]
) -> list[InputFile]:
    """Names the outputs of inputs.

    Args:
      files: each input's path, and its path in the input folder, which is relative without `..`.
      output: the folder for all results.

    Raises:
      UserError: results of an input would overwrite an input whatever their names.
    """
    choices, lengths = [_choices(*file) for file in files], [0] * len(files)
    record = Record(pathlib.Path(output))
    while True:
        inputs = [
            InputFile(path, names[length])
            for (path, _), names, length in zip(files, choices, lengths, strict=True)
        ]
        wrong = _Claims(inputs, pathlib.Path(output), record).wrong
        if not wrong:
            return inputs
        for row in wrong:
            lengths[row] += 1
            if lengths[row] == len(choices[row]):  # only if inputs have most peculiar names
                raise UserError(
                    f"results of {inputs[row].path} would overwrite an input or another's results: "
                    "rename it, or give another --output"
                )


def without_extension(inside: str) -> str:
    """Returns the name that an input's outputs have as a rule."""
    return str(pathlib.PurePath(inside).with_suffix(""))


def _choices(path: pathlib.Path, inside: str) -> tuple[str, str, str, str]:
    """Returns the names that an input may have, the shortest first."""
    return (
        without_extension(inside),
        inside,
        _flat(inside, inside),
        _flat(inside, os.path.abspath(path)),
    )


def _flat(inside: str, told_by: str) -> str:
    """Returns a name without folders, cut if it is too long, that is of no other `told_by`."""
    digest = hashlib.sha256(os.fsencode(told_by)).hexdigest()[:8]
    start = inside.replace("/", "_")
    while len(os.fsencode(start)) > _LONGEST - len(digest) - 1:
        start = start[:-1]
    return f"{start}-{digest}"


class _Claims:
    """The paths that inputs write, compared as file systems do that tell few names apart.

    Attributes:
      wrong: the indices of inputs whose outputs have to have other names.
    """

    def __init__(self, inputs: Sequence[InputFile], output: pathlib.Path, record: Record) -> None:
        self._output, self._record = output, record
        self._place = functools.cache(os.path.realpath)
        # A video has many frames in its folder, of which the first stands for all.
        self._frames = {
            _folded(self._place(output / file.name)) for file in inputs if file.is_video
        }
        writers, folders = collections.defaultdict[str, set[int]](set), set[str]()
        self.wrong = {row for row, file in enumerate(inputs) if not self._is_possible(file)}
        for row, file in enumerate(inputs):
            folders.update(map(self._key, (output / file.first_image).parents))
            for path in self._paths(file):
                writers[self._key(path)].add(row)
        taken = folders | {self._key(file.path) for file in inputs}
        clashing = [rows for key, rows in writers.items() if len(rows) > 1 or key in taken]
        self.wrong = self.wrong.union(*clashing)

    def _paths(self, file: InputFile) -> Iterator[pathlib.Path]:
        """Yields all that may be written for a file; of a video's frames only the first's."""
        yield from (self._output / f"{file.first_image}{suffix}" for suffix in _SUFFIXES)
        if file.is_video:
            yield from (self._output / f"{file.name}{suffix}" for suffix in _VIDEO_SUFFIXES)

    def _is_possible(self, file: InputFile) -> bool:
        fits = len(os.fsencode(pathlib.PurePath(file.name).name)) <= _LONGEST
        return fits and self._stays_inside(file) and not self._is_taken(file)

    def _is_taken(self, file: InputFile) -> bool:
        """Whether there are results of another input, made by an earlier run, under the name."""
        made = self._record.made(file.name, is_video=file.is_video)
        paths = [self._output / file.name, *self._paths(file)]
        if made is None:
            made = self._record.sharing_frames(file.name, is_video=file.is_video)
            paths = [(self._output / file.first_image).parent]
        return made is not None and made.is_of_other(file.path) and any(map(os.path.exists, paths))

    def _stays_inside(self, file: InputFile) -> bool:
        folder = pathlib.Path(self._place((self._output / file.first_image).parent))
        return folder.is_relative_to(self._place(self._output))

    def _key(self, path: pathlib.Path) -> str:
        """Returns the same text for paths that may be one file; a last link is not followed."""
        folder = _folded(self._place(path.parent))
        name = FRAME.sub(_FIRST_FRAME, path.name) if folder in self._frames else path.name
        return f"{folder}/{_folded(name)}"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
