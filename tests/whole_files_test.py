"""Files and folders are there whole, or as they were before."""

import pytest

from diffdepth_jax.whole_files import remove_unfinished, whole_file, whole_folder


def test_a_file_is_there_when_the_block_ends(tmp_path):
    path = tmp_path / "a.npy"
    path.write_text("old")
    with whole_file(path) as unfinished:
        assert unfinished.parent == tmp_path and unfinished.suffix == ".npy"
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_file_stays_as_it_was_when_the_block_fails(tmp_path):
    path = tmp_path / "a.npy"
    path.write_text("old")
    with pytest.raises(OSError, match="no space"), whole_file(path) as unfinished:
        unfinished.write_text("half")
        raise OSError("no space")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("existing", [False, True])
def test_a_folder_is_there_when_the_block_ends(tmp_path, existing):
    path = tmp_path / "model"
    if existing:
        path.mkdir()
    with whole_folder(path) as unfinished:
        (unfinished / "a").write_text("new")
        assert not (path / "a").exists()
    assert (path / "a").read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_there_when_the_block_fails(tmp_path):
    with pytest.raises(OSError, match="no space"), whole_folder(tmp_path / "model") as unfinished:
        assert list(unfinished.iterdir()) == []
        (unfinished / "a").write_text("half")
        raise OSError("no space")
    assert list(tmp_path.iterdir()) == []


def test_several_write_one_file_at_once_and_the_last_one_stays(tmp_path):
    """As processes of two containers do, whose numbers are equal."""
    path = tmp_path / "a.npy"
    with whole_file(path) as first, whole_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_a_name_of_255_bytes_is_written(tmp_path):
    path = tmp_path / f"{'a' * 251}.npy"
    with whole_file(path) as unfinished:
        unfinished.write_text("new")
    assert path.read_text() == "new"


def test_what_killed_programs_left_is_deleted_and_nothing_else(tmp_path):
    with whole_file(tmp_path / "a/b.npy") as unfinished:
        unfinished.parent.mkdir()
        unfinished.write_text("new")
        left = unfinished
    folder = tmp_path / left.name
    folder.mkdir()
    left.write_text("half")
    (folder / "c").write_text("half")
    theirs = tmp_path / ".unfinished-1234.npy"
    theirs.write_text("theirs")
    remove_unfinished(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {
        tmp_path / "a/b.npy",
        theirs,
    }
