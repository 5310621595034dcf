"""A real browser, Chromium without a screen, uses the web page."""

import contextlib
import re
import shutil

import numpy as np
import pytest

from tests.support import small_model, uploads, visitors


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
    tab.mouse.click(picture["x"] + 0.3 * picture["width"], picture["y"] + 0.6 * picture["height"])
    tab.wait_for_function("document.querySelector('#metres').innerText.includes('column')")
    pattern = r"([\d.]+) m at column (\d+), row (\d+)"
    metres, column, row = re.match(pattern, tab.inner_text("#metres").strip()).groups()
    tab.get_by_role("tab", name="Downloads").click()
    with tab.expect_download() as download:
        tab.locator("#downloads a[download='depth.npy']").click()
    download.value.save_as(path)
    expected = np.load(path)[int(row) // 10, int(column) // 10]
    assert float(metres) == pytest.approx(expected, abs=0.006)


def _drag_slider(tab):
    """Where the handle was, and where it is after it was dragged, in pixels."""
    tab.get_by_role("tab", name="Compare").click()
    handle = tab.locator("#compare [data-testid='slider'] .icon-wrap")
    tab.wait_for_function(
        "[...document.querySelectorAll('#compare img')].every(image => image.naturalWidth)"
    )
    tab.wait_for_timeout(1000)  # then it finds the middle
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
    photo = uploads.photo_file(tmp_path)
    page = visitors.running_page(tmp_path / "model", folder)
    with _browser() as browser, page as (process, address):
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
        second.reload()
        _upload(second, uploads.hostile(tmp_path, "text"))
        second.get_by_text("text.png cannot be read").wait_for()
        second.reload()
        _upload(second, photo)
        second.wait_for_selector("#depth img")
        outside = {url for url in asked if not url.startswith((address, "data:", "blob:"))}
        assert not outside
        assert process.poll() is None
