"""Which inputs need no prediction, because all their results exist."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from absl import logging

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

    def check(self, files: Sequence[InputFile]) -> None:
        """Raises a UserError if results of a file were made by other settings, and may stay.

        They would be taken for what these settings give. What is of kinds that are not made now
        may stay beside results of other settings, or of an input that has changed: a warning.
        """
        for file in files:
            changed = self._changed(self._made(file))
            if changed and self.are_current(file) and self._every_kind(file):
                flags = ", ".join(f"--{name}" for name in changed)
                raise UserError(
                    f"the results {self.writer.directory / file.name}* were made with another "
                    f"{flags}: add --overwrite to make them again, or give another --output"
                )
        self._warn_of_what_stays(files)

    def _warn_of_what_stays(self, files: Iterable[InputFile]) -> None:
        """Warns of results of kinds that are not made now, of other settings or another input."""
        stay = [
            path
            for file in files
            if self._is_made_anew(file)
            for path in self._of_other_kinds(file)
        ]
        if stay:
            more = f" and {len(stay) - 1} more" if len(stay) > 1 else ""
            logging.warning(
                "%s%s: made with other flags or of another input, and not made again: delete "
                "them, or add their kinds to --outputs",
                stay[0],
                more,
            )

    def begin(self, file: InputFile, source: Fingerprint | None) -> None:
        """Records that results of an input will be written.

        Frames of another video or of other settings are deleted first: if the program is stopped,
        those that exist are those that it has written.
        """
        if file.is_video and not self.are_current(file):
            for path in self.writer.existing_frames(file.name):
                path.unlink(missing_ok=True)
        self._add(file, source, int(file.is_video), is_whole=False)

    def finish(self, file: InputFile, source: Fingerprint | None, frames: int = 0) -> None:
        """Records that all results of an input are written, of so many frames of a video."""
        self._add(file, source, frames, is_whole=True)

    def _add(
        self, file: InputFile, source: Fingerprint | None, frames: int, *, is_whole: bool
    ) -> None:
        if source is None:
            return
        before = self._made(file)
        kept = {} if before is None or self.overwrite else before.settings
        kinds = self._kinds_before(file) | dict.fromkeys(self.writer.kinds, is_whole)
        self.record.add(file.name, Made(source, frames, {**kept, **self.settings}, kinds))

    def _kinds_before(self, file: InputFile) -> dict[str, bool]:
        """The kinds that the record knows of a file; none is whole whose results are made anew."""
        before = self._made(file)
        if before is None:
            return {}
        known = dict.fromkeys(KINDS, True) if before.kinds is None else dict(before.kinds)
        return dict.fromkeys(known, False) if self._is_made_anew(file) else known

    def of_photo(self, file: InputFile) -> bool:
        """Whether all files of a photo exist, and are those of the photo as it is now."""
        return self._are_whole(file) and self.writer.exist(file.name)

    def of_video(self, file: InputFile) -> bool:
        """Whether all files of all frames of a video exist.

        Where the record does not tell the number of frames, only the video shows it.
        """
        if not self._are_whole(file) or not self.has_video(file):
            return False
        made = self._made(file)
        if made is None:
            return not self.writer.paths(file.name)
        names = map(file.frame_name, range(made.frames))
        return all(map(self.writer.exist, names))

    def has_video(self, file: InputFile) -> bool:
        """Whether the video of depth exists that is made of a video, if one is made.

        It is written last: where the results are unfinished it is that of an earlier run.
        """
        is_there = self._are_whole(file) and self.writer.video_path(file.name).exists()
        return is_there or not self.writer.makes_video

    def are_current(self, file: InputFile) -> bool:
        """Whether results that exist may stay; as far as the record tells, they are the file's."""
        made = self._made(file)
        return not self.overwrite and (made is None or made.is_of(file.path))

    def _are_whole(self, file: InputFile) -> bool:
        """Whether results may stay, and no run was stopped that wrote them."""
        made = self._made(file)
        return self.are_current(file) and (made is None or made.is_whole(self.writer.kinds))

    def _made(self, file: InputFile) -> Made | None:
        return self.record.made(file.name, is_video=file.is_video)

    def _changed(self, made: Made | None) -> list[str]:
        """Returns the names of the settings that differ from those recorded."""
        before, now = {} if made is None else made.settings, self.settings
        return [name for name in now if before.get(name, now[name]) != now[name]]

    def _is_made_anew(self, file: InputFile) -> bool:
        """Whether what exists of a file is known to be of other settings or of another input.

        `check` has refused it then, unless it is made again.
        """
        made = self._made(file)
        return made is not None and (bool(self._changed(made)) or not made.is_of(file.path))

    def _every_kind(self, file: InputFile) -> list[pathlib.Path]:
        """Returns what exists of the results of a file, of whatever kind."""
        return dataclasses.replace(self.writer, kinds=tuple(KINDS)).existing(file)

    def _of_other_kinds(self, file: InputFile) -> list[pathlib.Path]:
        """Returns what exists of the results of a file, of kinds that are not made now."""
        made_now = set(self.writer.existing(file))
        return [path for path in self._every_kind(file) if path not in made_now]
