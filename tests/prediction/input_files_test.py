"""Files, folders and lists."""

import io
import os
import pathlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import marks
from diffdepth_jax.prediction.input_files import (
    InputFile,
    default_output,
    find_inputs,
    image_sizes,
)


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
    with pytest.raises(UserError, match=r"or video \(passed over: 1 .*x\.npy\)\); known are"):
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


def test_a_pattern_is_expanded_as_a_shell_would_and_names_begin_after_it(tmp_path):
    _touch(tmp_path, "a/x.jpg", "a/deep/y.jpg", "b/x.jpg", "a/n.txt", ".h/z.jpg", "a/.x.jpg")
    assert _names(tmp_path / "*/*.jpg") == ["a/x", "b/x"]
    assert _names(tmp_path / "a/**/*.jpg") == ["deep/y", "x"]
    assert _names(tmp_path / "**") == _names(tmp_path) == ["a/deep/y", "a/x", "b/x"]
    assert _names(tmp_path / "[ab]") == ["a/deep/y", "a/x", "b/x"]  # folders that match
    files, passed_over = _find(tmp_path / "a/*")
    assert [file.name for file in files] == ["deep/y", "x"]
    assert passed_over == "passed over: 1 file of another kind (1 .txt: n.txt)"
    with pytest.raises(UserError, match=r"holds no image or video"):
        _find(tmp_path / "*.gif")
    with pytest.raises(UserError, match="is no pattern"):
        _find(tmp_path / "a**/x.jpg")


def test_a_file_of_such_a_name_is_no_pattern(tmp_path):
    _touch(tmp_path, "a[1].jpg", "a1.jpg")
    assert _names(tmp_path / "a[1].jpg") == ["a[1]"]


def test_a_pattern_takes_no_results_for_photos(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "out/v").mkdir(parents=True)
    for name in ("a.png_color.png", "out/b.png", "out/v/000000.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name, **marks.PNG)
    Image.new("RGB", (4, 4)).save(tmp_path / "out/v/c.png")  # also what has no mark
    files, passed_over = _find(tmp_path / "**/*.png", output=tmp_path / "out")
    assert [file.name for file in files] == ["a"]
    assert passed_over == "passed over: 1 result of this program"
    named = [tmp_path / "a.png", tmp_path / "out/b.png"]  # as a shell expands a pattern
    assert _names(*named) == ["a"] and _names(named[1]) == ["b"]


def test_each_file_of_several_inputs_is_there_once(tmp_path):
    _touch(tmp_path, "a/x.jpg", "a/sub/y.jpg", "z.jpg")
    inputs = [tmp_path / "a/sub", tmp_path / "z.jpg", tmp_path / "a", f"{tmp_path}/a/../z.jpg"]
    files, passed_over = _find(*inputs)
    assert [file.path for file in files] == [
        tmp_path / "a/sub/y.jpg",
        tmp_path / "z.jpg",
        tmp_path / "a/x.jpg",
    ]
    assert "2 that were named before" in passed_over


@pytest.mark.parametrize("seed", range(5))
def test_results_of_several_inputs_never_share_a_name(tmp_path, seed):
    rng = np.random.default_rng(seed)
    folders = ["a", "b", "p/a", "p/b", "q/p/a", "a/sub"]
    for folder in folders:
        names = [f"{stem}.{end}" for stem in "xyz" for end in ("jpg", "png", "mp4")]
        _touch(tmp_path / folder, *rng.choice(names, 4, replace=False))
    pictures = [path for path in tmp_path.rglob("*.*") if path.is_file()]
    inputs = [tmp_path / folder for folder in rng.choice(folders, 3, replace=False)]
    inputs += list(rng.choice(pictures, 4))
    files = _find(*inputs, output=tmp_path / "out").files
    names = {(file.name, file.is_video) for file in files}  # whose results have other ends
    assert len(files) == len({file.path.resolve() for file in files}) == len(names)


def test_folders_of_equal_names_are_told_apart(tmp_path):
    _touch(tmp_path, "one/left/x.jpg", "two/left/x.png", "two/right/x.jpg", "two/left/y.jpg")
    assert _names(*sorted(tmp_path.glob("*/*"))) == [
        "one/left/x",
        "two/left/x",
        "two/left/y",
        "two/right/x",
    ]
    assert _names(tmp_path / "two/left", tmp_path / "two/right") == ["left/x", "left/y", "right/x"]
    assert _names(tmp_path / "one/left/x.jpg", tmp_path / "two/left/y.jpg") == ["x", "y"]


def test_tables_name_pictures_in_a_column(tmp_path):
    _touch(tmp_path, "a, b.jpg", "c.jpg")
    (tmp_path / "list.csv").write_text('id;image\n1;"a, b.jpg"\n2;c.jpg\n3;missing.jpg\n')
    assert _names(tmp_path / "list.csv") == ["a, b", "c", "missing"]
    places = [file.listed for file in _find(tmp_path / "list.csv", tmp_path).files]
    assert places == [f"list {tmp_path / 'list.csv'}, line {line}" for line in (2, 3, 4)]


@pytest.mark.parametrize(
    "content", [b"b.jpg\n./a.jpg\n", b"b.jpg\0a.jpg\0", b"# two\r\nb.jpg\r\na.jpg"]
)
def test_standard_input_is_a_list_of_the_working_directory(tmp_path, monkeypatch, content):
    _touch(tmp_path, "a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert _names("-") == ["b", "a"]


def test_any_name_may_come_from_standard_input(tmp_path, monkeypatch):
    """Zeros part names with spaces, ends of lines and bytes that are no text."""
    names = [b" a #1\n.jpg", b"caf\xe9.jpg", b"-"]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\0".join(names))))
    found = [os.fsencode(file.path) for file in _find("-").files]
    assert found == names


@pytest.mark.parametrize(
    "address", ["https://x.org/a.jpg", "s3://b/a.jpg", "gs://b/a.png", "HTTP://x"]
)
def test_addresses_are_refused(tmp_path, address):
    with pytest.raises(UserError, match=r"input .* is an address, .*: download the file first"):
        _find(address)
    (tmp_path / "list.txt").write_text(f"# mine\n{address} 1")
    with pytest.raises(UserError, match=r"list\.txt, line 2: .* is an address"):
        _find(tmp_path / "list.txt")


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg is no file and no folder: name photos"):
        _find(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="an input is empty"):
        _find(tmp_path, "")


def test_results_go_by_default_where_no_input_is_searched(tmp_path, monkeypatch):
    _touch(tmp_path, "p/a/x.jpg", "p/depth/y.jpg", "x.jpg")
    monkeypatch.chdir(tmp_path / "p")
    assert default_output(["a", "a/x.jpg", "*/x.jpg"]) == pathlib.Path("depth")
    assert default_output(["depth"]) == pathlib.Path("depth_depth").absolute()
    for inputs in (["."], [".."], ["**/*.jpg"], ["a", str(tmp_path / "p")]):
        top = tmp_path if inputs == [".."] else tmp_path / "p"
        assert default_output(inputs) == top.parent / f"{top.name}_depth"
    with pytest.raises(UserError, match="input folder /: give another --output"):
        default_output(["/"])
