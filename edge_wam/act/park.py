"""A way to a resting pose: straight in joint space, smooth in time, well under the guard's limits."""

from __future__ import annotations

import numpy as np

from edge_wam.act.guard import Limits
from edge_wam.types import FloatArray

# The quintic's top speed is 15/8 of its mean; a resting arm is in no hurry.
_PEAK = 15.0 / 8.0
_SPEED_FRACTION = 0.4


class Motion:
    """A motion from one pose to another as a function of time, at rest at both ends.

    All joints begin and end together, and none is asked to move faster than 0.4 of its speed limit.
    """

    def __init__(self, from_rad: FloatArray, to_rad: FloatArray, limits: Limits, start_s: float) -> None:
        self._from_rad, self._change_rad = from_rad.copy(), to_rad - from_rad
        slowest = np.abs(self._change_rad) / (_SPEED_FRACTION * limits.speed_rad_s)
        self._start_s = start_s
        self.duration_s = _PEAK * float(slowest.max())
        self.end_s = start_s + self.duration_s

    def at(self, t_s: float) -> FloatArray:
        """The pose (J,) wanted at `t_s`."""
        pose_rad: FloatArray = self._from_rad + self._progress(t_s) * self._change_rad
        return pose_rad

    def done(self, t_s: float) -> bool:
        """Whether the motion is over at `t_s`."""
        return t_s >= self.end_s

    def _progress(self, t_s: float) -> float:
        if self.done(t_s):
            return 1.0
        x = max(0.0, (t_s - self._start_s) / self.duration_s)
        return x * x * x * (10.0 + x * (6.0 * x - 15.0))
