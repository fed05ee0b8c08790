"""The control loop: the whole robot on one screen.

Nothing in here waits for anybody: orders, chunks and states pass through mailboxes, a tick whose
time has passed is skipped, a servo that did not answer is asked again at the next tick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge_wam.act.guard import Limited, limit
from edge_wam.clock import Clock, ticks
from edge_wam.orders import OrderSource
from edge_wam.pilot import Pilot, Task
from edge_wam.types import ActionChunk, FloatArray, Joints, Tick

CONTROL_HZ = 50.0


class Robot(Protocol):
    """The arm (act/arm.py). Poses (J,) in radians."""

    def start(self) -> FloatArray:
        """Goals := present, then torque; returns the pose held."""

    def sense(self) -> Joints: ...

    def act(self, target_rad: FloatArray) -> FloatArray:
        """Send; returns what went out, after rounding."""

    def release(self) -> bool:
        """Torque off. Never raises."""


class Thinker(Protocol):
    """The policy, wherever it lives (remote.py: in another process). Neither call waits."""

    def offer(self, seen: Joints, sent_rad: FloatArray, task: Task) -> None: ...

    def take(self) -> ActionChunk | None: ...


class Log(Protocol):
    """What is told of every tick (ticklog.py, broadcast.py). Must not wait."""

    def add(
        self,
        tick: Tick,
        seen: Joints,
        wish_rad: FloatArray | None,
        sent_rad: FloatArray,
        stale_s: float,
        limited: Limited,
        entered: ActionChunk | None,
        now_s: float,
    ) -> None: ...


def run(
    robot: Robot,
    thinker: Thinker,
    orders: OrderSource,
    pilot: Pilot,
    clock: Clock,
    log: Log,
    control_hz: float = CONTROL_HZ,
    beat: Callable[[float], object] = lambda t_s: None,
) -> None:
    """Sense, think, act: once per tick, until an order to quit is carried out. Always lets go.

    beat is told the time at the end of every tick: a watchdog's food. It must not wait.
    """
    period_s = 1.0 / control_hz
    try:
        sent_rad = before_rad = robot.start()
        for tick in ticks(clock, period_s):
            seen = robot.sense()
            for order in orders.take():
                pilot.obey(order, tick.t_s, sent_rad, seen.position_rad)
            entered = pilot.take(thinker.take(), tick.t_s)
            wish_rad, stale_s = pilot.wish(tick.t_s, sent_rad, seen)
            if pilot.finished(tick.t_s, seen):
                break
            target_rad, limited = limit(
                wish_rad, sent_rad, before_rad, seen.position_rad, pilot.limits, period_s
            )
            before_rad, sent_rad = sent_rad, robot.act(target_rad)
            thinker.offer(seen, sent_rad, pilot.task)
            log.add(tick, seen, wish_rad, sent_rad, stale_s, limited, entered, clock.now_s())
            beat(tick.t_s)
    finally:
        robot.release()
