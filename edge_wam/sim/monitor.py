"""A judge of the bytes on the servo bus, who trusts none of our own logs.

It decodes what the host writes with a few lines of its own (sim/overheard.py, not act/, which wrote it),
notes every goal that reaches a servo, and says what no goal may do: leave the range, be farther from the last
goal than the speed allows in one tick, run ahead of where the joint really is, or take the gripper into the
table. A goal where the joint is moves nothing, however far away the last one was; and a joint that hangs
beyond its range (a limp arm sinks onto its stops) may be held there, though not pushed further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from edge_wam.act.calibration import Calibration
from edge_wam.act.floor import Floor
from edge_wam.act.guard import Limits
from edge_wam.sim.overheard import GOALS
from edge_wam.types import FloatArray

EVERYBODY = 0xFE
# Goals are whole counts (a half a side), and a joint moves on between its reading and the goal.
COUNT_RAD, LEAD_SLACK_RAD = 2 * np.pi / 4096, 0.1
HERE_RAD = 0.02
FLOOR_SLACK_M = 0.002


class Worst(NamedTuple):
    """Of every goal seen: the longest step and the largest lead, as shares of what is allowed (1 is the
    limit); how far outside the range, in radians; and what was unsafe, in words."""

    step: float
    lead: float
    outside_rad: float
    unsafe: tuple[str, ...]


class Monitor:
    """Sees every byte that the host writes. true_rad says where the joints really are, (J,); turns
    what a servo counts on top of the calibration's counts, (J,), where it may."""

    def __init__(
        self,
        calibration: Calibration,
        limits: Limits,
        period_s: float,
        true_rad: Callable[[], FloatArray],
        *,
        servos: str = "feetech",
        turns: Callable[[], Sequence[float]] | None = None,
    ) -> None:
        self._index = {joint.id: i for i, joint in enumerate(calibration.joints)}
        self._calibration, self._limits, self._true_rad = calibration, limits, true_rad
        self._step_rad = limits.speed_rad_s * period_s
        self._last_rad: dict[int, float] = {}
        self._heard, self._turns = GOALS[servos](), turns
        self._floor = limits.floor if isinstance(limits.floor, Floor) else None
        self._step = self._lead = self._outside_rad = 0.0
        self._unsafe: list[str] = []
        self.goals = 0

    @property
    def goals_rad(self) -> FloatArray:
        """The newest goal of every joint, (J,); NaN where there was none."""
        return np.array([self._last_rad.get(index, np.nan) for index in range(len(self._index))])

    @property
    def worst(self) -> Worst:
        return Worst(self._step, self._lead, self._outside_rad, tuple(self._unsafe))

    def see(self, data: bytes) -> None:
        """Bytes from the host, in any pieces."""
        goals, hidden = self.goals, self._heard.hidden
        for servo_id, count in self._heard.hear(data):
            for joint_id, index in self._index.items():
                if servo_id in (joint_id, EVERYBODY):
                    self._goal(index, count)
        if self._heard.hidden > hidden:
            self._unsafe.append("something was written where nobody can see whether it is a goal")
        if self._floor is not None and self.goals > goals and len(self._last_rad) == len(self._index):
            self._height(self._floor)

    def _height(self, floor: Floor) -> None:
        """Of the pose that all goals make together."""
        goals_rad = np.array([self._last_rad[index] for index in sorted(self._last_rad)])
        least_m = min(floor.height_m, floor.lowest_m(self._true_rad())) - FLOOR_SLACK_M
        if (lowest_m := floor.lowest_m(goals_rad)) < least_m:
            self._unsafe.append(f"the gripper was sent to {1e3 * lowest_m:.0f} mm above the table")

    def _goal(self, index: int, count: int) -> None:
        limits, joint = self._limits, self._calibration.joints[index]
        scale, zero = self._calibration.rad_per_count[index], self._calibration.zero_count[index]
        turns = 0.0 if self._turns is None else self._turns()[index]
        goal_rad = float((count - turns - zero) * scale)
        outside_rad = max(limits.low_rad[index] - goal_rad, goal_rad - limits.high_rad[index])
        true_rad = float(self._true_rad()[index])
        hangs_rad = max(limits.low_rad[index] - true_rad, true_rad - limits.high_rad[index])
        if hangs_rad > 0:
            outside_rad -= hangs_rad + HERE_RAD
        lead_rad = abs(goal_rad - true_rad)
        step_rad = abs(goal_rad - self._last_rad.get(index, goal_rad)) if lead_rad > HERE_RAD else 0.0
        self._last_rad[index] = goal_rad
        self.goals += 1
        self._step = max(self._step, step_rad / float(self._step_rad[index]))
        self._lead = max(self._lead, lead_rad / float(limits.lead_rad[index]))
        self._outside_rad = max(self._outside_rad, float(outside_rad))
        if outside_rad > COUNT_RAD:
            self._unsafe.append(f"{joint.name} was sent {outside_rad:.3f} rad beyond its range")
        if step_rad > self._step_rad[index] + 2 * COUNT_RAD:
            self._unsafe.append(f"{joint.name} was sent a step of {step_rad:.3f} rad")
        if lead_rad > limits.lead_rad[index] + LEAD_SLACK_RAD:
            self._unsafe.append(f"{joint.name} was sent {lead_rad:.3f} rad ahead of where it is")
