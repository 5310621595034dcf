"""Events keep what the page sends; paths of others, addresses and further fields are dropped."""

import json

import pytest

from diffdepth_jax.web import events

PLAIN = {"data": [None, 2, 4, True], "fn_index": 0, "trigger_id": 5, "session_hash": "abc"}


def _cleaned(**fields):
    body = json.dumps({**PLAIN, **fields}).encode()
    return json.loads(events.cleaned(body, "owner", lambda path: path == "/uploads/a.jpg"))


def test_numbers_and_the_clicked_pixel_stay():
    clean = _cleaned(event_data={"index": [3, 4], "value": {"path": "/etc/hostname"}})
    assert clean["data"] == PLAIN["data"] and clean["trigger_id"] == 5
    assert clean["event_data"] == {"index": [3, 4], "value": None}
    assert _cleaned(event_data=None)["event_data"] is None


def test_further_fields_are_dropped():
    assert set(_cleaned(batched=True, oauth_token="x", event_id="y")) == {*PLAIN, "event_data"}


def test_a_photo_is_an_upload_or_nothing():
    own = {"path": "/uploads/a.jpg", "url": "http://127.0.0.1:1/", "is_stream": True}
    expected = {"path": "/uploads/a.jpg", "meta": {"_type": "gradio.FileData"}}
    others = ["/etc/hostname", "/uploads/../uploads/a.jpg", "http://127.0.0.1:1/a.jpg", 3, None]
    strange = [{"path": path} for path in others] + ["/uploads/a.jpg", [own], {"url": "http://a"}]
    clean = _cleaned(data=[own, *strange])
    assert clean["data"] == [expected, *[None] * len(strange)]


def test_sessions_of_one_name_are_told_apart():
    assert _cleaned()["session_hash"] == events.name_for("owner", "abc")
    assert events.name_for("owner", "abc") != events.name_for("another", "abc")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 60_000,
        *(json.dumps({**PLAIN, name: "x"}).encode() for name in ("fn_index", "trigger_id")),
        json.dumps({**PLAIN, "session_hash": 3}).encode(),
        json.dumps({**PLAIN, "data": 3}).encode(),
        json.dumps({**PLAIN, "data": [float("nan")]}).encode(),
        json.dumps({**PLAIN, "event_data": {"index": [1]}}).encode(),
    ],
)
def test_refuses_what_the_page_does_not_send(body):
    with pytest.raises(ValueError):
        events.cleaned(body, "owner", lambda path: False)
