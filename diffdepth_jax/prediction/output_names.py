"""The names of outputs: none leaves the output folder, and no two inputs share one.

An input's outputs have its path in the input folder, without extension: `sub/a.jpg` becomes
`sub/a.npy` and so on. Where that would write one file for two inputs, or over an input, or through
a link to another folder, the names of all inputs concerned are longer: `sub/a.jpg.npy`, or even
`sub_a.jpg-1f2e3d4c.npy`. Names depend neither on the kinds of output nor on what was written
before, so that another run finds the results of this one.
"""

import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterator, Sequence

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import video
from diffdepth_jax.prediction.output_kinds import KINDS

_VIDEO_SUFFIXES = KINDS["video"].suffixes
_SUFFIXES = [end for kind in KINDS.values() for end in kind.suffixes if end not in _VIDEO_SUFFIXES]
_FRAME = re.compile(r"^\d{6,}")
_FIRST_FRAME = f"{0:06d}"


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A photo or a video.

    Attributes:
      path: of the file.
      name: the beginning of its outputs' paths in the output folder.
    """

    path: pathlib.Path
    name: str

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
    choices, lengths = [_choices(inside) for _, inside in files], [0] * len(files)
    while True:
        inputs = [
            InputFile(path, names[length])
            for (path, _), names, length in zip(files, choices, lengths, strict=True)
        ]
        wrong = _Claims(inputs, pathlib.Path(output)).wrong
        if not wrong:
            return inputs
        for row in wrong:
            lengths[row] += 1
            if lengths[row] == len(choices[row]):  # only if inputs have most peculiar names
                raise UserError(
                    f"results of {inputs[row].path} would overwrite an input or another's results: "
                    "rename it, or give another --output"
                )


def _choices(inside: str) -> tuple[str, str, str]:
    """Returns the names that an input may have, the shortest first."""
    short = str(pathlib.PurePath(inside).with_suffix(""))
    digest = hashlib.sha256(inside.encode(errors="surrogateescape")).hexdigest()[:8]
    return short, inside, f"{inside.replace('/', '_')}-{digest}"


class _Claims:
    """The paths that inputs write, compared as file systems do that tell few names apart.

    Attributes:
      wrong: the indices of inputs whose outputs have to have other names.
    """

    def __init__(self, inputs: Sequence[InputFile], output: pathlib.Path) -> None:
        self._output = output
        self._place = functools.cache(os.path.realpath)
        # A video has many frames in its folder, of which the first stands for all.
        self._frames = {
            _folded(self._place(output / file.name)) for file in inputs if file.is_video
        }
        writers, folders = collections.defaultdict[str, set[int]](set), set[str]()
        self.wrong = {row for row, file in enumerate(inputs) if not self._stays_inside(file)}
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

    def _stays_inside(self, file: InputFile) -> bool:
        folder = pathlib.Path(self._place((self._output / file.first_image).parent))
        return folder.is_relative_to(self._place(self._output))

    def _key(self, path: pathlib.Path) -> str:
        """Returns the same text for paths that may be one file; a last link is not followed."""
        folder = _folded(self._place(path.parent))
        name = _FRAME.sub(_FIRST_FRAME, path.name) if folder in self._frames else path.name
        return f"{folder}/{_folded(name)}"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
