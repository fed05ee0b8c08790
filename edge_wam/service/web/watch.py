"""What the robot tells, as messages for browsers. Reads the boxes ten times a second, whoever looks.

    seat = watch.sit()             a browser's: the newest message of each kind, never a queue
    async for text in seat: ...    server-sent events

Kinds: plan (once a robot), past (the curves so far), state, log, sight-<camera>, dream, gone. A browser that
is slow misses some and gets the newest; frames are only encoded while somebody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from edge_wam.act.health import Thresholds
from edge_wam.errors import EdgeWamError
from edge_wam.mailbox import Letter
from edge_wam.messages import read_chunk
from edge_wam.orders import Verb
from edge_wam.service.web.metrics import Metrics
from edge_wam.service.web.sights import Imagination, jpeg
from edge_wam.telemetry import LIMITED, Boxes, Plan, Window
from edge_wam.types import JOINTS

STEP_S = 0.1
SILENT_S = 1.0  # a robot whose newest tick is older than this says nothing: its loop stands, or it was killed
MUTE_S = 0.5  # a servo that has not answered for so long is said to be mute: single replies get lost
PAST_S = 20.0  # of curves, and of what the figures are taken over
POINTS_HZ = 12.5  # of curves
LOG_KEPT = 80
SEATS_MAX = 16
PROOF_S = 1.0  # a STOP that is not seen to be carried out by then was not
_KEEP_ALIVE_S = 10.0
_BY = "page"


class Seat:
    """One browser's end: the newest message of each kind."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._any = asyncio.Event()
        self._open = True

    def put(self, kind: str, data: str) -> None:
        """A message; one of its kind that is still waiting is forgotten."""
        self._waiting.pop(kind, None)
        self._waiting[kind] = f"event: {kind}\ndata: {data}\n\n"
        self._any.set()

    def close(self) -> None:
        """No more messages."""
        self._open = False
        self._any.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        while self._open:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._any.wait(), _KEEP_ALIVE_S)
            self._any.clear()
            waiting, self._waiting = self._waiting, {}
            yield "".join(waiting.values()) or ": still here\n\n"


class Watch:
    """One robot, watched. `run` until cancelled; everything else from the same event loop."""

    def __init__(self, instance: str, thresholds: Thresholds, error_text: Any, metrics: Metrics) -> None:
        self._instance, self._thresholds, self._error_text = instance, thresholds, error_text
        self._window, self._metrics = Window(instance), metrics
        self._post, self._posting = Window(instance, asking=True), threading.Lock()
        self._seats: list[Seat] = []
        self._boxes: Boxes | None = None
        self.plan: Plan | None = None
        self._why = "the page has just started"
        self._tick: Letter | None = None
        self._log: deque[dict[str, Any]] = deque(maxlen=LOG_KEPT)
        self._points: deque[list[float | None]] = deque(maxlen=round(PAST_S * POINTS_HZ))
        self._forget()

    def _forget(self) -> None:
        """What was true of a robot that is another one now."""
        self._tick = None
        self._points.clear()
        self._late_s: deque[tuple[float, float]] = deque()
        self._limited: deque[tuple[float, Counter[str]]] = deque()
        self._dreaming: Imagination | None = None
        self._infer_s = math.nan
        self._servo_s = math.nan
        self._answered_s = np.full(len(JOINTS), -math.inf)
        self._lost = 0
        self._peak_s = 0.0  # the latest tick since the last point

    # --- browsers ---------------------------------------------------------------------------------

    def sit(self) -> Seat | None:
        """A place for one more browser; None if all are taken."""
        if len(self._seats) >= SEATS_MAX:
            return None
        seat = Seat()
        self._seats.append(seat)
        if self.plan is not None:
            seat.put("plan", self._plan_json(self.plan))
            seat.put("past", _json(list(self._points)))
        else:
            seat.put("gone", _json({"why": self._why}))
        seat.put("log", _json(list(self._log)))
        return seat

    def leave(self, seat: Seat) -> None:
        """It has gone."""
        with contextlib.suppress(ValueError):
            self._seats.remove(seat)

    def close(self) -> None:
        """Send every browser away."""
        for seat in self._seats:
            seat.close()

    def _tell(self, kind: str, data: str) -> None:
        for seat in self._seats:
            seat.put(kind, data)

    # --- the robot --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look, ten times a second."""
        while True:
            self.step(time.monotonic())
            await asyncio.sleep(STEP_S)

    def step(self, now_s: float) -> None:
        """Read what is new and tell it."""
        try:
            plan, boxes = self._window.look()
        except EdgeWamError as error:
            self._lose(str(error))
            return
        if boxes is not self._boxes:
            self._forget()
            self._boxes, self.plan, self._dreaming = boxes, plan, Imagination(plan)
            self._tell("plan", self._plan_json(plan))
            self._tell("past", "[]")
        elif plan is not self.plan:
            self.plan = plan
            self._tell("plan", self._plan_json(plan))
        self._read_events(boxes, now_s)
        self._read_ticks(plan, boxes)
        self._read_chunks(boxes)
        if self._seats:
            self._read_sights(plan, boxes)
        self._metrics.state(up=self._tick is not None and now_s - self._tick.t_s <= SILENT_S)
        self._tell("state", _json(self._state(now_s)))

    def _lose(self, why: str) -> None:
        if self.plan is not None or why != self._why:
            self._tell("gone", _json({"why": why}))
        self._why, self.plan, self._boxes = why, None, None
        self._forget()
        self._metrics.state(up=False)

    def _read_events(self, boxes: Boxes, now_s: float) -> None:
        letters, _ = boxes.events.news()
        for record, t_s in letters:
            confidence, meant = float(record["confidence"]), _text(record["meant"])
            kind = _text(record["kind"])
            self._metrics.event(kind, refused=kind == "heard" and not meant)
            event = {
                "at": time.time() - now_s + t_s,
                "kind": kind,
                "text": _text(record["text"]),
                "meant": meant,
                "why": _text(record["why"]),
                "confidence": None if math.isnan(confidence) else confidence,
            }
            self._log.append(event)
        if letters:
            self._tell("log", _json(list(self._log)))

    def _read_ticks(self, plan: Plan, boxes: Boxes) -> None:
        letters, lost = boxes.ticks.news()
        self._lost += lost
        stride = max(1, round(plan.control_hz / POINTS_HZ))
        for letter in letters:
            record, t_s = letter
            self._tick = letter
            self._answered_s[record["fresh"]] = t_s
            self._metrics.tick(record)
            self._late_s.append((t_s, float(record["late_s"])))
            if record["limited"].any():
                self._limited.append(
                    (t_s, Counter(dict(zip(LIMITED, record["limited"].tolist(), strict=True))))
                )
            if math.isfinite(record["entered_s"]):
                self._servo_s, self._infer_s = float(record["servo_s"]), float(record["infer_s"])
            self._peak_s = max(self._peak_s, float(record["late_s"]))
            if record["index"] % stride == 0:
                sent_deg, measured_deg = _degrees(record["sent_rad"]), _degrees(record["measured_rad"])
                self._points.append([round(t_s, 3), *sent_deg, *measured_deg, _number(1e3 * self._peak_s)])
                self._peak_s = 0.0
        if self._tick is not None:
            for kept in (self._late_s, self._limited):
                while kept and kept[0][0] < self._tick.t_s - PAST_S:  # type: ignore[index]
                    kept.popleft()

    def _read_chunks(self, boxes: Boxes) -> None:
        for letter in boxes.chunks.news()[0]:
            self._metrics.chunk(read_chunk(letter.record).chunk)

    def _read_sights(self, plan: Plan, boxes: Boxes) -> None:
        assert self._dreaming is not None
        for number, box in enumerate(boxes.sights):
            letters, _ = box.news()
            for letter in letters:
                self._dreaming.see(number, letter.t_s, np.asarray(letter.record["image"]))
            if letters:
                record, t_s = letters[-1]
                picture = {"t_s": t_s, "jpeg": jpeg(np.asarray(record["image"]))}
                self._tell(f"sight-{plan.cameras[number][0]}", _json(picture))
        for letter in boxes.dreams.news()[0]:
            self._dreaming.imagine(letter.t_s, np.asarray(letter.record["images"]))
        if (compared := self._dreaming.come_true()) is not None:
            self._tell("dream", _json(compared))

    # --- messages ---------------------------------------------------------------------------------

    def _plan_json(self, plan: Plan) -> str:
        at = self._thresholds
        return _json(
            {
                "robot": self._instance,
                "model": plan.model,
                "control_hz": plan.control_hz,
                "joints": list(plan.joints),
                "low_deg": np.rad2deg(plan.low_rad).round(1).tolist(),
                "high_deg": np.rad2deg(plan.high_rad).round(1).tolist(),
                "cameras": [list(camera) for camera in plan.cameras],
                "commands": list(plan.commands.values()),
                "push": plan.push,
                "past_s": PAST_S,
                "warm_c": at.warm_c,
                "hot_c": at.hot_c,
                "voltage_low_v": at.voltage_low_v,
            }
        )

    def _state(self, now_s: float) -> dict[str, Any]:
        """The newest tick, and figures over the last PAST_S. Times in s, but for *_ms."""
        if self._tick is None:
            return {"now_s": now_s, "age_s": None}
        record, t_s = self._tick
        assert self.plan is not None
        command = _text(record["command"])
        late_ms = np.array([late_s for _, late_s in self._late_s]) * 1e3
        limited: Counter[str] = Counter()
        for _, counts in self._limited:
            limited.update(counts)
        return {
            "now_s": now_s,
            "age_s": now_s - t_s,
            "silent": now_s - t_s > SILENT_S,
            "mode": _text(record["mode"]),
            "task": self.plan.commands.get(command, command),
            "stale_s": _number(record["stale_s"]),
            "late_ms": _number(late_ms[-1]),
            "late_p50_ms": _number(np.percentile(late_ms, 50)),
            "late_p99_ms": _number(np.percentile(late_ms, 99)),
            "work_ms": _number(record["work_s"] * 1e3),
            "misses": int(record["misses"]),
            "infer_ms": _number(self._infer_s * 1e3),
            "servo_ms": _number(self._servo_s * 1e3),
            "limited": {reason: count for reason, count in limited.items() if count},
            "lost": self._lost,
            "sent_deg": _degrees(record["sent_rad"]),
            "measured_deg": _degrees(record["measured_rad"]),
            "temperature_c": _numbers(record["temperature_c"]),
            "voltage_v": _numbers(record["voltage_v"]),
            "current_a": _numbers(record["current_a"]),
            "load": _numbers(record["load"]),
            "mute": [bool(mute) for mute in t_s - self._answered_s > MUTE_S],
            "errors": [self._error_text(int(error)) if error else "" for error in record["error"]],
            "points": [point for point in self._points if (point[0] or 0.0) > now_s - 3 * STEP_S],
        }

    # --- orders -----------------------------------------------------------------------------------

    async def stop(self) -> float:
        """Ask for STOP and wait until a tick shows that it was carried out; returns after how long (s).

        EdgeWamError if there is no robot, or nothing shows it within PROOF_S.
        """
        _, boxes = self._window.look()
        before = boxes.ticks.get()
        asked_s = time.monotonic()
        await asyncio.to_thread(self._ask, Verb.STOP)
        while time.monotonic() < asked_s + PROOF_S:
            letter = boxes.ticks.get()
            if letter is not None and _stopped(letter, before, asked_s):
                return letter.t_s - asked_s
            await asyncio.sleep(0.01)
        raise EdgeWamError(
            f"the robot was asked to stop, and did not show within {PROOF_S:g} s that it has: cut its power"
        )

    async def do(self, command: str) -> None:
        """Ask for a command, in the model's tokens. EdgeWamError if there is no robot."""
        await asyncio.to_thread(self._ask, Verb.DO, command)

    async def talk(self, held: bool, who: str) -> None:
        """The push-to-talk button of one browser. EdgeWamError if there is no robot."""
        await asyncio.to_thread(self._talk, held, f"{_BY}-{who}")

    def _talk(self, held: bool, by: str) -> None:
        with self._posting:
            self._post.talk(held, by)

    def _ask(self, verb: Verb, command: str = "") -> None:
        """In a thread: to post may wait for another program's post."""
        with self._posting:
            self._post.ask(verb, command, _BY)


def _stopped(letter: Letter, before: Letter | None, asked_s: float) -> bool:
    """Whether a tick after the asking holds, for another order than before: every order has its own epoch."""
    record = letter.record
    newer = int(record["epoch"]) > (0 if before is None else int(before.record["epoch"]))
    return letter.t_s > asked_s and newer and bytes(record["mode"]) == b"holding"


def _text(field: Any) -> str:
    return bytes(field).decode("utf-8", "replace")


def _number(value: Any) -> float | None:
    """For JSON, which has no NaN."""
    return round(float(value), 3) if math.isfinite(value) else None


def _numbers(values: Any) -> list[float | None]:
    return [_number(value) for value in values]


def _degrees(values_rad: Any) -> list[float | None]:
    return [None if value is None else round(value, 1) for value in _numbers(np.rad2deg(values_rad))]


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
