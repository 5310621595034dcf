"""What a run refuses before it predicts; and that its tries leave nothing and take nothing."""

import pathlib

import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import marks
from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.record import Fingerprint, Made, Record
from diffdepth_jax.prediction.writers import Writers

VIDEO, PHOTO = InputFile(pathlib.Path("v.mp4"), "v"), InputFile(pathlib.Path("a.jpg"), "a")


def _writers(folder):
    return Writers(OutputWriter(folder, ("npy", "png16")), OutputWriter(folder, ("png16", "video")))


def test_whether_a_folder_can_be_written_is_tried_with_a_name_that_is_nobodys(tmp_path):
    (tmp_path / ".writable").write_text("theirs")
    _writers(tmp_path).check([PHOTO])
    assert (tmp_path / ".writable").read_text() == "theirs"
    assert len(list(tmp_path.iterdir())) == 1
    _writers(tmp_path / "new/out").check([PHOTO])
    assert not (tmp_path / "new").exists()


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match=r"output /\S+out is a file: give a folder"):
        _writers(tmp_path / "out").check([PHOTO])


@pytest.mark.parametrize(
    ("file", "name"), [(PHOTO, "a.png"), (VIDEO, "v/000007.png"), (VIDEO, "v_depth.mp4")]
)
def test_what_has_the_name_of_a_result_and_no_mark_is_refused(tmp_path, file, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, "PNG")
    with pytest.raises(UserError, match=rf"{name} was not written by this program"):
        _writers(tmp_path).check([file])


@pytest.mark.parametrize(
    ("file", "name"), [(PHOTO, "a.npy"), (VIDEO, "v/000000.exr"), (PHOTO, "a.glb")]
)
def test_what_has_the_name_of_a_result_and_no_line_in_the_record_is_refused(tmp_path, file, name):
    """Such as a folder of ground truth, also if results of another kind were written beside it."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"truth")
    writer = OutputWriter(tmp_path, ("npy", "exr", "glb"))
    with pytest.raises(UserError, match=rf"{name} was not written by this program"):
        Writers(writer, writer).check([file])
    made = Made(Fingerprint("a.jpg", 1, 1, ""), int(file.is_video), {}, {"color": True})
    Record(tmp_path).add(file.name, made)
    with pytest.raises(UserError, match=rf"{name} was not written by this program"):
        Writers(writer, writer).check([file])
    for kinds in (dict.fromkeys(writer.kinds, False), None):  # begun; of an older version
        Record(tmp_path).add(file.name, made._replace(kinds=kinds))
        Writers(writer, writer).check([file])


def test_results_and_other_files_beside_them_are_no_hindrance(tmp_path):
    (tmp_path / "v").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "v/000007.png", **marks.PNG)
    Image.new("RGB", (4, 4)).save(tmp_path / "v/frame_7.png")
    _writers(tmp_path).check([VIDEO])
