"""How the servos fare, every tick: what to say, how far to slow down, when to hold, park or let go.

    verdict = health.judge(joints, sent_rad)    pure but for how long something has lasted

Steps, each with its threshold in calibration/<robot>/limits.toml, [health]:

    WARN     said once, until it is over
    DERATE   speed and lead shrink with the temperature, and with the current that is drawn on average, before
             the servo's own protection lets the arm drop
    HOLD     a stall or collision (far behind its target *and* drawing a lot, for a while), a joint that does
             not follow though it draws little (limp, a stuck encoder), an error byte, a low supply: the task
             ends where the arm is, and it does not push
    PARK     too hot to go on: to the resting pose, slowly
    RELEASE  nothing else is left

A reading that is not fresh is old news: it judges nothing. Nor does a single one that is: garbage on the wire
has the right checksum once in 256 times, and was seen to report 128 degC.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from edge_wam.act import feetech
from edge_wam.types import FloatArray, Joints

UNWATCHED_RAD = 4 * math.pi  # farther behind its target than this no joint can be: it may push
PAUSE_S = 0.1  # a longer one between two looks is ours: nobody knows what was drawn meanwhile


class Level(enum.IntEnum):
    """What follows from a verdict; the larger the worse."""

    OK = 0
    WARN = 1
    DERATE = 2
    HOLD = 3
    PARK = 4
    RELEASE = 5


class Thresholds(NamedTuple):
    """[health] of limits.toml. Temperatures in degC, voltages in V, currents in A, times in s.

    From warm_c to hot_c the arm slows down, to `slowest` of its speed; at hot_c it parks, at release_c it
    lets go. In the same way it slows down from heavy_a to stall_a, drawn on average over heavy_s, but for
    a joint that may push. stall_a and a joint's stall_lead_rad, both for stall_s, are a stall; the latter
    alone, for follow_s, a joint that does not follow; heat, low voltage and error bytes count once they last
    for settle_s.
    """

    warm_c: float = 55.0
    hot_c: float = 66.0
    release_c: float = 80.0
    slowest: float = 0.3
    voltage_low_v: float = 4.5
    stall_a: float = 1.6
    stall_s: float = 0.3
    follow_s: float = 0.6
    settle_s: float = 0.1
    heavy_a: float = 1.4
    heavy_s: float = 1.0


class Verdict(NamedTuple):
    """level and why, in words for a person ('' if all is well); scale: of speed and lead, 1 is all."""

    level: Level
    scale: float
    why: str


class Health:
    """The servos of one arm. stall_lead_rad (J,): more than any lead for a joint that
    may push (a gripper holds by it). error_text puts their error byte into words."""

    def __init__(
        self,
        joints: Sequence[str],
        thresholds: Thresholds,
        stall_lead_rad: FloatArray,
        error_text: Callable[[int], str] = feetech.error_text,
    ) -> None:
        self._error_text = error_text
        self._joints, self._set, self._stall_lead_rad = tuple(joints), thresholds, stall_lead_rad
        self._since_s: dict[str, float] = {}
        self._watched = stall_lead_rad < 2 * math.pi
        self._mean_a, self._judged_s = np.zeros(len(self._joints)), -math.inf

    @property
    def thresholds(self) -> Thresholds:
        return self._set

    def judge(self, seen: Joints, sent_rad: FloatArray) -> Verdict:
        """The worst of everything that is the matter; sent_rad (J,) is the last target."""
        verdicts = [
            self._heat(seen),
            self._effort(seen),
            self._voltage(seen),
            self._errors(seen),
            self._stall(seen, sent_rad),
        ]
        worst = max(verdicts, key=lambda verdict: verdict.level)
        return worst._replace(scale=min(verdict.scale for verdict in verdicts))

    def _heat(self, seen: Joints) -> Verdict:
        index, hottest_c = self._worst(seen, seen.temperature_c)
        at = self._set
        hot = self._lasts("hot", hottest_c >= at.hot_c, seen.t_s, at.settle_s)
        unbearable = self._lasts("unbearable", hottest_c >= at.release_c, seen.t_s, at.settle_s)
        if hottest_c < at.warm_c:
            return _WELL
        scale = 1 - (1 - at.slowest) * min(1.0, (hottest_c - at.warm_c) / (at.hot_c - at.warm_c))
        level = Level.DERATE
        if unbearable:
            level = Level.RELEASE
        elif hot:
            level = Level.PARK
        return Verdict(level, scale, f"{self._joints[index]} is at {hottest_c:.0f} degC")

    def _effort(self, seen: Joints) -> Verdict:
        at, passed_s = self._set, max(0.0, seen.t_s - self._judged_s)
        self._judged_s = seen.t_s
        # What cannot be is taken for twice a stall: no single reading does anything.
        drawn_a = np.minimum(np.abs(seen.current_a), 2 * at.stall_a)
        weight = -math.expm1(-min(passed_s, PAUSE_S) / at.heavy_s)
        self._mean_a += np.where(seen.fresh & self._watched, weight * (drawn_a - self._mean_a), 0.0)
        index = int(self._mean_a.argmax())
        mean_a = float(self._mean_a[index])
        if mean_a < at.heavy_a:
            return _WELL
        scale = 1 - (1 - at.slowest) * min(1.0, (mean_a - at.heavy_a) / (at.stall_a - at.heavy_a))
        return Verdict(Level.DERATE, scale, f"{self._joints[index]} draws {mean_a:.1f} A on average")

    def _voltage(self, seen: Joints) -> Verdict:
        index, lowest_v = self._worst(seen, -seen.voltage_v)
        lowest_v = -lowest_v
        low = lowest_v < self._set.voltage_low_v
        if not self._lasts("voltage", low, seen.t_s, self._set.settle_s):
            return Verdict(Level.WARN, 1.0, "the supply sags") if low else _WELL
        return Verdict(
            Level.HOLD, 1.0, f"{self._joints[index]} has {lowest_v:.1f} V; is the supply strong enough?"
        )

    def _errors(self, seen: Joints) -> Verdict:
        index, error = self._worst(seen, seen.error.astype(np.float64))
        if not self._lasts("error", error > 0, seen.t_s, self._set.settle_s):
            return _WELL
        return Verdict(Level.HOLD, 1.0, f"{self._joints[index]} reports {self._error_text(int(error))}")

    def _stall(self, seen: Joints, sent_rad: FloatArray) -> Verdict:
        behind = np.abs(sent_rad - seen.position_rad) > self._stall_lead_rad
        behind &= seen.fresh
        pushing = behind & (np.abs(seen.current_a) > self._set.stall_a)
        stalled = self._lasts("stall", bool(pushing.any()), seen.t_s, self._set.stall_s)
        if self._lasts("behind", bool(behind.any()), seen.t_s, self._set.follow_s) and not stalled:
            return Verdict(
                Level.HOLD, 1.0, f"{self._joints[int(behind.argmax())]} does not follow its target"
            )
        if not stalled:
            return _WELL
        return Verdict(Level.HOLD, 1.0, f"{self._joints[int(pushing.argmax())]} pushes against something")

    def _worst(self, seen: Joints, values: FloatArray) -> tuple[int, float]:
        """The largest of what was said just now; -inf if nobody spoke."""
        known = np.where(seen.fresh, values, -math.inf)
        index = int(known.argmax())
        return index, float(known[index])

    def _lasts(self, what: str, now: bool, t_s: float, least_s: float) -> bool:
        """Whether this has been the case for so long."""
        if not now:
            self._since_s.pop(what, None)
            return False
        return t_s - self._since_s.setdefault(what, t_s) >= least_s


_WELL = Verdict(Level.OK, 1.0, "")
