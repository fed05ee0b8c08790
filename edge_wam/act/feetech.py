"""The bytes of a Feetech STS/SMS servo bus. Pure: no port, no clock; a packet is a value.

    instruction   FF FF | ID | LEN | INSTRUCTION | parameters ... | CHECKSUM        host -> servo
    status        FF FF | ID | LEN | ERROR       | data ...       | CHECKSUM        servo -> host

LEN counts what follows it (parameters + 2), CHECKSUM is the inverted low byte of the sum from ID to
the last parameter. Words are little-endian; signed values are sign-magnitude, not two's complement,
and each register has its own sign bit. Both directions have the same frame, so one `PacketReader`
serves the host and the simulated servo: `code` is the instruction in one, the error byte in the other.

How a frame breaks, and what the reader does about it: noise before the header (skipped to the next
FF FF), a flipped byte (checksum fails; only one header byte is dropped, since the next true packet may
begin inside), a lost byte (the same), a false header that announces more than will ever come
(`finish`, called when the wire has gone quiet, looks behind it).

Sources: Feetech's protocol manual (FT-SCS) and the STS memory table; the scservo_sdk; where they
disagree the comment says so.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from edge_wam.act.stream import PacketStream

HEADER = b"\xff\xff"
BROADCAST_ID = 0xFE
HIGHEST_ID = 0xFC
LONGEST_PACKET = 250  # bytes; the servo's receive buffer, the SDK refuses more
LONGEST_PARAMETERS = LONGEST_PACKET - 6
COUNTS_PER_TURN = 4096
MODEL_STS3215 = 777
STATUS_BYTES = 6  # a status packet without data
PING_BYTES = 0  # data that a ping is answered with


class Instruction(IntEnum):
    """What a host can ask for (manual, chapter 4)."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    FACTORY_RESET = 0x06  # everything but the ID
    REBOOT = 0x08
    CLEAR_TURNS = 0x0A
    CALIBRATE = 0x0B  # make the present position 2048, or the value given
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


# The SDK and the memory table disagree about 02 and 10; any bit is a fault, the raw byte is kept.
ERROR_BITS: tuple[tuple[int, str], ...] = (
    (0x01, "voltage"),
    (0x02, "encoder"),
    (0x04, "overheated"),
    (0x08, "over-current"),
    (0x10, "angle"),
    (0x20, "overload"),
)
ERROR_VOLTAGE, ERROR_HEAT, ERROR_CURRENT, ERROR_OVERLOAD = 0x01, 0x04, 0x08, 0x20


def error_text(error: int) -> str:
    """`overload (0x20)` for a servo's error byte; `healthy` for 0."""
    if not error:
        return "healthy"
    names = [name for bit, name in ERROR_BITS if error & bit] or ["unknown"]
    return f"{' and '.join(names)} (0x{error:02X})"


# --- registers ---------------------------------------------------------------------------------


class Register(NamedTuple):
    """One entry of the memory table. Values are signed integers in `unit`, `low` to `high`.

    sign_bit is None for unsigned ones. Below address 40 lies EEPROM (kept without power, writable
    only while LOCK is 0), from 40 on RAM.
    """

    name: str
    address: int
    size: int
    low: int
    high: int
    default: int
    unit: str
    sign_bit: int | None
    writable: bool

    @property
    def eeprom(self) -> bool:
        """Whether the value survives without power, and needs LOCK = 0 to be written."""
        return self.address < 40

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
    sign: int | None = None,
    writable: bool = True,
) -> Register:
    """Enter one register; `span` is (low, high, default)."""
    register = Register(name, address, size, *span, unit, sign, writable)
    _table.append(register)
    return register


FIRMWARE_MAJOR = _add("firmware_major", 0, 1, (0, 255, 3), writable=False)
FIRMWARE_MINOR = _add("firmware_minor", 1, 1, (0, 255, 10), writable=False)
FIRMWARE = Register("firmware", 0, 2, 0, 0xFFFF, 0, "major, minor", None, False)  # both, by one question
BIG_ENDIAN = _add("big_endian", 2, 1, (0, 1, 0), writable=False)
MODEL = _add("model", 3, 2, (0, 65535, MODEL_STS3215), writable=False)
ID = _add("id", 5, 1, (0, 253, 1))
BAUD = _add("baud", 6, 1, (0, 7, 0), "index of BAUDS_BPS")
RETURN_DELAY = _add("return_delay", 7, 1, (0, 254, 250), "2 us")
RESPONSE_LEVEL = _add("response_level", 8, 1, (0, 1, 1), "0: only ping and read are answered")
MIN_POSITION = _add("min_position", 9, 2, (0, 4094, 0), "count")
MAX_POSITION = _add("max_position", 11, 2, (0, 4095, 4095), "count")
MAX_TEMPERATURE = _add("max_temperature", 13, 1, (0, 100, 70), "degC")
MAX_VOLTAGE = _add("max_voltage", 14, 1, (0, 254, 140), "0.1 V")
MIN_VOLTAGE = _add("min_voltage", 15, 1, (0, 254, 40), "0.1 V")
MAX_TORQUE = _add("max_torque", 16, 2, (0, 1000, 1000), "0.1 %")
PHASE = _add("phase", 18, 1, (0, 254, 12), "bit 2: 1 count/s, 3: speed 0 is full, 4: multi-turn")
UNLOAD_MASK = _add("unload_mask", 19, 1, (0, 254, 44), "error bits that cut the torque")
LED_MASK = _add("led_mask", 20, 1, (0, 254, 47), "error bits that light the LED")
P_GAIN = _add("p_gain", 21, 1, (0, 254, 32))
D_GAIN = _add("d_gain", 22, 1, (0, 254, 32))
I_GAIN = _add("i_gain", 23, 1, (0, 254, 0))
MIN_FORCE = _add("min_force", 24, 1, (0, 254, 16), "0.1 %")  # two bytes in LeRobot's table, one in Feetech's
I_LIMIT = _add("i_limit", 25, 1, (0, 254, 0))
CW_DEAD_ZONE = _add("cw_dead_zone", 26, 1, (0, 32, 1), "count")
CCW_DEAD_ZONE = _add("ccw_dead_zone", 27, 1, (0, 32, 1), "count")
PROTECTION_CURRENT = _add("protection_current", 28, 2, (0, 2047, 511), "6.5 mA")
RESOLUTION = _add("resolution", 30, 1, (1, 128, 1))
HOMING_OFFSET = _add("homing_offset", 31, 2, (-2047, 2047, 0), "count; present = actual - it", sign=11)
MODE = _add("mode", 33, 1, (0, 3, 0), "0 position, 1 speed, 2 PWM, 3 step")
PROTECTIVE_TORQUE = _add("protective_torque", 34, 1, (0, 100, 20), "% left after an overload")
PROTECTION_TIME = _add("protection_time", 35, 1, (0, 254, 200), "10 ms")
OVERLOAD_TORQUE = _add("overload_torque", 36, 1, (0, 100, 80), "%")
SPEED_P_GAIN = _add("speed_p_gain", 37, 1, (0, 254, 10))
CURRENT_TIME = _add("current_time", 38, 1, (0, 254, 200), "10 ms")
SPEED_I_GAIN = _add("speed_i_gain", 39, 1, (0, 254, 200))
TORQUE_ENABLE = _add("torque_enable", 40, 1, (0, 128, 0), "0 off, 1 on, 2 damping, 128 re-centre")
ACCELERATION = _add("acceleration", 41, 1, (0, 254, 0), "100 count/s2; 0 is full")
GOAL_POSITION = _add("goal_position", 42, 2, (-32767, 32767, 0), "count", sign=15)
GOAL_TIME = _add("goal_time", 44, 2, (-32767, 32767, 0), "ms; PWM duty in mode 2", sign=15)
GOAL_SPEED = _add("goal_speed", 46, 2, (-32767, 32767, 0), "count/s", sign=15)
TORQUE_LIMIT = _add("torque_limit", 48, 2, (0, 1000, 1000), "0.1 %")
LOCK = _add("lock", 55, 1, (0, 1, 1), "1: EEPROM is write-protected")
PRESENT_POSITION = _add("present_position", 56, 2, (-32767, 32767, 0), "count", sign=15, writable=False)
PRESENT_SPEED = _add("present_speed", 58, 2, (-32767, 32767, 0), "count/s", sign=15, writable=False)
PRESENT_LOAD = _add("present_load", 60, 2, (-1000, 1000, 0), "0.1 %", sign=10, writable=False)
PRESENT_VOLTAGE = _add("present_voltage", 62, 1, (0, 255, 120), "0.1 V", writable=False)
PRESENT_TEMPERATURE = _add("present_temperature", 63, 1, (0, 255, 25), "degC", writable=False)
ASYNC_FLAG = _add("async_flag", 64, 1, (0, 1, 0), "1: a REG WRITE waits", writable=False)
STATUS = _add("status", 65, 1, (0, 255, 0), "error bits", writable=False)
MOVING = _add("moving", 66, 1, (0, 1, 0), writable=False)
PRESENT_GOAL = _add("present_goal", 67, 2, (-32767, 32767, 0), "count", sign=15, writable=False)
PRESENT_CURRENT = _add("present_current", 69, 2, (-32767, 32767, 0), "6.5 mA", sign=15, writable=False)
MOVING_THRESHOLD = _add("moving_threshold", 80, 1, (0, 254, 1), "50 count/s")
CYCLE_TIME = _add("cycle_time", 81, 1, (0, 254, 10), "ms")
SPEED_UNIT = _add("speed_unit", 82, 1, (0, 254, 1))
HTS = _add("hts", 83, 1, (0, 254, 0), "20.83 ns")
MAX_SPEED = _add("max_speed", 84, 1, (0, 254, 68), "50 count/s; 3400 is what the gearbox does")
MAX_ACCELERATION = _add("max_acceleration", 85, 1, (0, 254, 254), "100 count/s2")
ACCELERATION_FACTOR = _add("acceleration_factor", 86, 1, (0, 254, 1))

REGISTERS: tuple[Register, ...] = tuple(_table)
BAUDS_BPS: tuple[int, ...] = (1_000_000, 500_000, 250_000, 128_000, 115_200, 76_800, 57_600, 38_400)


def pack(register: Register, value: int) -> bytes:
    """The register's bytes for `value` (in its unit). ValueError when it does not fit.

    Refusing is the point: an encoded overflow would set the sign bit and drive the other way.
    """
    if not register.low <= value <= register.high:
        raise ValueError(f"{register.name} takes {register.low} to {register.high}, not {value}")
    raw = value
    if register.sign_bit is not None and value < 0:
        raw = -value | 1 << register.sign_bit
    return raw.to_bytes(register.size, "little")


def unpack(register: Register, data: bytes | bytearray | memoryview) -> int:
    """The value in the register's unit; the inverse of `pack`."""
    if len(data) != register.size:
        raise ValueError(f"{register.name} has {register.size} bytes, got {len(data)}")
    raw = int.from_bytes(data, "little")
    return raw if register.sign_bit is None else signed(raw, register.sign_bit)


def signed(raw: int, sign_bit: int) -> int:
    """Sign-magnitude to integer. Bits above the sign bit mean nothing and are dropped."""
    mask = 1 << sign_bit
    magnitude = raw & (mask - 1)
    return -magnitude if raw & mask else magnitude


class Present(NamedTuple):
    """The block 56..70 of one servo in one go, in the registers' units."""

    position: int
    speed: int
    load: int
    voltage: int
    temperature: int
    status: int
    moving: int
    current: int


BLOCK_ADDRESS = PRESENT_POSITION.address
BLOCK_BYTES = PRESENT_CURRENT.end - BLOCK_ADDRESS  # 15
_BLOCK = struct.Struct("<HHHBBBBBHH")


def present(data: bytes) -> Present:
    """Decode BLOCK_BYTES read from BLOCK_ADDRESS."""
    position, speed, load, voltage, temperature, _async, status, moving, _goal, current = _BLOCK.unpack(data)
    return Present(
        signed(position, 15),
        signed(speed, 15),
        signed(load, 10),
        voltage,
        temperature,
        status,
        moving,
        signed(current, 15),
    )


# --- packets -----------------------------------------------------------------------------------


class Packet(NamedTuple):
    """One frame off the wire. `code` is the instruction, or in a status packet the error byte."""

    servo_id: int
    code: int
    parameters: bytes


def checksum(body: bytes | bytearray) -> int:
    """Over everything between the header and the checksum itself."""
    return ~sum(body) & 0xFF


def encode(packet: Packet) -> bytes:
    """Put the frame around a packet. ValueError when it would not fit the servo's buffer."""
    if len(packet.parameters) > LONGEST_PARAMETERS:
        raise ValueError(f"a packet carries {LONGEST_PARAMETERS} parameters, not {len(packet.parameters)}")
    body = bytes((packet.servo_id, len(packet.parameters) + 2, packet.code)) + packet.parameters
    return HEADER + body + bytes((checksum(body),))


def ping(servo_id: int) -> bytes:
    """Are you there?"""
    return encode(Packet(servo_id, Instruction.PING, b""))


def read(servo_id: int, address: int, length: int) -> bytes:
    """Ask for `length` bytes from `address`."""
    return encode(Packet(servo_id, Instruction.READ, bytes((address, length))))


def write(servo_id: int, address: int, data: bytes) -> bytes:
    """Write `data` from `address` on, now."""
    return encode(Packet(servo_id, Instruction.WRITE, bytes((address,)) + data))


def reg_write(servo_id: int, address: int, data: bytes) -> bytes:
    """Write `data` when ACTION comes."""
    return encode(Packet(servo_id, Instruction.REG_WRITE, bytes((address,)) + data))


def action(servo_id: int = BROADCAST_ID) -> bytes:
    """Carry out what REG WRITE left waiting."""
    return encode(Packet(servo_id, Instruction.ACTION, b""))


def sync_read(address: int, length: int, servo_ids: Sequence[int]) -> bytes:
    """Ask several servos for the same bytes; they answer one after another in this order."""
    return encode(Packet(BROADCAST_ID, Instruction.SYNC_READ, bytes((address, length, *servo_ids))))


def sync_write(address: int, items: Sequence[tuple[int, bytes]]) -> bytes:
    """Write to several servos at once, (id, data) each, all data of one length. Never answered."""
    length = len(items[0][1])
    parameters = bytearray((address, length))
    for servo_id, data in items:
        if len(data) != length:
            raise ValueError(f"a sync write has one length: {length} bytes, but {len(data)} for {servo_id}")
        parameters.append(servo_id)
        parameters += data
    return encode(Packet(BROADCAST_ID, Instruction.SYNC_WRITE, bytes(parameters)))


def status(servo_id: int, error: int, data: bytes = b"") -> bytes:
    """What a servo answers."""
    return encode(Packet(servo_id, error, data))


def why_not_kept(register: Register) -> str:
    """What may be the reason when a register does not keep what was written; '' if nothing is known."""
    return "; is its EEPROM locked (lock = 1)?" if register.eeprom else ""


class PacketReader(PacketStream[Packet]):
    """As PacketStream. longest_parameters makes a false header that announces more harmless at once.

    Give it where the length of the answer is known: a LEN that is one too high is a flipped bit the checksum
    never sees (the old checksum becomes data, and FF, the next header's first byte, is then the right one).
    """

    def __init__(self, longest_parameters: int = LONGEST_PARAMETERS) -> None:
        super().__init__()
        self._longest = longest_parameters + 2

    def _next(self) -> Packet | None:
        buffer = self._buffer
        while True:
            start = buffer.find(HEADER)
            if start < 0:
                self._drop(len(buffer) - buffer.endswith(HEADER[:1]))
                return None
            self._drop(start)
            if len(buffer) < 4:
                return None
            servo_id, length = buffer[2], buffer[3]
            if servo_id > BROADCAST_ID or not 2 <= length <= self._longest:
                self._drop(1)
                continue
            end = 4 + length
            if len(buffer) < end:
                return None
            if checksum(buffer[2 : end - 1]) == buffer[end - 1]:
                packet = Packet(servo_id, buffer[4], bytes(buffer[5 : end - 1]))
                del buffer[:end]
                return packet
            self.broken += 1
            self._drop(1)


def status_reader(longest: int | None = None) -> PacketReader:
    """Reads answers with up to `longest` bytes of data."""
    return PacketReader(LONGEST_PARAMETERS if longest is None else longest)
