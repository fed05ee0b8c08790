"""The plan: what the arm is to do, as a function of time.

A chunk's row i is due at t0 + i * dt, where t0 is the exposure of the frame it was computed from.
So nothing is popped from a queue: rows that are late by the time the chunk arrives drop out by
arithmetic, and between rows the plan is linear. When the rows run out the last one is held, and
`stale_s` says for how long: the arm brakes and holds; what happens later is the pilot's business.

A chunk is taken or dropped as a whole. One that serves an older command, was computed from an
older frame than the present one, has run out already, or is not what the model's contract says
(finite, J joints, near the arm's range) never moves anything; it is counted by its reason.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from edge_wam.messages import ROWS_MAX
from edge_wam.types import ActionChunk, FloatArray

# A policy may wish a little beyond the range (a gripper that squeezes); farther is not a wish, it is
# a broken normalisation.
MARGIN_RAD = 0.5
# t_s is when the tick was due; a late tick may well see a younger frame. Beyond that it is another clock.
FUTURE_S = 0.1


class Wish(NamedTuple):
    """What the plan wants at some time: target_rad (J,), or None without a plan; stale_s is how long
    ago the rows ran out (0 while they last)."""

    target_rad: FloatArray | None
    stale_s: float


class PlanCounts(NamedTuple):
    """Chunks so far: taken, of another epoch, overtaken by a newer frame, arrived after their last
    row, and out of contract."""

    accepted: int = 0
    other_epoch: int = 0
    overtaken: int = 0
    too_late: int = 0
    broken: int = 0


class Plan:
    """The newest good chunk of the present command. low_rad, high_rad (J,): the arm's range."""

    def __init__(self, low_rad: FloatArray, high_rad: FloatArray) -> None:
        self._lowest_rad = low_rad - MARGIN_RAD
        self._highest_rad = high_rad + MARGIN_RAD
        self._chunk: ActionChunk | None = None
        self._fresh_until_s = -math.inf
        self.epoch = 0
        self.counts = PlanCounts()

    def begin(self, epoch: int, t_s: float) -> None:
        """A new command at `t_s`: forget the old plan; only chunks of `epoch` count from here on."""
        self.epoch, self._chunk, self._fresh_until_s = epoch, None, t_s

    def accept(self, chunk: ActionChunk, t_s: float) -> bool:
        """Follow `chunk` from now (`t_s`) on, or drop and count it. True if it is followed."""
        reason = self._flaw(chunk, t_s)
        self.counts = self.counts._replace(**{reason: getattr(self.counts, reason) + 1})
        if reason != "accepted":
            return False
        self._chunk, self._fresh_until_s = chunk, _end_s(chunk)
        return True

    def at(self, t_s: float) -> Wish:
        """What is wanted at `t_s`. Before row 0 that is row 0, after the last row the last row."""
        stale_s = max(0.0, t_s - self._fresh_until_s)
        if self._chunk is None:
            return Wish(None, stale_s)
        rows = self._chunk.target_rad
        last = len(rows) - 1
        row = min(max((t_s - self._chunk.t0_s) / self._chunk.dt_s, 0.0), float(last))
        before = int(row)
        after = min(before + 1, last)
        return Wish(rows[before] + (row - before) * (rows[after] - rows[before]), stale_s)

    def _flaw(self, chunk: ActionChunk, t_s: float) -> str:
        """The field of PlanCounts that the chunk belongs to."""
        if not self._in_contract(chunk, t_s):
            return "broken"
        if chunk.epoch != self.epoch:
            return "other_epoch"
        if self._chunk is not None and chunk.t0_s <= self._chunk.t0_s:
            return "overtaken"
        if _end_s(chunk) <= t_s:
            return "too_late"  # its last row would be a jump to where the arm should have been
        return "accepted"

    def _in_contract(self, chunk: ActionChunk, t_s: float) -> bool:
        rows = chunk.target_rad
        return (
            rows.ndim == 2
            and 1 <= len(rows) <= ROWS_MAX
            and rows.shape[1] == len(self._lowest_rad)
            and math.isfinite(chunk.t0_s)
            and 0.0 < chunk.dt_s < 1.0  # a NaN fails here as well
            and chunk.t0_s <= t_s + FUTURE_S
            and bool(((rows >= self._lowest_rad) & (rows <= self._highest_rad)).all())  # nor does NaN pass
        )


def _end_s(chunk: ActionChunk) -> float:
    return chunk.t0_s + (len(chunk.target_rad) - 1) * chunk.dt_s
