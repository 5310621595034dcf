"""The command line: photos and videos in, files out, sentences for what cannot be."""

import functools
import io
import os
import re
import subprocess
import sys
import time
from threading import Event

import numpy as np
import pytest
import trimesh
from absl import flags
from absl.testing import flagsaver
from PIL import ExifTags, Image

from diffdepth_jax import predict
from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction import placement, record
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.image_prediction import ImagePredictor
from diffdepth_jax.program import default_model, progress, shipped_models
from diffdepth_jax.program.folder_lock import FolderLock
from diffdepth_jax.program.messages import show_messages
from tests.media.video_test import write_lossless
from tests.support import small_model, small_run
from tests.support.paths import ROOT

DEFAULT_ENDS = (".npy", ".png", "_color.png")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "random"
    small_model.save(directory)
    return directory


@pytest.fixture(scope="module")
def load():
    """Each model directory once, so that its programs are compiled once."""
    return functools.cache(DepthEstimator.from_checkpoint)


def _picture(width, height, seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def photos(tmp_path):
    """A folder of two good images and a broken one between them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a.png", (48, 32)), ("c.jpg", (33, 47))):
        _picture(*size).save(folder / name)
    (folder / "b.jpg").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture
def run(model, load, tmp_path, monkeypatch):
    """Runs the program as the command line would, into a folder `out`; returns the status."""

    monkeypatch.setattr(DepthEstimator, "from_checkpoint", load)

    def run(*arguments, **values):
        values = {"checkpoint": model, "output": tmp_path / "out", **values}
        values = {name: value for name, value in values.items() if value is not None}
        with flagsaver.flagsaver():
            given = (f"--{k}={v}" for k, v in values.items())
            return predict.run(flags.FLAGS(["predict", *map(str, arguments), *given])[1:])

    return run


def _names(folder):
    """Of all files but the record of what they were made of."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return files - {record.FILE}


def test_without_a_checkpoint_the_model_that_ships_is_taken_and_named(
    photos, load, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(shipped_models, "FOLDER", model.parent)
    monkeypatch.setattr(default_model, "DEFAULT", model.name)
    monkeypatch.setattr(DepthEstimator, "from_checkpoint", load)
    with flagsaver.flagsaver():
        flags.FLAGS(["predict", f"--output={tmp_path / 'out'}"])
        assert predict.run([str(photos / "a.png")]) == 0
    assert "model: random, which ships with the program" in capsys.readouterr().out
    assert _names(tmp_path / "out") == {f"a{end}" for end in DEFAULT_ENDS}


def test_one_broken_file_does_not_stop_the_rest(photos, run, tmp_path, capsys):
    output = tmp_path / "made" / "out"
    assert run(input=photos, output=output) == 1
    assert _names(output) == {f"{stem}{end}" for stem in "ac" for end in DEFAULT_ENDS}
    assert np.load(output / "c.npy").shape == (47, 33)
    printed = capsys.readouterr()
    assert "2 of 3 written" in printed.out
    assert printed.err.count("b.jpg") == 1 and "Traceback" not in printed.err


def test_two_may_write_into_one_folder_and_the_second_is_told(photos, run, tmp_path, capsys):
    """What the first has begun stays; what a killed one has begun goes when nobody writes."""
    output = tmp_path / "out"
    output.mkdir()
    begun = output / ".unfinished-0123456789abcdef.npy"
    begun.write_text("half")
    with FolderLock(output) as first:
        first.share("wait")
        show_messages("warning")
        assert run(input=photos / "a.png") == 0
        told = f"{output} is in use by process {os.getpid()} on"
        assert told in capsys.readouterr().err and begun.exists()
    assert _names(output) == {f"a{end}" for end in DEFAULT_ENDS} | {begun.name}
    (output / ".lock").touch()
    assert run(input=photos / "a.png", overwrite=True) == 0
    assert _names(output) == {f"a{end}" for end in DEFAULT_ENDS}


def test_what_takes_long_is_told_and_the_device_named(photos, run, load, monkeypatch, capsys):
    monkeypatch.setattr(progress, "MOMENT", 0.0)
    monkeypatch.setattr(DepthEstimator, "from_checkpoint", lambda x: time.sleep(0.1) or load(x))
    assert run(input=photos / "a.png") == 0
    told = capsys.readouterr().err
    assert re.search(r"loading .*random: \d+\.\d s\n", told) and "device: CPU, " in told
    assert re.search(r"compiling for images of \d+ x \d+, and predicting: \d+\.\d s\n", told)


def test_status_is_0_when_all_are_written(photos, run):
    assert run(input=photos / "a.png") == 0


def test_what_exists_is_skipped_or_written_again(photos, run, tmp_path, capsys):
    run(input=photos / "a.png")
    metres = tmp_path / "out/a.npy"
    np.save(metres, np.zeros(1))
    assert run(input=photos / "a.png") == 0
    assert np.load(metres).shape == (1,)
    assert "0 of 1 written" in capsys.readouterr().out
    run(input=photos / "a.png", overwrite=True)
    assert np.load(metres).shape == (32, 48)
    metres.unlink()  # of what is there in part, nothing is kept
    run(input=photos / "a.png")
    assert np.load(metres).shape == (32, 48)


def test_results_beside_the_photos_are_no_photos(photos, run, capsys):
    """The same folder in and out, twice; then with a new photo, and with other kinds of output."""
    (photos / "b.jpg").unlink()
    (photos / "a.png").rename(photos / "b_color.png")
    _picture(48, 32).save(photos / "a.jpg")
    write_lossless(photos / "v.mp4", [np.array(_picture(48, 32))] * 2)
    assert run(input=photos, output=photos) == 0
    assert "4 of 4 written" in capsys.readouterr().out
    before = _names(photos)
    assert {"a_color.png", "b_color.png_color.png", "v_depth.mp4"} < before
    assert run(input=photos, output=photos) == 0
    assert "0 of 4 written" in (out := capsys.readouterr().out) and "4 exist already" in out
    assert "7 results of this program" in out
    _picture(48, 32).save(photos / "new.jpg")
    assert run(input=photos, output=photos) == 0
    assert _names(photos) == before | {"new.jpg", *(f"new{end}" for end in DEFAULT_ENDS)}
    assert run(input=photos, output=photos, outputs="tiff,side_by_side", trajectory=True) == 0
    assert (photos / "v/000001_trajectory.gif").exists()
    capsys.readouterr()
    assert run(input=photos, output=photos) == 0
    assert "0 of 5 written" in capsys.readouterr().out


def test_several_inputs_of_all_kinds(photos, run, tmp_path, capsys, monkeypatch):
    """A folder, a file, a pattern, lists in two forms and on standard input; files named twice."""
    (photos / "b.jpg").unlink()
    for name in ("shots/deep/d.jpg", "e.png", "f.png", "g.png", "h.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        _picture(48, 32).save(tmp_path / name)
    (tmp_path / "list.txt").write_text("f.png\nphotos/a.png")
    (tmp_path / "list.csv").write_text("id,image\n7,g.png\n8,e.png\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"h.png\0e.png\0")))
    monkeypatch.chdir(tmp_path)
    flag = {"input": tmp_path / "e.png", "outputs": "npy"}
    assert run("photos", "shots/**/*.jpg", "list.txt", "list.csv", "-", **flag) == 0
    names = ("a", "c", "deep/d", "e", "f", "g", "h")
    assert _names(tmp_path / "out") == {f"{name}.npy" for name in names}
    printed = capsys.readouterr().out
    assert "7 of 7 written" in printed and "3 that were named before" in printed


def test_without_an_output_results_go_to_a_folder_that_is_named(
    photos, run, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run("photos/a.png", output=None) == 0
    assert _names(tmp_path / "depth") == {f"a{end}" for end in DEFAULT_ENDS}
    assert capsys.readouterr().out.startswith("results: depth; --output takes another folder\n")
    monkeypatch.chdir(photos)
    (photos / "b.jpg").unlink()
    assert run(".", output=None, outputs="color") == 0
    assert _names(tmp_path / "photos_depth") == {"a_color.png", "c_color.png"}
    assert f"results: {tmp_path / 'photos_depth'};" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "values", "message"),
    [
        ([], {}, "missing: --input; name photos, videos"),
        ([], {"input": ""}, "an input is empty: name photos"),
        (["a.png", ""], {}, "an input is empty: name photos"),
        (["a.png"], {"output": ""}, "output is empty"),
        (["https://example.org/a.png"], {}, "is an address, .*: download the file first"),
        (["s3://bucket/a.png"], {}, "is an address, .*: download the file first"),
        (["*.gif"], {}, r"input \*\.gif holds no image or video"),
        (["a.png", "nowhere.png"], {}, "input nowhere.png does not exist: name photos"),
    ],
)
def test_inputs_that_are_none_are_refused(
    arguments, values, message, photos, run, monkeypatch, tmp_path
):
    monkeypatch.chdir(photos)
    with pytest.raises(UserError, match=message):
        run(*arguments, **values)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_tells_what_was_written_and_what_failed(photos, run, tmp_path, capsys, monkeypatch):
    for name in ("d.png", "e.png"):
        _picture(48, 32).save(photos / name)
    predict, write, batches, writes = ImagePredictor.predict, ImagePredictor.write, [], []
    second_begins, broken_off = Event(), Event()

    def stop_at_the_third(self, batch):
        batches.append(batch)
        if len(batches) == 3:
            assert second_begins.wait(60)
            broken_off.set()
            raise KeyboardInterrupt
        return predict(self, batch)

    def write_late(self, result):  # the second is not yet written when all is broken off
        writes.append(result)
        if len(writes) == 2:
            second_begins.set()
            assert broken_off.wait(60)
        write(self, result)

    monkeypatch.setattr(ImagePredictor, "predict", stop_at_the_third)
    monkeypatch.setattr(ImagePredictor, "write", write_late)
    with pytest.raises(KeyboardInterrupt, match=r"^2 of 5 written to .*out$"):
        run(photos)
    assert "b.jpg cannot be read" in capsys.readouterr().err
    names = {path.stem for path in (tmp_path / "out").glob("*.npy")}
    made = record.Record(tmp_path / "out").made
    assert len(names) == 2 and all(made(name, is_video=False) for name in names)


def test_the_command_line_is_read_as_one_types_it():
    """In a process of its own: other programs define flags of the same names."""
    for output in (("-o", "/proc/out"), ("-o=/proc/out",), ("--output=/proc/out",)):
        program = [sys.executable, "-m", "diffdepth_jax.predict", "docs/photos", *output]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.startswith("error: /proc/out"), done.stderr


def test_a_file_that_a_list_names_and_that_is_missing_is_named_with_its_line(photos, run, capsys):
    (photos / "list.txt").write_text("a.png\n\ngone.png\n")
    assert run(photos / "list.txt") == 1
    said = r"^error: list /\S+list\.txt, line 3: image \S+gone\.png cannot be read \(No such file"
    assert re.search(rf"{said} or directory\); check its path$", capsys.readouterr().err, re.M)


def test_a_refused_choice_leaves_no_folder(photos, run, tmp_path):
    with pytest.raises(UserError, match="num_steps 9999"):
        run(photos / "a.png", num_steps=9999)
    assert not (tmp_path / "out").exists()


def test_pictures_of_others_are_not_replaced(photos, run):
    other = photos / "c.png"
    _picture(5, 5).save(other)
    before = other.read_bytes()
    with pytest.raises(UserError, match=r"c\.png was not written by this program.*--output"):
        run(input=photos / "c.jpg", output=photos)
    with pytest.raises(UserError, match=r"c\.png was not written by this program"):
        run(input=photos / "c.jpg", output=photos, outputs="png16")  # it is no result either
    assert other.read_bytes() == before


def test_frames_of_others_are_not_replaced(photos, run):
    """Whichever their number: FFmpeg counts from 1."""
    write_lossless(photos / "v.mp4", [np.array(_picture(48, 32))] * 2)
    (photos / "v").mkdir()
    other = photos / "v/000001.png"
    _picture(48, 32).save(other)
    before = other.read_bytes()
    with pytest.raises(UserError, match=r"v/000001\.png was not written by this program"):
        run(input=photos / "v.mp4", output=photos, outputs="png16,video")
    assert other.read_bytes() == before


def test_equal_photos_have_equal_depth_in_any_company(tmp_path, run):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate("abcdefg"):
        _picture(48 - index % 3, 32, seed=index % 3).save(folder / f"{name}.png")
    run(input=folder, batch_size=3, outputs="npy")
    depths = [np.load(tmp_path / f"out/{name}.npy") for name in "abcdefg"]
    for index, depth in enumerate(depths):
        np.testing.assert_array_equal(depth, depths[index % 3])
    run(input=folder, output=tmp_path / "one", outputs="npy")
    for name, depth in zip("abcdefg", depths, strict=True):
        np.testing.assert_allclose(np.load(tmp_path / f"one/{name}.npy"), depth, rtol=1e-4)


def test_all_outputs_of_a_folder_at_once(photos, run, tmp_path):
    """A folder of a photo in a folder, a broken one, a photo, and a video."""
    (photos / "sub").mkdir()
    (photos / "c.jpg").rename(photos / "sub/c.jpg")
    write_lossless(photos / "v.mp4", [np.array(_picture(48, 32))] * 2)
    kinds = "npy,npz,png16,tiff,color,side_by_side,ply,glb,video"
    assert run(input=photos, outputs=kinds, ensemble=2, trajectory=True, interval=0.8) == 1
    ends = {
        *DEFAULT_ENDS,
        ".npz",
        ".tiff",
        "_side_by_side.png",
        ".ply",
        ".glb",
        "_spread.npy",
        "_spread.png",
        "_low.npy",
        "_high.npy",
        "_trajectory.gif",
        "_trajectory.mp4",
    }
    stems = ("a", "sub/c", "v/000000", "v/000001")
    expected = {f"{stem}{end}" for stem in stems for end in ends}
    assert _names(tmp_path / "out") == {*expected, "v_depth.mp4"}


def test_points_lie_where_the_photo_shows_them(photos, run, tmp_path):
    run(input=photos / "a.png", outputs="npy,ply,glb", fov=60)
    depth = np.load(tmp_path / "out/a.npy")
    rows, columns = np.indices(depth.shape)
    focal = 24 / np.tan(np.radians(30))
    for name, axes in (("a.ply", (1, 1, 1)), ("a.glb", (1, -1, -1))):
        cloud = trimesh.load_scene(tmp_path / "out" / name).to_geometry()
        assert len(cloud.vertices) == depth.size
        x, y, z = (np.asarray(cloud.vertices) * axes).T
        np.testing.assert_allclose(focal * x / z + 23.5, columns.ravel(), atol=0.01)
        np.testing.assert_allclose(focal * y / z + 15.5, rows.ravel(), atol=0.01)
        np.testing.assert_allclose(z, depth.ravel(), rtol=1e-6)


def test_cameras_rescale_the_metres_and_are_named(photos, run, tmp_path, capsys, caplog):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 1  # Pillow takes the other as nothing without one of these
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    Image.open(photos / "a.png").save(photos / "a.png", exif=exif)
    by_exif = 26 / 43.26662 * np.hypot(48, 32)
    focal_lengths = {}
    for number, choice in enumerate(
        [{}, {"camera": "exif"}, {"focal_length": by_exif}, {"focal_length": 86.4}]
    ):
        output = tmp_path / str(number)
        run(input=photos / "a.png", output=output, outputs="npz", **choice)
        archive = np.load(output / "a.npz")
        focal_lengths[number] = archive["fx_fy_cx_cy"][0], archive["depth"]
    (own, plain), (exif, near), (given, same), (_, equal) = focal_lengths.values()
    assert own == pytest.approx(86.4)
    assert exif == pytest.approx(by_exif) and given == pytest.approx(by_exif)
    np.testing.assert_allclose(near, plain * by_exif / 86.4, rtol=1e-5)
    np.testing.assert_allclose(same, near, rtol=1e-6)
    np.testing.assert_allclose(equal, plain, rtol=1e-6)
    out = capsys.readouterr().out
    assert "the model's assumption); its EXIF says 34.7: --camera=exif" in out
    assert "EXIF, 26 mm" in out and "--focal_length)" in out and out.count("its EXIF") == 1
    assert "no focal length" not in caplog.text
    _picture(48, 32).save(photos / "plain.png")
    run(photos / "a.png", photos / "plain.png", output=tmp_path / "both", camera="exif")
    assert "no focal length in the metadata of 1 of 2 photos" in caplog.text


def test_flags_are_read_without_jax():
    """It takes a second to import."""
    code = "import sys; from diffdepth_jax import predict; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.fixture
def canonical_model(tmp_path, load, model):
    """The model, as if it had learned through a canonical camera; programs are shared."""
    lens = {"frame__canonical_focal_length": 50.0, "frame__focal_length": 0.0}
    small_model.save(tmp_path / "canonical", small_run.config(**lens))
    load(tmp_path / "canonical")._compiled = load(model)._compiled
    return tmp_path / "canonical"


def test_a_canonical_model_takes_the_camera_from_exif_by_itself(
    photos, canonical_model, run, tmp_path, capsys
):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 1  # Pillow takes the other as nothing without one of these
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    Image.open(photos / "a.png").save(tmp_path / "exif.png", exif=exif)
    by_exif = 26 / 43.26662 * np.hypot(48, 32)
    for name, choice in (("default", {}), ("model", {"camera": "model"}), ("fov", {"fov": 60})):
        output = tmp_path / name
        choice |= {"checkpoint": canonical_model, "outputs": "npz", "output": output}
        run(input=tmp_path / "exif.png", **choice)
    found = {name: np.load(tmp_path / name / "exif.npz") for name in ("default", "model", "fov")}
    focal_lengths = {name: archive["fx_fy_cx_cy"][0] for name, archive in found.items()}
    by_fov = 24 / np.tan(np.radians(30))
    assert focal_lengths == pytest.approx({"default": by_exif, "model": 50, "fov": by_fov})
    units = found["model"]["depth"]
    for name, archive in found.items():
        expected = units * focal_lengths[name] / 50
        np.testing.assert_allclose(archive["depth"], expected, rtol=1e-5)
    out = capsys.readouterr().out
    assert "focal length of 34.7 pixels (EXIF, 26 mm" in out
    assert "focal length of 50.0 pixels (the model's assumption); its EXIF says 34.7" in out
    run(input=photos / "a.png", checkpoint=canonical_model)  # no EXIF data
    assert "focal length of 50.0 pixels (the model's assumption)\n" in capsys.readouterr().out


def test_a_dataset_camera_refuses_parts_of_frames(photos, run, capsys):
    assert run(input=photos / "a.png", camera="nyu") == 1
    assert "whole frames" in capsys.readouterr().err


def test_native_size_pads_to_few_sizes(tmp_path, run, monkeypatch):
    one = functools.partial(placement.shared_sizes, limit=1)
    monkeypatch.setattr(placement, "shared_sizes", one)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(6):
        _picture(20 + index, 16 + index, seed=index).save(folder / f"{index}.png")
    assert run(input=folder, size="native", outputs="npy") == 0
    for index in range(6):
        assert np.load(tmp_path / f"out/{index}.npy").shape == (16 + index, 20 + index)


def test_odd_photos_are_predicted(tmp_path, run, capsys):
    """One pixel, 20,000 in a row, an animation; and 16 bits get their sentence."""
    folder = tmp_path / "photos"
    folder.mkdir()
    _picture(1, 1).save(folder / "dot.png")
    _picture(20_000, 3).save(folder / "line.png")
    _picture(48, 32).convert("CMYK").save(folder / "print.jpg")
    frames = [_picture(48, 32, seed=k).convert("P") for k in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((32, 48), 40_000, np.uint16)).save(folder / "deep.png")
    assert run(input=folder) == 1
    assert np.load(tmp_path / "out/dot.npy").shape == (1, 1)
    assert np.load(tmp_path / "out/line.npy").shape == (3, 20_000)
    assert np.load(tmp_path / "out/print.npy").shape == (32, 48)
    printed = capsys.readouterr()
    assert "the first of the file's 3 pictures" in printed.out
    assert "4 of 5 written" in printed.out and "deep.png has more than 8 bits" in printed.err


def test_png_beyond_its_range_is_counted(photos, run, capsys):
    run(input=photos / "a.png", depth_scale=1e6)
    assert "1536 pixels beyond the PNG's range" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth_scale": 0.0}, "depth_scale"),
        ({"depth_scale": float("nan")}, "depth_scale"),
        ({"depth_scale": float("inf")}, "depth_scale"),
        ({"ensemble": 0}, "ensemble 0: must be 1 or more"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"max_points": 0}, "max_points 0"),
        ({"num_steps": 0}, "num_steps 0: must be 1 to 1000"),
        ({"outputs": "npy,jpg"}, "outputs jpg"),
        ({"outputs": "spread"}, "give --ensemble"),
        ({"outputs": "interval"}, "with --interval"),
        ({"interval": 0.9}, "--mode=calibrate"),
        ({"interval": 90}, "interval 90: must be between 0 and 1"),
        ({"outputs": "video"}, r"a\.png is a photo"),
        ({"color_range": "1"}, "color_range 1: give NEAR,FAR"),
        ({"color_range": "2,1"}, "color_range 2,1: must be positive"),
        ({"fov": 179.9}, r"fov 179\.9: must be more than 0 and at most 170 degrees"),
        ({"mesh": True}, "--mesh is a surface in PLY and GLB files: add glb or ply to --outputs"),
        ({"focal_length": -1}, "focal_length -1"),
        ({"fov": 60, "camera": "nyu"}, "only one of"),
    ],
)
def test_refuses_values_out_of_range(values, message, photos, run, tmp_path):
    with pytest.raises(UserError, match=message):
        run(**{"input": photos / "a.png", **values})
    assert not (tmp_path / "out").exists() or not _names(tmp_path / "out")


def test_an_output_that_cannot_be_made_is_refused_at_once(photos, run):
    """Not even by root; before the model, which is not there, is looked for."""
    with pytest.raises(OSError, match="/proc"):
        run(input=photos, output="/proc/out", checkpoint="nowhere")
    (photos / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        run(input=photos, output=photos / "file/out", checkpoint="nowhere")


@pytest.mark.parametrize("content", ['{"model_type": "swin", "hidden_size": 96}', "[1]", "x"])
def test_a_checkpoint_of_another_program_is_refused(content, photos, run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match="no model directory"):
        run(input=photos, checkpoint=other)
    (other / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json (is no configuration|is damaged|does not)"):
        run(input=photos, checkpoint=other)
