"""A robot for the page's tests, made of nothing but its boxes, and the page's server on a real socket."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import uvicorn

from edge_wam import config, telemetry
from edge_wam.orders import Order, Orders, Verb
from edge_wam.service.web.server import build, settings
from edge_wam.telemetry import Asked, Plan
from edge_wam.types import JOINTS

TOKEN = "a token for the tests, long enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NAME = f"web-test-{os.getpid()}"
SOON_S = 15.0
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESK = {"viewport": {"width": 1440, "height": 900}}
FINGER_PX = 44  # the least that a thumb hits: Apple's Human Interface Guidelines, "Buttons"
PLAN = Plan(
    "a-model",
    50.0,
    1 / 30,
    JOINTS,
    (-1.5,) * 6,
    (1.5,) * 6,
    (("front", 48, 64), ("wrist", 48, 64)),
    (2, 2, 8),
    (0.2, 0.4),
    {"pick red": "pick up the red cube", "home": "go home"},
    (32, 32),
    {"pick red": ("pick up the red cube", "grab the red block"), "home": ("go home", "go back home")},
)


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Until it holds; AssertionError if it does not soon."""
    end_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.01)


class Robot:
    """Ticks as a robot does and obeys what is asked, or not (deaf), or stands still (stuck)."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.deaf = self.stuck = False
        self.obeyed: list[Order] = []
        self.record = np.zeros((), telemetry.TICK)
        self.record["mode"], self.record["epoch"] = b"holding", 0
        self.record["temperature_c"], self.record["voltage_v"] = 30.0, 12.0
        self.record["fresh"], self.record["entered_s"] = True, np.nan
        self._stack, self._orders, self._done = contextlib.ExitStack(), Orders(), threading.Event()
        self.boxes = telemetry.create(NAME, plan, self._stack)
        self._asked = Asked(self.boxes.asked, plan.commands, self._orders)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Robot:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._stack.close()
        (telemetry.folder() / telemetry.public_name(NAME, "alive")).unlink()

    def holds(self) -> list[tuple[str, bool, float]]:
        """What was told of push-to-talk buttons since the last call: by whom, held, when."""
        return [
            (bytes(record["by"]).decode(), bool(record["held"]), t_s)
            for record, t_s in self.boxes.talk.news()[0]
        ]

    def follow(self, command: bytes) -> None:
        """A task, as if somebody had said it."""
        self.record["epoch"] += 1
        self.record["mode"], self.record["command"] = b"following", command

    def _run(self) -> None:
        while not self._done.wait(0.02):
            if not self.deaf:
                self._asked.take()
            for order in self._orders.take():
                self.obeyed.append(order)
                self.record["epoch"] += 1
                self.record["command"] = order.command.encode()
                self.record["mode"] = b"following" if order.verb is Verb.DO else b"holding"
            if not self.stuck:
                self.record["index"] += 1
                self.boxes.ticks.put(self.record)


class Page:
    """The server, on a port of its own."""

    def __init__(self, token: str = TOKEN, *, may_command: bool = False, port: int = 0) -> None:
        usual = config.load()
        web = replace(usual.web, port=port, may_command=may_command)
        made = replace(usual, robot=replace(usual.robot, name=NAME), web=web)
        gate, self.watch = build(made, token)
        self._server = uvicorn.Server(settings(gate, made))
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> Page:
        self._thread.start()
        wait_for(lambda: self._server.started, "the server does not start")
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.close()
        self._server.should_exit = True
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, str]:
        """A request as a program makes it; header names with '_' for '-'."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON_S)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        text = "" if answer.getheader("content-type", "").startswith("text/event-stream") else answer.read()
        return answer, text.decode() if isinstance(text, bytes) else text


def form(page: Page, origin: str | None = None) -> dict[str, str]:
    """The headers of a form that a browser sends."""
    return {"Origin": origin or page.url, "Content_Type": "application/x-www-form-urlencoded"}


def cookie_of(page: Page) -> dict[str, str]:
    """What a browser that has given the token shows from then on."""
    answer, _ = page.ask("/login", "POST", f"token={TOKEN}".replace(" ", "+"), **form(page))
    assert answer.status == 303
    return {"Cookie": answer.getheader("set-cookie").partition(";")[0]}


def chromium() -> str | None:
    """A browser of this machine's, if there is one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        for folder in os.get_exec_path():
            if (Path(folder) / name).is_file():
                return str(Path(folder) / name)
    return None


def events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    """Server-sent events as they come: kind and data."""
    kind = ""
    for raw in answer:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, line.removeprefix("data: ")


def is_live(tab) -> None:
    """Until the page shows a robot."""
    from playwright.sync_api import expect

    expect(tab.locator("body")).to_have_attribute("data-robot", "live", timeout=15_000)
