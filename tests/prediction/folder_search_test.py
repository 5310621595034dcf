"""What is found in a folder, and that nothing is passed over without a word."""

import os
import pathlib

import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import marks
from diffdepth_jax.prediction import record
from diffdepth_jax.prediction.folder_search import FolderSearch, describe
from diffdepth_jax.whole_files import whole_file


def _search(root):
    search = FolderSearch(root, root / "out")
    return [str(file.relative_to(root)) for file in search.files], describe(search.passed_over)


def test_each_format_of_photos_is_found(tmp_path):
    for name in ("jpg", "jfif", "jpe", "mpo", "avif", "jp2", "ppm"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"a.{name}", "JPEG" if name == "mpo" else None)
    files, passed_over = _search(tmp_path)
    assert len(files) == 7 and passed_over == ""


def test_linked_folders_are_read_once_and_after_the_others(tmp_path):
    for name in ("in/a/x.jpg", "in/b.jpg", "target/linked.jpg", "target/deep/y.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "in/0").symlink_to(tmp_path / "in/a")
    (tmp_path / "in/link").symlink_to(tmp_path / "target")
    (tmp_path / "target/deep/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/c.jpg").symlink_to(tmp_path / "in/b.jpg")
    files, passed_over = _search(tmp_path / "in")
    assert files == ["a/x.jpg", "b.jpg", "c.jpg", "link/deep/y.jpg", "link/linked.jpg"]
    assert (
        passed_over == "passed over: 2 links to folders that are read already (0, link/deep/loop)"
    )


def test_what_is_passed_over_is_counted_and_named(tmp_path):
    for name in (
        "a.jpg",
        "a.npy",
        "b.npy",
        "c.npy",
        "n.txt",
        "raw.CR3",
        "Makefile",
        ".x",
        ".y/z.jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    files, passed_over = _search(tmp_path)
    assert files == ["a.jpg"]
    assert passed_over.split("; ") == [
        "passed over: 2 hidden files and folders",
        "6 files of other kinds (3 .npy, 1 without extension, 1 .txt, others: Makefile, a.npy, "
        "b.npy, ...)",
        "2 files and folders that cannot be read (gone.jpg, self.jpg)",
    ]
    assert os.path.lexists(tmp_path / "gone.jpg")


@pytest.mark.parametrize("sub", ["", "sub"])
def test_a_folder_that_cannot_be_entered_is_named(tmp_path, monkeypatch, sub):
    """root may enter every folder: the system's answer is given in its place."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jpg").touch()
    entries = pathlib.Path.iterdir

    def refuse(folder):
        if folder == tmp_path / sub:
            raise PermissionError(13, "Permission denied", str(folder))
        return entries(folder)

    monkeypatch.setattr(pathlib.Path, "iterdir", refuse)
    if sub:
        told = "passed over: 1 file or folder that cannot be read (sub)"
        assert _search(tmp_path) == (["a.jpg"], told)
    else:
        with pytest.raises(UserError, match=r"^input /\S+ cannot be read \(Permission den"):
            _search(tmp_path)


def test_a_folder_that_is_listed_and_not_entered_hides_no_reason(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").touch()

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pathlib.Path, "is_dir", lambda path: path == tmp_path or refuse(path))
    told = "passed over: 1 file or folder that cannot be read (a.jpg)"
    assert _search(tmp_path) == ([], told)


def test_results_are_told_from_photos_of_such_names(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    Image.new("RGB", (4, 4)).save(tmp_path / "a_color.png", **marks.PNG)
    Image.new("RGB", (4, 4)).save(tmp_path / "b_color.png")
    files, passed_over = _search(tmp_path)
    assert files == ["a.jpg", "b_color.png"]
    assert passed_over == "passed over: 1 result of this program"


def test_unfinished_results_and_the_record_are_no_inputs(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    (tmp_path / record.FILE).touch()
    with whole_file(tmp_path / "a_color.png") as unfinished:
        Image.new("RGB", (4, 4)).save(unfinished)
        assert _search(tmp_path) == (["a.jpg"], "passed over: 1 hidden file or folder")
    with pytest.raises(OSError, match="full"), whole_file(tmp_path / "b.png") as unfinished:
        unfinished.touch()
        raise OSError("full")
    assert {path.name for path in tmp_path.iterdir()} == {"a.jpg", "a_color.png", record.FILE}
