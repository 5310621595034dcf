"""Archives come out whole and once; what is damaged, encrypted or hostile is named."""

import io
import resource
import shutil
import tarfile
import zipfile

import pytest

from diffdepth_jax.data.archives import extract, is_archive
from diffdepth_jax.errors import UserError

FILES = {"sync/kitchen/rgb.jpg": b"picture" * 100, "image_00/data/0.png": b"grey"}


def write_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path, files=FILES):
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


WRITERS = {"a.zip": write_zip, "A.ZIP": write_zip, "a.tar": write_tar}


@pytest.mark.parametrize("name", WRITERS)
def test_members_come_out_once(tmp_path, capsys, name):
    archive = WRITERS[name](tmp_path / name)
    assert is_archive(archive)
    folder = extract(archive, tmp_path / "out")
    assert contents(folder) == FILES
    (folder / "sync/kitchen/rgb.jpg").write_bytes(b"changed")
    assert extract(archive, tmp_path / "out") == folder
    assert "extracted before" in capsys.readouterr().out
    assert contents(folder)["sync/kitchen/rgb.jpg"] == b"changed"


@pytest.mark.parametrize("name", WRITERS)
def test_archives_of_one_name_and_size_are_told_apart(tmp_path, name):
    folders = []
    for place, data in (("here", b"1234"), ("there", b"4321")):
        (tmp_path / place).mkdir()
        archive = WRITERS[name](tmp_path / place / name, {"a": data})
        folders.append(extract(archive, tmp_path / "out"))
        assert contents(folders[-1]) == {"a": data}
    assert folders[0] != folders[1]


@pytest.mark.parametrize("name", WRITERS)
def test_folders_that_nobody_reads_are_left_in(tmp_path, name):
    folder = extract(WRITERS[name](tmp_path / name), tmp_path / "out", unread=("image_00",))
    assert list(contents(folder)) == ["sync/kitchen/rgb.jpg"]


def link():
    member = zipfile.ZipInfo("sync/link")
    member.external_attr = 0o120777 << 16
    return member


@pytest.mark.parametrize("member", ["../outside", "/outside", "a/../../outside", link()])
def test_members_that_leave_the_folder_are_refused(tmp_path, member):
    archive = write_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(member, "../../outside")
    assert_refused(archive, tmp_path, "is a link or would leave the folder")
    assert not list(tmp_path.rglob("outside"))


def test_members_of_a_tar_file_that_leave_the_folder_are_refused(tmp_path):
    archive = write_tar(tmp_path / "a.tar", {"../outside": b"x"})
    assert_refused(archive, tmp_path, "outside the destination")
    assert not list(tmp_path.rglob("outside"))


def assert_refused(archive, tmp_path, message):
    """In one line with the archive's name, and nothing is left."""
    with pytest.raises(UserError, match=message) as error:
        extract(archive, tmp_path / "out")
    assert str(archive) in str(error.value) and "\n" not in str(error.value)
    assert not list((tmp_path / "out").iterdir())


def with_header_field(path, offset, value):
    """Writes a field of two bytes into the headers of all members, local and central."""
    data = bytearray(path.read_bytes())
    for signature, start in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        place = data.find(signature)
        while place >= 0:
            begin = place + start + offset
            data[begin : begin + 2] = value.to_bytes(2, "little")
            place = data.find(signature, place + 1)
    path.write_bytes(data)
    return path


def test_an_encrypted_archive_is_named(tmp_path):
    archive = with_header_field(write_zip(tmp_path / "a.zip"), 6, 1)
    assert_refused(archive, tmp_path, "is encrypted: unpack it with its password")


def test_another_compression_is_named(tmp_path):
    archive = with_header_field(write_zip(tmp_path / "a.zip"), 8, 9)
    assert_refused(archive, tmp_path, "compression")


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kept", [0, 0.5, 0.8])
def test_a_truncated_archive_is_named(tmp_path, name, kept):
    archive = WRITERS[name](tmp_path / name, {"a": bytes(range(256)) * 100, "b": b"b" * 9999})
    data = archive.read_bytes()
    archive.write_bytes(data[: int(kept * len(data))])
    assert_refused(archive, tmp_path, "cannot be extracted .* fetch it again")


def test_a_flipped_bit_is_found(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", b"x" * 1000)
    data = bytearray(archive.read_bytes())
    data[500] ^= 1
    archive.write_bytes(data)
    assert_refused(archive, tmp_path, "Bad CRC-32")


def test_a_full_disk_is_refused_before_extraction(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "a.zip")
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert_refused(archive, tmp_path, "make room or give another --data_dir")


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_fills_is_named_and_nothing_is_left(tmp_path, name):
    """Here the limit is one on the size of a file, which ends writing as a full disk does."""
    archive = WRITERS[name](tmp_path / name, {"a": bytes(10_000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert_refused(archive, tmp_path, "could not be written .*make room")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_archives_of_the_longest_names_are_extracted(tmp_path):
    archive = write_zip(tmp_path / f"train-{'n' * 245}.zip")
    folder = extract(archive, tmp_path / "out")
    assert any(folder.iterdir()) and folder.name.startswith("train-")


def test_members_of_impossible_names_are_named(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        file.addfile(tarfile.TarInfo("n" * 300))
    assert_refused(archive, tmp_path, "cannot be extracted .*too long")
    data = bytearray(archive.read_bytes())
    data = data.replace(b"n" * 300, b"n" * 100 + b"\0" + b"n" * 199)
    archive.write_bytes(data)
    assert_refused(archive, tmp_path, "cannot be extracted")
