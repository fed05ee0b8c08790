"""A judge of the bytes on the servo bus, who trusts none of our own logs.

It decodes what the host writes with a few lines of its own (not act/feetech.py, which wrote it), notes every
goal that reaches a servo, and says what no goal may do: leave the range, be farther from the last goal than
the speed allows in one tick, run ahead of where the joint really is, or take the gripper into the table. A
goal where the joint is moves nothing, however far away the last one was; and a joint that hangs beyond its
range (a limp arm sinks onto its stops) may be held there, though not pushed further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from edge_wam.act.calibration import Calibration
from edge_wam.act.floor import Floor
from edge_wam.act.guard import Limits
from edge_wam.types import FloatArray

_GOAL, _GOAL_END = 42, 44
_WRITE, _SYNC_WRITE = 0x03, 0x83
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
    """Sees every byte that the host writes. true_rad says where the joints really are, (J,)."""

    def __init__(
        self,
        calibration: Calibration,
        limits: Limits,
        period_s: float,
        true_rad: Callable[[], FloatArray],
    ) -> None:
        self._index = {joint.id: i for i, joint in enumerate(calibration.joints)}
        self._calibration, self._limits, self._true_rad = calibration, limits, true_rad
        self._step_rad = limits.speed_rad_s * period_s
        self._last_rad: dict[int, float] = {}
        self._bytes = bytearray()
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
        self._bytes += data
        goals = self.goals
        for servo_id, address, payload in self._writes():
            if servo_id in self._index and address <= _GOAL and address + len(payload) >= _GOAL_END:
                raw = int.from_bytes(payload[_GOAL - address : _GOAL_END - address], "little")
                self._goal(self._index[servo_id], -(raw & 0x7FFF) if raw & 0x8000 else raw)

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
        goal_rad = float((count - zero) * scale)
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

    def _writes(self) -> Iterator[tuple[int, int, bytes]]:
        """Every whole write so far: servo, address, data."""
        stream = self._bytes
        while (start := stream.find(b"\xff\xff")) >= 0 and len(stream) >= start + 4:
            if stream[start + 2] == 0xFF:  # noise before a header
                del stream[: start + 1]
                continue
            length = stream[start + 3]
            end = start + 4 + length
            if len(stream) < end:
                return
            packet = bytes(stream[start + 2 : end])
            del stream[:end]
            if length < 2:
                continue
            servo_id, code, parameters = packet[0], packet[2], packet[3:-1]
            if (~sum(packet[:-1]) & 0xFF) != packet[-1]:
                continue
            if code == _WRITE and parameters:
                yield servo_id, parameters[0], parameters[1:]
            elif code == _SYNC_WRITE and len(parameters) > 2:
                size = parameters[1]
                for at in range(2, len(parameters), size + 1):
                    yield parameters[at], parameters[0], parameters[at + 1 : at + 1 + size]
