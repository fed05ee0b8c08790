"""What Prometheus is told. Names end in their unit; a robot that is gone leaves no old values behind."""

from __future__ import annotations

import math
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from edge_wam.telemetry import KINDS, LIMITED
from edge_wam.types import JOINTS, ActionChunk

_TICK_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
_THOUGHT_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5)
_MODES = ("holding", "following", "parking", "parked")
# by joint: the metric's name, its help, the field of TICK
_JOINT = (
    ("joint_measured_radians", "where the joint is", "measured_rad"),
    ("joint_target_radians", "the last target sent", "sent_rad"),
    ("servo_temperature_celsius", "as the servo says", "temperature_c"),
    ("servo_voltage_volts", "as the servo says", "voltage_v"),
    ("servo_current_amperes", "as the servo says", "current_a"),
    ("servo_load_ratio", "of the stall torque, signed", "load"),
    ("servo_error_byte", "the servo's error byte; 0 is healthy", "error"),
    ("servo_fresh", "1: it answered in the newest tick", "fresh"),
)


class Metrics:
    """One robot's. `text` is what /metrics answers."""

    def __init__(self, instance: str) -> None:
        self._registry = registry = CollectorRegistry()
        self._last: Any = None

        def name(what: str) -> dict[str, Any]:
            return {"name": f"edge_wam_{what}", "registry": registry}

        watched = Gauge(documentation="the robot watched", labelnames=("robot",), **name("robot"))
        watched.labels(instance).set(1)
        self._up = Gauge(documentation="1: its loop ticks", **name("up"))
        self._late = Histogram(
            documentation="how late a tick began", buckets=_TICK_S, **name("tick_lateness_seconds")
        )
        self._work = Histogram(documentation="what a tick took", buckets=_TICK_S, **name("tick_work_seconds"))
        self._skipped = Counter(documentation="ticks skipped for lateness", **name("ticks_skipped"))
        self._infer = Histogram(
            documentation="what the engine took", buckets=_THOUGHT_S, **name("inference_seconds")
        )
        self._servo = Histogram(
            documentation="from exposure to the servos, of chunks followed",
            buckets=_THOUGHT_S,
            **name("exposure_to_servo_seconds"),
        )
        self._limited = Counter(
            documentation="joint targets limited by the guard", labelnames=("reason",), **name("limited")
        )
        self._events = Counter(documentation="what happened", labelnames=("kind",), **name("events"))
        self._refused = Counter(documentation="sentences heard that were no command", **name("refused"))
        self._asked = Counter(documentation="orders by this page", labelnames=("verb",), **name("asked"))
        self._mode = Gauge(documentation="1 for the mode it is in", labelnames=("mode",), **name("mode"))
        self._joints = {
            field: Gauge(documentation=said, labelnames=("joint",), **name(what))
            for what, said, field in _JOINT
        }
        for reason in LIMITED:
            self._limited.labels(reason)
        for kind in KINDS:
            self._events.labels(kind)
        for verb in ("stop", "do"):
            self._asked.labels(verb)

    def tick(self, record: Any) -> None:
        """A TICK record."""
        self._last = record
        self._late.observe(float(record["late_s"]))
        self._work.observe(float(record["work_s"]))
        self._skipped.inc(max(0, int(record["skipped"])))
        if math.isfinite(record["entered_s"]):
            self._servo.observe(float(record["servo_s"]))
        for reason, count in zip(LIMITED, record["limited"].tolist(), strict=True):
            if count > 0:
                self._limited.labels(reason).inc(count)

    def chunk(self, chunk: ActionChunk) -> None:
        """A chunk as it was decided."""
        self._infer.observe(chunk.infer_s)

    def event(self, kind: str, *, refused: bool) -> None:
        """An event; refused: heard, and no command."""
        self._events.labels(kind if kind in KINDS else "note").inc()
        if refused:
            self._refused.inc()

    def asked(self, verb: str) -> None:
        """This page asked the robot for something."""
        self._asked.labels(verb).inc()

    def state(self, *, up: bool) -> None:
        """Whether its loop ticks now. A robot that is gone has no joints."""
        self._up.set(up)
        if not up:
            self._last = None

    def text(self) -> bytes:
        """In Prometheus' text format."""
        for gauge in (*self._joints.values(), self._mode):
            gauge.clear()
        if self._last is not None:
            mode = bytes(self._last["mode"]).decode("ascii", "replace")
            for known in _MODES:
                self._mode.labels(known).set(known == mode)
            for field, gauge in self._joints.items():
                for joint, value in zip(JOINTS, self._last[field].tolist(), strict=True):
                    gauge.labels(joint).set(value)
        return generate_latest(self._registry)
