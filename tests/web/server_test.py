"""The page's server, asked over HTTP: what a visitor gets, and what nobody gets."""

import http.server
import io
import json
import re
import threading
import types

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.web.hosts import Hosts
from diffdepth_jax.web.model_facts import ModelFacts
from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.upload_limits import Share, UploadLimits
from tests.support import uploads
from tests.support.visitors import Estimator, Visitor, message, stored

NO_PHOTO = "no photo here: upload one, take one, or choose an example"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(module, page, options of `serve`, address) of a page that answers."""
    pytest.importorskip("gradio")
    from diffdepth_jax.web import page
    from diffdepth_jax.web.uploads import Uploads

    with pytest.MonkeyPatch.context() as patch:
        files = OwnedFiles(tmp_path_factory.mktemp("kept"))
        patch.setenv("GRADIO_TEMP_DIR", str(files.directory))
        share = Share(1000, 10**9)
        received = Uploads(files, UploadLimits(share, share), max_size=100_000)
        created = page.create(Estimator(), files, received, ModelFacts("a model", "photos"))
        options = {"host": "127.0.0.1", "port": uploads.free_port()}
        hosts = Hosts("127.0.0.1", ["depth.example.org"])
        address = page.serve(created, files, received, hosts, **options)
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
    paths = _files_in(visitor.estimate(stored(photo)))
    names = {path.rpartition("/")[2] for path in paths}
    assert {"depth.npy", "depth.png", "depth.glb", "depth.zip", "shown_depth.png"} <= names
    assert len(names) == 13
    assert not [path for path in paths if "a[1]" in path]
    answers = {path.rpartition("/")[2]: visitor.file(path) for path in paths}
    assert {status for status, _ in answers.values()} == {200}
    png = Image.open(io.BytesIO(answers["depth.png"][1]))
    assert (png.mode, png.size) == ("I;16", (96, 64))


def _index(created, name):
    """The number of the first event that calls a function of this name."""
    return next(number for number, each in created.fns.items() if each.name == name)


def test_a_click_is_answered_from_the_sessions_own_result(visitor, served, tmp_path):
    click = {"index": [500, 300], "value": None}
    visitor.estimate(stored(visitor.upload(uploads.photo_file(tmp_path))))
    texts = {}
    for each in (visitor, Visitor(served[-1])):  # another visitor with the same session_hash
        assert each.join([None], _index(served[1], "clicked"), click)[0] == 200
        texts[each] = each.answer()
    metres = np.linspace(1, 9, 96, dtype=np.float32)[50]
    mine, others = texts.values()
    assert mine[0].startswith(f"**{metres:.2f} m** at column 50, row 30") and mine[1:] == [50, 30]
    assert others[0] == "This result was deleted meanwhile: estimate it again."


def test_an_example_becomes_the_visitors_own_photo(visitor, served):
    assert visitor.join([], _index(served[1], "choose"))[0] == 200
    (photo,) = _files_in(visitor.answer())
    assert visitor.file(photo)[0] == 200 and Visitor(served[-1]).file(photo)[0] == 404
    assert message(visitor.estimate(stored(photo))) == ""


def test_a_message_is_cleared_by_the_next_success(visitor, tmp_path):
    bad = visitor.upload(uploads.hostile(tmp_path, "text"))
    assert message(visitor.estimate(stored(bad))).startswith("image text.png cannot be read")
    good = visitor.upload(uploads.photo_file(tmp_path))
    assert "" in visitor.estimate(stored(good))


def test_uploads_and_results_are_shown_to_their_session_alone(visitor, served, tmp_path):
    photo = visitor.upload(uploads.photo_file(tmp_path))
    paths = [photo, *_files_in(visitor.estimate(stored(photo)))]
    stranger = Visitor(served[-1])
    assert {stranger.file(path)[0] for path in paths} == {404}
    assert stranger.estimate(stored(photo)) == visitor.estimate(None)
    assert message(stranger.estimate(stored(photo))) == NO_PHOTO


def test_a_path_that_was_not_uploaded_is_like_no_photo(visitor, tmp_path):
    private = uploads.photo_file(tmp_path, "private.jpg")
    own = visitor.upload(private)
    folder, _, name = own.rpartition("/")
    (tmp_path / "link.jpg").symlink_to(private)
    paths = [private, tmp_path / "nowhere.jpg", tmp_path, tmp_path / "link.jpg", "", "\0"]
    paths += [f"{folder}/../{folder.rpartition('/')[2]}/{name}", folder]
    for path in map(str, paths):
        for photo in (stored(path), {"path": path}, {"path": path, "url": "/x"}):
            assert message(visitor.estimate(photo)) == NO_PHOTO, path
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
            assert message(visitor.estimate(each)) == NO_PHOTO
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
    unused = types.SimpleNamespace(max_size=1)
    another = page.create(Estimator(), files, unused, ModelFacts("a model", "photos"))
    with pytest.raises(UserError, match=r"port \d+ of 127\.0\.0\.1 cannot be had"):
        page.serve(another, files, unused, hosts, **options)
    assert created.is_running


def test_a_strange_event_is_refused(visitor):
    answer = visitor.ask("gradio_api/queue/join", b"{}", Content_Type="application/json")
    assert answer == (
        400,
        json.dumps(
            {"detail": "the page does not send such events"}, separators=(",", ":")
        ).encode(),
    )
