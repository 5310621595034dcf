"""Which inputs need no prediction, because all their results exist."""

import dataclasses

from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.record import Record


@dataclasses.dataclass(frozen=True)
class ExistingResults:
    """Tells what exists of the files that a writer writes.

    Attributes:
      writer: of photos or of videos.
      record: says of which input results were made.
      overwrite: whether nothing that exists counts.
    """

    writer: OutputWriter
    record: Record
    overwrite: bool

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

    def _has_video(self, file: InputFile) -> bool:
        return not self.writer.makes_video or self.writer.video_path(file.name).exists()
