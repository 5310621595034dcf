"""Files are shown to their owners alone, and deleted when they are old or too many."""

import os
import time

import pytest

from diffdepth_jax.web.owned_files import OwnedFiles


@pytest.fixture
def files(tmp_path):
    (tmp_path / "kept").mkdir()
    return OwnedFiles(tmp_path / "kept", max_results=100)


def _written(files, name="a.jpg", size=1):
    folder = files.new_folder()
    (folder / name).write_bytes(b"x" * size)
    return folder / name


def _uploaded(files, owner="ann"):
    path = _written(files)
    files.add_upload(owner, path.parent)
    return path


def _result(files, owner="ann", size=1):
    path = _written(files, "depth.npy", size)
    files.add_result(owner, path.parent)
    return path


def test_owners_alone_see_a_file(files):
    path = _uploaded(files)
    assert files.upload("ann", str(path)) == files.file("ann", str(path)) == path
    assert files.upload("bob", str(path)) is files.file("bob", str(path)) is None


def test_a_result_is_no_upload(files):
    path = _result(files)
    assert files.file("ann", str(path)) == path
    assert files.upload("ann", str(path)) is files.file("bob", str(path)) is None


def test_other_ways_to_a_file_and_links_lead_nowhere(files, tmp_path):
    (outside := tmp_path / "private.jpg").touch()
    path = _written(files)
    (link := path.with_name("link.jpg")).symlink_to(outside)
    files.add_upload("ann", path.parent)
    folder = path.parent
    ways = [f"{folder}/../{folder.name}/a.jpg", f"{folder}//a.jpg", f"{path}\0", "", "\0"]
    for way in (*ways, str(link), str(outside), str(folder)):
        assert files.upload("ann", way) is None
    path.unlink()
    assert files.upload("ann", str(path)) is None


def test_folders_cannot_be_guessed(files):
    first, second = files.new_folder(), files.new_folder()
    assert first != second and len(first.name) == 32
    assert first.stat().st_mode & 0o777 == 0o700


def test_a_session_keeps_its_last_three_results_and_predicted_uploads(files):
    waiting = [_uploaded(files) for _ in range(5)]
    predicted = [_uploaded(files) for _ in range(5)]
    others, results = _result(files, "bob"), [_result(files) for _ in range(3)]
    files.use(results[0].parent)  # shown again
    results.append(_result(files))
    for path in predicted:
        files.use(path.parent)
    assert [path.exists() for path in results] == [True, False, True, True]
    assert [path.exists() for path in predicted] == [False, False, True, True, True]
    assert others.exists() and all(path.exists() for path in waiting)
    gone = {path.parent for path in (results[1], *predicted[:2])}
    assert not any(folder.exists() for folder in gone)
    assert files.file("ann", str(results[1])) is None
    files.use(results[1].parent)  # nothing is there to be used


def test_all_results_together_have_a_size(files):
    first, second = _result(files, "ann", 60), _result(files, "bob", 60)
    assert not first.exists() and second.exists()
    alone = _result(files, "eve", 1000)  # the newest stays whatever its size
    assert alone.exists() and not second.exists()


def test_only_old_folders_are_swept_and_their_owners_forgotten(files):
    old, new = _uploaded(files), _uploaded(files)
    os.utime(old.parent, times=(time.time() - 100,) * 2)
    files.sweep(50)
    assert list(files.directory.iterdir()) == [new.parent]
    assert files.upload("ann", str(new)) == new
    old.parent.mkdir()  # another's file later takes the place
    old.touch()
    assert files.upload("ann", str(old)) is None
