"""The page's server, asked over HTTP: what a visitor gets, and what nobody gets."""

import http.server
import io
import json
import re
import threading

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.web.hosts import Hosts
from diffdepth_jax.web.owned_files import OwnedFiles
from tests.support import uploads
from tests.support.visitors import Estimator, Visitor, stored

NO_PHOTO = {"error": "no photo here: upload one, or take one with the camera"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(module, page, options of `serve`, address) of a page that answers."""
    pytest.importorskip("gradio")
    from diffdepth_jax.web import page

    with pytest.MonkeyPatch.context() as patch:
        files = OwnedFiles(tmp_path_factory.mktemp("kept"))
        patch.setenv("GRADIO_TEMP_DIR", str(files.directory))
        created = page.create(Estimator(), files)
        options = {"host": "127.0.0.1", "port": uploads.free_port(), "max_upload_mb": 0.1}
        hosts = Hosts("127.0.0.1", ["depth.example.org"])
        address = page.serve(created, files, hosts, **options)
        yield page, created, options, address
        created.close()


@pytest.fixture
def visitor(served):
    return Visitor(served[-1])


def _files_in(value):
    """The paths of all files in an answer."""
    if isinstance(value, dict):
        found = [value["path"]] if value.get("path") else []
        return found + [path for each in value.values() for path in _files_in(each)]
    return [path for each in value for path in _files_in(each)] if isinstance(value, list) else []


def test_a_visitor_gets_the_page_its_parts_and_a_result(visitor, tmp_path):
    parts = re.findall(r'(?:src|href)="\./?((?:assets|static|theme)[^"]*)"', visitor.html)
    assert parts and all(visitor.ask(part)[0] == 200 for part in parts)
    assert visitor.ask("gradio_api/app_id")[0] == visitor.ask("config")[0] == 200
    photo = visitor.upload(uploads.photo_file(tmp_path, "a[1].jpg"))
    assert visitor.file(photo)[0] == 200
    outcome = visitor.estimate(stored(photo))
    paths = _files_in(outcome["data"])
    names = {path.rpartition("/")[2] for path in paths}
    assert {"depth.npy", "depth.png", "depth.glb", "shown_depth.png"} <= names and len(names) == 10
    assert not [path for path in paths if "a[1]" in path]
    answers = {path.rpartition("/")[2]: visitor.file(path) for path in paths}
    assert {status for status, _ in answers.values()} == {200}
    png = Image.open(io.BytesIO(answers["depth.png"][1]))
    assert (png.mode, png.size) == ("I;16", (96, 64))


def test_a_click_is_answered_from_the_sessions_own_result(visitor, served, tmp_path):
    click = {"index": [500, 300], "value": None}
    visitor.estimate(stored(visitor.upload(uploads.photo_file(tmp_path))))
    texts = {}
    for each in (visitor, Visitor(served[-1])):  # another visitor with the same session_hash
        assert each.join([None], 1, click)[0] == 200
        outcome = next(m["output"] for m in each.messages() if m["msg"] == "process_completed")
        texts[each] = outcome["data"]
    metres = np.linspace(1, 9, 96, dtype=np.float32)[50]
    mine, others = texts.values()
    assert mine == [f"**{metres:.2f} m** at column 500, row 300"]
    assert others == ["This result was deleted meanwhile: estimate it again."]


def test_uploads_and_results_are_shown_to_their_session_alone(visitor, served, tmp_path):
    photo = visitor.upload(uploads.photo_file(tmp_path))
    paths = [photo, *_files_in(visitor.estimate(stored(photo))["data"])]
    stranger = Visitor(served[-1])
    assert {stranger.file(path)[0] for path in paths} == {404}
    assert stranger.estimate(stored(photo)) == visitor.estimate(None)
    assert NO_PHOTO.items() <= stranger.estimate(stored(photo)).items()


def test_a_path_that_was_not_uploaded_is_like_no_photo(visitor, tmp_path):
    private = uploads.photo_file(tmp_path, "private.jpg")
    own = visitor.upload(private)
    folder, _, name = own.rpartition("/")
    (tmp_path / "link.jpg").symlink_to(private)
    paths = [private, tmp_path / "nowhere.jpg", tmp_path, tmp_path / "link.jpg", "", "\0"]
    paths += [f"{folder}/../{folder.rpartition('/')[2]}/{name}", folder]
    for path in map(str, paths):
        for photo in (stored(path), {"path": path}, {"path": path, "url": "/x"}):
            outcome = visitor.estimate(photo)
            assert outcome["error"] == NO_PHOTO["error"], path
        if path:
            assert visitor.file(path.replace("\0", "%00"))[0] == 404


@pytest.fixture
def elsewhere():
    """(address, paths that were asked for) of another server on this machine."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/a.jpg", asked
        server.shutdown()


def test_no_address_is_fetched_for_anyone(visitor, elsewhere):
    address, asked = elsewhere
    for route in ("gradio_api/file=", "gradio_api/proxy=", "file=", "proxy=", "gradio_api/file/"):
        assert visitor.ask(route + address)[0] == 404
    for photo in ({"path": address}, {"path": "", "url": address}, {"url": address}, address):
        marked = {**photo, "meta": {"_type": "gradio.FileData"}} if photo != address else photo
        for each in (photo, marked):
            assert visitor.estimate(each)["error"] == NO_PHOTO["error"]
    assert not asked


def test_foreign_names_and_pages_are_refused(visitor):
    assert visitor.ask("", Host="evil.example")[0] == 421
    assert visitor.ask("", Host="depth.example.org")[0] == 200
    assert visitor.ask("gradio_api/upload", b"", Origin="http://evil.example")[0] == 403


def test_nothing_is_loaded_from_elsewhere_and_uploads_are_limited(visitor, served):
    assert not served[1].analytics_enabled
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//", visitor.html)
    assert visitor.send("a.jpg", b"0" * 50_000)[0] == 200
    for size in (110_000, 500_000):
        assert visitor.send("a.jpg", b"0" * size)[0] == 413


def test_refuses_a_port_in_use(served):
    page, created, options, _ = served
    files, hosts = OwnedFiles("."), Hosts("127.0.0.1")
    with pytest.raises(UserError, match=r"port \d+ of 127\.0\.0\.1 cannot be had"):
        page.serve(page.create(Estimator(), files), files, hosts, **options)
    assert created.is_running


def test_a_strange_event_is_refused(visitor):
    answer = visitor.ask("gradio_api/queue/join", b"{}", Content_Type="application/json")
    assert answer == (
        400,
        json.dumps(
            {"detail": "the page does not send such events"}, separators=(",", ":")
        ).encode(),
    )
