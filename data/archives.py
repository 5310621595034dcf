"""Extraction of tar files; each archive is extracted once."""

import pathlib
import tarfile

from tqdm import tqdm

from diffdepth_jax.errors import UserError
from diffdepth_jax.whole_files import whole_folder


def is_archive(path: pathlib.Path) -> bool:
    """Whether `path` is a file that `extract` extracts: .tar, .tar.gz or .tgz."""
    return path.is_file() and path.name.endswith((".tar", ".tar.gz", ".tgz"))


def extract(archive: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Extracts a tar file into a new folder below `folder`, and returns the new folder.

    The new folder is named after the archive and its size. It gets this name when extraction is
    complete; a folder that has the name already is therefore used as it is.

    Raises:
      UserError: the file is no tar file, or it is damaged.
    """
    if not is_archive(archive):
        raise UserError(f"{archive} is no folder and no .tar, .tar.gz or .tgz file")
    size = archive.stat().st_size
    target = folder / f"{archive.name}-{size}"
    if target.is_dir():
        print(f"using {target}, extracted before")
        return target
    with whole_folder(target) as unfinished:
        _extract_all(archive, size, unfinished)
    return target


def _extract_all(archive: pathlib.Path, size: int, folder: pathlib.Path) -> None:
    bar = tqdm(desc="extract", total=size, unit="B", unit_scale=True)
    try:
        with bar, archive.open("rb") as file, tarfile.open(fileobj=file) as members:
            for member in members:
                members.extract(member, folder, filter="data")
                bar.update(file.tell() - bar.n)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"archive {archive} cannot be extracted ({error}); fetch it again"
        ) from error
