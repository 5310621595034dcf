"""Extraction of tar and zip files; each archive is extracted once."""

import os
import pathlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection

from tqdm import tqdm

from diffdepth_jax.data import full_disk
from diffdepth_jax.errors import UserError
from diffdepth_jax.program import progress
from diffdepth_jax.whole_files import whole_folder

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
_END = 2**20  # bytes
_LONGEST_NAME = 200  # bytes; file systems allow 255


def is_archive(path: pathlib.Path) -> bool:
    """Whether `path` is a file that `extract` extracts: .tar, .tar.gz, .tgz or .zip."""
    return path.is_file() and path.name.lower().endswith(_SUFFIXES)


def extract(
    archive: pathlib.Path, folder: pathlib.Path, unread: Collection[str] = ()
) -> pathlib.Path:
    """Extracts an archive into a new folder below `folder`, once; returns the new folder.

    Args:
      archive: a tar or zip file.
      folder: see `extract_once`.
      unread: names of folders in the archive whose members are not needed.

    Raises:
      UserError: the archive is damaged or encrypted, a member would leave the new folder or is a
        link of a zip file, or the disk has not enough room.
    """
    extract_members = _extract_zip if archive.name.lower().endswith(".zip") else _extract_tar

    def write(target: pathlib.Path) -> None:
        try:
            with full_disk.explained(folder, f"archive {archive}"):
                extract_members(archive, target, unread)
        except UserError:
            raise
        except Exception as error:  # the readers raise nearly anything about damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"archive {archive} cannot be extracted ({reason}); fetch it again"
            ) from error

    return extract_once(archive, folder, write)


def extract_once(
    path: pathlib.Path, folder: pathlib.Path, write: Callable[[pathlib.Path], None]
) -> pathlib.Path:
    """Calls `write` with a new folder below `folder`, for the contents of a file; returns it.

    The new folder is named after the file, its size and a checksum of its ends, because downloads
    of several data sets have the same names; a long name is shortened. It gets this name when it is
    complete; a folder that has the name already is therefore used as it is.
    """
    shown = path.name
    if len(shown.encode()) > _LONGEST_NAME:
        shown = f"{shown[:20]}..{shown[-20:]}"
    target = folder / f"{shown}-{path.stat().st_size}-{_checksum(path):08x}"
    if target.is_dir():
        print(f"using {target}, extracted before")
        return target
    try:
        with whole_folder(target) as unfinished:
            write(unfinished)
    except OSError:
        if not target.is_dir():
            raise  # otherwise another program has extracted it meanwhile
    return target


def _checksum(path: pathlib.Path) -> int:
    """Of the first and the last part of a file, where archives name their members."""
    with path.open("rb") as file:
        first = file.read(_END)
        file.seek(-min(_END, path.stat().st_size), os.SEEK_END)
        return zlib.crc32(file.read(_END), zlib.crc32(first))


def _extract_tar(archive: pathlib.Path, folder: pathlib.Path, unread: Collection[str]) -> None:
    with (
        _progress(archive.stat().st_size) as bar,
        archive.open("rb") as file,
        tarfile.open(fileobj=file) as members,
    ):
        for member in members:
            if not _is_unread(member.name, unread):
                members.extract(member, folder, filter="data")
            bar.update(file.tell() - bar.n)


def _extract_zip(archive: pathlib.Path, folder: pathlib.Path, unread: Collection[str]) -> None:
    with zipfile.ZipFile(archive) as file:
        members = [each for each in file.infolist() if not _is_unread(each.filename, unread)]
        for member in members:
            _check_member(archive, member)
        size = sum(member.file_size for member in members)
        _check_room(archive, folder, size)
        with _progress(size) as bar:
            for member in members:
                file.extract(member, folder)
                bar.update(member.file_size)


def _progress(total: int) -> tqdm:
    return progress.bar(desc="extract", total=total, unit="B", unit_scale=True)


def _is_unread(name: str, unread: Collection[str]) -> bool:
    return not set(pathlib.PurePosixPath(name).parts).isdisjoint(unread)


def _check_member(archive: pathlib.Path, member: zipfile.ZipInfo) -> None:
    """Refuses a member that needs a password, is a link or would leave the folder."""
    if member.flag_bits & 1:
        raise UserError(
            f"archive {archive} is encrypted: unpack it with its password, and give the folder"
        )
    path = pathlib.PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(
            f"archive {archive}: its member {member.filename!r} is a link or would leave the folder"
            " of the others, as in no published archive: fetch it from another place"
        )


def _check_room(archive: pathlib.Path, folder: pathlib.Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise UserError(
            f"archive {archive} unpacks to {size / 1e9:.1f} GB, but {folder.parent} has"
            f" {free / 1e9:.1f} GB free: make room or give another --data_dir"
        )
