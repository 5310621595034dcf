"""Files, folders and lists."""

import pytest
from PIL import ExifTags, Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.input_files import InputFile, find_inputs, image_sizes


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _find(*inputs, output="out"):
    return find_inputs([str(text) for text in inputs], output)


def _names(*inputs, output="out"):
    return [file.name for file in _find(*inputs, output=output).files]


def test_a_folder_gives_its_photos_and_videos_and_those_of_its_folders(tmp_path):
    _touch(tmp_path, "b.JPG", "a.png", "sub/c.webp", "sub/deep/v.mov", "notes.txt", "sub/x.npy")
    _touch(tmp_path, "._b.jpg", ".trash/d.jpg")
    inputs = _find(tmp_path, output=tmp_path / "out").files
    assert [file.name for file in inputs] == ["a", "b", "sub/c", "sub/deep/v"]
    assert [file.is_video for file in inputs] == [False, False, False, True]


def test_the_output_folder_is_not_searched_unless_it_is_the_input(tmp_path):
    _touch(tmp_path, "a.jpg", "depth/a_color.png")
    assert _names(tmp_path, output=tmp_path / "depth") == ["a"]
    assert len(_names(tmp_path, output=tmp_path)) == 2
    assert len(_names(tmp_path / "depth", output=tmp_path)) == 1


def test_a_list_names_files_from_its_folder(tmp_path):
    """Others keep their whole path, so that a line more or less changes no name."""
    _touch(tmp_path, "x/a.jpg", "x/y/b.png", "far/c.jpg", "x/photo #1 of 2.jpg", "d.jpg")
    far = tmp_path / "far/c.jpg"
    lines = ["# mine", "a.jpg", "", "y\\b.png", str(far), "missing.jpg", "photo #1 of 2.jpg"]
    (tmp_path / "x/list.txt").write_bytes("\r\n".join([*lines, "../d.jpg"]).encode("utf-16"))
    whole = str(tmp_path.resolve()).lstrip("/")
    assert _names(tmp_path / "x/list.txt") == [
        "a",
        "y/b",
        f"{whole}/far/c",
        "missing",
        "photo #1 of 2",
        f"{whole}/d",
    ]


def test_the_first_name_of_a_line_counts(tmp_path):
    _touch(tmp_path, "living room/a.jpg", "b.jpg", "b.png")
    (tmp_path / "list.txt").write_text('"living room/a.jpg" # mine\nb.jpg\tb.png\n./b.jpg b.png')
    files, passed_over = _find(tmp_path / "list.txt")
    assert [file.name for file in files] == ["living room/a", "b"]
    assert passed_over == "passed over: 1 that were named before (./b.jpg b.png)"


def test_one_file_is_itself(tmp_path):
    _touch(tmp_path, "a.b.jpg")
    found = _find(tmp_path / "a.b.jpg").files
    assert found == [InputFile(tmp_path / "a.b.jpg", "a.b")]


def test_nothing_to_predict_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        _find(tmp_path / "nowhere")
    _touch(tmp_path, "empty/x.npy")
    with pytest.raises(UserError, match=r"holds no image or video .*passed over: 1 .*x\.npy"):
        _find(tmp_path / "empty")
    for content, message in (
        (b"# nothing\n", "names no file"),
        (b"\xff\xfe\xfa", "cannot be read"),
        (b"empty\n", "line 1: .*empty is a folder"),
    ):
        (tmp_path / "list.txt").write_bytes(content)
        with pytest.raises(UserError, match=message):
            _find(tmp_path / "list.txt")


def test_sizes_are_those_of_the_turned_photos(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (9, 6)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (9, 6)).save(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"no photo")
    assert image_sizes(_find(tmp_path, output=tmp_path / "out").files) == [(9, 6), (6, 9)]
