"""What became of the files of a run, as numbers and as text."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from diffdepth_jax.errors import UserError, printable
from diffdepth_jax.prediction.output_kinds import KINDS
from diffdepth_jax.prediction.outputs import OutputWriter

Failure = tuple[pathlib.Path, UserError]  # a file that was not predicted, and the reason


def tell(text: str) -> None:
    """Prints a line above the progress bar, whatever names of files it holds."""
    tqdm.write(printable(text))


@dataclasses.dataclass
class Report:
    """What became of the files so far; a run adds to it.

    Attributes:
      total: the number of files.
      written: the number of files whose results were written.
      skipped: the number of files whose results existed already.
      failures: the files that could not be predicted, or not to the end.
      listed: the list and the line that name a file, where a list does.
    """

    total: int
    written: int = 0
    skipped: int = 0
    failures: list[Failure] = dataclasses.field(default_factory=list)
    listed: Mapping[pathlib.Path, str] = dataclasses.field(default_factory=dict)

    def fail(self, path: pathlib.Path, error: UserError) -> None:
        """Adds a file that could not be predicted."""
        self.failures.append((path, error))

    @property
    def counts(self) -> str:
        """How many files were written, as "12 of 31 written"."""
        return f"{self.written} of {self.total} written"

    def summary(self, writer: OutputWriter) -> str:
        """Returns a line on what was written, with what each kind of file holds."""
        skipped = f", {self.skipped} exist already (--overwrite)" if self.skipped else ""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        kinds = [KINDS[kind] for kind in writer.kinds]
        listed = "; ".join(f"{', '.join(kind.suffixes)}: {kind.contents}" for kind in kinds)
        listed = listed.replace("depth_scale", f"{writer.depth_scale:g}")
        return f"{self.counts} to {writer.directory}{skipped}{failed}. {listed}"

    def errors(self) -> list[str]:
        """Returns a line for each failure, which names the file, and the list that names it."""
        return [f"error: {printable(self._sentence(*failure))}" for failure in self.failures]

    def _sentence(self, path: pathlib.Path, error: UserError) -> str:
        named = str(error) if str(path) in str(error) else f"{path}: {error}"
        return f"{self.listed[path]}: {named}" if self.listed.get(path) else named


def notes_on_denoising(trajectory: np.ndarray, num_steps: int) -> list[str]:
    """Says if the depth takes fewer steps than the latents of its trajectory show."""
    if len(trajectory) == num_steps + 1:
        return []
    return [f"its denoising is shown in {len(trajectory) - 1} steps, its depth takes {num_steps}"]
