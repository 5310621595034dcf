"""The page's password: right ones pass at once, wrong ones are answered slowly and refused."""

import asyncio
import base64
import time

import pytest

from diffdepth_jax.errors import UserError

pytest.importorskip("starlette")
from starlette.exceptions import HTTPException
from starlette.requests import Request

from diffdepth_jax.web import password
from diffdepth_jax.web.password import Password, read_password


def _request(text=None, kind="Basic"):
    headers = []
    if text is not None:
        encoded = base64.b64encode(text.encode())
        headers.append((b"authorization", kind.encode() + b" " + encoded))
    return Request({"type": "http", "headers": headers})


def _status(page, *requests):
    """The statuses of requests at the same time; None: it passes."""

    async def ask(request):
        try:
            await page.check(request)
        except HTTPException as refusal:
            return refusal.status_code
        return None

    async def ask_all():
        return await asyncio.gather(*map(ask, requests))

    return asyncio.run(ask_all())


@pytest.fixture
def page(monkeypatch):
    monkeypatch.setattr(password, "_DELAY", 0.02)
    return Password("ann", "pass: wörd")


def test_the_right_name_and_password_pass(page):
    assert (
        _status(page, _request("ann:pass: wörd"), _request("ann:pass: wörd", "basic")) == [None] * 2
    )


@pytest.mark.parametrize("text", ["ann:pass", "bob:pass: wörd", "", "ann", ":pass: wörd"])
def test_everything_else_is_refused(page, text):
    assert _status(page, _request(text)) == [401]
    assert _status(page, _request("ann:pass: wörd", "Bearer")) == [401]


def test_the_browser_is_asked_without_delay(page):
    begin = time.monotonic()
    assert _status(page, *[_request()] * 50) == [401] * 50
    strange = Request({"type": "http", "headers": [(b"authorization", b"Basic \xe4!")]})
    assert time.monotonic() - begin < 0.5 and _status(page, strange) == [401]


def test_wrong_passwords_wait_for_each_other_and_right_ones_do_not(page):
    begin = time.monotonic()
    statuses = _status(page, *[_request("ann:guess")] * 30, _request("ann:pass: wörd"))
    assert sorted(map(str, statuses)) == ["401"] * 20 + ["429"] * 10 + ["None"]
    assert time.monotonic() - begin >= 20 * 0.02


def test_the_password_is_the_files_first_line(tmp_path):
    file = tmp_path / "password"
    file.write_text("pass: wörd \nmore\n", encoding="utf-8")
    assert _status(read_password(f"ann:{file}"), _request("ann:pass: wörd")) == [None]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("ann", "auth: give USER:FILE"),
        (":x", "auth: give USER:FILE"),
        ("ann:nowhere", r"auth: nowhere cannot be read \(No such file or directory\): write"),
        ("ann:empty", "auth: empty is empty: write a password to its first line"),
    ],
)
def test_refuses_arguments(tmp_path, monkeypatch, argument, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(UserError, match=message):
        read_password(argument)
