"""Which files a program was asked for: one, those of a folder, or those of a list."""

import dataclasses
import os
import pathlib

from PIL import ExifTags, Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import video

# Pillow reads the HEIC of telephones with an addition only; without it the file is reported.
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
_TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange height and width


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A photo or video; `name` is that of its outputs, without what follows the last dot."""

    path: pathlib.Path
    name: str

    @property
    def is_video(self):
        return self.path.suffix.lower() in video.EXTENSIONS


def find_inputs(path, output=None) -> list[InputFile]:
    """The photos and videos of a file, a folder and its folders, or a .txt with a path in a line.

    Outputs have the folders of their inputs, from the folder that holds them all. Files in the
    folder `output` are no inputs, and neither are hidden ones.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        files, root = _files_of_folder(path, output), path
        if not files:
            known = ", ".join(sorted(IMAGE_EXTENSIONS | video.EXTENSIONS))
            raise UserError(f"input {path} holds no image or video ({known})")
    elif not path.is_file():
        raise UserError(f"input {path} does not exist: give an image, a video, a folder or a list")
    else:
        files = _files_of_list(path) if path.suffix.lower() == ".txt" else [path]
        root = os.path.commonpath([file.parent for file in files])
    return [InputFile(file, str(file.relative_to(root).with_suffix(""))) for file in files]


def _files_of_folder(folder, output):
    output = None if output is None else pathlib.Path(output).resolve()
    if output == folder.resolve():
        output = None
    files = []
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        known = file.suffix.lower() in IMAGE_EXTENSIONS | video.EXTENSIONS
        if known and not hidden and file.is_file() and output not in file.resolve().parents:
            files.append(file)
    return files


def _files_of_list(path):
    """Paths in a file are relative to its folder; blank lines and # comments are skipped."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"list {path} is no text: give a path in each line") from error
    files = [path.parent.absolute() / line for line in lines if line and not line.startswith("#")]
    if not files:
        raise UserError(f"list {path} names no file: give a path in each line")
    return files


def check_names(inputs, paths_of):
    """Refuses outputs that would overwrite each other or one of the inputs.

    `paths_of` an input are the paths that will be written for it.
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


def image_sizes(inputs) -> list[tuple[int, int]]:
    """(height, width) of the photos that can be opened, as they will be read, from their heads."""
    sizes = []
    for file in inputs:
        try:
            with Image.open(file.path) as image:
                turned = image.getexif().get(ExifTags.Base.Orientation) in _TURNED
                sizes.append(image.size if turned else image.size[::-1])
        except Exception:  # whatever it is, reading the photo will meet and report it
            continue
    return sizes
