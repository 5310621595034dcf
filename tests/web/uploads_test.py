"""Photos arrive whole and alone; what is cut off, refused or too much leaves nothing."""

import asyncio
import contextlib
import gc
import os

import pytest

pytest.importorskip("python_multipart")
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from diffdepth_jax.web import uploads as module
from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.upload_limits import Refused, Share, UploadLimits
from diffdepth_jax.web.uploads import Uploads

PART = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
END = b"--x--\r\n"


def _form(*photos, field=b"files"):
    parts = (PART % (field, b'; filename="%s"' % name, data) for name, data in photos)
    return b"".join(parts) + END


@pytest.fixture
def uploads(tmp_path):
    share = Share(5, 10**6)
    return Uploads(OwnedFiles(tmp_path), UploadLimits(share, share), max_size=500_000)


def _sent(uploads, form, owner="ann", cut=False, **headers):
    """The stored path; the form arrives in pieces, and without its second half if it is cut."""
    headers = {"content-type": "multipart/form-data; boundary=x", **headers}
    headers.setdefault("content-length", str(len(form)))
    pieces = [form[i : i + 60_000] for i in range(0, len(form), 60_000)]
    pieces = pieces[: len(pieces) // 2] if cut else pieces
    messages = [{"type": "http.request", "body": each, "more_body": True} for each in pieces]
    end = {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b""}
    messages.append(end)

    async def receive():
        return messages.pop(0)

    listed = [(name.encode(), value.encode()) for name, value in headers.items() if value]
    scope = {"type": "http", "method": "POST", "headers": listed}
    return asyncio.run(uploads.receive(Request(scope, receive), owner))


def _open_files_without_a_name():
    found = []
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the list itself
            found.append(os.readlink(f"/proc/self/fd/{each}"))
    return [name for name in found if name.endswith("(deleted)")]


@pytest.mark.parametrize("size", [0, 10, 400_000])
def test_a_photo_arrives_in_a_folder_of_its_own(uploads, tmp_path, size):
    data = os.urandom(size)
    first, second = (_sent(uploads, _form((b"a.jpg", data))) for _ in range(2))
    assert first.name == second.name == "a.jpg" and first.parent != second.parent
    assert first.read_bytes() == second.read_bytes() == data
    assert len(list(tmp_path.rglob("*"))) == 4


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        (b"a[1] (b).jpg", "a[1] (b).jpg"),
        (b"../../x.png", "x.png"),
        (b"C:/photos/y.png", "y.png"),
        (b"..", "photo"),
        (b"", "photo"),
        (b"\xf0\x9f\x8c\x84.jpg", "_.jpg"),
        (b"a" * 500 + b".jpg", "a" * 96 + ".jpg"),
    ],
)
def test_names_stay_within_the_folder(uploads, tmp_path, name, stored):
    path = _sent(uploads, _form((name, b"x")))
    assert path.name == stored and path.parent.parent == tmp_path


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (_form((b"a.jpg", b"x"), (b"b.jpg", b"x")), 400),  # two photos
        (_form((b"a.jpg", b"x"), field=b"other"), 400),
        (PART % (b"files", b"", b"text") + END, 400),
        (b"", 400),
        (b"no form", 400),
        (_form((b"a.jpg", b"x" * 600_000)), 413),
    ],
)
def test_what_is_refused_leaves_nothing(uploads, tmp_path, form, status):
    with pytest.raises(HTTPException) as refused:
        _sent(uploads, form)
    assert refused.value.status_code == status and not list(tmp_path.iterdir())


def test_a_size_has_to_be_stated(uploads):
    for headers in ({"content-length": ""}, {"content-length": "-1"}):
        with pytest.raises(HTTPException) as refused:
            _sent(uploads, END, **headers)
        assert refused.value.status_code == 411
    with pytest.raises(HTTPException) as refused:
        _sent(uploads, END, **{"transfer-encoding": "chunked"})
    assert refused.value.status_code == 411
    with pytest.raises(HTTPException) as refused:
        _sent(uploads, END, **{"content-type": ""})
    assert refused.value.status_code == 400


def test_what_is_cut_off_leaves_nothing_at_once(uploads, tmp_path):
    before = _open_files_without_a_name()
    gc.disable()  # it shall be gone at once, and not when there is time
    try:
        with pytest.raises(ClientDisconnect):
            _sent(uploads, _form((b"a.jpg", os.urandom(450_000))), cut=True)
        assert not list(tmp_path.iterdir()) and _open_files_without_a_name() == before
    finally:
        gc.enable()


def test_a_disk_that_is_full_leaves_nothing(uploads, tmp_path, monkeypatch):
    def fail(source, target):
        target.write(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfileobj", fail)
    with pytest.raises(OSError):
        _sent(uploads, _form((b"a.jpg", b"x")))
    assert not list(tmp_path.iterdir())


def test_more_than_an_hours_share_is_told_to_wait(uploads, tmp_path):
    example = tmp_path / "example.jpg"
    example.write_bytes(b"x")
    for _ in range(4):
        _sent(uploads, _form((b"a.jpg", b"x")))
    assert uploads.copy(example, "ann").read_bytes() == b"x"  # examples count, too
    with pytest.raises(HTTPException) as refused:
        _sent(uploads, _form((b"a.jpg", b"x")))
    assert refused.value.status_code == 429 and "wait 60 minutes" in refused.value.detail
    assert 3500 < int(refused.value.headers["retry-after"]) <= 3600
    with pytest.raises(Refused):
        uploads.copy(example, "ann")


def test_an_upload_that_never_ends_is_given_up(uploads, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 0.05)

    async def receive():
        await asyncio.sleep(10)

    headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"9")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with pytest.raises(HTTPException) as refused:
        asyncio.run(uploads.receive(request, "ann"))
    assert refused.value.status_code == 408 and not list(tmp_path.iterdir())
