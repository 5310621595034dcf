"""The web page: what it makes of uploads, its server, and a real browser that uses it."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
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

from diffdepth_jax import app, page_results
from diffdepth_jax.errors import UserError
from diffdepth_jax.estimator import DepthPrediction
from tests import small_model

FOCAL_LENGTH_35MM = 41989  # the EXIF tag


def _hostile(folder, kind):
    """Writes an upload that no estimator should see."""
    path = folder / f"{kind}.png"
    if kind == "text":
        path.write_text("not a picture")
    elif kind == "program":
        path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    elif kind == "wide":
        Image.new("1", (20_000, 50)).save(path)
    elif kind == "bomb":  # 12 kB that unpack to 300 MB
        Image.new("1", (10_000, 10_000)).save(path)
    elif kind == "cut":
        Image.effect_noise((64, 64), 50).save(path)
        path.write_bytes(path.read_bytes()[:500])
    return path


SENTENCES = {
    "text": "text.png cannot be read",
    "program": "program.png is of format EPS: upload one of AVIF, BMP",
    "wide": "wide.png is 20000 x 50 pixels: make it at most 10000 pixels a side",
    "bomb": "bomb.png is larger than 89 megapixels: make it smaller",
    "cut": "cut.png.* cannot be read",
}


def _photo_file(folder, name="photo.jpg", size=(96, 64), **options):
    path = folder / name
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).save(path, **options)
    return path


class _Estimator:
    """Depth that grows from left to right; remembers how it was called."""

    num_steps, focal_length = 2, 0.0

    def __call__(self, image, *, ensemble, trajectory, **options):
        self.options = options
        height, width = image.shape[:2]
        depth = np.tile(np.linspace(1, 9, width, dtype=np.float32), (height, 1))
        return DepthPrediction(
            depth, options["focal_length"], image,
            spread=0.01 * depth if ensemble > 1 else None, trajectory=np.stack([depth, depth]),
        )  # fmt: skip


def _create(tmp_path, estimator=None, photo=None, **options):
    options = {"num_steps": 2, "ensemble": 2, "use_exif": True, **options}
    photo = page_results.read_upload(photo or _photo_file(tmp_path))
    directory = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
    return page_results.create(estimator or _Estimator(), photo, directory, "photo", **options)


@pytest.mark.parametrize(("kind", "sentence"), SENTENCES.items())
def test_hostile_uploads_get_a_sentence_without_folders(tmp_path, kind, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        page_results.read_upload(_hostile(tmp_path, kind))
    assert str(tmp_path) not in str(caught.value)


def test_large_uploads_are_brought_to_a_size_that_bounds_the_work(tmp_path):
    photo = page_results.read_upload(_photo_file(tmp_path, size=(4096, 30)))
    assert photo.image.shape == (15, page_results.WORK_SIDE, 3)
    assert page_results.read_upload(_photo_file(tmp_path)).image.shape == (64, 96, 3)


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
    path = _photo_file(tmp_path, exif=_exif_with(26))
    result = _create(tmp_path, estimator, path, use_exif=use_exif)
    focal_length = 26 / np.hypot(36, 24) * np.hypot(64, 96)
    expected = pytest.approx(focal_length) if use_exif else None
    assert estimator.options["focal_length"] == expected
    assert ("EXIF, 26 mm" in result.summary) == use_exif


def _exif_with(millimetres):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[FOCAL_LENGTH_35MM] = millimetres
    return exif


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
    from diffdepth_jax import page

    return page


def _requests(page, tmp_path):
    return page._Requests(_Estimator(), tmp_path)


def test_an_error_is_a_sentence_for_the_user(page, tmp_path):
    import gradio as gr

    requests = _requests(page, tmp_path)
    for path in (None, _hostile(tmp_path, "text")):
        with pytest.raises(gr.Error, match=r"no photo yet|text\.png cannot be read"):
            requests.estimate(path, 2, 1, True)


def test_an_answer_fills_every_output_and_clicks_read_it(page, tmp_path):
    requests = _requests(page, tmp_path)
    created = page.create(_Estimator(), tmp_path)
    answer = requests.estimate(_photo_file(tmp_path), 2, 4, True)
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


def _free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _status(url, **kwargs):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, **kwargs), timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_gives_away_nothing_and_limits_uploads(page, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    port = _free_port()
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


@contextlib.contextmanager
def _program(model, folder):
    """The program as a process of its own; yields its address."""
    port = _free_port()
    command = [sys.executable, "-m", "diffdepth_jax.app", f"--checkpoint={model}", f"--port={port}"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert f":{port}" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert not list(folder.glob("diffdepth_jax_*"))  # it cleans up behind itself


@contextlib.contextmanager
def _browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    # WebGL, which the 3D view needs, is computed without a GPU.
    arguments = ["--no-sandbox", "--no-first-run", "--use-angle=swiftshader"]
    arguments += ["--enable-unsafe-swiftshader"]
    arguments += [f"--disable-{name}" for name in ("background-networking", "component-update")]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*arguments, "--disable-sync"]
        )
        yield browser
        browser.close()


def _open(browser, address):
    """A user's own session, and the addresses that it asks for."""
    tab = browser.new_context().new_page()
    tab.set_default_timeout(120_000)
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    return tab, asked


def _upload(tab, path):
    tab.set_input_files("#photo input[type=file]", path)
    tab.wait_for_selector("#photo img[src*='/file=']", state="attached")
    tab.click("#estimate")


def _click_metres(tab, path):
    """Clicks into the depth and compares with the downloaded array."""
    picture = tab.locator("#depth img").bounding_box()
    tab.mouse.click(
        picture["x"] + 0.3 * picture["width"], picture["y"] + 0.6 * picture["height"]
    )
    tab.wait_for_function("document.querySelector('#metres').innerText.includes('column')")
    pattern = r"([\d.]+) m at column (\d+), row (\d+)"
    metres, column, row = re.match(pattern, tab.inner_text("#metres").strip()).groups()
    tab.get_by_role("tab", name="Downloads").click()
    with tab.expect_download() as download:
        tab.locator("#downloads a[download='photo.npy']").click()
    download.value.save_as(path)
    expected = np.load(path)[int(row) // 10, int(column) // 10]
    assert float(metres) == pytest.approx(expected, abs=0.006)


def _drag_slider(tab):
    """The photo's share of the picture before and after the handle is dragged."""
    tab.get_by_role("tab", name="Compare").click()
    handle = tab.locator("#compare [data-testid='slider'] .icon-wrap")
    before = handle.bounding_box()
    middle = before["y"] + before["height"] / 2
    tab.mouse.move(before["x"] + before["width"] / 2, middle)
    tab.mouse.down()
    tab.mouse.move(before["x"] + 150, middle, steps=5)
    tab.mouse.up()
    return before["x"], handle.bounding_box()["x"]


PICTURES = {"Uncertainty": "#spread", "Denoising": "#denoising"}


@pytest.mark.slow
def test_a_browser_uses_the_page(tmp_path):
    pytest.importorskip("gradio")
    small_model.save(tmp_path / "model")
    folder = tmp_path / "temporary"
    folder.mkdir()
    photo = _photo_file(tmp_path)
    with _browser() as browser, _program(tmp_path / "model", folder) as address:
        (first, asked), (second, _) = (_open(browser, address) for _ in range(2))
        _upload(first, photo)
        _upload(second, photo)  # waits for the first
        for tab in (first, second):
            tab.wait_for_selector("#depth img")
        _click_metres(first, tmp_path / "downloaded.npy")
        before, after = _drag_slider(first)
        assert after > before + 50
        first.wait_for_selector("#surface canvas")
        for name, place in PICTURES.items():
            first.get_by_role("tab", name=name).click()
            first.wait_for_selector(f"{place} img")
        _upload(second, _hostile(tmp_path, "text"))
        second.get_by_text("text.png cannot be read").wait_for()
        second.reload()
        _upload(second, photo)
        second.wait_for_selector("#depth img")
        outside = {url for url in asked if not url.startswith((address, "data:", "blob:"))}
        assert not outside
