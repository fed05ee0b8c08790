"""One monotonic clock, and the slots of a fixed-rate loop.

Everything that waits is handed a Clock, so that an hour of loop runs in milliseconds in a test and
the simulator can step its world inside `sleep_until`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from edge_wam.types import Tick


class Clock(Protocol):
    """What time it is on the monotonic clock, and waiting for a moment of it."""

    def now_s(self) -> float: ...

    def sleep_until(self, t_s: float) -> None: ...


class MonotonicClock:
    """The machine's CLOCK_MONOTONIC: the same in every process, untouched by whoever sets the date."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep_until(self, t_s: float) -> None:
        """Sleep until `t_s`; at once if that has passed."""
        if (rest_s := t_s - time.monotonic()) > 0:
            time.sleep(rest_s)


class ManualClock:
    """A clock that stands still until somebody waits. `on_advance(t_s)` is called after every advance."""

    def __init__(self, start_s: float = 0.0, on_advance: Callable[[float], None] | None = None) -> None:
        self._now_s = start_s
        self._on_advance = on_advance

    def now_s(self) -> float:
        return self._now_s

    def sleep_until(self, t_s: float) -> None:
        """It is `t_s` now; nothing happens if that has passed."""
        if t_s > self._now_s:
            self._now_s = t_s
            if self._on_advance is not None:
                self._on_advance(t_s)

    def advance(self, duration_s: float) -> None:
        """Let time pass, as slow work would."""
        self.sleep_until(self._now_s + duration_s)


def ticks(clock: Clock, period_s: float) -> Iterator[Tick]:
    """Slots at absolute deadlines `start + i * period_s`, for ever. Waits for each.

    Late slots are dropped and counted, never replayed: a burst of old steps would run the arm
    through its bus as fast as it answers. After a stall the current slot is acted upon at once, so
    one following period may be short, never two.
    """
    start_s, index = clock.now_s(), 0
    while True:
        due_s = start_s + index * period_s
        clock.sleep_until(due_s)
        late_s = clock.now_s() - due_s
        skipped = max(0, math.floor(late_s / period_s + 1e-9))  # exactly one period late is the next slot
        index += skipped
        yield Tick(index, start_s + index * period_s, late_s - skipped * period_s, skipped)
        index += 1
