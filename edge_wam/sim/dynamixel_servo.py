"""One simulated Dynamixel X: its control table, its drive, its winding. Its bus is sim/dynamixel.py.

The encoder sits on the joint as in sim/servo.py; what the servo reports is present = actual + homing offset
of its EEPROM, or -actual + offset where its drive mode says reversed. After power-on the encoder's count lies
within one turn, and runs on from there. A servo is built in the way its calibration's drive mode makes good:
with another one in its EEPROM, its counts grow when the joint's angle shrinks. (The e-manual does not say
where reversed counts begin; here at 0, and in the mode of one turn a turn further on.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.calibration import Calibration
from edge_wam.act.dynamixel_table import MODELS, REGISTERS, Register

if TYPE_CHECKING:
    from edge_wam.sim.servos import Plant

RETURN_DELAY_UNIT_S = 2e-6
NOMINAL_V = 12.0  # the chain's supply; a model for less has its own converter
TURN = table.COUNTS_PER_TURN
# Indirect data: (where they begin, how many). XL330s were sold with the first, newer ones have the second.
OLD_INDIRECT, NEW_INDIRECT = (208, 20), (224, 28)
SETTLE_S = 0.05  # `moving` stays 1 this long after a goal
PWM_FULL = table.GOAL_PWM.high
# An XL330 is a fifth of an STS3215's weight; the rest is scaled with it (sim/servo.py).
IDLE_A, AMBIENT_C, COOLED_C = 0.02, 25.0, 5.0
HEAT_J_K, HEAT_K_W, WINDING_W_A2 = 20.0, 10.0, 3.0
OVERLOAD, OVERLOAD_S = 0.8, 2.0  # so much of the stall torque for so long is an overload

_AT: dict[int, Register] = {
    a: register for register in REGISTERS for a in range(register.address, register.end)
}
_GOALS = {table.GOAL_PWM, table.GOAL_CURRENT, table.GOAL_VELOCITY, table.GOAL_POSITION}
_FOLLOWING = (table.POSITION, table.EXTENDED_POSITION, table.CURRENT_POSITION)


class DynamixelServo:
    """Joint `index` of the plant. Only the chain calls it, under its lock."""

    turning = False  # velocity mode is not modelled

    def __init__(
        self,
        plant: Plant,
        index: int,
        calibration: Calibration,
        model: int = 1060,
        indirect: tuple[int, int] = NEW_INDIRECT,
    ) -> None:
        joint = calibration.joints[index]
        self._plant, self._index = plant, index
        built_in = -1 if joint.drive_mode & table.REVERSED else 1
        self._rad_per_count = built_in * float(calibration.rad_per_count[index])  # of the encoder's own count
        zero_count = float(calibration.zero_count[index]) + joint.actual_minus_present
        self._mount_count = self._mounted_count = built_in * zero_count
        self.model = MODELS[model]
        self._indirect_data, self._indirect_count = indirect
        self._table_end = self._indirect_data + self._indirect_count
        self._actual = 0.0  # where the encoder is, in counts, running on
        self._target = 0.0  # present frame; what the drive goes to
        self._goal_s = self._heard_s = 0.0
        self._kept: tuple[int, bytes] | None = None
        self.current_a = IDLE_A
        self.temperature_c = AMBIENT_C
        self.memory = bytearray(256)
        for register in REGISTERS:
            self.put(register, register.default)
        self.put(table.MODEL, model)
        self.put(table.ID, joint.id)
        self.put(table.BAUD, table.BAUDS_BPS.index(1_000_000))
        self.put(table.RETURN_DELAY, 0)  # as LeRobot sets an arm up
        self.put(table.DRIVE_MODE, joint.drive_mode)
        self.put(table.OPERATING_MODE, table.EXTENDED_POSITION)  # as LeRobot does, for the offset's sake
        self.put(table.HOMING_OFFSET, joint.homing_offset)
        self.put(table.MIN_POSITION, joint.range_min)
        self.put(table.MAX_POSITION, joint.range_max)
        if self.model.supply_v < NOMINAL_V:
            self.put(table.MIN_VOLTAGE, 35)
            self.put(table.MAX_VOLTAGE, 70)
            self.put(table.SHUTDOWN, 53)

    @property
    def servo_id(self) -> int:
        return self.get(table.ID)

    @property
    def baud_bps(self) -> int:
        return table.BAUDS_BPS[self.get(table.BAUD)]

    # --- memory ---------------------------------------------------------------------------------

    def get(self, register: Register) -> int:
        """A register's value, in its unit."""
        return dynamixel.unpack(register, self.memory[register.address : register.end])

    def put(self, register: Register, value: int) -> None:
        """Put a value there, whoever may write it, kept within the register's span."""
        value = max(register.low, min(register.high, value))
        self.memory[register.address : register.end] = dynamixel.pack(register, value)

    def read(self, address: int, length: int) -> tuple[int, bytes]:
        """(0 or the number of the refusal, the bytes)."""
        if address + length > self._table_end:
            return dynamixel.ACCESS, b""
        return 0, bytes(self.memory[self._real(at)] for at in range(address, address + length))

    def _real(self, address: int) -> int:
        """What stands behind an address: itself, or what its indirect address says."""
        slot = address - self._indirect_data
        if not 0 <= slot < self._indirect_count:
            return address
        at = table.INDIRECT_ADDRESS + 2 * slot
        return self.memory[at] | self.memory[at + 1] << 8

    def write(self, address: int, data: bytes, now_s: float) -> int:
        """What WRITE does: all of it or, with the number of the refusal, nothing."""
        if address + len(data) > self._table_end:
            return dynamixel.ACCESS
        real = [self._real(address + i) for i in range(len(data))]
        memory = bytearray(self.memory)
        for at, byte in zip(real, data, strict=True):
            memory[at] = byte
        touched = {_AT[at] for at in real if at in _AT}
        if refusal := self._refusal(real, touched, memory):
            return refusal
        self.memory[:] = memory
        self._obey(touched, now_s)
        return 0

    def _refusal(self, real: list[int], touched: set[Register], memory: bytearray) -> int:
        ends = table.INDIRECT_ADDRESS, self._table_end
        if any(at not in _AT and not ends[0] <= at < ends[1] for at in real):
            return dynamixel.ACCESS  # nothing is defined there
        locked = self.get(table.TORQUE_ENABLE) == 1
        for register in touched:
            if not register.writable or (locked and register.eeprom):
                return dynamixel.ACCESS
            if register == table.CURRENT_LIMIT and not self.model.current_a:
                return dynamixel.ACCESS
            if not set(range(register.address, register.end)) <= set(real):
                return dynamixel.DATA_LENGTH
            value = dynamixel.unpack(register, memory[register.address : register.end])
            if not register.low <= value <= register.high:
                return dynamixel.DATA_RANGE
            if register == table.BUS_WATCHDOG and (value < 0 or (value and self.get(register) < 0)):
                return dynamixel.DATA_RANGE  # one that has tripped is cleared by 0 alone
            if register in _GOALS:
                if self.get(table.BUS_WATCHDOG) < 0:
                    return dynamixel.DATA_RANGE  # e-manual: the goals are read-only then
                if not self._allowed(register, value):
                    return dynamixel.DATA_LIMIT
        for slot in range(self._indirect_count) if max(real) >= ends[0] else ():
            at = table.INDIRECT_ADDRESS + 2 * slot
            if not 64 <= memory[at] | memory[at + 1] << 8 < self._table_end:
                return dynamixel.DATA_RANGE
        return 0

    def _allowed(self, goal: Register, value: int) -> bool:
        """Whether a goal is within the EEPROM's limits."""
        if goal == table.GOAL_PWM:
            return abs(value) <= self.get(table.PWM_LIMIT)
        if goal == table.GOAL_CURRENT:
            return abs(value) <= self.get(table.CURRENT_LIMIT) and self.model.current_a > 0
        if goal == table.GOAL_POSITION and self.get(table.OPERATING_MODE) == table.POSITION:
            return self.get(table.MIN_POSITION) <= value <= self.get(table.MAX_POSITION)
        return True

    def keep(self, address: int, data: bytes) -> None:
        """REG WRITE: for later."""
        self._kept = (address, data)
        self.put(table.REGISTERED, 1)

    def action(self, now_s: float) -> int:
        """ACTION: later is now."""
        if self._kept is None:
            return dynamixel.INSTRUCTION_ERROR
        (address, data), self._kept = self._kept, None
        self.put(table.REGISTERED, 0)
        return self.write(address, data, now_s)

    def factory_reset(self, but_id: bool, but_baud: bool) -> None:
        """EEPROM as it left the factory, but for the ID and the baud rate as asked."""
        kept = [table.MODEL, *([table.ID] if but_id else []), *([table.BAUD] if but_baud else [])]
        values = [self.get(register) for register in kept]
        for register in REGISTERS:
            if register.eeprom:
                self.put(register, register.default)
        for register, value in zip(kept, values, strict=True):
            self.put(register, value)
        self.power_on()

    def power_on(self, position_rad: float | None = None) -> None:
        """RAM as after switching on (or REBOOT): torque off, errors and indirect addresses forgotten."""
        for register in REGISTERS:
            if not register.eeprom:
                self.put(register, register.default)
        self.put(table.GOAL_PWM, self.get(table.PWM_LIMIT))
        self.put(table.GOAL_CURRENT, self.get(table.CURRENT_LIMIT))
        for slot in range(self._indirect_count):
            at = table.INDIRECT_ADDRESS + 2 * slot
            self.memory[at : at + 2] = (self._indirect_data + slot).to_bytes(2, "little")
        self.memory[self._indirect_data : self._table_end] = bytes(self._indirect_count)
        if position_rad is not None:
            self._actual = position_rad / self._rad_per_count + self._mount_count
            self.temperature_c = AMBIENT_C
        # The encoder knows its angle, not how often it went round.
        self._mount_count += self._actual % TURN - self._actual
        self._actual %= TURN
        self._overload_s = 0.0
        self._kept = None
        self._stay()

    def _stay(self) -> None:
        """The present position is the goal."""
        self._target = self._present()
        self.put(table.GOAL_POSITION, round(self._target))
        self._drive()

    # --- drive ----------------------------------------------------------------------------------

    @property
    def turn_counts(self) -> float:
        """The whole turns, in counts, that it counts on top of what the calibration says."""
        return self._mount_count - self._mounted_count

    @property
    def _sign(self) -> int:
        """What the drive mode makes of counts, speeds and efforts."""
        return -1 if self.get(table.DRIVE_MODE) & table.REVERSED else 1

    def _present(self) -> float:
        offset, one_turn = self.get(table.HOMING_OFFSET), self.get(table.OPERATING_MODE) == table.POSITION
        if one_turn and abs(offset) > table.POSITION_OFFSET_MOST:
            offset = 0
        begin = TURN if one_turn and self._sign < 0 else 0
        return float(begin + self._sign * round(self._actual) + offset)

    def _obey(self, touched: set[Register], now_s: float) -> None:
        """Bring a write to effect."""
        if table.TORQUE_ENABLE in touched:
            if self.get(table.HARDWARE_ERROR) & self.get(table.SHUTDOWN):
                self.put(table.TORQUE_ENABLE, 0)  # only REBOOT helps
            self._heard_s = now_s
        if table.BUS_WATCHDOG in touched:
            self._heard_s = now_s
        if table.GOAL_POSITION in touched:
            self._goal_s = now_s
            self._target = float(self.get(table.GOAL_POSITION))
        if touched & {table.HOMING_OFFSET, table.OPERATING_MODE, table.DRIVE_MODE}:
            self._stay()
        if touched:
            self._drive()

    def _drive(self) -> None:
        """Registers -> plant: what the drive is to do from now on."""
        plant, index = self._plant, self._index
        following = self.get(table.OPERATING_MODE) in _FOLLOWING
        plant.torque_on[index] = self.get(table.TORQUE_ENABLE) == 1 and following
        most = abs(self.get(table.GOAL_PWM)) / PWM_FULL
        if self.get(table.OPERATING_MODE) == table.CURRENT_POSITION and self.model.current_a:
            most = min(most, abs(self.get(table.GOAL_CURRENT)) * self.model.current_a / self.model.stall_a)
        plant.torque_limit[index] = most
        fastest, quickest = self.get(table.PROFILE_VELOCITY), self.get(table.PROFILE_ACCELERATION)
        speed = min(fastest or math.inf, self.get(table.VELOCITY_LIMIT))
        if self.get(table.BUS_WATCHDOG) < 0:
            quickest = 0  # e-manual: it stops without a profile
        plant.speed_limit_rad_s[index] = speed * table.SPEED_UNIT_RAD_S
        plant.accel_limit_rad_s2[index] = quickest * table.ACCELERATION_UNIT_RAD_S2 or math.inf
        goal = round(self._actual) + self._sign * (self._target - self._present())
        plant.goal_rad[index] = (goal - self._mount_count) * self._rad_per_count

    # --- time -----------------------------------------------------------------------------------

    def heard(self, now_s: float) -> None:
        """An instruction for this servo, or for all, was on the bus."""
        self._heard_s = now_s

    def neglected(self, now_s: float) -> bool:
        """Whether it has been quiet for longer than the bus watchdog allows."""
        units = self.memory[table.BUS_WATCHDOG.address]
        armed = 0 < units <= table.BUS_WATCHDOG.high and self.memory[table.TORQUE_ENABLE.address] == 1
        return armed and now_s - self._heard_s > units * table.WATCHDOG_UNIT_S

    def watch(self, now_s: float) -> None:
        """The bus watchdog: stop if neglected, and take no goal any more."""
        if self.neglected(now_s):
            self.trip()

    def trip(self) -> None:
        """Stop where it is, and take no goal any more."""
        self.put(table.BUS_WATCHDOG, -1)
        self._stay()

    def turn(self, dt_s: float) -> None:
        """Velocity mode is not modelled."""

    def refresh(self, position_rad: float, velocity_rad_s: float, load: float, now_s: float) -> None:
        """Present values, from the plant's last step."""
        self._actual = position_rad / self._rad_per_count + self._mount_count
        sign = self._sign * math.copysign(1, self._rad_per_count)
        speed = round(sign * velocity_rad_s / table.SPEED_UNIT_RAD_S)
        self.put(table.PRESENT_POSITION, round(self._present()))
        self.put(table.PRESENT_SPEED, speed)
        on = bool(self._plant.torque_on[self._index])
        if self.model.current_a:
            self.put(
                table.PRESENT_EFFORT, round(sign * math.copysign(self.current_a, load) / self.model.current_a)
            )
        else:
            self.put(table.PRESENT_EFFORT, round(1000 * sign * load) if on else 0)
        self.put(table.PRESENT_TEMPERATURE, round(self.temperature_c))
        self.put(table.REALTIME_TICK, int(now_s * 1000) % 32768)
        starting = on and now_s - self._goal_s < SETTLE_S
        self.put(table.MOVING, int(abs(speed) > self.get(table.MOVING_THRESHOLD) or starting))

    def protect(self, dt_s: float, load: float, supply_v: float) -> None:
        """Heat, hardware errors, and shutdown. load is signed, a fraction of the stall torque."""
        effort = abs(load) if self._plant.torque_on[self._index] else 0.0
        self.current_a = IDLE_A + effort * self.model.stall_a
        heat_w = (effort * self.model.stall_a) ** 2 * WINDING_W_A2
        self.temperature_c += dt_s * (heat_w - (self.temperature_c - AMBIENT_C) / HEAT_K_W) / HEAT_J_K
        volts = round(10 * supply_v * self.model.supply_v / NOMINAL_V)
        self.put(table.PRESENT_VOLTAGE, volts)
        errors = self.get(table.HARDWARE_ERROR)  # stay until a reboot
        if not self.get(table.MIN_VOLTAGE) <= volts <= self.get(table.MAX_VOLTAGE):
            errors |= dynamixel.ERROR_VOLTAGE
        if self.temperature_c > self.get(table.MAX_TEMPERATURE):
            errors |= dynamixel.ERROR_HEAT
        self._overload_s = self._overload_s + dt_s if effort >= OVERLOAD else 0.0
        if self._overload_s > OVERLOAD_S:
            errors |= dynamixel.ERROR_OVERLOAD
        self.put(table.HARDWARE_ERROR, errors)
        if errors & self.get(table.SHUTDOWN) and self.get(table.TORQUE_ENABLE):
            self.put(table.TORQUE_ENABLE, 0)
            self._drive()
