"""Routes of the page, and the way from settings to a socket.

    GET  /          the page                    GET  /stream    what the robot tells, as server-sent events
    POST /login     the token, for a cookie     GET  /metrics   for Prometheus
    POST /stop      always                      POST /do        a command; only with [web] may_command
                                                POST /talk      the push-to-talk button; so is this

One stream carries everything, pictures too: a browser opens six connections to a host and no more, and STOP
must never wait for one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from edge_wam.act.families import FAMILIES
from edge_wam.act.health import Thresholds
from edge_wam.act.limits import load_guards
from edge_wam.config import Config
from edge_wam.errors import EdgeWamError
from edge_wam.service.web.gate import Gate, make_token, read_token
from edge_wam.service.web.metrics import Metrics
from edge_wam.service.web.watch import SEATS_MAX, Watch
from edge_wam.service.web.written import Reader

STATIC = Path(__file__).parent / "static"
CREDENTIAL = "web-token"  # LoadCredential= in edge-wam-web.service
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_TYPES[".webmanifest"] = "application/manifest+json"
_BODY_MAX = 4096
_FAREWELL_S = 1


def main(config: Config, say: Callable[[str], None] = print) -> int:
    """Serve the page until SIGINT or SIGTERM."""
    path, is_ours = token_path(config)
    if is_ours and make_token(path):
        say(f"made a token for the page: {path}")
    gate_app, watch = build(config, read_token(path, anybodys=not is_ours), say)
    server = _Server(settings(gate_app, config), watch)
    shown = f"[{config.web.bind}]" if ":" in config.web.bind else config.web.bind
    say(f"the page of robot '{config.robot.name}': http://{shown}:{config.web.port}/ (its token: {path})")
    server.run()
    if not server.started:
        raise EdgeWamError(
            f"the page cannot listen on {config.web.bind}:{config.web.port}; try: --set web.port=..."
        )
    return 0


def token_path(config: Config) -> tuple[Path, bool]:
    """Where the token is, and whether we may make it: systemd's credential, else as the settings say."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if folder and (Path(folder) / CREDENTIAL).is_file():
        return Path(folder) / CREDENTIAL, False
    return config.web.token_file, True


def settings(app: Gate, config: Config) -> uvicorn.Config:
    """Of uvicorn: plain HTTP/1.1, nothing believed that a proxy says, no line a request."""
    return uvicorn.Config(
        app,
        host=config.web.bind,
        port=config.web.port,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=_FAREWELL_S,
    )


class _Server(uvicorn.Server):
    """As uvicorn's, but streams end when it does."""

    def __init__(self, settings: uvicorn.Config, watch: Watch) -> None:
        super().__init__(settings)
        self._watch = watch

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        self._watch.close()
        await super().shutdown(sockets)  # type: ignore[arg-type]


def build(config: Config, token: str, say: Callable[[str], object] = print) -> tuple[Gate, Watch]:
    """The application behind its gate, and what it watches."""
    metrics = Metrics(config.robot.name)
    watch = Watch(config.robot.name, _thresholds(config), FAMILIES[config.robot.servos].error_text, metrics)
    may_command, reader = config.web.may_command, Reader(say)
    forbidden: dict[str, object] = {"error": "this page may not command; see [web] may_command"}

    async def page(request: Request) -> Response:
        return _file("index.html", may_command=may_command)

    async def login(request: Request) -> Response:
        body = await _body(request)
        if request.method == "GET" or not gate.knows(body.get("token", "")):
            code = 200 if request.method == "GET" else 401
            return _file("login.html", code=code)
        response = RedirectResponse("/", 303)
        gate.greet(response)
        return response

    async def stream(request: Request) -> Response:
        seat = watch.sit()
        if seat is None:
            return PlainTextResponse(f"{SEATS_MAX} browsers look already; close one\n", 503)

        async def messages() -> AsyncIterator[str]:
            try:
                async for text in seat:
                    yield text
            finally:
                watch.leave(seat)

        return StreamingResponse(messages(), media_type="text/event-stream")

    async def stop(request: Request) -> Response:
        metrics.asked("stop")
        try:
            took_s = await watch.stop()
        except EdgeWamError as error:
            return _answer(request, {"error": str(error)}, 503)
        return _answer(request, {"stopped": True, "took_ms": round(1e3 * took_s)})

    async def do(request: Request) -> Response:
        if not may_command:
            return _answer(request, forbidden, 403)
        text = (await _body(request)).get("text", "")
        try:
            if watch.plan is None:
                raise EdgeWamError("no robot runs here that could do it")
            wanted = await reader.read(text, watch.plan)
            if wanted.ask:
                return _answer(request, {"ask": wanted.ask})
            if not wanted.stop:
                metrics.asked("do")
                await watch.do(wanted.command)
        except EdgeWamError as error:
            return _answer(request, {"error": str(error)}, 400 if watch.plan is not None else 503)
        return await stop(request) if wanted.stop else _answer(request, {"asked": wanted.command})

    async def talk(request: Request) -> Response:
        if not may_command:
            return _answer(request, forbidden, 403)
        body = await _body(request)
        held, who = body.get("held", ""), body.get("who", "")
        if held not in ("yes", "no") or not re.fullmatch("[0-9a-z]{1,16}", who):
            return _answer(request, {"error": "held: yes or no; who: up to 16 letters and digits"}, 400)
        try:
            await watch.talk(held == "yes", who)
        except EdgeWamError as error:
            return _answer(request, {"error": str(error)}, 503)
        return _answer(request, {"held": held})

    async def numbers(request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    async def static(request: Request) -> Response:
        return _file(request.url.path.removeprefix("/"))

    @contextlib.asynccontextmanager
    async def watching(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(watch.run())
        try:
            yield
        finally:
            task.cancel()

    files = [path.name for path in STATIC.iterdir() if path.suffix in _TYPES and path.suffix != ".html"]
    routes = [
        Route("/", page),
        Route("/login", login, methods=["GET", "POST"]),
        Route("/stream", stream),
        Route("/stop", stop, methods=["POST"]),
        Route("/do", do, methods=["POST"]),
        Route("/talk", talk, methods=["POST"]),
        Route("/metrics", numbers),
        *(Route(f"/{name}", static) for name in files),
    ]
    gate = Gate(Starlette(routes=routes, lifespan=watching), token, config.web.name)
    return gate, watch


def _thresholds(config: Config) -> Thresholds:
    """When a servo is warm, as the arm's limits have it; the usual where there are none: the page is there
    for a robot whose settings are wrong, too."""
    try:
        return load_guards(config.robot.calibration / "limits.toml")[1].thresholds
    except EdgeWamError:
        return Thresholds()


def _file(name: str, code: int = 200, *, may_command: bool = False) -> Response:
    path = STATIC / name
    content = path.read_bytes()
    if may_command:
        content = content.replace(b'data-may-command="no"', b'data-may-command="yes"')
    return Response(content, code, media_type=_TYPES[path.suffix])


async def _body(request: Request) -> dict[str, str]:
    """The fields of a small form; nothing of what is too large."""
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > _BODY_MAX:
        return {}
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace")))


def _answer(request: Request, content: dict[str, object], code: int = 200) -> Response:
    """For the page's script JSON; a form that was sent without it goes back to the page, if all is well."""
    if "text/html" in request.headers.get("accept", ""):
        if "ask" in content:
            return PlainTextResponse(f"Did you mean: {content['ask']}? Nothing was done.\n", code)
        if code == 200:
            return RedirectResponse("/", 303)
        return PlainTextResponse(f"{content['error']}\n", code)
    return JSONResponse(content, code)
