"""The web page: what it makes of uploads, what its events answer, and its server."""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import threading
import types

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from diffdepth_jax import app
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.reading import Photo
from diffdepth_jax.web import results
from diffdepth_jax.web.owned_files import OwnedFiles
from tests.support import metadata_blocks, uploads
from tests.support.visitors import Estimator

SENTENCES = {
    "text": "text.png cannot be read",
    "program": r"program.png cannot be read \(it is of none of the formats AVIF, BMP",
    "wide": "wide.png is 20000 x 50 pixels: make it at most 10000 pixels a side",
    "bomb": "bomb.png is larger than 89 megapixels: make it smaller",
    "cut": "cut.png.* cannot be read",
    "deep": "deep.png has more than 8 bits per channel: convert it to 8 bits per channel$",
}


def _create(tmp_path, estimator=None, photo=None, **options):
    options = {"num_steps": 2, "ensemble": 2, "use_exif": True, **options}
    photo = results.read_upload(photo or uploads.photo_file(tmp_path))
    directory = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
    return results.create(estimator or Estimator(), photo, directory, **options)


@pytest.mark.parametrize(("kind", "sentence"), SENTENCES.items())
def test_hostile_uploads_get_a_sentence_without_folders(tmp_path, kind, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        results.read_upload(uploads.hostile(tmp_path, kind))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("error", [TypeError, KeyError, struct.error, OverflowError, RuntimeError])
def test_a_header_that_cannot_be_checked_is_left_to_the_reader(tmp_path, monkeypatch, error):
    def fail(path):
        raise error("from strange metadata")

    monkeypatch.setattr(Image, "open", fail)
    results._check_header(tmp_path / "photo.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of damaged EXIF data
def test_strange_metadata_cost_no_photo_and_are_told(tmp_path):
    orientation = (metadata_blocks.ORIENTATION, 3, 1, b"\x09\0")
    strange = metadata_blocks.with_exif(metadata_blocks.exif_block([orientation]), "JPEG")
    path = tmp_path / "photo.jpg"
    for data in (*metadata_blocks.damaged_blocks(5), strange):
        path.write_bytes(data)
        photo = results.read_upload(path)
        assert not [note for note in photo.notes if str(tmp_path) in note]
    summary = _create(tmp_path, photo=path).summary.replace("\\", "")
    assert summary.endswith(" EXIF's Orientation 9 is none of 1 to 8: passed over.")


def test_a_note_from_a_photo_is_no_markup():
    assert results._without_markup("a ![b](c)") == r"a \!\[b\]\(c\)"


def test_a_photo_whose_header_fails_is_still_refused_by_its_size(tmp_path, monkeypatch):
    wide = Photo(np.zeros((5, results.MAX_SIDE + 1, 3), np.uint8))
    monkeypatch.setattr(results, "read_photo", lambda path: wide)
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match=r"a\.jpg is 10001 x 5 pixels: make it at most 10000"):
        results.read_upload(tmp_path / "a.jpg")


def test_large_uploads_are_brought_to_a_size_that_bounds_the_work(tmp_path):
    photo = results.read_upload(uploads.photo_file(tmp_path, size=(4096, 30)))
    assert photo.image.shape == (15, results.WORK_SIDE, 3)
    assert results.read_upload(uploads.photo_file(tmp_path)).image.shape == (64, 96, 3)


def test_a_result_has_every_file_and_only_its_photos(tmp_path):
    result = _create(tmp_path)
    ends = [".glb", ".npy", ".ply", ".png", "_color.png", "_spread.npy", "_spread.png"]
    assert [path.name for path in result.downloads] == [
        f"depth{end}" for end in [*ends, "_trajectory.gif"]
    ]
    assert Image.open(result.photo).size == Image.open(result.depth).size
    assert result.output("_spread.png") in result.downloads
    assert _create(tmp_path, ensemble=1).output("_spread.png") is None


def test_a_click_tells_the_metres_of_the_array(tmp_path):
    result = _create(tmp_path)
    metres = np.load(result.output(".npy"))
    height, width = result.shown_size
    assert (height, width) == (640, 960)
    for x, y in ((0, 0), (500, 300), (959, 639)):
        assert result.metres_at(x, y) == metres[y // 10, x // 10]
    for x, y in ((960, 0), (0, 640), (-1, 0)):  # the scale, and below
        assert result.metres_at(x, y) is None


@pytest.mark.parametrize("use_exif", [True, False])
def test_the_photos_own_focal_length_is_used_if_wanted(tmp_path, use_exif):
    estimator = Estimator()
    estimator.focal_length = 100.0
    path = uploads.photo_file(tmp_path, exif=uploads.exif_with(26))
    result = _create(tmp_path, estimator, path, use_exif=use_exif)
    focal_length = 26 / np.hypot(36, 24) * np.hypot(64, 96)
    expected = pytest.approx(focal_length) if use_exif else None
    assert estimator.options["focal_length"] == expected
    assert ("EXIF, 26 mm" in result.summary) == use_exif


def test_points_of_unknown_cameras_rest_on_a_stated_assumption(tmp_path):
    assert "field of view of 60 degrees" in _create(tmp_path).summary


@pytest.mark.parametrize("ensemble", [0, 17])
def test_refuses_an_ensemble_out_of_range(tmp_path, ensemble):
    with pytest.raises(UserError, match=f"ensemble {ensemble}: must be 1 to 16"):
        _create(tmp_path, ensemble=ensemble)


@pytest.fixture
def command_line():
    with flagsaver.flagsaver():
        yield lambda **values: flags.FLAGS(["app", *(f"--{k}={v}" for k, v in values.items())])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"port": 0}, "port 0: must be 1 to 65535"),
        ({"max_upload_mb": -1}, "max_upload_mb -1.0: must be positive"),
        ({"checkpoint": "nowhere"}, "nowhere"),
        ({"allowed_hosts": "a,https://b"}, "allowed_hosts 'https://b': give names such as"),
    ],
)
def test_refuses_flags(command_line, values, message):
    if "checkpoint" in values:
        pytest.importorskip("gradio")
    command_line(**{"checkpoint": "x", **values})
    with pytest.raises(UserError, match=message):
        app.run()


def test_the_folder_is_deleted_while_threads_write_into_it():
    def write(folder):
        with contextlib.suppress(FileNotFoundError):
            for number in itertools.count():
                (pathlib.Path(folder) / str(number)).touch()

    with app._temporary_folder() as folder:
        threads = [threading.Thread(target=write, args=[folder]) for _ in range(4)]
        for thread in threads:
            thread.start()
    assert not os.path.exists(folder)
    for thread in threads:
        thread.join()


def test_says_how_to_install_what_it_needs(command_line, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    command_line(checkpoint="x")
    with pytest.raises(UserError, match=r"pip install gradio, or pip install '\.\[app\]'"):
        app.run()


@pytest.fixture
def page():
    """The module that needs Gradio."""
    pytest.importorskip("gradio")
    from diffdepth_jax.web import page

    return page


def _estimate(page, files, path, owner="ann"):
    """What the page's event answers to an owner for an upload of ann."""
    files.add_upload("ann", str(path))
    request = types.SimpleNamespace(state=types.SimpleNamespace(owner=owner))
    return page._Requests(Estimator(), files).estimate(str(path), 2, 4, True, request)


def test_an_error_is_a_sentence_for_the_user(page, tmp_path):
    import gradio as gr

    with pytest.raises(gr.Error, match=r"text\.png cannot be read"):
        _estimate(page, OwnedFiles(tmp_path), uploads.hostile(tmp_path, "text"))
    for path, owner in ((uploads.photo_file(tmp_path), "bob"), (tmp_path / "nowhere", "ann")):
        with pytest.raises(gr.Error, match="no photo here: upload one"):
            _estimate(page, OwnedFiles(tmp_path), path, owner)


def test_an_answer_fills_every_output_and_clicks_read_it(page, tmp_path):
    files = OwnedFiles(tmp_path)
    created = page.create(Estimator(), files)
    answer = _estimate(page, files, uploads.photo_file(tmp_path))
    assert len(answer) == len(created.fns[0].outputs)
    result = answer[0]
    click = types.SimpleNamespace(index=(500, 300))
    metres = np.load(result.output(".npy"))[30, 50]
    requests = page._Requests(Estimator(), files)
    assert requests.metres(result, click) == f"**{metres:.2f} m** at column 500, row 300"
    shutil.rmtree(result.directory)
    result.directory.mkdir()
    for gone in (result, None):
        assert "deleted meanwhile" in requests.metres(gone, click)


def test_a_calibrated_interval_is_told_and_offered(page, tmp_path):
    """At the number of samples that the calibration holds for."""
    result = _create(tmp_path, ensemble=Estimator.calibrated)
    metres = result.metres_at(500, 300)
    click, outside = (types.SimpleNamespace(index=(x, 300)) for x in (500, 970))
    requests = page._Requests(Estimator(), OwnedFiles(tmp_path))
    assert requests.metres(result, click) == (
        f"**{metres:.2f} m**, within {metres / 2:.2f} to {2 * metres:.2f} m at 90 % at column 500, "
        "row 300"
    )
    assert requests.metres(result, outside) == page._CLICK
    assert {path.name for path in result.downloads} >= {"depth_low.npy", "depth_high.npy"}


class Sky(Estimator):
    """Sees no depth in the upper part."""

    part = 0.5

    def __call__(self, image, **options):
        valid = np.arange(len(image))[:, None] >= self.part * len(image)
        prediction = super().__call__(image, **options)
        return dataclasses.replace(prediction, valid=np.broadcast_to(valid, image.shape[:2]))


def test_a_click_on_the_sky_tells_no_interval(page, tmp_path):
    result = _create(tmp_path, Sky(), ensemble=Estimator.calibrated)
    requests = page._Requests(Sky(), OwnedFiles(tmp_path))
    sky, ground = (types.SimpleNamespace(index=(500, y)) for y in (100, 600))
    assert requests.metres(result, sky) == "**no depth** at column 500, row 100"
    assert "within" in requests.metres(result, ground)


@pytest.mark.filterwarnings("error")  # NumPy warns of a median of nothing
def test_a_photo_of_the_sky_alone_has_no_metres(tmp_path):
    sky = Sky()
    sky.part = 1
    summary = _create(tmp_path, sky).summary
    assert summary.startswith("**no depth**, at 96 x 64 pixels.") and "nan" not in summary
    assert summary.endswith(" 100.0% without depth.")


@pytest.mark.parametrize(
    ("diffuses", "has_scale", "shown"),
    [(True, False, True), (False, True, True), (False, False, False)],
)
def test_models_that_have_a_spread_show_it(page, tmp_path, diffuses, has_scale, shown):
    estimator = Estimator()
    estimator.diffuses, estimator.has_scale = diffuses, has_scale
    blocks = page.create(estimator, OwnedFiles(tmp_path)).blocks.values()
    (tab,) = (block for block in blocks if getattr(block, "label", "") == "Uncertainty")
    assert tab.visible == shown


@pytest.mark.parametrize("name", ["a[1].jpg", "shown_depth.jpg", "shown_photo.jpg", "x_depth.jpg"])
def test_the_names_of_the_results_do_not_depend_on_the_uploads(page, tmp_path, name):
    result = _estimate(page, OwnedFiles(tmp_path), uploads.photo_file(tmp_path, name))[0]
    assert len(result.downloads) == 8
    assert all(path.is_file() for path in (result.photo, result.depth, *result.downloads))
    assert len(list(result.directory.iterdir())) == 10
    png = Image.open(result.output(".png"))
    assert (png.mode, png.size) == ("I;16", (96, 64))


def test_a_feed_forward_model_has_no_denoising_to_show(tmp_path):
    estimator = Estimator()
    estimator.diffuses = False
    result = _create(tmp_path, estimator, num_steps=1, ensemble=1)
    names = {path.name for path in result.downloads}
    assert "depth.npy" in names and "depth_trajectory.gif" not in names
