"""The password of the page: HTTP basic authentication, as every browser offers it."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import pathlib

from starlette.exceptions import HTTPException
from starlette.requests import Request

from diffdepth_jax.errors import UserError

_DELAY = 1.0  # seconds between two answers to wrong passwords
_WAITING = 20  # wrong passwords that wait for their answer at the same time
_ASK = {"www-authenticate": 'Basic realm="diffdepth_jax", charset="UTF-8"'}


class Password:
    """The name and the password without which nobody sees the page."""

    def __init__(self, user: str, password: str) -> None:
        self._expected = _digest(f"{user}:{password}".encode())
        self._answers, self._waiting = asyncio.Lock(), 0

    async def check(self, request: Request) -> None:
        """Raises HTTPException unless the request states both.

        Wrong passwords are answered one after the other, so that nobody tries many.
        """
        kind, _, encoded = request.headers.get("authorization", "").partition(" ")
        if not encoded:
            raise HTTPException(401, "the page has a password", _ASK)
        if kind.lower() == "basic" and hmac.compare_digest(_stated(encoded), self._expected):
            return
        if self._waiting >= _WAITING:
            raise HTTPException(429, "too many wrong passwords: wait", {"retry-after": "30"})
        self._waiting += 1
        try:
            async with self._answers:
                await asyncio.sleep(_DELAY)
        finally:
            self._waiting -= 1
        raise HTTPException(401, "the name or the password is wrong", _ASK)


def read_password(argument: str) -> Password:
    """Reads USER:FILE, where the file holds the password in its first line.

    Raises:
      UserError: a part is missing, or the file cannot be read or holds nothing.
    """
    user, _, file = argument.partition(":")
    if not user or not file:
        raise UserError("auth: give USER:FILE, where FILE holds the password")
    try:
        lines = pathlib.Path(file).expanduser().read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        text = f"auth: {file} cannot be read ({reason}): write a password to it"
        raise UserError(text) from error
    if not lines or not lines[0].strip():
        raise UserError(f"auth: {file} is empty: write a password to its first line")
    return Password(user, lines[0].strip())


def _stated(encoded: str) -> bytes:
    try:
        return _digest(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return b""


def _digest(text: bytes) -> bytes:
    """Returns something whose length says nothing of the password's."""
    return hashlib.sha256(text).digest()
