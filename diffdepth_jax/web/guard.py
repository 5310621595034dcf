"""Stands before Gradio and lets only those requests through that the page itself makes.

Gradio offers far more than the page needs: routes that fetch web addresses, that run functions
past the queue, that hand out every file of its folder. So here is a list of what is let through.
"""

import re
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffdepth_jax.web import events, session_cookie
from diffdepth_jax.web.hosts import Hosts
from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.password import Password
from diffdepth_jax.web.uploads import Uploads

_UPLOAD, _JOIN = "/gradio_api/upload", "/gradio_api/queue/join"
_MESSAGES = "/gradio_api/queue/data"
_START = "/gradio_api/startup-events"  # Gradio asks itself for it, without a password
_FILE = "/gradio_api/file="
_HEARTBEAT = "/gradio_api/heartbeat/"
_OPEN = re.compile(  # what every visitor gets: the page with its scripts, pictures and fonts
    r"(?:GET|HEAD) (?:/|/config|/theme\.css|/favicon\.ico|/gradio_api/(?:startup-events|app_id)"
    r"|/(?:assets|static)/(?!.*\.\.)[\w./@+-]+)"
)
_OWN = re.compile(  # what belongs to a session
    rf"GET (?:{_FILE}.+|{_HEARTBEAT}.+|{_MESSAGES})|POST (?:{_UPLOAD}|{_JOIN})"
)
_EVENT = 64 * 1024  # bytes of an event at most

_Passed = tuple[Scope, Receive, Send]


class Guard:
    """ASGI middleware: passes the page's own requests on, and refuses all others."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: Hosts,
        files: OwnedFiles,
        uploads: Uploads,
        password: Password | None = None,
    ) -> None:
        """Guards `app`; `uploads` takes the photos in its place."""
        self._app, self._hosts, self._files = app, hosts, files
        self._uploads, self._password = uploads, password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(Request(scope, receive), send)
        else:
            await send({"type": "websocket.close"})

    async def _answer(self, request: Request, send: Send) -> None:
        try:
            self._check_sender(request)
            if self._password is not None and request.scope["path"] != _START:
                await self._password.check(request)
            passed = await self._let_through(request, send)
        except HTTPException as refusal:
            answer = _refused(refusal, plain=request.scope["path"] == _UPLOAD)
            return await answer(request.scope, request.receive, send)
        except ClientDisconnect:
            return None
        if passed is not None:
            await self._app(*passed)

    def _check_sender(self, request: Request) -> None:
        host = ",".join(request.headers.getlist("host"))
        if not self._hosts.serves(host):
            raise HTTPException(421, "the page is not served under this name: see --allowed_hosts")
        for origin in request.headers.getlist("origin"):
            if not self._hosts.sends(origin, host):
                raise HTTPException(403, "another site sent this request: open the page itself")

    async def _let_through(self, request: Request, send: Send) -> _Passed | None:
        """Returns what Gradio gets to see of a request; None if it is answered here."""
        path = request.scope["path"]
        line = f"{request.method} {path}"
        if _OPEN.fullmatch(line):
            answer = session_cookie.given(request, send) if path == "/" else send
            return _scope(request), request.receive, answer
        if not _OWN.fullmatch(line):
            raise _unknown()
        owner = session_cookie.read(request)
        if owner is None:
            raise HTTPException(403, "open the page in a browser that keeps cookies")
        if path == _JOIN:
            return await self._event(request, send, owner)
        if path == _UPLOAD:
            stored = [str(await self._uploads.receive(request, owner))]
            await JSONResponse(stored)(request.scope, request.receive, send)
            return None
        return self._reading(request, owner), request.receive, send

    def _reading(self, request: Request, owner: str) -> Scope:
        path = request.scope["path"]
        if path.startswith(_HEARTBEAT):
            return _scope(
                request, _HEARTBEAT + events.name_for(owner, path.removeprefix(_HEARTBEAT))
            )
        if path.startswith(_FILE):
            if self._files.file(owner, path.removeprefix(_FILE)) is None:
                raise _unknown()
            return _scope(request)
        return _scope(request, query=_own_query(request, "session_hash", owner))

    async def _event(self, request: Request, send: Send, owner: str) -> _Passed:
        """Passes an event on in a body of our own; `request.state.owner` tells whose it is."""

        def is_upload(path: str) -> bool:
            return self._files.upload(owner, path) is not None

        try:
            body = events.cleaned(await _body(request), owner, is_upload)
        except ValueError as error:
            raise HTTPException(400, "the page does not send such events") from error
        scope = _scope(request)
        scope["state"] = {**scope.get("state", {}), "owner": owner}
        return scope, _replayed(body, request.receive), send


def _refused(refusal: HTTPException, *, plain: bool) -> Response:
    """Returns the answer; a plain one to uploads, for the page shows it as it is."""
    if plain:
        return PlainTextResponse(refusal.detail, refusal.status_code, refusal.headers)
    return JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)


def _unknown() -> HTTPException:
    """Returns the one answer to all requests that the page does not make."""
    return HTTPException(404, "the page has nothing of this name")


def _scope(request: Request, path: str = "", query: bytes = b"") -> Scope:
    """Returns the scope without the browser's query, and with another path if one is given."""
    path = path or request.scope["path"]
    return {**request.scope, "path": path, "raw_path": path.encode(), "query_string": query}


def _own_query(request: Request, parameter: str, owner: str) -> bytes:
    """Returns a query that has this parameter alone, with the session's own name in it."""
    values = request.query_params.getlist(parameter)
    if len(values) != 1:
        raise _unknown()
    return urlencode({parameter: events.name_for(owner, values[0])}).encode()


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _EVENT:
            raise HTTPException(413, "the page does not send such events")
    return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Returns a `receive` that begins with this body."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
