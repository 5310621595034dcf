"""Files, folders and lists; names of outputs that overwrite nothing."""

import pytest
from PIL import ExifTags, Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.input_files import InputFile, check_names, find_inputs, image_sizes


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_gives_its_photos_and_videos_and_those_of_its_folders(tmp_path):
    _touch(tmp_path, "b.JPG", "a.png", "sub/c.webp", "sub/deep/v.mov", "notes.txt", "sub/x.npy")
    _touch(tmp_path, "._b.jpg", ".trash/d.jpg")
    inputs = find_inputs(tmp_path)
    assert [file.name for file in inputs] == ["a", "b", "sub/c", "sub/deep/v"]
    assert [file.is_video for file in inputs] == [False, False, False, True]


def test_results_of_an_earlier_run_are_no_inputs(tmp_path):
    _touch(tmp_path, "a.jpg", "depth/a_color.png")
    assert [file.name for file in find_inputs(tmp_path, tmp_path / "depth")] == ["a"]
    assert len(find_inputs(tmp_path, tmp_path)) == 2


def test_a_list_names_files_from_its_folder(tmp_path):
    _touch(tmp_path, "x/a.jpg", "x/y/b.png", "far/c.jpg")
    lines = ["# mine", "a.jpg", "", "y/b.png", str(tmp_path / "far/c.jpg"), "missing.jpg"]
    (tmp_path / "x/list.txt").write_text("\n".join(lines))
    inputs = find_inputs(tmp_path / "x/list.txt")
    assert [file.name for file in inputs] == ["x/a", "x/y/b", "far/c", "x/missing"]


def test_one_file_is_itself(tmp_path):
    _touch(tmp_path, "a.b.jpg")
    assert find_inputs(tmp_path / "a.b.jpg") == [InputFile(tmp_path / "a.b.jpg", "a.b")]


def test_nothing_to_predict_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        find_inputs(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no image or video"):
        find_inputs(tmp_path)
    (tmp_path / "list.txt").write_text("# nothing\n")
    with pytest.raises(UserError, match="names no file"):
        find_inputs(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match="is no text"):
        find_inputs(tmp_path / "list.txt")


def _check(folder, names, output):
    files = [InputFile(folder / name, name.split(".")[0]) for name in names]
    ends = (".npy", ".png", "_color.png")
    check_names(files, lambda file: [folder / output / f"{file.name}{end}" for end in ends])


@pytest.mark.parametrize(
    ("names", "output"),
    [
        (("a.png", "a.jpg"), "out"),
        (("a.jpg", "a_color.jpg"), "out"),  # a_color.png would be written for both
        (("a.png",), "."),
        (("a.jpg", "a_color.png"), "."),
    ],
)
def test_outputs_overwrite_neither_each_other_nor_an_input(tmp_path, names, output):
    with pytest.raises(UserError, match="rename one"):
        _check(tmp_path, names, output)


def test_outputs_may_lie_beside_inputs_of_other_names(tmp_path):
    _check(tmp_path, ("a.jpg", "b.jpg"), ".")


def test_a_file_is_named_once(tmp_path):
    with pytest.raises(UserError, match="twice"):
        _check(tmp_path, ("a.jpg", "a.jpg"), "out")


def test_sizes_are_those_of_the_turned_photos(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (9, 6)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (9, 6)).save(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"no photo")
    assert image_sizes(find_inputs(tmp_path)) == [(9, 6), (6, 9)]
