"""The writers of one run, for photos and for videos, and what a run refuses before it predicts."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import marks, video
from diffdepth_jax.prediction import outputs
from diffdepth_jax.prediction.output_kinds import DEFAULT, NEED_CAMERA, RELATIVE, RELATIVE_DEFAULT
from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.record import Record


@dataclasses.dataclass(frozen=True)
class Writers:
    """The writer for photos and the writer for videos.

    They have the same settings. Their kinds of output differ only by default.

    Attributes:
      by_default: whether the user has chosen no kinds.
    """

    photos: OutputWriter
    videos: OutputWriter
    by_default: bool = False

    def of_relative_model(self) -> "Writers":
        """The writers for a model that knows no metres.

        Raises:
          UserError: the user wants a kind, or a range of colours, in metres.
        """
        reason = "this model is relative and knows no metres"
        if self.photos.color_range is not None:
            raise UserError(f"color_range: {reason}: leave it out")
        if self.by_default:
            photos = dataclasses.replace(self.photos, kinds=RELATIVE_DEFAULT)
            return dataclasses.replace(self, photos=photos)
        for kind in (each for each in self.kinds if each not in RELATIVE):
            raise UserError(f"outputs {kind}: {reason}: take some of {', '.join(RELATIVE)}")
        return self

    def of_metric_model(self) -> "Writers":
        """The same writers; a UserError if the user wants what only a relative model has."""
        if "inverse_depth" in self.kinds:
            raise UserError("outputs inverse_depth: this model knows metres: take npy")
        return self

    def existing(self, file: InputFile, kind: str) -> list[pathlib.Path]:
        """Returns what exists at the paths of a kind that are written for a file and its frames."""
        writer = self.videos if file.is_video else self.photos
        kinds = (kind,) if kind in writer.kinds else ()
        return dataclasses.replace(writer, kinds=kinds).existing(file)

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of output, some of them twice."""
        return self.photos.kinds + self.videos.kinds

    def check(self, files: Sequence[InputFile]) -> None:
        """Raises an error now that would otherwise come after minutes of prediction.

        Raises:
          UserError: photos have no output, or there is a file with the name of an output that this
            program did not write, or the folder is a file.
          OSError: the folder cannot be made or written to.
        """
        photos = [file for file in files if not file.is_video]
        if photos and not self.photos.paths(""):
            raise UserError(f"outputs video: {photos[0].path} is a photo; add outputs of photos")
        existing = [
            (file, kind, self.existing(file, kind)) for file in files for kind in set(self.kinds)
        ]
        record = Record(self.photos.directory)  # read last: who writes meanwhile records it first
        for file, kind, paths in existing:
            made = record.made(file.name, is_video=file.is_video)
            _check_ours(paths, made is not None and made.has(kind))
        _check_writable(self.photos.directory)


def create_writers(
    settings: OutputWriter,
    kinds: Sequence[str] | None,
    *,
    ensemble: int,
    trajectory: bool,
    interval: float | None = None,
) -> Writers:
    """Returns writers like `settings`, for these kinds of output.

    Args:
      settings: a writer, whose kinds do not matter.
      kinds: names of `KINDS`; None: `DEFAULT` for photos, a video for videos.
      ensemble: number of samples; several also have the output "spread".
      trajectory: whether to add the output "gif", and "mp4" where PyAV is installed.
      interval: its nominal coverage; with one there is also the output "interval".

    Raises:
      UserError: a kind is unknown, there is no interval for it, or no kind holds the surface.
    """
    wanted = list(DEFAULT if kinds is None else kinds)
    wanted += ["spread"] * (ensemble > 1) + ["gif"] * trajectory
    wanted += ["mp4"] * (trajectory and video.is_available())
    wanted += ["interval"] * (interval is not None)
    once = tuple(dict.fromkeys(wanted))
    outputs.check_kinds(once, interval)
    if settings.surface and not NEED_CAMERA & set(once):
        raise UserError("--mesh is a surface in PLY and GLB files: add glb or ply to --outputs")
    photos = dataclasses.replace(settings, kinds=once)
    videos = dataclasses.replace(settings, kinds=("video",) if kinds is None else once)
    return Writers(photos, videos, by_default=kinds is None and once == DEFAULT)


def _check_ours(existing: Sequence[pathlib.Path], are_recorded: bool) -> None:
    """Refuses what may be somebody's picture or ground truth: it would be replaced, or taken for
    a result. Pictures and videos tell by a mark, see `media.marks`, and other files by the record.
    """
    for path in existing:
        if not (marks.is_marked(path) if marks.can_be_marked(path) else are_recorded):
            raise UserError(
                f"{path} was not written by this program, or by an old version of it: "
                "move it away, or give another --output"
            )


def _check_writable(directory: pathlib.Path) -> None:
    """Raises an error if a folder is a file, or cannot be made or written to; leaves no trace."""
    if directory.is_file():
        raise UserError(f"output {directory} is a file: give a folder")
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    finally:
        with contextlib.suppress(OSError):  # another program has written there meanwhile
            for folder in missing:
                folder.rmdir()
