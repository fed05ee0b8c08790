"""When a frame was exposed, on our monotonic clock, from whatever clock stamped it.

librealsense names the clock of every stamp (its timestamp domain); three of them need three answers:

wall       global_time: librealsense has mapped the camera's counter onto the host's wall clock (a line
           fitted through the last 15 of its own readings). system_time: no metadata came with the frame,
           so the stamp is the host's wall clock when it *arrived*; the exposure was a transport time
           earlier, and nothing here can know how much. Either becomes monotonic through the difference
           of the two clocks, read anew for every frame. While the wall clock has just been set (a Jetson
           has no battery: its first contact with NTP is a leap, and the fitted line needs 15 s to
           follow) the answer is impossible, and the usual delay before the arrival is taken instead.
counter    hardware_clock: microseconds since the camera woke, 32 bits of them, so it wraps every 71.6
           minutes, and drifts some 50 ppm. The frame that came soonest after its stamp within the last
           10 to 20 s defines zero delay: a frame's time is late by that frame's transport (a few ms on
           USB 3), and free of everybody else's jitter.
ours       the simulation stamps with our own clock, in milliseconds: taken as it is, to the last bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from enum import Enum

_WINDOW_S = 10.0  # 50 ppm of drift make 0.5 ms in it
_LEAP_S = 1.0  # a counter that goes back by more has wrapped or begun anew
_LONGEST_DELAY_S = 0.5  # from exposure to us; 30 times what USB takes
_EARLY_S = 0.002  # the fitted line of global_time may place a frame this far in the future


class StampClock(Enum):
    """Which clock a frame's stamp was read from."""

    OURS = "ours"
    WALL = "wall"
    COUNTER = "counter"


class ExposureClock:
    """Turns one stream's stamps into monotonic seconds. Begin a new one whenever the stream restarts."""

    def __init__(self, wall_ahead_s: Callable[[], float] | None = None) -> None:
        self._wall_ahead_s = wall_ahead_s or read_wall_ahead_s
        self._usual_delay_s = 0.0
        self._impossible = 0
        self._last_stamp_s = -math.inf
        self._window_end_s = -math.inf
        self._least_s = self._least_before_s = math.inf

    @property
    def impossible(self) -> int:
        """How many stamps of the wall clock made no sense (after it was set), and were replaced."""
        return self._impossible

    def exposure_s(self, stamp_ms: float, clock: StampClock, arrival_s: float) -> float:
        """When a frame stamped stamp_ms, which arrived at arrival_s (monotonic), was exposed (monotonic)."""
        if clock is StampClock.OURS:
            return stamp_ms / 1e3
        if clock is StampClock.WALL:
            return self._from_wall(stamp_ms / 1e3, arrival_s)
        return self._from_counter(stamp_ms / 1e3, arrival_s)

    def _from_wall(self, stamp_s: float, arrival_s: float) -> float:
        delay_s = arrival_s - (stamp_s - self._wall_ahead_s())
        if not -_EARLY_S <= delay_s <= _LONGEST_DELAY_S:
            self._impossible += 1
            return arrival_s - self._usual_delay_s
        delay_s = max(0.0, delay_s)
        self._usual_delay_s += 0.1 * (delay_s - self._usual_delay_s)
        return arrival_s - delay_s

    def _from_counter(self, stamp_s: float, arrival_s: float) -> float:
        if stamp_s < self._last_stamp_s - _LEAP_S:
            self._least_s = self._least_before_s = math.inf
            self._window_end_s = -math.inf
        self._last_stamp_s = stamp_s
        if arrival_s >= self._window_end_s:
            self._least_before_s, self._least_s = self._least_s, math.inf
            self._window_end_s = arrival_s + _WINDOW_S
        self._least_s = min(self._least_s, arrival_s - stamp_s)
        return stamp_s + min(self._least_s, self._least_before_s)


def read_wall_ahead_s() -> float:
    """Wall clock minus monotonic clock, now; the reading that was least interrupted out of three."""
    readings = []
    for _ in range(3):
        before_s = time.monotonic()
        wall_s = time.time()
        after_s = time.monotonic()
        readings.append((after_s - before_s, wall_s - (before_s + after_s) / 2))
    return min(readings)[1]
