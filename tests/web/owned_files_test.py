"""Files are shown to their owners alone, and deleted when they are old."""

import os
import time

from diffdepth_jax.web.owned_files import OwnedFiles


def _files(tmp_path):
    (tmp_path / "kept").mkdir()
    return OwnedFiles(tmp_path / "kept")


def _written(folder, name="a.jpg"):
    (folder / name).write_bytes(b"x")
    return folder / name


def test_owners_alone_see_a_file(tmp_path):
    files = _files(tmp_path)
    path = _written(files.directory)
    files.add_upload("ann", str(path))
    assert files.upload("ann", str(path)) == files.file("ann", str(path)) == path
    assert files.upload("bob", str(path)) is files.file("bob", str(path)) is None
    files.add_upload("bob", str(path))  # the same photo
    assert files.upload("bob", str(path)) == path


def test_a_result_is_no_upload(tmp_path):
    files = _files(tmp_path)
    path = _written(files.new_folder(), "depth.npy")
    files.add_result("ann", path)
    assert files.file("ann", str(path)) == path
    assert files.upload("ann", str(path)) is files.file("bob", str(path)) is None


def test_other_ways_to_a_file_and_links_lead_nowhere(tmp_path):
    files, outside = _files(tmp_path), _written(tmp_path, "private.jpg")
    path, link = _written(files.directory), files.directory / "link.jpg"
    link.symlink_to(outside)
    for each in (path, link, outside):
        files.add_upload("ann", str(each))
    ways = [f"{files.directory}/x/../a.jpg", f"{files.directory}//a.jpg", f"{path}\0", "", "\0"]
    for way in (*ways, str(link), str(outside)):
        assert files.upload("ann", way) is None
    path.unlink()
    assert files.upload("ann", str(path)) is None


def test_folders_of_results_cannot_be_guessed(tmp_path):
    files = _files(tmp_path)
    first, second = files.new_folder(), files.new_folder()
    assert first != second and len(first.name) == len("result_") + 32
    assert first.stat().st_mode & 0o777 == 0o700


def test_only_old_files_are_swept_and_their_owners_forgotten(tmp_path):
    files = _files(tmp_path)
    (files.directory / "a").mkdir()
    old, new = _written(files.directory / "a", "old"), _written(files.directory, "new")
    os.utime(old, times=(time.time() - 100,) * 2)
    for path in (old, new):
        files.add_upload("ann", str(path))
    files.sweep(50)
    assert sorted(path.name for path in files.directory.rglob("*")) == ["a", "new"]
    assert files.upload("ann", str(new)) == new
    _written(old.parent, "old")  # another's photo later takes the place
    assert files.upload("ann", str(old)) is None
