"""The arm: joints in calibrated radians on this side, counts and registers on the other.

    arm.connect()           who is there, is it the arm this calibration was made for?
    arm.start()             bumpless: limits on purpose, goals := present, then torque
    joints = arm.sense()    once a tick
    sent = arm.act(target)  once a tick; what went out, after rounding to counts
    arm.release()           hold, then torque off; cannot raise

The STS3215 has no watchdog: it goes on to its last goal when the host has died. So the drives' own
speed and acceleration limits are written at start, and only near goals are ever sent (act/guard.py).

Nor does it say when it has restarted (a dip of the supply): it is limp then, and its limits are gone. So
every tick looks at the settings of one servo, in turn, and at those of a servo that answers again after it
was silent, and gives back what is missing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_wam.act import feetech
from edge_wam.act.bus import Block, FeetechBus, IntArray
from edge_wam.act.calibration import RAD_PER_COUNT, Calibration, JointCalibration
from edge_wam.errors import BusError, CalibrationError
from edge_wam.types import FloatArray, Joints

__all__ = ["Arm", "Calibration", "JointCalibration"]

# Above what the guard lets pass (calibration/*/limits.toml), so that it only matters if the guard failed.
DRIVE_SPEED_RAD_S = 3.6
# As LeRobot configures it (254): the goal is new every tick, the profile must not lag behind it.
DRIVE_ACCELERATION_RAD_S2 = 38.9
# The gripper at half, as in LeRobot: it squeezes for seconds, and full torque trips the overload protection.
TORQUE_FRACTION = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5)
OUTSIDE_COUNTS = 20  # a limp joint may hang this far beyond its range; starting moves it back to the edge
RELEASE_REPEATS = 3  # a sync write is never acknowledged, so the stop is repeated, then read back
AMPERE_PER_COUNT = 0.0065
# A joint cannot have moved farther than this since it was last believed; a reply that says so is garbage that
# happens to have the right checksum (one in 256 has), or an encoder that lies.
BELIEVED_RAD, BELIEVED_RAD_S, BELIEVED_MOST_RAD = 0.15, 1.5 * DRIVE_SPEED_RAD_S, 0.65
# What a servo loses with its supply: torque, acceleration, goal, time, speed and torque limit, in a row.
_KEPT = feetech.TORQUE_ENABLE.address
_KEPT_BYTES = feetech.TORQUE_LIMIT.address + feetech.TORQUE_LIMIT.size - _KEPT


class Arm:
    """A calibrated arm on a bus. The bus's ids are the calibration's, in the order of JOINTS."""

    def __init__(
        self,
        bus: FeetechBus,
        calibration: Calibration,
        *,
        drive_speed_rad_s: float = DRIVE_SPEED_RAD_S,
        drive_acceleration_rad_s2: float = DRIVE_ACCELERATION_RAD_S2,
        torque_fraction: Sequence[float] = TORQUE_FRACTION,
    ) -> None:
        if bus.ids != calibration.ids:
            raise ValueError(f"the bus has ids {bus.ids}, the calibration {calibration.ids}")
        self.bus = bus
        self.calibration = calibration
        self._speed = round(drive_speed_rad_s / RAD_PER_COUNT)
        self._acceleration = max(1, min(254, round(drive_acceleration_rad_s2 / RAD_PER_COUNT / 100)))
        self._torque = [round(1000 * fraction) for fraction in torque_fraction]
        self._scale = calibration.rad_per_count
        self._sign = np.sign(self._scale)
        self._joint_count = len(calibration.joints)
        self._started = False
        self._turn = 0  # whose settings are looked at next
        self._answered = np.ones(self._joint_count, bool)
        self._believed_rad = np.zeros(self._joint_count)
        self._believed_s = np.zeros(self._joint_count)
        self.doubted = 0  # replies that were not believed

    def connect(self) -> None:
        """Every servo there, an STS3215 in position mode, calibrated as the file says. Nothing is written."""
        missing = [
            f"{joint.id} ({joint.name})"
            for joint in self.calibration.joints
            if self.bus.ping(joint.id) is None
        ]
        if missing:
            raise BusError(
                f"no reply from servo {', '.join(missing)} on {self.bus.name}; "
                f"is the arm powered and every cable in? try: edge-wam doctor"
            )
        for joint in self.calibration.joints:
            self._expect(joint, feetech.MODEL, feetech.MODEL_STS3215, "an STS3215")
            self._expect(joint, feetech.MODE, 0, "position mode")
        for joint in self.calibration.joints:
            for register, expected in (
                (feetech.HOMING_OFFSET, joint.homing_offset),
                (feetech.MIN_POSITION, joint.range_min),
                (feetech.MAX_POSITION, joint.range_max),
            ):
                found = self.bus.read(joint.id, register)
                if found != expected:
                    raise CalibrationError(
                        f"servo {joint.id} ({joint.name}) has {register.name} {found}, but "
                        f"{self.calibration.source} says {expected}: another arm's file, or calibrated "
                        f"since? try: scripts/calibrate.py"
                    )

    def _expect(self, joint: JointCalibration, register: feetech.Register, wanted: int, what: str) -> None:
        found = self.bus.read(joint.id, register)
        if found != wanted:
            raise BusError(
                f"servo {joint.id} ({joint.name}) on {self.bus.name} is not {what}: "
                f"{register.name} is {found}, expected {wanted}"
            )

    def start(self) -> FloatArray:
        """Torque on without a jerk; returns the pose held (J,), the first `sent_rad`.

        BusError when a servo is silent, reports a fault, or hangs outside its range (starting would
        throw it back to the edge).
        """
        block = self._whole_block()
        for joint, error in zip(self.calibration.joints, block.error, strict=True):
            if error:
                raise BusError(
                    f"servo {joint.id} ({joint.name}) reports {feetech.error_text(int(error))}; "
                    f"try: let it cool, check the supply, then switch its power off and on"
                )
        for joint, count in zip(self.calibration.joints, block.position, strict=True):
            if not joint.range_min - OUTSIDE_COUNTS <= count <= joint.range_max + OUTSIDE_COUNTS:
                raise BusError(
                    f"servo {joint.id} ({joint.name}) is at {count}, outside its range {joint.range_min} "
                    f"to {joint.range_max}; try: move the joint into its range by hand, then start again"
                )
        goals = self.calibration.to_counts(self.calibration.to_rad(block.position))
        # Goals last before torque, and everything verified: some firmware switches torque on by itself
        # as soon as a goal is written.
        for joint, torque in zip(self.calibration.joints, self._torque, strict=True):
            self.bus.write(joint.id, feetech.ACCELERATION, self._acceleration)
            self.bus.write(joint.id, feetech.GOAL_SPEED, self._speed)
            self.bus.write(joint.id, feetech.TORQUE_LIMIT, torque)
        for joint, goal in zip(self.calibration.joints, goals, strict=True):
            self.bus.write(joint.id, feetech.GOAL_POSITION, int(goal))
        for joint in self.calibration.joints:
            self.bus.write(joint.id, feetech.TORQUE_ENABLE, 1)
        self._started = True
        self._believed_rad = self.calibration.to_rad(block.position)
        self._believed_s = np.full(self._joint_count, block.t_s)
        return self.calibration.to_rad(goals)

    def _whole_block(self) -> Block:
        """A block with every joint fresh; BusError otherwise."""
        for _ in range(3):
            block = self.bus.read_block()
            if block.fresh.all():
                return block
        silent = [
            f"{joint.id} ({joint.name})"
            for joint, fresh in zip(self.calibration.joints, block.fresh, strict=True)
            if not fresh
        ]
        raise BusError(f"no reply from servo {', '.join(silent)} on {self.bus.name}; try: edge-wam doctor")

    def sense(self) -> Joints:
        """Where the arm is and how the servos fare. Never raises over a lost reply: see `fresh`."""
        block, reset = self.bus.read_block(), ""
        position_rad = self.calibration.to_rad(block.position)
        if self._started:
            block = block._replace(fresh=block.fresh & self._credible(position_rad, block))
            position_rad = self._believed_rad.copy()
            reset = self._restore(block)
        return Joints(
            t_s=block.t_s,
            position_rad=position_rad,
            velocity_rad_s=block.speed * self._scale,
            load=block.load * (0.001 * self._sign),
            current_a=_scaled(block.current, AMPERE_PER_COUNT),
            voltage_v=_scaled(block.voltage, 0.1),
            temperature_c=_scaled(block.temperature, 1.0),
            error=block.error,
            fresh=block.fresh,
            reset=reset,
        )

    def _credible(self, position_rad: FloatArray, block: Block) -> NDArray[np.bool_]:
        """Which joints can be where they say they are; (J,). Those are believed from now on."""
        far_rad = BELIEVED_RAD + BELIEVED_RAD_S * (block.t_s - self._believed_s)
        near = np.abs(position_rad - self._believed_rad) <= np.minimum(far_rad, BELIEVED_MOST_RAD)
        new = near & block.fresh
        self.doubted += int(np.count_nonzero(block.fresh & ~near))
        self._believed_rad[new], self._believed_s[new] = position_rad[new], block.t_s
        return near

    def _restore(self, block: Block) -> str:
        """Give a servo that has lost its settings what it had at start; returns the joint's name, or ''."""
        back = block.fresh & ~self._answered
        self._answered = block.fresh
        index = int(back.argmax()) if back.any() else self._turn
        self._turn = (self._turn + 1) % self._joint_count
        # One that is silent cannot tell, and one with an alarm has let go by itself: that is health's matter.
        if not block.fresh[index] or block.error[index]:
            return ""
        joint = self.calibration.joints[index]
        found = self.bus.peek(joint.id, _KEPT, _KEPT_BYTES)
        wanted = self._kept(index, int(block.position[index]))
        if found is None or _settings(found) == _settings(wanted):
            return ""
        self.bus.poke(joint.id, _KEPT + 1, wanted[1:])  # where it is now is its goal, then torque
        self.bus.poke(joint.id, _KEPT, wanted[:1])
        return joint.name

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

    def act(self, target_rad: FloatArray) -> FloatArray:
        """Send target_rad (J,) as goals; returns what was sent (J,), rounded to counts and in range.

        ValueError, and nothing sent, for a wrong shape or a value that is not finite: the guard should
        have held, and a NaN cast to a count would be a move to an end stop.
        """
        if target_rad.shape != (self._joint_count,) or not all(map(math.isfinite, target_rad.tolist())):
            raise ValueError(f"act wants {self._joint_count} finite radians, got {target_rad}")
        counts = self.calibration.to_counts(target_rad)
        self.bus.write_goals(counts.tolist())
        return self.calibration.to_rad(counts)

    def release(self) -> bool:
        """Hold where it is, then torque off, repeatedly; True when every servo confirmed. Never raises."""
        started, self._started = self._started, False
        with contextlib.suppress(Exception):
            block = self.bus.read_block()
            here_rad = self.calibration.to_rad(block.position)
            if started:
                self._credible(here_rad, block)
                here_rad = self._believed_rad
            if block.fresh.all():
                self.bus.write_goals(self.calibration.to_counts(here_rad).tolist())
        for _ in range(RELEASE_REPEATS):
            with contextlib.suppress(Exception):
                self.bus.write_all(feetech.TORQUE_ENABLE, [0] * self._joint_count)
        confirmed = 0
        for servo_id in self.bus.ids:
            with contextlib.suppress(Exception):
                self.bus.write(servo_id, feetech.TORQUE_ENABLE, 0)
                confirmed += 1
        return confirmed == self._joint_count


def _settings(kept: bytes) -> bytes:
    """The bytes from _KEPT on without the goal, which changes every tick."""
    goal = slice(feetech.GOAL_POSITION.address - _KEPT, feetech.GOAL_SPEED.address - _KEPT)
    return kept[: goal.start] + kept[goal.stop :]


def _scaled(values: IntArray, unit: float) -> FloatArray:
    return values.astype(np.float64) * unit
