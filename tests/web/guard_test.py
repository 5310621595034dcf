"""The guard before Gradio, around an application that only notes what reaches it."""

import asyncio
import base64
import json
import types

import pytest

pytest.importorskip("starlette")
from diffdepth_jax.web import events
from diffdepth_jax.web.guard import Guard
from diffdepth_jax.web.hosts import Hosts
from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.password import Password
from diffdepth_jax.web.upload_limits import Share, UploadLimits
from diffdepth_jax.web.uploads import Uploads

SECRET, OTHER = "a" * 43, "b" * 43


class _Site:
    """A guarded application: `ask` it, and see in `reached` what came through."""

    scheme = "http"

    def __init__(self, folder, password=None):
        self.reached, self.files = [], OwnedFiles(folder)
        share = Share(20, 10**6)
        uploads = Uploads(self.files, UploadLimits(share, share), max_size=1000)
        hosts = Hosts("127.0.0.1")
        self._guard = Guard(self._application, hosts, self.files, uploads, password)

    async def _application(self, scope, receive, send):
        body = (await receive())["body"]
        self.reached.append(types.SimpleNamespace(scope=scope, body=body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"[]"})

    def ask(self, line, body=b"", secret=SECRET, **headers):
        """The start of the answer."""
        method, _, target = line.partition(" ")
        path, _, query = target.partition("?")
        headers = {"host": "localhost:1", "content_length": str(len(body)), **headers}
        if secret:
            headers["cookie"] = f"diffdepth_1={secret}"
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode()}
        scope |= {"scheme": self.scheme, "server": ("127.0.0.1", 1)}
        scope["headers"] = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        return asyncio.run(self._ask(scope, body))[0]

    async def _ask(self, scope, body):
        sent = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            sent.append(message)

        await self._guard(scope, receive, send)
        return sent


@pytest.fixture
def site(tmp_path):
    return _Site(tmp_path)


OPEN = ["/", "/config", "/theme.css?v=1", "/favicon.ico", "/gradio_api/app_id"]
OPEN += ["/assets/index-a1.js", "/static/fonts/A/b.woff2", "/gradio_api/startup-events"]
REFUSED = [
    "GET /gradio_api/proxy=http://127.0.0.1:1/",
    "GET /gradio_api/file=http://127.0.0.1:1/",
    "GET /gradio_api/file=/etc/hostname",
    "GET /gradio_api/file=/x/gradio_api/upload",
    "GET /gradio_api/file/etc/hostname",
    "GET /file=/etc/hostname",
    "GET /gradio_api/stream/a/b/c/playlist.m3u8",
    "GET /gradio_api/deep_link",
    "GET /gradio_api/upload",
    "GET /gradio_api/info",
    "GET /gradio_api/call/estimate/1",
    "GET /monitoring",
    "GET /docs",
    "GET /assets/../x",
    "GET //",
    "GET /gradio_api/queue/data",
    "GET /gradio_api/queue/data?session_hash=a&session_hash=b",
    "GET /gradio_api/queue/status",
    "GET /gradio_api/upload_progress?upload_id=a",
    "POST /",
    "POST /gradio_api/run/estimate",
    "POST /gradio_api/api/estimate",
    "POST /gradio_api/call/estimate",
    "POST /gradio_api/component_server",
    "POST /gradio_api/process_recording",
    "POST /gradio_api/queue/join/",
    "POST /gradio_api/upload/",
    "POST /login",
    "PUT /gradio_api/upload",
]


@pytest.mark.parametrize("path", OPEN)
def test_the_page_and_its_parts_are_open_and_get_no_query(site, path):
    assert site.ask(f"GET {path}", secret="")["status"] == 200
    (seen,) = site.reached
    assert seen.scope["query_string"] == b""


@pytest.mark.parametrize("line", REFUSED)
def test_what_the_page_does_not_ask_is_refused(site, line):
    assert site.ask(line)["status"] == 404 and not site.reached


def test_websockets_are_refused(site):
    (message,) = asyncio.run(site._ask({"type": "websocket"}, b""))
    assert message["type"] == "websocket.close" and not site.reached


def test_foreign_names_and_foreign_pages_are_refused(site):
    assert site.ask("GET /", host="evil.example")["status"] == 421
    assert site.ask("GET /", origin="http://evil.example")["status"] == 403
    assert site.ask("GET /", origin="http://localhost:2")["status"] == 403
    assert not site.reached
    assert site.ask("GET /", origin="http://localhost:1")["status"] == 200


def test_a_new_visitor_gets_a_secret_and_keeps_it(site):
    cookies = [dict(site.ask("GET /", secret=s)["headers"]).get(b"set-cookie") for s in ("", "x")]
    assert len(set(cookies)) == 2
    for cookie in cookies:
        assert cookie.startswith(b"diffdepth_1=") and len(cookie.split(b";")[0]) == 12 + 43
        assert cookie.endswith(b"; Path=/; HttpOnly; SameSite=Lax")
    assert site.ask("GET /")["headers"] == []
    assert site.ask("GET /assets/a.js", secret="")["headers"] == []


def test_a_secret_given_over_https_is_never_sent_over_http(site):
    site.scheme = "https"
    cookie = dict(site.ask("GET /", secret="")["headers"])[b"set-cookie"]
    assert cookie.endswith(b"; HttpOnly; SameSite=Lax; Secure")


@pytest.mark.parametrize("secret", ["", "short", "a" * 42 + "!"])
def test_nothing_of_a_session_is_had_without_its_secret(site, secret):
    for line in ("POST /gradio_api/upload", "POST /gradio_api/queue/join"):
        assert site.ask(line, secret=secret)["status"] == 403
    for path in ("queue/data?session_hash=a", "heartbeat/a", "file=/a"):
        assert site.ask(f"GET /gradio_api/{path}", secret=secret)["status"] == 403
    assert not site.reached


def test_an_upload_belongs_to_who_sent_it_and_never_reaches_gradio(site, tmp_path):
    form = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\nA\r\n--x--'
    )
    kind = "multipart/form-data; boundary=x"
    assert site.ask("POST /gradio_api/upload?upload_id=u", form, content_type=kind)["status"] == 200
    (path,) = tmp_path.rglob("a.jpg")
    assert path.read_bytes() == b"A" and not site.reached
    assert site.ask(f"GET /gradio_api/file={path}")["status"] == 200
    assert site.ask(f"GET /gradio_api/file={path}", secret=OTHER)["status"] == 404
    assert len(site.reached) == 1


def test_refusals_of_uploads_are_plain_text_for_the_page_shows_them(site):
    answer = site.ask("POST /gradio_api/upload", content_length="66537")
    assert answer["status"] == 413
    assert dict(answer["headers"])[b"content-type"].startswith(b"text/plain")


def test_with_a_password_nothing_is_had_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr("diffdepth_jax.web.password._DELAY", 0)
    site = _Site(tmp_path, Password("ann", "secret"))
    for line in ("GET /", "GET /assets/a.js", "POST /gradio_api/upload"):
        assert site.ask(line)["status"] == 401 and not site.reached
    authorization = "Basic " + base64.b64encode(b"ann:secret").decode()
    assert site.ask("GET /", authorization=authorization)["status"] == 200


def _own(secret, name):
    return events.name_for(secret, name).encode()


def test_a_session_reads_its_own_messages_alone(site):
    for secret in (SECRET, OTHER):
        site.ask("GET /gradio_api/queue/data?session_hash=abc&x=y", secret=secret)
        site.ask("GET /gradio_api/heartbeat/abc", secret=secret)
    queries = [seen.scope["query_string"] for seen in site.reached[::2]]
    assert queries == [b"session_hash=" + _own(secret, "abc") for secret in (SECRET, OTHER)]
    paths = [seen.scope["path"].encode() for seen in site.reached[1::2]]
    assert paths == [b"/gradio_api/heartbeat/" + _own(secret, "abc") for secret in (SECRET, OTHER)]


def test_an_event_is_passed_on_cleaned_with_its_owner(site):
    fields = {"data": [{"path": "/a"}], "fn_index": 0, "trigger_id": 1, "session_hash": "abc"}
    body = json.dumps({**fields, "batched": True}).encode()
    assert site.ask("POST /gradio_api/queue/join?deep_link=x", body)["status"] == 200
    (seen,) = site.reached
    assert seen.scope["state"]["owner"] == SECRET and seen.scope["query_string"] == b""
    assert seen.body == events.cleaned(body, SECRET, lambda path: False)


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b" " * 70_000, 413)])
def test_strange_events_are_refused(site, body, status):
    assert site.ask("POST /gradio_api/queue/join", body)["status"] == status
    assert not site.reached
