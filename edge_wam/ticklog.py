"""What the control loop did, tick by tick, in memory that was set aside before it began.

`add` writes a few numbers into preallocated arrays and never waits, prints or grows; when the
arrays are full the oldest ticks are overwritten. Everything else happens after the loop.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.act.guard import Limited
from edge_wam.types import ActionChunk, FloatArray, Joints, Tick

TEN_MINUTES = 30_000  # ticks at 50 Hz


class History(NamedTuple):
    """The ticks that are kept, oldest first. N ticks.

    t_s, late_s, work_s, stale_s (N,); skipped (N,) slots dropped before the tick; measured_rad,
    wish_rad (NaN: hold), sent_rad (N, J); limited (N, 4): joints limited, by the fields of
    guard.Limited; servo_s (N,): exposure to servo of a chunk that was first used in this tick, and
    infer_s its engine's time, NaN elsewhere; bus_s (N,): what asking the servos took of work_s.
    """

    t_s: FloatArray
    late_s: FloatArray
    work_s: FloatArray
    stale_s: FloatArray
    skipped: NDArray[np.int64]
    measured_rad: FloatArray
    wish_rad: FloatArray
    sent_rad: FloatArray
    limited: NDArray[np.int64]
    servo_s: FloatArray
    infer_s: FloatArray
    bus_s: FloatArray


class Figures(NamedTuple):
    """The short table. Percentiles are over the ticks kept (NaN where there are none), counts over
    all ticks. limited: ticks in which the guard changed the wish."""

    ticks: int
    misses: int
    late_p50_ms: float
    late_p99_ms: float
    work_p50_ms: float
    work_p99_ms: float
    chunks: int
    infer_p50_ms: float
    infer_p99_ms: float
    exposure_to_servo_p50_ms: float
    exposure_to_servo_p99_ms: float
    limited: int
    bus_p50_ms: float
    bus_p99_ms: float


class TickLog:
    """A ring of `capacity` ticks."""

    def __init__(self, joints: int, capacity: int = TEN_MINUTES) -> None:
        def numbers(*shape: int) -> FloatArray:
            return np.full((capacity, *shape), np.nan)  # written to, so that no page is missing later

        def counts(*shape: int) -> NDArray[np.int64]:
            return np.full((capacity, *shape), -1, np.int64)

        self._capacity = capacity
        self._kept = History(
            t_s=numbers(),
            late_s=numbers(),
            work_s=numbers(),
            stale_s=numbers(),
            skipped=counts(),
            measured_rad=numbers(joints),
            wish_rad=numbers(joints),
            sent_rad=numbers(joints),
            limited=counts(len(Limited._fields)),
            servo_s=numbers(),
            infer_s=numbers(),
            bus_s=numbers(),
        )
        self._count = self._misses = self._chunks = self._limited = 0

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
    ) -> None:
        """Note one tick; `entered` is the chunk first used in it, `now_s` when its target had been sent."""
        kept, i = self._kept, self._count % self._capacity
        kept.t_s[i] = tick.t_s
        kept.late_s[i] = tick.late_s
        kept.work_s[i] = now_s - tick.t_s - tick.late_s
        kept.stale_s[i] = stale_s
        kept.skipped[i] = tick.skipped
        kept.measured_rad[i] = seen.position_rad
        kept.wish_rad[i] = math.nan if wish_rad is None else wish_rad
        kept.sent_rad[i] = sent_rad
        kept.limited[i] = limited
        kept.servo_s[i] = math.nan if entered is None else now_s - entered.t0_s
        kept.infer_s[i] = math.nan if entered is None else entered.infer_s
        kept.bus_s[i] = seen.bus_s
        self._count += 1
        self._misses += tick.skipped
        self._chunks += entered is not None
        self._limited += limited.any

    @property
    def misses(self) -> int:
        """Slots skipped so far."""
        return self._misses

    @property
    def limited(self) -> int:
        """Ticks so far in which the guard changed the wish."""
        return self._limited

    def history(self) -> History:
        """A copy of the ticks kept, in order of time."""
        order = np.arange(max(0, self._count - self._capacity), self._count) % self._capacity
        return History._make(array[order] for array in self._kept)

    def figures(self) -> Figures:
        """The short table of what was kept."""
        kept = self.history()
        return Figures(
            self._count,
            self._misses,
            *_percentiles_ms(kept.late_s),
            *_percentiles_ms(kept.work_s),
            self._chunks,
            *_percentiles_ms(kept.infer_s),
            *_percentiles_ms(kept.servo_s),
            self._limited,
            *_percentiles_ms(kept.bus_s),
        )


def _percentiles_ms(values_s: FloatArray) -> tuple[float, float]:
    """p50 and p99 in milliseconds, of what is not NaN."""
    known = values_s[~np.isnan(values_s)]
    if not len(known):
        return math.nan, math.nan
    p50, p99 = np.percentile(known, (50, 99)) * 1e3
    return float(p50), float(p99)
