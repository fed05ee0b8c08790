"""An arm of Feetech STS3215 servos.

The STS3215 has no watchdog: it goes on to its last goal when the host has died. So the drives' own
speed and acceleration limits are written at start, and only near goals are ever sent (act/guard.py).

Nor does it say when it has restarted (a dip of the supply): it is limp then, and its limits are gone. So
every tick asks all of them for their settings, behind the goals, and gives back at the next what one has
lost; one that answers again after it was silent is asked at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_wam.act import feetech
from edge_wam.act.arm import (
    DRIVE_ACCELERATION_RAD_S2,
    DRIVE_SPEED_RAD_S,
    STAGES,
    TORQUE_FRACTION,
    Arm,
    Mended,
    units,
)
from edge_wam.act.bus import Block, IntArray
from edge_wam.act.calibration import RAD_PER_COUNT, Calibration, JointCalibration
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.types import FloatArray

AMPERE_PER_COUNT = 0.0065
# What a servo loses with its supply: torque, acceleration, goal, time, speed and torque limit, in a row.
_KEPT = feetech.TORQUE_ENABLE.address
_KEPT_BYTES = feetech.TORQUE_LIMIT.address + feetech.TORQUE_LIMIT.size - _KEPT
_GOAL = slice(feetech.GOAL_POSITION.address - _KEPT, feetech.GOAL_POSITION.end - _KEPT)


class FeetechArm(Arm):
    """As Arm, of STS3215 servos in position mode."""

    bus: FeetechBus
    torque_register = feetech.TORQUE_ENABLE

    def __init__(
        self,
        bus: FeetechBus,
        calibration: Calibration,
        *,
        drive_speed_rad_s: float = DRIVE_SPEED_RAD_S,
        drive_acceleration_rad_s2: float = DRIVE_ACCELERATION_RAD_S2,
        torque_fraction: Sequence[float] = TORQUE_FRACTION,
    ) -> None:
        super().__init__(bus, calibration)
        self._speed = round(drive_speed_rad_s / RAD_PER_COUNT)
        self._acceleration = max(1, min(254, round(drive_acceleration_rad_s2 / RAD_PER_COUNT / 100)))
        self._torque = [round(1000 * fraction) for fraction in torque_fraction]
        scale = calibration.rad_per_count
        self._of_count = units(scale, 0.001 * np.sign(scale), np.full(self._joint_count, AMPERE_PER_COUNT))
        self._wanted = [_settings(self._kept(index, 0)) for index in range(self._joint_count)]
        self._answered = np.ones(self._joint_count, bool)

    @property
    def _units(self) -> FloatArray:
        return self._of_count

    def _error_text(self, error: int) -> str:
        return feetech.error_text(error)

    def _check(self, joint: JointCalibration) -> None:
        self._expect(joint, feetech.MODEL, feetech.MODEL_STS3215, "an STS3215")
        self._expect(joint, feetech.MODE, 0, "position mode")
        self._expect_calibrated(joint, feetech.HOMING_OFFSET, joint.homing_offset)
        self._expect_calibrated(joint, feetech.MIN_POSITION, joint.range_min)
        self._expect_calibrated(joint, feetech.MAX_POSITION, joint.range_max)

    def _firmware_of(self, joint: JointCalibration) -> tuple[int, ...]:
        found = self.bus.read(joint.id, feetech.FIRMWARE)
        return found & 0xFF, found >> 8

    def _set_up(self, goals: IntArray) -> None:
        # Goals last before torque, and everything verified: some firmware switches torque on by itself
        # as soon as a goal is written.
        for joint, torque in zip(self.calibration.joints, self._torque, strict=True):
            self.bus.write(joint.id, feetech.ACCELERATION, self._acceleration)
            self.bus.write(joint.id, feetech.GOAL_SPEED, self._speed)
            self.bus.write(joint.id, feetech.TORQUE_LIMIT, round(STAGES[0] * torque))
        for joint, goal in zip(self.calibration.joints, goals, strict=True):
            self.bus.write(joint.id, feetech.GOAL_POSITION, int(goal))
        for joint in self.calibration.joints:
            self.bus.write(joint.id, feetech.TORQUE_ENABLE, 1)

    def _strengthen(self, share: float) -> None:
        for joint, torque in zip(self.calibration.joints, self._torque, strict=True):
            self.bus.write(joint.id, feetech.TORQUE_LIMIT, round(share * torque))

    def _mend(self, block: Block) -> Mended:
        """Give a servo that has lost its settings what it had at start: one a tick."""
        ids, told = self.calibration.ids, self.bus.told
        before, self._answered = self._answered, block.fresh
        # A whole answer is told by the same array every time.
        back = None if block.fresh is before else block.fresh & ~before
        if back is not None and back.any():
            first = ids[int(back.argmax())]
            found = self.bus.peek(first, _KEPT, _KEPT_BYTES)
            told = told if found is None else {**told, first: found}
        for index, servo_id in enumerate(ids):
            if servo_id not in told or _settings(told[servo_id]) == self._wanted[index]:
                continue
            # One that is silent cannot tell, and one with an alarm has let go by itself: health's matter.
            if not block.fresh[index] or block.error[index]:
                continue
            wanted = self._kept(index, int(block.position[index]))
            self.bus.poke(servo_id, _KEPT + 1, wanted[1:])  # where it is now is its goal, then torque
            self.bus.poke(servo_id, _KEPT, wanted[:1])
            return Mended(reset=self.calibration.joints[index].name)
        return Mended()

    def _prove(self) -> None:
        for servo_id, data in self.bus.told.items():
            goal = feetech.unpack(feetech.GOAL_POSITION, data[_GOAL])
            self._had(self.calibration.ids.index(servo_id), goal)

    def _send_goals(self, counts: list[int]) -> None:
        self.bus.write_goals(counts, (_KEPT, _KEPT_BYTES))

    def _kept(self, index: int, goal: int) -> bytes:
        """The bytes from _KEPT on as they should be."""
        registers = (
            (feetech.TORQUE_ENABLE, 1),
            (feetech.ACCELERATION, self._acceleration),
            (feetech.GOAL_POSITION, goal),
            (feetech.GOAL_TIME, 0),
            (feetech.GOAL_SPEED, self._speed),
            (feetech.TORQUE_LIMIT, self._torque[index]),
        )
        return b"".join(feetech.pack(register, value) for register, value in registers)


def _settings(kept: bytes) -> bytes:
    """The bytes from _KEPT on without the goal, which changes every tick."""
    return kept[: _GOAL.start] + kept[feetech.GOAL_SPEED.address - _KEPT :]
