"""The cookie by which the page tells browsers apart: a random secret, which is the session's key.

No script can read it (HttpOnly), and no other site can send it along (SameSite).
"""

import re
import secrets

from starlette.requests import Request
from starlette.types import Message, Send

_SECRET = re.compile(r"[\w-]{43}", re.ASCII)


def _name(request: Request) -> str:
    """Returns a name of its own for each port, because the ports of one host share cookies."""
    return f"diffdepth_{request.scope['server'][1]}"


def read(request: Request) -> str | None:
    """Returns the secret that the browser sent, if any."""
    secret = request.cookies.get(_name(request), "")
    return secret if _SECRET.fullmatch(secret) else None


def given(request: Request, send: Send) -> Send:
    """Returns a `send` that gives a browser its secret, unless it has one."""
    if read(request):
        return send
    secure = "; Secure" if request.url.scheme == "https" else ""
    cookie = f"{_name(request)}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; SameSite=Lax{secure}"

    async def with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"set-cookie", cookie.encode())]
        await send(message)

    return with_cookie
