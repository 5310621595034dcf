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
import zipfile

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from diffdepth_jax import app
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.media.reading import Photo
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.web import cameras, photos, results, style
from diffdepth_jax.web.markup import escaped
from diffdepth_jax.web.model_facts import ModelFacts
from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.upload_limits import Share, UploadLimits
from tests.support import metadata_blocks, uploads
from tests.support.visitors import Estimator, message

SENTENCES = {
    "text": "text.png cannot be read",
    "program": r"program.png cannot be read \(it is of none of the formats AVIF, BMP",
    "wide": "wide.png is 20000 x 50 pixels: make it at most 10000 pixels a side",
    "bomb": "bomb.png is larger than 89 megapixels: make it smaller",
    "cut": "cut.png.* cannot be read",
    "deep": "deep.png has more than 8 bits per channel: convert it to 8 bits per channel$",
}


def _create(tmp_path, estimator=None, photo=None, **options):
    options = {"num_steps": 2, "ensemble": 2, "cameras": CameraChoice(), **options}
    photo = photos.read_upload(photo or uploads.photo_file(tmp_path))
    directory = pathlib.Path(tempfile.mkdtemp(dir=tmp_path))
    return results.create(estimator or Estimator(), photo, directory, **options)


@pytest.mark.parametrize(("kind", "sentence"), SENTENCES.items())
def test_hostile_uploads_get_a_sentence_without_folders(tmp_path, kind, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        photos.read_upload(uploads.hostile(tmp_path, kind))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("error", [TypeError, KeyError, struct.error, OverflowError, RuntimeError])
def test_a_header_that_cannot_be_checked_is_left_to_the_reader(tmp_path, monkeypatch, error):
    def fail(path, formats):
        raise error("from strange metadata")

    monkeypatch.setattr(Image, "open", fail)
    photos._check_header(tmp_path / "photo.jpg")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of damaged EXIF data
def test_strange_metadata_cost_no_photo_and_are_told(tmp_path):
    orientation = (metadata_blocks.ORIENTATION, 3, 1, b"\x09\0")
    strange = metadata_blocks.with_exif(metadata_blocks.exif_block([orientation]), "JPEG")
    path = tmp_path / "photo.jpg"
    for data in (*metadata_blocks.damaged_blocks(5), strange):
        path.write_bytes(data)
        photo = photos.read_upload(path).photo
        assert not [note for note in photo.notes if str(tmp_path) in note]
    summary = _create(tmp_path, photo=path).summary.replace("\\", "")
    assert summary.endswith(" EXIF's Orientation 9 is none of 1 to 8: passed over.")


def test_a_note_from_a_photo_is_no_markup():
    assert escaped("a ![b](c)") == r"a \!\[b\]\(c\)"


def test_a_photo_whose_header_fails_is_still_refused_by_its_size(tmp_path, monkeypatch):
    wide = Photo(np.zeros((5, photos.MAX_SIDE + 1, 3), np.uint8))
    monkeypatch.setattr(photos, "read_photo", lambda path: wide)
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match=r"a\.jpg is 10001 x 5 pixels: make it at most 10000"):
        photos.read_upload(tmp_path / "a.jpg")


def test_large_uploads_are_brought_to_a_size_that_bounds_the_work(tmp_path):
    upload = photos.read_upload(uploads.photo_file(tmp_path, size=(4096, 30)))
    assert upload.photo.image.shape == (15, photos.WORK_SIDE, 3) and upload.scale == 0.5
    upload = photos.read_upload(uploads.photo_file(tmp_path))
    assert upload.photo.image.shape == (64, 96, 3) and upload.scale == 1


def test_a_result_has_every_file_and_only_its_photos(tmp_path):
    result = _create(tmp_path)
    ends = [".glb", ".npy", ".ply", ".png", "_color.png", "_high.npy", "_low.npy", "_spread.npy"]
    names = [f"depth{end}" for end in [*ends, "_spread.png", "_trajectory.gif"]]
    assert [path.name for path in result.downloads] == names
    assert Image.open(result.photo).size == Image.open(result.depth).size
    assert result.output("_spread.png") in result.downloads
    assert _create(tmp_path, ensemble=1).output("_spread.png") is None


def test_the_archive_holds_every_download(tmp_path):
    result = _create(tmp_path)
    with zipfile.ZipFile(result.archive) as archive:
        assert archive.testzip() is None
        held = {name: archive.read(name) for name in archive.namelist()}
    assert held == {path.name: path.read_bytes() for path in result.downloads}


def test_pixels_of_the_shown_picture_are_those_of_the_array(tmp_path):
    result = _create(tmp_path)
    metres = np.load(result.output(".npy"))
    assert result.shown_size == (640, 960)
    for x, y in ((0, 0), (500, 300), (959, 639)):
        column, row = result.pixel_at(x, y)
        assert (column, row) == (x // 10, y // 10)
        assert result.metres_at(column, row) == metres[row, column]
    for x, y in ((960, 0), (0, 640), (-1, 0)):  # the scale, and below
        assert result.pixel_at(x, y) is None


def test_two_results_are_drawn_in_the_same_colours(tmp_path):
    """The second one lies farther away as a whole: alone its colours would be those of the first"""
    near, far = _create(tmp_path, Estimator()), _create(tmp_path, Far())
    alone = [np.asarray(Image.open(result.depth)) for result in (near, far)]
    paths = results.draw_pair(near, far, near.directory)
    pair = [np.asarray(Image.open(path)).astype(int) for path in paths]
    assert (alone[0][:, :900] == alone[1][:, :900]).all()
    assert (pair[0][:, :900] != pair[1][:, :900]).any()
    places = [_place(result, metres=5) for result in (near, far)]
    colors = [picture[300, x] for picture, x in zip(pair, places, strict=True)]
    assert places[0] != places[1] and np.abs(colors[0] - colors[1]).max() <= 4


def _place(result, metres):
    """The column in the shown picture where the depth is so many metres."""
    depth = np.load(result.output(".npy"))[0]
    return int(np.interp(metres, depth, 10 * np.arange(len(depth)) + 4.5))


class Far(Estimator):
    def __call__(self, image, **options):
        prediction = super().__call__(image, **options)
        return dataclasses.replace(prediction, depth=4 * prediction.depth)


@pytest.mark.parametrize(
    ("number", "value", "expected", "source"),
    [
        (cameras.default(has_canonical_camera=False), 0, None, "field of view of 60 degrees"),
        (cameras.default(has_canonical_camera=True), 0, 72.11, "EXIF, 26 mm"),
        (2, 0, 518.8579 * 96 / 640, "NYU Depth V2"),
        (cameras.FIELD_OF_VIEW, 90, 48, "field of view of 90 degrees"),
        (cameras.FOCAL_LENGTH, 70, 70, "as you stated"),
    ],
)
def test_the_camera_is_the_one_that_predict_would_take(tmp_path, number, value, expected, source):
    estimator = Estimator()
    estimator.focal_length = 100.0
    path = uploads.photo_file(tmp_path, exif=uploads.exif_with(26), size=(96, 72))
    result = _create(tmp_path, estimator, path, cameras=cameras.chosen(number, value, 1))
    given = estimator.options["focal_length"]
    assert given == (None if expected is None else pytest.approx(expected, rel=1e-3))
    assert source in result.summary


def test_the_page_offers_the_cameras_of_predict():
    texts = [text for text, _ in cameras.CHOICES]
    assert len(texts) == len({"model", "exif", *camera.DATASETS, "fov", "focal_length"})
    assert cameras.default(has_canonical_camera=False) == 0
    assert cameras.chosen(0, 0, 1) == CameraChoice(name="model")
    assert cameras.chosen(1, 0, 1) == CameraChoice(name="exif")
    assert cameras.chosen(cameras.FOCAL_LENGTH, 700, 0.5) == CameraChoice(focal_length=350)
    with pytest.raises(UserError, match="fov 0"):
        cameras.chosen(cameras.FIELD_OF_VIEW, 0, 1)


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
        ({"session_uploads": 0}, "session_uploads 0: must be positive"),
        ({"total_results_mb": "inf"}, "total_results_mb inf: must be positive"),
        ({"auth": "ann"}, "auth: give USER:FILE"),
        ({"checkpoint": "nowhere"}, "nowhere"),
        ({"allowed_hosts": "a,https://b"}, "allowed_hosts 'https://b': give names such as"),
    ],
)
def test_refuses_flags(command_line, values, message):
    if {"auth", "checkpoint"} & set(values):
        pytest.importorskip("gradio")
    command_line(**{"checkpoint": "x", **values})
    with pytest.raises(UserError, match=message):
        app.run()


@pytest.mark.parametrize(
    ("host", "password", "warning"),
    [
        ("127.0.0.1", None, ""),
        ("localhost", None, ""),
        ("[::1]", None, ""),
        ("0.0.0.0", None, "whoever reaches this machine can use the page, without a password"),
        ("192.0.2.7", None, "give --auth=USER:FILE"),
        ("::", "a password", "the password and the photos travel unencrypted"),
    ],
)
def test_beyond_this_machine_a_plain_warning_says_who_can_use_it(
    command_line, capsys, host, password, warning
):
    command_line(host=host)
    app._warn_of_strangers(password)
    told = capsys.readouterr().err
    assert warning in told and bool(told) == bool(warning)
    assert not told or told.startswith(f"warning: --host={host}: ")


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


@pytest.fixture
def answers(tmp_path):
    """The functions of a page's events, whose uploads count as of ann."""
    return _answers(tmp_path, Estimator())


def _answers(folder, estimator):
    pytest.importorskip("gradio")
    import gradio as gr

    from diffdepth_jax.web import answers, layout
    from diffdepth_jax.web.uploads import Uploads

    (folder / "kept").mkdir(exist_ok=True)
    files, share = OwnedFiles(folder / "kept"), Share(2, 10**9)
    with gr.Blocks(analytics_enabled=False):
        parts = layout.create(estimator, ModelFacts("a model", "photos"))
    received = Uploads(files, UploadLimits(share, share), max_size=10**9)
    return answers.Answers(estimator, files, received, parts)


def _request(owner="ann"):
    return types.SimpleNamespace(state=types.SimpleNamespace(owner=owner))


def _estimate(answers, path, owner="ann", kept=None, **choices):
    """What the page's event answers to an owner for a photo that ann sent."""
    folder = answers._files.new_folder()
    copy = shutil.copy(path, folder)
    answers._files.add_upload("ann", folder)
    chosen = {"num_steps": 2, "ensemble": 4, "camera": 0, "camera_value": 60, **choices}
    return answers.estimate(copy, **chosen, kept=kept, request=_request(owner))


def _left(answers):
    """The folders that are kept, without those of uploads that wait."""
    waiting = answers._files._waiting
    return [each for each in answers._files.directory.iterdir() if each not in waiting]


def test_an_error_is_a_sentence_that_the_next_success_clears(answers, tmp_path):
    values = _estimate(answers, uploads.hostile(tmp_path, "text"))
    assert list(values) == [answers._parts.message]
    assert message(values.values()).startswith("image text.png cannot be read")
    assert not _left(answers)
    photo = uploads.photo_file(tmp_path)
    assert message(_estimate(answers, photo, "bob").values()).startswith("no photo here: upload")
    wrong = {"camera": cameras.FIELD_OF_VIEW, "camera_value": 180}
    assert message(_estimate(answers, photo, **wrong).values()).startswith("fov 180")
    assert not _left(answers)
    assert _estimate(answers, photo)[answers._parts.message] == ""


def test_a_message_is_no_markup(answers, tmp_path):
    values = _estimate(answers, uploads.photo_file(tmp_path, "<b>.jpg", format="ICO"))
    (text,) = values.values()
    assert text.startswith('<p role="alert">image &lt;b&gt;.jpg cannot be read')


def test_an_answer_fills_the_parts_and_clicks_and_keys_read_it(answers, tmp_path):
    parts, values = answers._parts, _estimate(answers, uploads.photo_file(tmp_path))
    result = values[parts.result]
    assert values[parts.depth] == result.depth and len(values[parts.files]) == 10
    click = types.SimpleNamespace(index=(500, 300))
    metres = np.load(result.output(".npy"))[30, 50]
    told = answers.clicked(result, click)
    sentence = (
        f"**{metres:.2f} m** at column 50, row 30, {metres / 2:.2f} to {2 * metres:.2f} m "
        "(90 % interval, not calibrated)"
    )
    assert told == {parts.metres: sentence, parts.column: 50, parts.row: 30}
    assert answers.clicked_side(result, click) == answers.typed(result, 50, 30) == sentence
    assert answers.typed(result, 96, 0) == "The photo has columns 0 to 95 and rows 0 to 63."
    assert "type a pixel" in answers.typed(result, None, 0)
    shutil.rmtree(result.directory)
    for gone in (result, None):
        assert "deleted meanwhile" in answers.clicked(gone, click)[parts.metres]
        assert "deleted meanwhile" in answers.typed(gone, 0, 0)


def test_a_calibrated_interval_is_told_and_offered(answers, tmp_path):
    """At the number of samples that the calibration holds for."""
    photo = uploads.photo_file(tmp_path)
    values = _estimate(answers, photo, ensemble=Estimator.calibrated)
    result = values[answers._parts.result]
    assert answers.typed(result, 0, 0).endswith("0.50 to 2.00 m (90 % interval)")
    assert {path.name for path in result.downloads} >= {"depth_low.npy", "depth_high.npy"}
    outside = types.SimpleNamespace(index=(970, 300))
    assert list(answers.clicked(result, outside).values()) == [layout_click()]
    alone = _estimate(answers, photo, ensemble=1)[answers._parts.result]
    assert answers.typed(alone, 0, 0) == "**1.00 m** at column 0, row 0"


def layout_click():
    from diffdepth_jax.web import layout

    return layout.CLICK


def test_a_kept_result_stands_beside_the_next_one(answers, tmp_path):
    parts, photo = answers._parts, uploads.photo_file(tmp_path)
    first = _estimate(answers, photo)[parts.result]
    values = answers.keep(first)
    assert values[parts.kept] == first and values[parts.left.photo] == first.photo_alone
    for _ in range(4):  # a session keeps three results, and this one longer than others
        values = _estimate(answers, photo, kept=first)
    assert values[parts.left.depth].exists() and values[parts.right.depth].exists()
    assert values[parts.right.photo] == values[parts.result].photo_alone
    answers._files.delete(first.directory)
    assert "deleted meanwhile" in message(answers.keep(first).values())
    values = _estimate(answers, photo, kept=first)
    assert values[parts.kept] is values[parts.left.depth] is None


def test_examples_are_copied_for_their_session_and_count_as_uploads(answers):
    import gradio as gr

    (example, *_) = style.EXAMPLES
    choose = answers.choose_example(example)
    path = choose(_request())[answers._parts.inputs.photo]
    assert answers._files.upload("ann", path).read_bytes() == example.read_bytes()
    assert answers._files.upload("bob", path) is None
    choose(_request())
    with pytest.raises(gr.Error, match="wait 60 minutes"):
        choose(_request())


def test_the_field_for_degrees_shows_if_it_is_needed(answers):
    from diffdepth_jax.web.answers import show_camera_value

    shown = [show_camera_value(number)["visible"] for _, number in cameras.CHOICES]
    assert shown == [False] * 4 + [True] * 2


class Sky(Estimator):
    """Sees no depth in the upper part."""

    part = 0.5

    def __call__(self, image, **options):
        valid = np.arange(len(image))[:, None] >= self.part * len(image)
        prediction = super().__call__(image, **options)
        return dataclasses.replace(prediction, valid=np.broadcast_to(valid, image.shape[:2]))


def test_a_click_on_the_sky_tells_no_interval(tmp_path):
    answers = _answers(tmp_path, Sky())
    result = _estimate(answers, uploads.photo_file(tmp_path))[answers._parts.result]
    assert answers.typed(result, 50, 10) == "**no depth** at column 50, row 10"
    assert "interval" in answers.typed(result, 50, 60)


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
def test_models_that_have_a_spread_show_it(tmp_path, diffuses, has_scale, shown):
    estimator = Estimator()
    estimator.diffuses, estimator.has_scale = diffuses, has_scale
    page = _answers(tmp_path, estimator)._parts.tabs
    (tab,) = (each for each in page.children if each.label == "Uncertainty")
    assert tab.visible == shown


@pytest.mark.parametrize("name", ["a[1].jpg", "shown_depth.jpg", "shown_photo.jpg", "x_depth.jpg"])
def test_the_names_of_the_results_do_not_depend_on_the_uploads(answers, tmp_path, name):
    values = _estimate(answers, uploads.photo_file(tmp_path, name))
    result = values[answers._parts.result]
    assert len(result.downloads) == 10
    assert all(path.is_file() for path in (result.photo, result.depth, *result.downloads))
    assert len(list(result.directory.iterdir())) == 14
    png = Image.open(result.output(".png"))
    assert (png.mode, png.size) == ("I;16", (96, 64))


def test_the_denoising_has_ten_steps_at_least_to_be_seen(tmp_path):
    estimator = Estimator()
    _create(tmp_path, estimator, num_steps=2)
    assert (estimator.options["num_steps"], estimator.options["trajectory"]) == (2, 10)


def test_a_feed_forward_model_has_no_denoising_to_show(tmp_path):
    estimator = Estimator()
    estimator.diffuses = False
    result = _create(tmp_path, estimator, num_steps=1, ensemble=1)
    names = {path.name for path in result.downloads}
    assert "depth.npy" in names and "depth_trajectory.gif" not in names
