"""The web page: what it makes of uploads, what its events answer, and its server."""

import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
import types
import urllib.error
import urllib.request

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from diffdepth_jax import app
from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.web import results
from tests.support import uploads

SENTENCES = {
    "text": "text.png cannot be read",
    "program": "program.png is of format EPS: upload one of AVIF, BMP",
    "wide": "wide.png is 20000 x 50 pixels: make it at most 10000 pixels a side",
    "bomb": "bomb.png is larger than 89 megapixels: make it smaller",
    "cut": "cut.png.* cannot be read",
}


class _Estimator:
    """Depth that grows from left to right; remembers how it was called."""

    num_steps, focal_length = 2, 0.0

    def __call__(self, image, *, ensemble, trajectory, **options):
        self.options = options
        height, width = image.shape[:2]
        depth = np.tile(np.linspace(1, 9, width, dtype=np.float32), (height, 1))
        return DepthPrediction(
            depth,
            options["focal_length"],
            image,
            spread=0.01 * depth if ensemble > 1 else None,
            trajectory=np.stack([depth, depth]),
        )


def _create(tmp_path, estimator=None, photo=None, **options):
    options = {"num_steps": 2, "ensemble": 2, "use_exif": True, **options}
    photo = results.read_upload(photo or uploads.photo_file(tmp_path))
    directory = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
    return results.create(estimator or _Estimator(), photo, directory, "photo", **options)


@pytest.mark.parametrize(("kind", "sentence"), SENTENCES.items())
def test_hostile_uploads_get_a_sentence_without_folders(tmp_path, kind, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        results.read_upload(uploads.hostile(tmp_path, kind))
    assert str(tmp_path) not in str(caught.value)


def test_large_uploads_are_brought_to_a_size_that_bounds_the_work(tmp_path):
    photo = results.read_upload(uploads.photo_file(tmp_path, size=(4096, 30)))
    assert photo.image.shape == (15, results.WORK_SIDE, 3)
    assert results.read_upload(uploads.photo_file(tmp_path)).image.shape == (64, 96, 3)


def test_a_result_has_every_file_and_only_its_photos(tmp_path):
    result = _create(tmp_path)
    ends = [".glb", ".npy", ".ply", ".png", "_color.png", "_spread.npy", "_spread.png"]
    assert [path.name for path in result.downloads] == [
        f"photo{end}" for end in [*ends, "_trajectory.gif"]
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
    estimator = _Estimator()
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
    ],
)
def test_refuses_flags(command_line, values, message):
    if "checkpoint" in values:
        pytest.importorskip("gradio")
    command_line(**{"checkpoint": "x", **values})
    with pytest.raises(UserError, match=message):
        app.run()


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


def _requests(page, tmp_path):
    return page._Requests(_Estimator(), tmp_path)


def test_an_error_is_a_sentence_for_the_user(page, tmp_path):
    import gradio as gr

    requests = _requests(page, tmp_path)
    for path in (None, uploads.hostile(tmp_path, "text")):
        with pytest.raises(gr.Error, match=r"no photo yet|text\.png cannot be read"):
            requests.estimate(path, 2, 1, True)


def test_an_answer_fills_every_output_and_clicks_read_it(page, tmp_path):
    requests = _requests(page, tmp_path)
    created = page.create(_Estimator(), tmp_path)
    answer = requests.estimate(uploads.photo_file(tmp_path), 2, 4, True)
    assert len(answer) == len(created.fns[0].outputs)
    result = answer[0]
    click = types.SimpleNamespace(index=(500, 300))
    metres = np.load(result.output(".npy"))[30, 50]
    assert requests.metres(result, click) == f"**{metres:.2f} m** at column 500, row 300"
    shutil.rmtree(result.directory)
    result.directory.mkdir()
    assert "deleted meanwhile" in requests.metres(result, click)


def test_only_old_files_are_swept(page, tmp_path):
    (tmp_path / "a").mkdir()
    for name, age in (("a/old", 100), ("new", 0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, times=(time.time() - age,) * 2)
    page.sweep(tmp_path, 50)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "new"]


def _status(url, **kwargs):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, **kwargs), timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_gives_away_nothing_and_limits_uploads(page, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    port = uploads.free_port()
    created = page.create(_Estimator(), tmp_path)
    options = {"host": "127.0.0.1", "port": port, "max_upload_mb": 0.01, "block": False}
    address = page.serve(created, **options)
    try:
        assert not created.analytics_enabled
        html = urllib.request.urlopen(address, timeout=30).read().decode()
        assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//", html)
        for path in ("/etc/passwd", os.path.abspath("README.md"), "requirements.txt"):
            assert _status(f"{address}gradio_api/file={path}") == 403
        for size, status in ((5_000, 200), (50_000, 413)):
            body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
            body += b"0" * size + b"\r\n--x--\r\n"
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            assert _status(f"{address}gradio_api/upload", data=body, headers=headers) == status
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 cannot be had"):
            page.serve(page.create(_Estimator(), tmp_path), **options)
    finally:
        created.close()
