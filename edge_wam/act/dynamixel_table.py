"""The control table of the Dynamixel X series, as far as an arm needs it, and the models that are known.

Where the indirect data begins depends on the model and on its firmware: at 208 in an XL330 as it was sold for
years, at 224 in one with a newer firmware and in an XL430. ROBOTIS' own tables disagree about it, so nobody
here believes a table: act/dynamixel_bus.py asks the servo.

Sources: ROBOTIS' e-manual (XL330-M077, XL330-M288, XL430-W250); the tables of the dynamixel_sdk.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

COUNTS_PER_TURN = 4096
SPEED_UNIT_RAD_S = 0.229 * 2 * math.pi / 60
ACCELERATION_UNIT_RAD_S2 = 214.577 * 2 * math.pi / 3600
WATCHDOG_UNIT_S = 0.02
BAUDS_BPS: tuple[int, ...] = (9_600, 57_600, 115_200, 1_000_000, 2_000_000, 3_000_000, 4_000_000)
POSITION, EXTENDED_POSITION, CURRENT_POSITION = 3, 4, 5  # of OPERATING_MODE: those that follow a position
REVERSED = 1  # of DRIVE_MODE
POSITION_OFFSET_MOST = 1024  # in mode POSITION, a larger homing offset is ignored


class Model(NamedTuple):
    """One kind of servo. current_a: what a count of the register at 126 is, 0 where that is the load (0.1 %);
    stall_a and supply_v are the data sheet's."""

    name: str
    current_a: float
    stall_a: float
    supply_v: float


# model number -> model
MODELS = {
    1060: Model("XL430-W250", 0.0, 1.4, 12.0),
    1190: Model("XL330-M077", 0.001, 1.47, 5.0),
    1200: Model("XL330-M288", 0.001, 1.47, 5.0),
}


class Register(NamedTuple):
    """One entry of the control table. Values are integers in `unit`, `low` to `high`; signed if low is
    negative. Below address 64 lies EEPROM (kept without power, writable only while the torque is off)."""

    name: str
    address: int
    size: int
    low: int
    high: int
    default: int
    unit: str
    writable: bool

    @property
    def eeprom(self) -> bool:
        """Whether the value survives without power, and needs the torque off to be written."""
        return self.address < 64

    @property
    def end(self) -> int:
        """The address just behind it."""
        return self.address + self.size


_table: list[Register] = []


def _add(
    name: str,
    address: int,
    size: int,
    span: tuple[int, int, int],
    unit: str = "",
    *,
    writable: bool = True,
) -> Register:
    """Enter one register; `span` is (low, high, default)."""
    register = Register(name, address, size, *span, unit, writable)
    _table.append(register)
    return register


_INT32, _INT16 = 2**31 - 1, 2**15 - 1

MODEL = _add("model", 0, 2, (0, 65535, 1060), writable=False)
FIRMWARE = _add("firmware", 6, 1, (0, 255, 46), writable=False)
# Model, information, firmware, by one question.
IDENTITY = Register("identity", 0, 7, 0, 2**56 - 1, 0, "", False)
ID = _add("id", 7, 1, (0, 252, 1))
BAUD = _add("baud", 8, 1, (0, 6, 1), "index of BAUDS_BPS")
RETURN_DELAY = _add("return_delay", 9, 1, (0, 254, 250), "2 us")
DRIVE_MODE = _add("drive_mode", 10, 1, (0, 13, 0), "bit 0: reversed, 2: profile in ms, 3: goal switches on")
OPERATING_MODE = _add("operating_mode", 11, 1, (0, 16, 3), "3 position, 4 several turns, 5 with current")
HOMING_OFFSET = _add("homing_offset", 20, 4, (-1_044_479, 1_044_479, 0), "count; present = actual + it")
MOVING_THRESHOLD = _add("moving_threshold", 24, 4, (0, 1023, 10), "0.229 rev/min")
MAX_TEMPERATURE = _add("max_temperature", 31, 1, (0, 100, 72), "degC")
MAX_VOLTAGE = _add("max_voltage", 32, 2, (31, 160, 140), "0.1 V")
MIN_VOLTAGE = _add("min_voltage", 34, 2, (31, 160, 60), "0.1 V")
PWM_LIMIT = _add("pwm_limit", 36, 2, (0, 885, 885), "0.113 %")
CURRENT_LIMIT = _add("current_limit", 38, 2, (0, 2047, 1750), "1 mA; not in an XL430")
VELOCITY_LIMIT = _add("velocity_limit", 44, 4, (0, 2047, 265), "0.229 rev/min")
MAX_POSITION = _add("max_position", 48, 4, (0, 4095, 4095), "count")
MIN_POSITION = _add("min_position", 52, 4, (0, 4095, 0), "count")
SHUTDOWN = _add("shutdown", 63, 1, (0, 255, 52), "hardware errors that cut the torque")
TORQUE_ENABLE = _add("torque_enable", 64, 1, (0, 1, 0))
LED = _add("led", 65, 1, (0, 1, 0))
STATUS_LEVEL = _add("status_level", 68, 1, (0, 2, 2), "0: only ping is answered, 1: and read, 2: all")
REGISTERED = _add("registered", 69, 1, (0, 1, 0), "1: a REG WRITE waits", writable=False)
HARDWARE_ERROR = _add("hardware_error", 70, 1, (0, 255, 0), "error bits", writable=False)
POSITION_D = _add("position_d", 80, 2, (0, 16383, 4000))
POSITION_I = _add("position_i", 82, 2, (0, 16383, 0))
POSITION_P = _add("position_p", 84, 2, (0, 16383, 640))
BUS_WATCHDOG = _add("bus_watchdog", 98, 1, (-1, 127, 0), "20 ms; 0 off, -1 tripped")
GOAL_PWM = _add("goal_pwm", 100, 2, (-885, 885, 885), "0.113 %; in position modes the most")
GOAL_CURRENT = _add("goal_current", 102, 2, (-2047, 2047, 1750), "1 mA; in mode 5 the most; not in an XL430")
GOAL_VELOCITY = _add("goal_velocity", 104, 4, (-2047, 2047, 0), "0.229 rev/min")
PROFILE_ACCELERATION = _add("profile_acceleration", 108, 4, (0, 32767, 0), "214.577 rev/min2; 0 is full")
PROFILE_VELOCITY = _add("profile_velocity", 112, 4, (0, 32767, 0), "0.229 rev/min; 0 is full")
GOAL_POSITION = _add("goal_position", 116, 4, (-1_048_575, 1_048_575, 0), "count")
REALTIME_TICK = _add("realtime_tick", 120, 2, (0, 32767, 0), "ms", writable=False)
MOVING = _add("moving", 122, 1, (0, 1, 0), writable=False)
PRESENT_PWM = _add("present_pwm", 124, 2, (-885, 885, 0), "0.113 %", writable=False)
PRESENT_EFFORT = _add("present_effort", 126, 2, (-_INT16, _INT16, 0), "1 mA, or 0.1 % load", writable=False)
PRESENT_SPEED = _add("present_speed", 128, 4, (-_INT32, _INT32, 0), "0.229 rev/min", writable=False)
PRESENT_POSITION = _add("present_position", 132, 4, (-_INT32, _INT32, 0), "count", writable=False)
PRESENT_VOLTAGE = _add("present_voltage", 144, 2, (0, 65535, 120), "0.1 V", writable=False)
PRESENT_TEMPERATURE = _add("present_temperature", 146, 1, (0, 255, 25), "degC", writable=False)

REGISTERS: tuple[Register, ...] = tuple(_table)

# Two bytes each, from here on: which register the indirect data shows.
INDIRECT_ADDRESS = 168
INDIRECT_DATA = (
    224,
    208,
)  # where those data may begin; the distance to INDIRECT_ADDRESS is the room there is
# All of a tick in one piece, 17 of the 20 bytes that every model has room for.
BLOCK_REGISTERS: tuple[Register, ...] = (
    TORQUE_ENABLE,
    HARDWARE_ERROR,
    BUS_WATCHDOG,
    MOVING,
    PRESENT_EFFORT,
    PRESENT_SPEED,
    PRESENT_POSITION,
    PRESENT_VOLTAGE,
    PRESENT_TEMPERATURE,
)


class Present(NamedTuple):
    """What the indirect block carries of one servo, in the registers' units; `effort` is the current, or the
    load of a model without a current sensor."""

    torque: int
    hardware_error: int
    watchdog: int
    moving: int
    effort: int
    speed: int
    position: int
    voltage: int
    temperature: int


_BLOCK = struct.Struct("<BBbBhiiHB")
BLOCK_BYTES = _BLOCK.size  # 17
# Which address stands behind each byte of the block.
BLOCK_ADDRESSES: tuple[int, ...] = tuple(
    address for register in BLOCK_REGISTERS for address in range(register.address, register.end)
)


def present(data: bytes) -> Present:
    """Decode BLOCK_BYTES of indirect data."""
    return Present(*_BLOCK.unpack(data))
