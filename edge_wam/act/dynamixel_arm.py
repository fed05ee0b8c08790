"""An arm of Dynamixel X servos, in a mode that follows a position (3, 4 or 5).

A servo's own bus watchdog is the plan for a host that dies: it is armed at start, every tick's packets feed
it, and after WATCHDOG_S of silence the servo stops where it is and takes no goal until the watchdog is
cleared. A tick that finds one tripped clears it, makes the present position the goal, arms it again, and says
so.

A servo that restarts is limp, and shows nothing in its indirect data: it gets all it had at start. One that
has shut down (a hardware error) is limp, too, but that is health's matter, and only a reboot brings it back.

In modes 4 and 5 a servo counts on beyond one turn, and what it counts after power-on depends on where its
encoder's zero lies; so whole turns are found at start, taken off what is read and put on what is sent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.arm import (
    DRIVE_ACCELERATION_RAD_S2,
    DRIVE_SPEED_RAD_S,
    OUTSIDE_COUNTS,
    STAGES,
    TORQUE_FRACTION,
    Arm,
    Mended,
    units,
)
from edge_wam.act.bus import Block, IntArray
from edge_wam.act.calibration import Calibration, JointCalibration
from edge_wam.act.dynamixel_bus import DynamixelBus
from edge_wam.act.dynamixel_table import COUNTS_PER_TURN
from edge_wam.errors import BusError, CalibrationError
from edge_wam.types import FloatArray

# Fifteen ticks at 50 Hz, so that neither a lost packet nor a late tick trips it.
WATCHDOG_S = 0.3
_WATCHDOG = round(WATCHDOG_S / table.WATCHDOG_UNIT_S)
STEADY_TICKS = 5  # of the same goals before they are read back
LOAD_UNIT = 0.001  # of PRESENT_EFFORT, where it is no current
_FOLLOWING = (table.POSITION, table.EXTENDED_POSITION, table.CURRENT_POSITION)


class DynamixelArm(Arm):
    """As Arm, of XL330 and XL430 servos, also mixed."""

    bus: DynamixelBus
    torque_register = table.TORQUE_ENABLE

    def __init__(
        self,
        bus: DynamixelBus,
        calibration: Calibration,
        *,
        drive_speed_rad_s: float = DRIVE_SPEED_RAD_S,
        drive_acceleration_rad_s2: float = DRIVE_ACCELERATION_RAD_S2,
        torque_fraction: Sequence[float] = TORQUE_FRACTION,
    ) -> None:
        super().__init__(bus, calibration)
        self._speed = round(drive_speed_rad_s / table.SPEED_UNIT_RAD_S)
        self._acceleration = round(drive_acceleration_rad_s2 / table.ACCELERATION_UNIT_RAD_S2)
        self._fraction = tuple(torque_fraction)
        self._steady, self._steady_goals = 0, list[int]()
        self._of_count = np.zeros((5, self._joint_count))
        # The most PWM and, where the servo limits it, the most current; found at connect.
        self._most: dict[int, list[tuple[table.Register, int]]] = {}
        self._one_turn = np.zeros(self._joint_count, bool)
        # Half a turn to each side of the middle of the range.
        self._lowest = np.array(
            [(j.range_min + j.range_max - COUNTS_PER_TURN) // 2 for j in calibration.joints]
        )

    @property
    def _units(self) -> FloatArray:
        return self._of_count

    def _error_text(self, error: int) -> str:
        return dynamixel.error_text(error)

    def connect(self) -> None:
        super().connect()
        self.bus.prepare()
        models = self.bus.models
        # Signs are the servo's own (drive mode): counts grow when radians do. A model without a current
        # sensor tells its load, a share of its stall torque: that share of its stall current stands in.
        self._of_count = units(
            np.full(self._joint_count, table.SPEED_UNIT_RAD_S),
            np.array([model.current_a / model.stall_a or LOAD_UNIT for model in models]),
            np.array([model.current_a or LOAD_UNIT * model.stall_a for model in models]),
        )

    def _check(self, joint: JointCalibration) -> None:
        mode = self.bus.read(joint.id, table.OPERATING_MODE)
        if mode not in _FOLLOWING:
            raise BusError(
                f"servo {joint.id} ({joint.name}) on {self.bus.name} follows no position: operating_mode is "
                f"{mode}, expected one of {', '.join(map(str, _FOLLOWING))}"
            )
        if mode == table.POSITION and abs(joint.homing_offset) > table.POSITION_OFFSET_MOST:
            raise CalibrationError(
                f"servo {joint.id} ({joint.name}) would ignore its homing offset of {joint.homing_offset}: "
                f"in operating_mode 3 it may be {table.POSITION_OFFSET_MOST} at most; try: operating_mode 4"
            )
        self._expect_calibrated(joint, table.DRIVE_MODE, joint.drive_mode)
        self._expect_calibrated(joint, table.HOMING_OFFSET, joint.homing_offset)
        self._expect_calibrated(joint, table.MIN_POSITION, joint.range_min)
        self._expect_calibrated(joint, table.MAX_POSITION, joint.range_max)
        index = self.calibration.joints.index(joint)
        self._one_turn[index] = mode == table.POSITION
        fraction = self._fraction[index]
        self._most[joint.id] = [(table.GOAL_PWM, round(fraction * self.bus.read(joint.id, table.PWM_LIMIT)))]
        if mode == table.CURRENT_POSITION:
            current = round(fraction * self.bus.read(joint.id, table.CURRENT_LIMIT))
            self._most[joint.id].append((table.GOAL_CURRENT, current))

    def _firmware_of(self, joint: JointCalibration) -> tuple[int, ...]:
        found = self.bus.read(joint.id, table.IDENTITY)
        return found & 0xFFFF, found >> 48

    def _turns(self, counts: IntArray) -> IntArray:
        turns: IntArray = (counts - self._lowest) // COUNTS_PER_TURN * COUNTS_PER_TURN
        return np.where(self._one_turn, 0, turns)

    def _set_up(self, goals: IntArray) -> None:
        for joint in self.calibration.joints:
            self.bus.write(joint.id, table.BUS_WATCHDOG, 0)  # one that has tripped takes no goal
            self.bus.write(joint.id, table.PROFILE_ACCELERATION, self._acceleration)
            self.bus.write(joint.id, table.PROFILE_VELOCITY, self._speed)
        self._strengthen(STAGES[0])
        for joint, goal in zip(self.calibration.joints, goals, strict=True):
            self.bus.write(joint.id, table.GOAL_POSITION, int(goal))
        for joint in self.calibration.joints:
            self.bus.write(joint.id, table.TORQUE_ENABLE, 1)
        block = self._whole_block()
        for joint, here, goal in zip(self.calibration.joints, block.position, goals, strict=True):
            # In some modes the servo counts anew when its torque comes on (e-manual, Present Position).
            if abs(here - goal) > OUTSIDE_COUNTS:
                self.release()
                raise BusError(
                    f"servo {joint.id} ({joint.name}) is at {here} with its torque on, but was at {goal} "
                    f"without; try: switch its power off and on, then start again"
                )

    def _strengthen(self, share: float) -> None:
        for joint in self.calibration.joints:
            for register, value in self._most[joint.id]:
                self.bus.write(joint.id, register, round(share * value))

    def _arm_watchdogs(self) -> None:
        for joint in self.calibration.joints:
            self.bus.write(joint.id, table.BUS_WATCHDOG, _WATCHDOG)

    def _mend(self, block: Block) -> Mended:
        tripped = block.tripped & block.fresh
        limp = block.limp & ~tripped & (block.error == 0)
        reset = self._restore(int(limp.argmax())) if limp.any() else ""
        names = []
        for index in np.flatnonzero(tripped).tolist():
            self._let_obey(index, int(block.position[index]))
            names.append(self.calibration.joints[index].name)
        return Mended(reset, ", ".join(names))

    def _prove(self) -> None:
        # A question of its own: only once the goals have stood still for some ticks, until all are proven.
        self._steady = self._steady + 1 if self._goals == self._steady_goals else 0
        self._steady_goals = self._goals
        lacking = [index for index in range(self._joint_count) if index not in self._proven]
        if not lacking or self._steady < STEADY_TICKS:
            return
        index, register = lacking[self._steady % len(lacking)], table.GOAL_POSITION
        found = self.bus.peek(self.bus.ids[index], register.address, register.size)
        if found is not None:
            self._had(index, dynamixel.unpack(register, found))

    def _restore(self, index: int) -> str:
        """Give a servo that has restarted what it had at start; the joint's name, '' if it is silent."""
        joint = self.calibration.joints[index]
        self.bus.show_block(joint.id)
        register = table.PRESENT_POSITION
        found = self.bus.peek(joint.id, register.address, register.size)
        if found is None:
            return ""
        count = dynamixel.unpack(register, found)
        self._turn_counts[index] = self._turns(np.full(self._joint_count, count))[index]
        for most, value in self._most[joint.id]:
            self._poke(joint.id, most, value)
        self._let_obey(index, count)
        self._poke(joint.id, table.TORQUE_ENABLE, 1)
        return joint.name

    def _let_obey(self, index: int, here: int) -> None:
        """Where it is now is its goal; then the watchdog is armed again."""
        servo_id = self.calibration.joints[index].id
        for register, value in (
            (table.BUS_WATCHDOG, 0),
            (table.PROFILE_ACCELERATION, self._acceleration),
            (table.PROFILE_VELOCITY, self._speed),
            (table.GOAL_POSITION, here),
            (table.BUS_WATCHDOG, _WATCHDOG),
        ):
            self._poke(servo_id, register, value)

    def _poke(self, servo_id: int, register: table.Register, value: int) -> None:
        self.bus.poke(servo_id, register.address, dynamixel.pack(register, value))

    def _disarm(self) -> None:
        for servo_id in self.bus.ids:
            self.bus.write(servo_id, table.BUS_WATCHDOG, 0)
