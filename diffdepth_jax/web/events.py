"""The requests by which the page starts an event, reduced to what the page itself sends."""

import hashlib
import json
from collections.abc import Callable
from typing import Any


def name_for(owner: str, name: str) -> str:
    """Returns the name under which Gradio knows a session's page or upload.

    The browser chooses such names. Joined with the owner's secret, nobody else's name can be the
    same.
    """
    return hashlib.sha256(f"{owner} {name}".encode()).hexdigest()[:32]


def cleaned(body: bytes, owner: str, is_upload: Callable[[str], bool]) -> bytes:
    """Returns an event's JSON with the fields that the page needs, and no others.

    A file that is not an upload of the owner becomes null, just like no file. So Gradio never
    opens a path and never fetches an address that a request names.

    Args:
      body: the JSON.
      owner: the session that sent it.
      is_upload: whether the owner uploaded the file at a path.

    Raises:
      ValueError: no page of ours sends this.
    """
    try:
        fields = json.loads(body)
        clean = {
            "fn_index": _whole(fields["fn_index"]),
            "trigger_id": _whole(fields["trigger_id"]),
            "session_hash": name_for(owner, _text(fields["session_hash"])),
            "data": [_value(value, is_upload) for value in fields["data"]],
            "event_data": _pixel(fields.get("event_data")),
        }
        return json.dumps(clean, allow_nan=False).encode()
    except (LookupError, TypeError, RecursionError) as error:
        raise ValueError("not an event of the page") from error


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _value(value: Any, is_upload: Callable[[str], bool]) -> Any:
    """Returns the value of an input: null, a number, true, false, or an upload."""
    if type(value) in (bool, int, float):
        return value
    path = value.get("path") if type(value) is dict else None
    if type(path) is str and is_upload(path):
        return {"path": path, "meta": {"_type": "gradio.FileData"}}
    return None


def _pixel(event: Any) -> dict[str, Any] | None:
    """Returns the clicked pixel; None for events without one."""
    if event is None or "index" not in event:
        return None
    x, y = (_whole(each) for each in event["index"])
    return {"index": [x, y], "value": None}
