"""One simulated STS3215: its memory, its drive, its winding. The bus around it is sim/servos.py.

The encoder sits on the joint once and for all; which count it shows at which angle (the mount) is what
the calibration file says: actual = zero_count + rad / rad_per_count + homing_offset of the *file*. What
the servo reports is present = actual - homing_offset of its *EEPROM*, within one turn. So a servo whose
EEPROM disagrees with the file reports wrong angles, as a real one does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge_wam.act import feetech
from edge_wam.act.arm import Calibration
from edge_wam.act.feetech import REGISTERS, Register

if TYPE_CHECKING:
    from edge_wam.sim.servos import Plant

RETURN_DELAY_UNIT_S = 2e-6
MEMORY_BYTES = 128
RAM_START = 40
TURN = feetech.COUNTS_PER_TURN
COARSE_COUNTS_S = 50  # the unit of max_speed and of the speeds when phase bit 2 is clear (0.732 rpm)
SETTLE_S = 0.05  # `moving` stays 1 this long after a goal, since a drive needs a moment to get going
ACTUAL_AT_REST = 3  # counts from the goal that do not count as a move

# A 12 V STS3215: stall 2.7 A, 55 g. The rest is set so that holding at a third of the stall torque warms
# it by some 25 K, and a stalled one reaches 70 degC in under a minute.
STALL_A = 2.7
IDLE_A = 0.03
WINDING_OHM = 4.4
HEAT_J_K = 33.0
HEAT_K_W = 8.0
AMBIENT_C = 25.0
COOLED_C = 5.0  # the heat alarm ends this far below its limit
CURRENT_UNIT_A = 0.0065

_MULTI_TURN, _ZERO_SPEED_IS_FULL, _FINE_SPEED = 16, 8, 4  # bits of PHASE
_GOAL_ALONE = {feetech.GOAL_POSITION}
_AT: list[Register | None] = [None] * 256
for _register in REGISTERS:
    for _address in range(_register.address, _register.end):
        _AT[_address] = _register


class Servo:
    """Joint `index` of the plant. Only the chain calls it, under its lock."""

    turn_counts = 0.0  # it counts within one turn

    def __init__(self, plant: Plant, index: int, calibration: Calibration) -> None:
        joint = calibration.joints[index]
        self._plant = plant
        self._index = index
        self._rad_per_count = float(calibration.rad_per_count[index])
        self._mount_count = float(calibration.zero_count[index]) + joint.homing_offset
        self._actual = 0.0  # where the encoder is, in counts, not wrapped
        self._target = 0.0  # present frame; what the drive goes to
        self._goal_s = -math.inf
        self._kept: tuple[int, bytes] | None = None
        self.current_a = IDLE_A
        self.temperature_c = AMBIENT_C
        self.turning = False  # in speed mode: `turn` wants to be called every step
        self.memory = bytearray(MEMORY_BYTES)
        self._factory()
        self.put(feetech.ID, joint.id)
        self.put(feetech.RETURN_DELAY, 0)  # as LeRobot sets an arm up
        self.put(feetech.HOMING_OFFSET, joint.homing_offset)
        self.put(feetech.MIN_POSITION, joint.range_min)
        self.put(feetech.MAX_POSITION, joint.range_max)

    @property
    def servo_id(self) -> int:
        return self.get(feetech.ID)

    @property
    def baud_bps(self) -> int:
        return feetech.BAUDS_BPS[self.get(feetech.BAUD)]

    # --- memory ---------------------------------------------------------------------------------

    def get(self, register: Register) -> int:
        """A register's value, in its unit."""
        raw = self.memory[register.address]
        if register.size == 2:
            raw |= self.memory[register.address + 1] << 8
        return raw if register.sign_bit is None else feetech.signed(raw, register.sign_bit)

    def put(self, register: Register, value: int) -> None:
        """Put a value there, whoever may write it, kept within the register's span."""
        raw = max(register.low, min(register.high, value))
        if raw < 0 and register.sign_bit is not None:
            raw = -raw | 1 << register.sign_bit
        address = register.address
        self.memory[address] = raw & 0xFF  # byte by byte: this runs some fifty times a tick
        if register.size == 2:
            self.memory[address + 1] = raw >> 8

    def read(self, address: int, length: int) -> bytes:
        """Raw memory; behind its end there are zeros."""
        return bytes(self.memory[address : address + length]).ljust(length, b"\0")

    def write(self, address: int, data: bytes, now_s: float) -> None:
        """What WRITE does: read-only and locked registers are passed over, values kept in their span."""
        unlocked = self.get(feetech.LOCK) == 0
        end = min(address + len(data), MEMORY_BYTES)
        touched = set()
        at = address
        while at < end:
            register = _AT[at]
            stop = at + 1 if register is None else min(register.end, end)
            if register is not None and register.writable and (unlocked or not register.eeprom):
                self.memory[at:stop] = data[at - address : stop - address]
                self.put(register, self.get(register))
                touched.add(register)
            at = stop
        if touched:
            self._obey(touched, now_s)

    def keep(self, address: int, data: bytes) -> None:
        """REG WRITE: for later."""
        self._kept = (address, data)
        self.put(feetech.ASYNC_FLAG, 1)

    def action(self, now_s: float) -> None:
        """ACTION: later is now."""
        if self._kept is not None:
            (address, data), self._kept = self._kept, None
            self.put(feetech.ASYNC_FLAG, 0)
            self.write(address, data, now_s)

    def factory_reset(self) -> None:
        """EEPROM as it left the factory, but for the ID; then as after a power cycle."""
        servo_id = self.get(feetech.ID)
        self._factory()
        self.put(feetech.ID, servo_id)
        self.power_on()

    def _factory(self) -> None:
        self.memory[:] = bytes(MEMORY_BYTES)
        for register in REGISTERS:
            self.put(register, register.default)

    def power_on(self, position_rad: float | None = None) -> None:
        """RAM as after switching on, torque off, the goal where the joint is, alarms forgotten."""
        for register in REGISTERS:
            if not register.eeprom:
                self.put(register, register.default)
        self.put(feetech.TORQUE_LIMIT, self.get(feetech.MAX_TORQUE))
        if position_rad is not None:
            self._actual = position_rad / self._rad_per_count + self._mount_count
            self.temperature_c = AMBIENT_C
        self._overload_s = self._overcurrent_s = 0.0
        self._overload_sign = 0
        self._alarms = 0
        self._kept = None
        self._target = self._present()
        self.put(feetech.GOAL_POSITION, round(self._target))
        self._drive()

    # --- drive ----------------------------------------------------------------------------------

    def _present(self) -> float:
        """Where the servo says it is: encoder less offset, within one turn unless set to several."""
        present = round(self._actual) - self.get(feetech.HOMING_OFFSET)
        return float(present if self.get(feetech.PHASE) & _MULTI_TURN else present % TURN)

    def _obey(self, touched: set[Register], now_s: float) -> None:
        """Bring a write to effect."""
        if feetech.TORQUE_ENABLE in touched:
            if self.get(feetech.TORQUE_ENABLE) == 128:
                self.put(feetech.TORQUE_ENABLE, int(bool(self._plant.torque_on[self._index])))
                self.recentre(2048)
            self._overload_sign = 0  # switching torque is how a tripped servo is brought back
            self._overload_s = self._overcurrent_s = 0.0
            self._alarms &= ~(feetech.ERROR_OVERLOAD | feetech.ERROR_CURRENT)
        goal = self.get(feetech.GOAL_POSITION)
        settled = self.get(feetech.TORQUE_ENABLE) == 1 and not self._alarms
        if feetech.GOAL_POSITION in touched:
            self.put(feetech.TORQUE_ENABLE, 1)
            if abs(goal - self._present()) > ACTUAL_AT_REST:
                self._goal_s = now_s
            relieved = (goal - self._present()) * self._rad_per_count * self._overload_sign < 0
            if self._overload_sign and relieved:
                self._overload_sign = 0
                self._alarms &= ~feetech.ERROR_OVERLOAD
        mode = self.get(feetech.MODE)
        if mode == 0:
            self._target = self._clamped(goal)
        elif mode == 3 and feetech.GOAL_POSITION in touched:
            self._target = self._present() + goal  # so many steps from here
        elif mode == 1 and feetech.MODE in touched:
            self._target = self._present()
        if settled and mode == 0 and touched == _GOAL_ALONE:
            self._aim(mode)  # what every tick does
        else:
            self._drive()

    def _clamped(self, goal: int) -> float:
        low, high = self.get(feetech.MIN_POSITION), self.get(feetech.MAX_POSITION)
        if low == high == 0:  # the table's way of saying: no limits
            return float(goal)
        return float(max(low, min(high, goal)))

    def recentre(self, count: int) -> None:
        """From now on this very position is called `count`; the joint does not move."""
        offset = (round(self._actual) - count + TURN // 2) % TURN - TURN // 2
        self.put(feetech.HOMING_OFFSET, offset)
        self._target = self._present()
        self.put(feetech.GOAL_POSITION, round(self._target))
        self._drive()

    def turn(self, dt_s: float) -> None:
        """Speed mode: the target runs on at the goal speed, as far as the joint goes."""
        self._target += self._speed(self.get(feetech.GOAL_SPEED)) * dt_s
        self._drive()

    def _speed(self, value: int) -> float:
        """Goal speed in counts/s, signed, below the factory's maximum."""
        fastest = self.get(feetech.MAX_SPEED) * COARSE_COUNTS_S
        speed = value if self.get(feetech.PHASE) & _FINE_SPEED else value * COARSE_COUNTS_S
        return float(max(-fastest, min(fastest, speed)))

    def _drive(self) -> None:
        """Registers -> plant: what the drive is to do from now on."""
        plant, index, scale = self._plant, self._index, abs(self._rad_per_count)
        mode = self.get(feetech.MODE)
        cut = self._alarms & self.get(feetech.UNLOAD_MASK) & ~feetech.ERROR_OVERLOAD
        plant.torque_on[index] = self.get(feetech.TORQUE_ENABLE) == 1 and not cut and mode != 2
        permille = min(self.get(feetech.TORQUE_LIMIT), self.get(feetech.MAX_TORQUE))
        if self._overload_sign:
            permille = min(permille, self.get(feetech.PROTECTIVE_TORQUE) * 10)
        plant.torque_limit[index] = permille / 1000
        speed = abs(self._speed(self.get(feetech.GOAL_SPEED)))
        if mode == 1 or (speed == 0 and self.get(feetech.PHASE) & _ZERO_SPEED_IS_FULL):
            speed = self.get(feetech.MAX_SPEED) * COARSE_COUNTS_S
        plant.speed_limit_rad_s[index] = speed * scale
        most = self.get(feetech.MAX_ACCELERATION) or math.inf
        acceleration = min(self.get(feetech.ACCELERATION) or most, most)
        plant.accel_limit_rad_s2[index] = acceleration * 100 * scale
        self.turning = mode == 1 and bool(plant.torque_on[index])
        self._aim(mode)

    def _aim(self, mode: int) -> None:
        """Target -> the plant's goal."""
        plant, index = self._plant, self._index
        # The target is a count as the servo reports it. Within one turn the drive never goes through the
        # wrap: it takes the way the difference to the present count points.
        shift = round(self._actual) - self._present() - self._mount_count  # present counts -> mounted joint
        goal_rad = (self._target + shift) * self._rad_per_count
        if mode == 1:  # no wind-up at a stop
            goal_rad = float(max(plant.joint_low_rad[index], min(plant.joint_high_rad[index], goal_rad)))
            self._target = goal_rad / self._rad_per_count - shift
        plant.goal_rad[index] = goal_rad
        shown = max(-32767, min(32767, round(self._target)))
        self.put(feetech.PRESENT_GOAL, shown)

    # --- what it reports ------------------------------------------------------------------------

    def refresh(self, position_rad: float, velocity_rad_s: float, load: float, now_s: float) -> None:
        """Present values, from the plant's last step."""
        self._actual = position_rad / self._rad_per_count + self._mount_count
        speed = round(velocity_rad_s / self._rad_per_count)
        sign = 1 if self._rad_per_count > 0 else -1
        self.put(feetech.PRESENT_POSITION, round(self._present()))
        fine = self.get(feetech.PHASE) & _FINE_SPEED
        self.put(feetech.PRESENT_SPEED, speed if fine else round(speed / COARSE_COUNTS_S))
        self.put(feetech.PRESENT_LOAD, round(load * sign * 1000) if self._plant.torque_on[self._index] else 0)
        self.put(feetech.PRESENT_CURRENT, round(math.copysign(self.current_a, load * sign) / CURRENT_UNIT_A))
        self.put(feetech.PRESENT_TEMPERATURE, round(self.temperature_c))
        self.put(feetech.STATUS, self._alarms)
        threshold = self.get(feetech.MOVING_THRESHOLD) * 10
        starting = now_s - self._goal_s < SETTLE_S and bool(self._plant.torque_on[self._index])
        self.put(feetech.MOVING, int(abs(speed) > threshold or starting))

    def protect(self, dt_s: float, load: float, supply_v: float) -> None:
        """Heat, alarms, and what they do to the torque. load is signed, a fraction of the stall torque."""
        on = bool(self._plant.torque_on[self._index])
        effort = abs(load) if on else 0.0
        self.current_a = IDLE_A + effort * STALL_A
        heat_w = (effort * STALL_A) ** 2 * WINDING_OHM
        self.temperature_c += dt_s * (heat_w - (self.temperature_c - AMBIENT_C) / HEAT_K_W) / HEAT_J_K
        self.put(feetech.PRESENT_VOLTAGE, round(supply_v * 10))

        before = self._alarms
        low, high = self.get(feetech.MIN_VOLTAGE) / 10, self.get(feetech.MAX_VOLTAGE) / 10
        self._alarm(feetech.ERROR_VOLTAGE, not low <= supply_v <= high)
        hottest = float(self.get(feetech.MAX_TEMPERATURE))
        if self._alarms & feetech.ERROR_HEAT:
            hottest -= COOLED_C
        self._alarm(feetech.ERROR_HEAT, self.temperature_c > hottest)
        over = self.current_a > self.get(feetech.PROTECTION_CURRENT) * CURRENT_UNIT_A
        self._overcurrent_s = self._overcurrent_s + dt_s if over else 0.0
        if self._overcurrent_s > self.get(feetech.CURRENT_TIME) * 0.01:
            self._alarms |= feetech.ERROR_CURRENT  # stays until torque is switched
        heavy = effort * 100 >= self.get(feetech.OVERLOAD_TORQUE)
        self._overload_s = self._overload_s + dt_s if heavy else 0.0
        if self._overload_s > self.get(feetech.PROTECTION_TIME) * 0.01 and not self._overload_sign:
            self._alarms |= feetech.ERROR_OVERLOAD  # stays until torque is switched or the goal relieves it
            self._overload_sign = 1 if load > 0 else -1
        if self._alarms != before:
            self._drive()

    def _alarm(self, bit: int, present: bool) -> None:
        self._alarms = self._alarms | bit if present else self._alarms & ~bit
