"""Who may come in. An ASGI middleware in front of every route.

    421   a Host that is not ours: a page of somebody else's whose name was pointed at us (DNS rebinding)
    401   no token, and no cookie that was made from one
    403   an order that did not come from our own page (Origin)

A person gives the token once and gets a cookie, which is not the token: an HMAC of it, HttpOnly,
SameSite=Strict, void as soon as the token is another one. A program (Prometheus, curl) sends `Authorization:
Bearer TOKEN`. A browser always sends an Origin with a POST; a program need not, but then a cookie does not
count.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
import stat
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_wam.errors import EdgeWamError

COOKIE = "edge-wam"
COOKIE_S = 30 * 24 * 3600
OPEN = ("/login", "/login.js", "/style.css", "/icon.svg")  # what a stranger may see: where to give the token
TOKEN_BYTES_MIN = 16
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    # Not no-referrer: a form would then be sent with `Origin: null`.
    (b"referrer-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def read_token(path: Path, *, anybodys: bool = False) -> str:
    """The token in a file that nobody else may read (anybodys: its mode is somebody else's business).
    EdgeWamError if it is missing, open to others or short."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise EdgeWamError(
            f"the page's token: cannot read {path} ({why}); try: sudo scripts/install.sh"
        ) from None
    if mode & 0o077 and not anybodys:
        raise EdgeWamError(f"{path}: expected mode 0600, found {mode:04o}; try: chmod 600 {path}")
    if len(token.encode()) < TOKEN_BYTES_MIN:
        raise EdgeWamError(
            f"{path}: expected a token of at least {TOKEN_BYTES_MIN} bytes, found {len(token.encode())}; "
            "try: remove it and start again"
        )
    return token


def make_token(path: Path) -> bool:
    """Write a new token to `path`, mode 0600, unless there is one; whether there was none."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(secrets.token_urlsafe(24) + "\n")
    return True


class Gate:
    """In front of `app`. name: another name that this page is reached by ('': none)."""

    def __init__(self, app: ASGIApp, token: str, name: str = "") -> None:
        self._app, self._token = app, token.encode()
        self._cookie = hmac.digest(self._token, b"edge-wam page", hashlib.sha256).hex().encode()
        ours = socket.gethostname().lower()
        self._names = {"localhost", ours, f"{ours}.local", name.lower()} - {"", ".local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        request = Request(scope)
        refused = self._refused(request)
        await (refused or self._app)(scope, receive, send_guarded)

    def _refused(self, request: Request) -> Response | None:
        """Why a request goes no further; None: it may."""
        if not self._is_ours(request):
            return PlainTextResponse("this page does not answer to that name; see [web] name\n", 421)
        bearer = self.knows(_bearer(request))
        cookie = hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._cookie)
        asking = request.method not in ("GET", "HEAD")
        if asking and not (_same_origin(request) or (bearer and "origin" not in request.headers)):
            return PlainTextResponse("only this page itself may ask for that\n", 403)
        if bearer or cookie or request.url.path in OPEN:
            return None
        if request.url.path == "/" and not asking:
            return Response(_login_page(), 401, media_type="text/html")
        return PlainTextResponse("a token is needed\n", 401, {"WWW-Authenticate": "Bearer"})

    def knows(self, token: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(token.encode(), self._token)

    def greet(self, response: Response) -> None:
        """Give the cookie to who has shown the token."""
        response.set_cookie(
            COOKIE, self._cookie.decode(), max_age=COOKIE_S, httponly=True, samesite="strict", path="/"
        )

    def _is_ours(self, request: Request) -> bool:
        """Whether the Host is a name of ours, or the very address that was connected to."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1:
            return False
        name = _without_port(hosts[0].lower())
        if name in self._names:
            return True
        try:
            return ipaddress.ip_address(name) == ipaddress.ip_address(request.scope["server"][0])
        except (ValueError, TypeError):
            return False


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _same_origin(request: Request) -> bool:
    host = request.headers.get("host", "").lower()
    return request.headers.get("origin", "").lower() in (f"http://{host}", f"https://{host}")


def _without_port(host: str) -> str:
    if host.startswith("["):  # [::1]:8790
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _login_page() -> bytes:
    return (Path(__file__).parent / "static" / "login.html").read_bytes()
