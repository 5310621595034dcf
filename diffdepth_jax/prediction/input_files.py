"""Finds the photos and videos to predict: one file, the files of a folder, or those of a list."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

from PIL import ExifTags, Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import video
from diffdepth_jax.media.preprocessing import Size

# Pillow reads HEIC, the format of many telephones, only with an add-on; without it the photo is
# reported as unreadable.
IMAGE_EXTENSIONS = {
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
    ".heic",
    ".heif",
}
_EXTENSIONS = IMAGE_EXTENSIONS | video.EXTENSIONS
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange height and width


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A photo or a video.

    Attributes:
      path: of the file.
      name: the beginning of its outputs' paths: the input's path in its folder, without extension.
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


def find_inputs(
    path: str | os.PathLike[str], output: str | os.PathLike[str] | None = None
) -> list[InputFile]:
    """Returns the photos and videos of a path.

    The path may be a photo, a video, a folder, whose subfolders are searched too, or a .txt file
    with a path in each line. Outputs get the same subfolders as their inputs. Hidden files and the
    files of the folder `output` are left out.

    Raises:
      UserError: there is no such path, or no photo or video in it.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        files, root = _files_of_folder(path, output), path
        if not files:
            known = ", ".join(sorted(_EXTENSIONS))
            raise UserError(f"input {path} holds no image or video ({known})")
    elif not path.is_file():
        raise UserError(f"input {path} does not exist: give an image, a video, a folder or a list")
    else:
        files = _files_of_list(path) if path.suffix.lower() == ".txt" else [path]
        root = os.path.commonpath([file.parent for file in files])
    return [InputFile(file, str(file.relative_to(root).with_suffix(""))) for file in files]


def _files_of_folder(
    folder: pathlib.Path, output: str | os.PathLike[str] | None
) -> list[pathlib.Path]:
    left_out = None if output is None else pathlib.Path(output).resolve()
    if left_out == folder.resolve():
        left_out = None
    files = []
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        known = file.suffix.lower() in _EXTENSIONS
        if known and not hidden and file.is_file() and left_out not in file.resolve().parents:
            files.append(file)
    return files


def _files_of_list(path: pathlib.Path) -> list[pathlib.Path]:
    """Reads paths, which are relative to the list's folder; skips blank lines and # comments."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"list {path} is no text: give a path in each line") from error
    files = [path.parent.absolute() / line for line in lines if line and not line.startswith("#")]
    if not files:
        raise UserError(f"list {path} names no file: give a path in each line")
    return files


def check_names(
    inputs: Sequence[InputFile], paths_of: Callable[[InputFile], Iterable[pathlib.Path]]
) -> None:
    """Refuses outputs that would overwrite each other or one of the inputs.

    `paths_of` returns the paths that will be written for an input.
    """
    owners = {file.path.resolve(): file for file in inputs}
    if len(owners) < len(inputs):
        raise UserError("the list names a file twice: take one of the lines out")
    for file in inputs:
        for path in paths_of(file):
            other = owners.setdefault(path.resolve(), file)
            if other != file or path.resolve() == file.path.resolve():
                raise UserError(
                    f"{path}, output of {file.path}, would overwrite what belongs to "
                    f"{other.path}: rename one, or give another --output"
                )


def image_sizes(inputs: Iterable[InputFile]) -> list[Size]:
    """Returns the (height, width) of the turned photos, read from their headers.

    Photos that cannot be opened are left out.
    """
    sizes = []
    for file in inputs:
        try:
            with Image.open(file.path) as image:
                turned = image.getexif().get(ExifTags.Base.Orientation) in _TURNED
                sizes.append(image.size if turned else image.size[::-1])
        except Exception:  # any error comes again and is reported when the photo is read
            continue
    return sizes
