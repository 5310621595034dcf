"""A real browser, Chromium without a screen, uses the web page.

With DIFFDEPTH_SCREENSHOTS=FOLDER it leaves pictures of the page there, to be looked at.
"""

import contextlib
import os
import pathlib
import re
import shutil
import zipfile

import numpy as np
import pytest

from tests.support import uploads, visitors

WIDTHS, SCHEMES = (1280, 390), ("light", "dark")


@contextlib.contextmanager
def _chromium():
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


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("gradio")
    with _chromium() as browser:
        yield browser


def _served(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("page")
    with visitors.running_page(model, folder) as (process, address):
        yield address
        assert process.poll() is None


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page of a model that diffuses, so that all of its parts are there."""
    yield from _served(tmp_path_factory, "synthetic_small")


@pytest.fixture(scope="module")
def address_of_rooms(tmp_path_factory):
    """A page as most people see it."""
    yield from _served(tmp_path_factory, "indoor_small")


@pytest.fixture
def opened(browser):
    """Opens a page for a user of its own; at the end nobody may have asked another machine."""
    asked = []

    def open_page(address, width=1280, scheme="light"):
        size = {"width": width, "height": 900}
        tab = browser.new_context(viewport=size, color_scheme=scheme).new_page()
        tab.set_default_timeout(60_000)
        tab.on("request", lambda request: asked.append((address, request.url)))
        tab.goto(address)
        tab.wait_for_selector("#estimate")
        return tab

    yield open_page
    assert asked and not [u for a, u in asked if not u.startswith((a, "data:", "blob:"))]


def _upload(tab, path):
    tab.set_input_files("#photo input[type=file]", path)
    tab.wait_for_selector("#photo img[src*='/file=']", state="attached")
    tab.click("#estimate")


def _estimated(tab, path):
    _upload(tab, path)
    tab.wait_for_selector("#depth img")


def _click(tab, place):
    picture = tab.locator(f"{place} img").bounding_box()
    tab.mouse.click(picture["x"] + 0.3 * picture["width"], picture["y"] + 0.6 * picture["height"])


def _told(tab, text="column"):
    """The metres, and the pixel, that the page tells."""
    region = tab.locator("#pixel .block.metres")
    region.get_by_text(text).wait_for()
    match = re.match(r"([\d.]+) m at column (\d+), row (\d+)", region.inner_text().strip())
    return float(match[1]), int(match[2]), int(match[3])


def _downloaded(tab, locator, path):
    with tab.expect_download() as download:
        locator.click()
    download.value.save_as(path)
    return path


@pytest.mark.slow
def test_clicks_and_keys_tell_metres_and_one_button_gives_all_files(opened, address, tmp_path):
    tab = opened(address)
    _estimated(tab, uploads.photo_file(tmp_path))
    _click(tab, "#depth")
    metres, column, row = _told(tab)
    archive = _downloaded(tab, tab.locator("#archive"), tmp_path / "all.zip")
    with zipfile.ZipFile(archive) as files:
        assert {"depth.npy", "depth.glb", "depth_color.png"} <= set(files.namelist())
        files.extract("depth.npy", tmp_path)
    depth = np.load(tmp_path / "depth.npy")
    assert metres == pytest.approx(depth[row, column], abs=0.006)
    assert "90 % interval, not calibrated" in tab.inner_text("#pixel")
    tab.get_by_label("Column").focus()
    tab.keyboard.press("Control+a")
    tab.keyboard.type("7")
    metres, column, _ = _told(tab, "column 7,")
    assert metres == pytest.approx(depth[row, 7], abs=0.006)
    tab.get_by_role("tab", name="Files").click()
    single = tab.locator("#downloads a[download='depth.npy']")
    assert (np.load(_downloaded(tab, single, tmp_path / "one.npy")) == depth).all()


@pytest.mark.slow
def test_two_photos_beside_each_other_have_the_same_colours(opened, address, tmp_path):
    tab = opened(address)
    _estimated(tab, uploads.photo_file(tmp_path))
    tab.click("#keep")
    tab.get_by_text("now estimate another photo").wait_for()
    tab.click("#example_chair")
    for name in ("left_photo", "left_depth", "right_photo", "right_depth"):
        tab.wait_for_selector(f"#{name} img")
    _click(tab, "#left_depth")
    tab.get_by_text("at column").wait_for()
    _click(tab, "#right_depth")
    tab.wait_for_function("document.body.innerText.split('at column').length > 2")


@pytest.mark.slow
def test_a_message_goes_away_with_the_next_success_and_the_next_photo(opened, address, tmp_path):
    tab = opened(address)
    message = tab.get_by_role("alert").filter(has_text="text.png cannot be read")
    for repair in (lambda: tab.click("#example_bed"), lambda: tab.click("[aria-label^=Remove]")):
        if tab.locator("[aria-label^=Remove]").count():
            tab.click("[aria-label^=Remove]")
        _upload(tab, uploads.hostile(tmp_path, "text"))
        message.wait_for()
        repair()
        message.wait_for(state="hidden")


@pytest.mark.slow
def test_every_view_fills_and_the_slider_moves(opened, address, tmp_path):
    first, second = opened(address), opened(address)
    _upload(first, uploads.photo_file(tmp_path))
    _upload(second, uploads.photo_file(tmp_path))  # waits for the first
    for tab in (first, second):
        tab.wait_for_selector("#depth img")
    first.wait_for_selector("#surface canvas")
    for name, place in {"Uncertainty": "#spread", "Denoising": "#denoising"}.items():
        first.get_by_role("tab", name=name).click()
        first.wait_for_selector(f"{place} img")
    before, after = _drag_slider(first)
    assert after > before + 50


def _drag_slider(tab):
    """Where the handle was, and where it is after it was dragged, in pixels."""
    tab.get_by_role("tab", name="Slider").click()
    handle = tab.locator("#compare [data-testid='slider'] .icon-wrap")
    tab.wait_for_function(
        "[...document.querySelectorAll('#compare img')].every(image => image.naturalWidth)"
    )
    tab.wait_for_timeout(1000)  # then it finds the middle
    before = handle.bounding_box()
    middle = before["y"] + before["height"] / 2
    tab.mouse.move(before["x"] + before["width"] / 2, middle)
    tab.mouse.down()
    tab.mouse.move(before["x"] + 100, middle, steps=5)
    tab.mouse.up()
    return before["x"], handle.bounding_box()["x"]


@pytest.mark.slow
def test_steps_ensemble_and_camera_stand_under_advanced(opened, address):
    tab = opened(address)
    hidden = tab.get_by_label("Camera", exact=True)
    assert not hidden.is_visible() and not tab.locator("#steps").is_visible()
    tab.get_by_role("button", name="Advanced").press("Enter")
    for place in ("#steps", "#ensemble", "#camera"):
        tab.wait_for_selector(place)
    assert not tab.locator("#camera_value").is_visible()
    hidden.click()
    tab.get_by_role("option", name="A field of view (degrees)").click()
    tab.wait_for_selector("#camera_value")


def _background(tab):
    return tab.evaluate("getComputedStyle(document.body).backgroundColor")


def _wait_for_background(tab, colour):
    tab.wait_for_function(f"getComputedStyle(document.body).backgroundColor === '{colour}'")


@pytest.mark.slow
def test_dark_and_light_follow_the_system_and_the_button(opened, address):
    light, dark = opened(address), opened(address, scheme="dark")
    colours = [_background(light), _background(dark)]
    assert colours[0] != colours[1]
    light.click("#theme")
    _wait_for_background(light, colours[1])
    light.reload()
    _wait_for_background(light, colours[1])  # it is remembered
    light.click("#theme")
    _wait_for_background(light, colours[0])


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_fits_its_window_and_names_its_parts(opened, address_of_rooms, width, scheme):
    tab = opened(address_of_rooms, width, scheme)
    _keep_screenshot(tab, f"{width}_{scheme}_empty")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    tab.click("#example_bed")
    tab.wait_for_selector("#depth img")
    tab.locator("#surface canvas").scroll_into_view_if_needed()
    tab.wait_for_timeout(3000)  # then the 3D view is drawn
    _keep_screenshot(tab, f"{width}_{scheme}_full")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert not _nameless(tab)
    assert tab.evaluate("document.documentElement.lang") == "en"
    assert tab.locator("#depth img").get_attribute("alt").startswith("Its depth in colours")


def _nameless(tab):
    """The lines of what screen readers are told that name no button, field or picture."""
    told = tab.locator("main").aria_snapshot()
    kinds = r"^\s*- (button|textbox|spinbutton|slider|checkbox|combobox|listbox|tab|link)\s*:?$"
    return re.findall(kinds, told, re.MULTILINE)


def _keep_screenshot(tab, name):
    if folder := os.environ.get("DIFFDEPTH_SCREENSHOTS"):
        tab.evaluate("scrollTo(0, 0)")
        tab.screenshot(path=pathlib.Path(folder) / f"{name}.png", full_page=True)
