"""The arm: joints in calibrated radians on this side, counts and registers on the other.

    arm.connect()           who is there, is it the arm this calibration was made for?
    arm.start()             bumpless: limits on purpose, goals := present, then torque
    joints = arm.sense()    once a tick
    sent = arm.act(target)  once a tick; what went out, after rounding to counts
    arm.release()           hold, then torque off; cannot raise

Here is what arms of all servos have in common; what is a family's own stands in act/feetech_arm.py and
act/dynamixel_arm.py, and act/families.py chooses.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.act.bus import Block, IntArray, ServoBus
from edge_wam.act.calibration import Calibration, JointCalibration
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
# At start the torque comes in steps: shares of the most, STAGE_TICKS blocks apart. A joint that leaves its
# goal by this much meanwhile runs away (a wrong direction, a loose magnet): let go of it while it is weak.
STAGES, STAGE_TICKS, RUNAWAY_COUNTS = (0.3, 0.6, 1.0), 5, 114
RELEASE_REPEATS = 3  # a sync write is never acknowledged, so the stop is repeated, then read back
# A joint cannot have moved farther than this since it was last believed; a reply that says so is garbage that
# happens to have the right checksum, or an encoder that lies.
BELIEVED_RAD, BELIEVED_RAD_S, BELIEVED_MOST_RAD = 0.15, 1.5 * DRIVE_SPEED_RAD_S, 0.65


def units(velocity: FloatArray, load: FloatArray, current: FloatArray) -> FloatArray:
    """(5, J): what one count of the block is for each joint, in rad/s, a fraction of the stall torque, A; and
    the voltage's and the temperature's, which are everybody's."""
    return np.array([velocity, load, current, np.full(len(load), 0.1), np.ones(len(load))])


class Mended(NamedTuple):
    """What a tick put right: see Joints.reset and Joints.stopped."""

    reset: str = ""
    stopped: str = ""


class Arm:
    """A calibrated arm on a bus. The bus's ids are the calibration's, in the order of JOINTS."""

    torque_register: Any  # the family's register that 1 and 0 are written to

    def __init__(self, bus: ServoBus[Any], calibration: Calibration) -> None:
        if bus.ids != calibration.ids:
            raise ValueError(f"the bus has ids {bus.ids}, the calibration {calibration.ids}")
        self.bus = bus
        self.calibration = calibration
        self._joint_count = len(calibration.joints)
        self._started = False
        self._firmware: dict[int, tuple[int, ...]] = {}  # as found first
        # Whole turns that a servo counts on top of the calibration's one.
        self._turn_counts: IntArray = np.zeros(self._joint_count, np.int64)
        self._believed_rad = np.zeros(self._joint_count)
        self._believed_s = np.zeros(self._joint_count)
        self.doubted = 0  # replies that were not believed
        self._goals: list[int] = []  # as sent last
        self._proven: set[int] = set()  # the joints whose servo was read back to have them

    # --- the family's own -----------------------------------------------------------------------

    @property
    def _units(self) -> FloatArray:
        """As units()."""
        raise NotImplementedError

    def _check(self, joint: JointCalibration) -> None:
        """BusError or CalibrationError unless the servo is what the calibration says it is."""
        raise NotImplementedError

    def _firmware_of(self, joint: JointCalibration) -> tuple[int, ...]:
        """What tells one servo from another: its model where there are several, its firmware's version."""
        raise NotImplementedError

    def _set_up(self, goals: IntArray) -> None:
        """Limits, then goals (J,) in counts, then the torque of the first stage, each read back."""
        raise NotImplementedError

    def _strengthen(self, share: float) -> None:
        """So much of the torque that each joint may have, read back."""
        raise NotImplementedError

    def _arm_watchdogs(self) -> None:
        """Once it holds with all its torque."""

    def _mend(self, block: Block) -> Mended:
        """Once a tick while started: give back what a servo has lost."""
        raise NotImplementedError

    def _prove(self) -> None:
        """Once a tick while started: have the servos' goals been taken? See _had."""
        raise NotImplementedError

    def _send_goals(self, counts: list[int]) -> None:
        """Once a tick while started: goals (J,) in counts."""
        self.bus.write_goals(counts)

    def _error_text(self, error: int) -> str:
        raise NotImplementedError

    def _turns(self, counts: IntArray) -> IntArray:
        """The whole turns, in counts, that a servo reports on top of its calibration's; (J,)."""
        return np.zeros_like(counts)

    def _disarm(self) -> None:
        """After the torque is off."""

    # --- common ---------------------------------------------------------------------------------

    def connect(self) -> None:
        """Every servo there, of the right kind and mode, calibrated as the file says. Nothing moves."""
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
            self._check(joint)
            found = self._firmware_of(joint)
            before = self._firmware.setdefault(joint.id, found)
            if found != before:
                raise CalibrationError(
                    f"servo {joint.id} ({joint.name}) is another one than before: its firmware is "
                    f"{_dotted(found)}, it was {_dotted(before)}; try: scripts/calibrate.py"
                )

    def _expect(self, joint: JointCalibration, register: Any, wanted: int, what: str) -> None:
        found = self.bus.read(joint.id, register)
        if found != wanted:
            raise BusError(
                f"servo {joint.id} ({joint.name}) on {self.bus.name} is not {what}: "
                f"{register.name} is {found}, expected {wanted}"
            )

    def _expect_calibrated(self, joint: JointCalibration, register: Any, wanted: int) -> None:
        found = self.bus.read(joint.id, register)
        if found != wanted:
            raise CalibrationError(
                f"servo {joint.id} ({joint.name}) has {register.name} {found}, but "
                f"{self.calibration.source} says {wanted}: another arm's file, or calibrated "
                f"since? try: scripts/calibrate.py"
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
                    f"servo {joint.id} ({joint.name}) reports {self._error_text(int(error))}; "
                    f"try: let it cool, check the supply, then switch its power off and on"
                )
        self._turn_counts = self._turns(block.position)
        here = block.position - self._turn_counts
        for joint, count in zip(self.calibration.joints, here, strict=True):
            if not joint.range_min - OUTSIDE_COUNTS <= count <= joint.range_max + OUTSIDE_COUNTS:
                raise BusError(
                    f"servo {joint.id} ({joint.name}) is at {count}, outside its range {joint.range_min} "
                    f"to {joint.range_max}; try: move the joint into its range by hand, then start again"
                )
        here_rad = self.calibration.to_rad(here)
        goals = self.calibration.to_counts(here_rad)
        self._set_up(goals + self._turn_counts)
        for share in STAGES:
            self._strengthen(share)
            self._watch_stage(goals + self._turn_counts)
        self._arm_watchdogs()
        self._started = True
        self._believed_rad = here_rad
        self._believed_s = np.full(self._joint_count, block.t_s)
        return self.calibration.to_rad(goals)

    def _watch_stage(self, goals: IntArray) -> None:
        """A few ticks with this much torque. BusError, and the torque is off, if a joint runs away."""
        for _ in range(STAGE_TICKS):
            block = self.bus.read_block()
            far = block.fresh & (np.abs(block.position - goals) > RUNAWAY_COUNTS)
            if far.any():
                index = int(far.argmax())
                joint = self.calibration.joints[index]
                self.release()
                raise BusError(
                    f"servo {joint.id} ({joint.name}) ran from {goals[index]} to {block.position[index]} "
                    f"when its torque came on, and was let go; try: check its horn and its calibration"
                )

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
        block, mended = self.bus.read_block(), Mended()
        if not self._started:
            self._turn_counts = self._turns(block.position)
        position_rad = self.calibration.to_rad(block.position - self._turn_counts)
        if self._started:
            if not self._near(position_rad, block):
                block = block._replace(fresh=block.fresh & self._credible(position_rad, block))
                position_rad = self._believed_rad.copy()
            mended = self._mend(block)
            self._prove()
        told = np.array((block.speed, block.load, block.current, block.voltage, block.temperature))
        velocity_rad_s, load, current_a, voltage_v, temperature_c = told * self._units
        return Joints(
            t_s=block.t_s,
            position_rad=position_rad,
            velocity_rad_s=velocity_rad_s,
            load=load,
            current_a=current_a,
            voltage_v=voltage_v,
            temperature_c=temperature_c,
            error=block.error,
            fresh=block.fresh,
            reset=mended.reset,
            stopped=mended.stopped,
            bus_s=block.took_s,
            settled=self._started and len(self._proven) == self._joint_count and self._still(block),
        )

    def _still(self, block: Block) -> bool:
        """Whether no servo moves. The flag alone would not do: it stays on where a joint hangs a bit low."""
        return not (block.moving & (block.speed != 0)).any() and bool(block.fresh.all())

    def _had(self, index: int, goal: int) -> None:
        """The joint's servo was read back to have this goal."""
        if self._goals and goal == self._goals[index]:
            self._proven.add(index)
        else:
            self._proven.discard(index)

    def _near(self, position_rad: FloatArray, block: Block) -> bool:
        """Whether all have answered from so near that there is nothing to doubt: as in nearly every tick."""
        if not block.fresh.all() or np.abs(position_rad - self._believed_rad).max() > BELIEVED_RAD:
            return False
        self._believed_rad = position_rad.copy()
        self._believed_s.fill(block.t_s)
        return True

    def _credible(self, position_rad: FloatArray, block: Block) -> NDArray[np.bool_]:
        """Which joints can be where they say they are; (J,). Those are believed from now on."""
        far_rad = BELIEVED_RAD + BELIEVED_RAD_S * (block.t_s - self._believed_s)
        near = np.abs(position_rad - self._believed_rad) <= np.minimum(far_rad, BELIEVED_MOST_RAD)
        new = near & block.fresh
        self.doubted += int(np.count_nonzero(block.fresh & ~near))
        self._believed_rad[new], self._believed_s[new] = position_rad[new], block.t_s
        return near

    def act(self, target_rad: FloatArray) -> FloatArray:
        """Send target_rad (J,) as goals; returns what was sent (J,), rounded to counts and in range.

        ValueError, and nothing sent, for a wrong shape or a value that is not finite: the guard should
        have held, and a NaN cast to a count would be a move to an end stop.
        """
        if target_rad.shape != (self._joint_count,) or not all(map(math.isfinite, target_rad.tolist())):
            raise ValueError(f"act wants {self._joint_count} finite radians, got {target_rad}")
        counts = self.calibration.to_counts(target_rad)
        goals = (counts + self._turn_counts).tolist()
        if goals != self._goals:
            self._goals, self._proven = goals, set()
        self._send_goals(goals)
        return self.calibration.to_rad(counts)

    def release(self) -> bool:
        """Hold where it is, then torque off, repeatedly; True when every servo confirmed. Never raises."""
        started, self._started = self._started, False
        with contextlib.suppress(Exception):
            block = self.bus.read_block()
            here_rad = self.calibration.to_rad(block.position - self._turn_counts)
            if started:
                self._credible(here_rad, block)
                here_rad = self._believed_rad
            if block.fresh.all():
                goals = self.calibration.to_counts(here_rad) + self._turn_counts
                self.bus.write_goals(goals.tolist())
        for _ in range(RELEASE_REPEATS):
            with contextlib.suppress(Exception):
                self.bus.write_all(self.torque_register, [0] * self._joint_count)
        confirmed = 0
        for servo_id in self.bus.ids:
            with contextlib.suppress(Exception):
                self.bus.write(servo_id, self.torque_register, 0)
                confirmed += 1
        with contextlib.suppress(Exception):
            self._disarm()
        return confirmed == self._joint_count


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
