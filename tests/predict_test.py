"""Image files in, depth files out."""

import types

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from diffdepth_jax import predict
from diffdepth_jax.errors import UserError


@pytest.fixture
def photos(tmp_path):
    """A folder of two good images and a broken one between them."""
    for name, size in (("a.png", (48, 32)), ("c.jpg", (33, 47))):
        Image.new("RGB", size, (200, 90, 30)).save(tmp_path / name)
    (tmp_path / "b.jpg").write_bytes(b"not a picture")
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def _constant_estimator(metres):
    def estimate(image, **options):
        depth = np.full(image.shape[:2], metres, np.float32)
        return types.SimpleNamespace(depth=depth, focal_length=None)

    return estimate


@pytest.fixture
def command_line():
    """Parses arguments as the command line would and forgets them afterwards."""
    with flagsaver.flagsaver():
        yield lambda **values: flags.FLAGS(["predict", *(f"--{k}={v}" for k, v in values.items())])


def test_one_broken_file_does_not_stop_the_rest(
    photos, finished_run, command_line, tmp_path, capsys
):
    output = tmp_path / "made" / "out"
    command_line(checkpoint=finished_run[0], input=photos, output=output)
    assert predict.run() == 1
    names = {f"{stem}{end}" for stem in "ac" for end in (".npy", ".png", "_color.png")}
    assert {path.name for path in output.iterdir()} == names
    assert np.load(output / "c.npy").shape == (47, 33)
    printed = capsys.readouterr()
    assert "2 of 3 written" in printed.out
    assert "b.jpg" in printed.err and "Traceback" not in printed.err


def test_status_is_0_when_all_are_written(photos, finished_run, command_line, tmp_path):
    command_line(checkpoint=finished_run[0], input=photos / "a.png", output=tmp_path / "out")
    assert predict.run() == 0


def test_failures_name_the_file(photos, tmp_path):
    files = predict.image_files(photos)
    failures = predict.predict_files(
        _constant_estimator(2.5), files, tmp_path / "out", depth_scale=1000.0
    )
    assert [file.name for file, _ in failures] == ["b.jpg"]
    assert (np.load(tmp_path / "out/a.npy") == 2.5).all()


def test_png_holds_metres_times_scale(tmp_path):
    depth = np.array([[0.5, 3.2107, 255.9], [256.0, 300.0, 12.0]], np.float32)
    paths = predict.output_paths(tmp_path, tmp_path / "x.jpg")
    assert [path.name for path in paths] == ["x.npy", "x.png", "x_color.png"]
    assert predict.write_depth(paths, depth, 256.0) == 2
    np.testing.assert_array_equal(np.load(paths[0]), depth)
    values = np.array(Image.open(paths[1]))
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values == 0, depth >= 256.0)
    within = depth < 256.0
    np.testing.assert_allclose(values[within] / 256.0, depth[within], atol=0.5 / 256 + 1e-6)
    assert Image.open(paths[2]).size == (3, 2)


def test_image_files_are_in_order_and_images_only(photos):
    assert [file.name for file in predict.image_files(photos)] == ["a.png", "b.jpg", "c.jpg"]
    assert predict.image_files(photos / "c.jpg") == [photos / "c.jpg"]


def test_refuses_a_missing_input_and_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        predict.image_files(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no image"):
        predict.image_files(tmp_path)


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (("a.png", "a.jpg"), "out"),
        (("a.jpg", "a_color.jpg"), "out"),  # a_color.png would be written for both
        (("a.png",), "."),
        (("a.jpg", "a_color.png"), "."),
    ],
)
def test_outputs_overwrite_neither_each_other_nor_an_input(tmp_path, names, folder):
    with pytest.raises(UserError, match="rename one"):
        predict.check_names([tmp_path / name for name in names], tmp_path / folder)


def test_outputs_may_lie_beside_inputs_of_other_names(tmp_path):
    predict.check_names([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_a_depth_scale_out_of_range(scale, photos, command_line):
    command_line(checkpoint="x", input=photos, output="y", depth_scale=scale)
    with pytest.raises(UserError, match="depth_scale"):
        predict.run()
