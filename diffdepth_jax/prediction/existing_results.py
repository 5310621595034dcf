"""Which inputs need no prediction, because all their results exist."""

import dataclasses
from collections.abc import Iterable, Mapping

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.output_kinds import KINDS
from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.record import Fingerprint, Made, Record


@dataclasses.dataclass(frozen=True)
class ExistingResults:
    """Tells what exists of the files that a writer writes.

    Attributes:
      writer: of photos or of videos.
      record: says of which input results were made.
      overwrite: whether nothing that exists counts.
      settings: by which results are made now, see `settings`.
    """

    writer: OutputWriter
    record: Record
    overwrite: bool
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def check(self, files: Iterable[InputFile]) -> None:
        """Raises a UserError if results of a file were made by other settings, and may stay.

        They would be taken for what these settings give.
        """
        for file in files:
            made = self.record.made(file.name, is_video=file.is_video)
            if made is None or not self.are_current(file) or not self._any_exist(file):
                continue
            before, now = made.settings, self.settings
            changed = [name for name in now if before.get(name, now[name]) != now[name]]
            if changed:
                flags = ", ".join(f"--{name}" for name in changed)
                raise UserError(
                    f"the results {self.writer.directory / file.name}* were made with another "
                    f"{flags}: add --overwrite to make them again, or give another --output"
                )

    def add(self, name: str, source: Fingerprint | None, frames: int = 0) -> None:
        """Records that results were made of an input, of so many frames of a video."""
        if source is None:
            return
        before = self.record.made(name, is_video=frames > 0)
        kept = {} if before is None or self.overwrite else before.settings
        self.record.add(name, Made(source, frames, {**kept, **self.settings}))

    def of_photo(self, file: InputFile) -> bool:
        """Whether all files of a photo exist, and are those of the photo as it is now."""
        return self.are_current(file) and self.writer.exist(file.name)

    def of_video(self, file: InputFile) -> bool:
        """Whether all files of all frames of a video exist.

        Where the record does not tell the number of frames, only the video shows it.
        """
        if not self.are_current(file) or not self._has_video(file):
            return False
        made = self.record.made(file.name, is_video=True)
        if made is None:
            return not self.writer.paths(file.name)
        names = map(file.frame_name, range(made.frames))
        return all(map(self.writer.exist, names))

    def are_current(self, file: InputFile) -> bool:
        """Whether results that exist may stay; as far as the record tells, they are the file's."""
        made = self.record.made(file.name, is_video=file.is_video)
        return not self.overwrite and (made is None or made.is_of(file.path))

    def _any_exist(self, file: InputFile) -> bool:
        every = dataclasses.replace(self.writer, kinds=tuple(KINDS))
        return bool(every.existing(file))

    def _has_video(self, file: InputFile) -> bool:
        return not self.writer.makes_video or self.writer.video_path(file.name).exists()
