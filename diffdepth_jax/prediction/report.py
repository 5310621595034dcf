"""What became of the files of a run, as numbers and as text."""

import dataclasses
import pathlib

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.output_kinds import KINDS
from diffdepth_jax.prediction.outputs import OutputWriter

Failure = tuple[pathlib.Path, UserError]  # a file that was not predicted, and the reason


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of some files; reports of different files can be added.

    Attributes:
      written: the number of files whose results were written.
      skipped: the number of files whose results existed already.
      failures: all other files.
    """

    written: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.written + other.written,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )

    def summary(self, writer: OutputWriter) -> str:
        """Returns a line on what was written, with what each kind of file holds."""
        total = self.written + self.skipped + len(self.failures)
        skipped = f", {self.skipped} exist already (--overwrite)" if self.skipped else ""
        kinds = [KINDS[kind] for kind in writer.kinds]
        listed = "; ".join(f"{', '.join(kind.suffixes)}: {kind.contents}" for kind in kinds)
        listed = listed.replace("depth_scale", f"{writer.depth_scale:g}")
        return f"{self.written} of {total} written to {writer.directory}{skipped}. {listed}"

    def errors(self) -> list[str]:
        """Returns a line for each failure, which names the file."""
        named = [
            str(error) if str(path) in str(error) else f"{path}: {error}"
            for path, error in self.failures
        ]
        return [f"error: {line}" for line in named]


@dataclasses.dataclass(frozen=True)
class VideoOutcome:
    """What became of a video.

    Attributes:
      frames: the number of frames whose results were written.
      notes: what a user should know of these results.
      error: why the video was not predicted to its end; None if nothing went wrong.
    """

    frames: int
    notes: tuple[str, ...] = ()
    error: UserError | None = None

    def report(self, path: pathlib.Path) -> Report:
        """Returns the report on the video, whose file is `path`."""
        if self.error is not None:
            return Report(failures=((path, self.error),))
        return Report(written=1) if self.frames else Report(skipped=1)
