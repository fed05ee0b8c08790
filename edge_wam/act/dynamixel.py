"""The bytes of a Dynamixel X bus, protocol 2.0. Pure: no port, no clock; a packet is a value.

    instruction   FF FF FD 00 | ID | LEN LEN | INSTRUCTION | parameters ...     | CRC CRC     host -> servo
    status        FF FF FD 00 | ID | LEN LEN | 55 | ERROR  | data ...           | CRC CRC     servo -> host
    joined        FF FF FD 00 | FE | LEN LEN | 55 | (ERROR | ID | data | CRC CRC) of each     fast sync read

LEN counts what follows it. Words are little-endian, signed values two's complement. From the instruction to
the last parameter every FF FF FD is followed by one more FD ("stuffing", counted by LEN and by the CRC), so
that no header stands inside a packet; a joined status is the exception, it is not stuffed. Its CRCs are
running ones: each is that of everything before it, so the blocks up to the first broken one are good.

How a frame breaks, and what the readers do about it: as in feetech.py.

Sources: ROBOTIS' e-manual (protocol 2.0; XL330-M288, XL430-W250); the dynamixel_sdk.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from edge_wam.act.dynamixel_table import HARDWARE_ERROR, Register
from edge_wam.act.stream import PacketStream, Stream

HEADER = b"\xff\xff\xfd\x00"
BROADCAST_ID = 0xFE
LONGEST_PARAMETERS = 1000  # the SDK's packets end at 1024 bytes
STATUS_BYTES = 11  # a status packet without data
JOINED_HEAD_BYTES, JOINED_EACH_BYTES = 8, 4  # of a joined status: before all data, beside each servo's
PING_BYTES = 3  # what a ping is answered with: model, firmware
_STUFFED, _PLAIN = b"\xff\xff\xfd\xfd", b"\xff\xff\xfd"


class Instruction(IntEnum):
    """What a host can ask for; STATUS is what a servo answers (e-manual, protocol 2.0)."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    FACTORY_RESET = 0x06
    REBOOT = 0x08
    STATUS = 0x55
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83
    FAST_SYNC_READ = 0x8A
    BULK_READ = 0x92
    FAST_BULK_READ = 0x9A


ALERT = 0x80  # of a status's error byte: look at HARDWARE_ERROR
REFUSALS = {
    1: "result fail",
    2: "instruction error",
    3: "CRC error",
    4: "data range error",
    5: "data length error",
    6: "data limit error",
    7: "access error",
}
RESULT_FAIL, INSTRUCTION_ERROR, DATA_RANGE, DATA_LENGTH, DATA_LIMIT, ACCESS = 1, 2, 4, 5, 6, 7
# Bits of HARDWARE_ERROR and of SHUTDOWN.
ERROR_VOLTAGE, ERROR_HEAT, ERROR_ENCODER, ERROR_SHOCK, ERROR_OVERLOAD = 0x01, 0x04, 0x08, 0x10, 0x20
ERROR_BITS: tuple[tuple[int, str], ...] = (
    (ERROR_VOLTAGE, "voltage"),
    (ERROR_HEAT, "overheated"),
    (ERROR_ENCODER, "encoder"),
    (ERROR_SHOCK, "electrical shock"),
    (ERROR_OVERLOAD, "overload"),
    (ALERT, "alert"),
)


def error_text(error: int) -> str:
    """`overload (0x20)` for a servo's hardware error; `healthy` for 0."""
    if not error:
        return "healthy"
    names = [name for bit, name in ERROR_BITS if error & bit] or ["unknown"]
    return f"{' and '.join(names)} (0x{error:02X})"


def pack(register: Register, value: int) -> bytes:
    """The register's bytes for `value` (in its unit). ValueError when it does not fit."""
    if not register.low <= value <= register.high:
        raise ValueError(f"{register.name} takes {register.low} to {register.high}, not {value}")
    return value.to_bytes(register.size, "little", signed=register.low < 0)


def unpack(register: Register, data: bytes | bytearray | memoryview) -> int:
    """The value in the register's unit; the inverse of `pack`."""
    if len(data) != register.size:
        raise ValueError(f"{register.name} has {register.size} bytes, got {len(data)}")
    return int.from_bytes(data, "little", signed=register.low < 0)


# --- packets -----------------------------------------------------------------------------------


class Packet(NamedTuple):
    """One frame off the wire, not stuffed any more. A status's parameters begin with its error byte."""

    servo_id: int
    instruction: int
    parameters: bytes


class Status(NamedTuple):
    """One servo's answer. code: ALERT or'ed with the number of a refusal (REFUSALS), 0 if all is well."""

    servo_id: int
    code: int
    parameters: bytes


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 8
        for _ in range(8):
            value = (value << 1) ^ (0x8005 if value & 0x8000 else 0)
        table.append(value & 0xFFFF)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """CRC-16/UMTS (polynomial 8005, not reflected), going on from `crc`."""
    for byte in data:
        crc = (crc << 8) & 0xFFFF ^ _CRC[crc >> 8 ^ byte]
    return crc


def encode(packet: Packet) -> bytes:
    """Put the frame around a packet. ValueError when it would be too long."""
    if len(packet.parameters) > LONGEST_PARAMETERS:
        raise ValueError(f"a packet carries {LONGEST_PARAMETERS} parameters, not {len(packet.parameters)}")
    body = (bytes((packet.instruction,)) + packet.parameters).replace(_PLAIN, _STUFFED)
    frame = HEADER + bytes((packet.servo_id,)) + (len(body) + 2).to_bytes(2, "little") + body
    return frame + crc16(frame).to_bytes(2, "little")


def ping(servo_id: int) -> bytes:
    """Are you there, and who are you?"""
    return encode(Packet(servo_id, Instruction.PING, b""))


def reboot(servo_id: int) -> bytes:
    """As if switched off and on: the one way out of a shutdown."""
    return encode(Packet(servo_id, Instruction.REBOOT, b""))


def read(servo_id: int, address: int, length: int) -> bytes:
    """Ask for `length` bytes from `address`."""
    return encode(Packet(servo_id, Instruction.READ, struct.pack("<HH", address, length)))


def write(servo_id: int, address: int, data: bytes) -> bytes:
    """Write `data` from `address` on, now."""
    return encode(Packet(servo_id, Instruction.WRITE, address.to_bytes(2, "little") + data))


def sync_read(address: int, length: int, servo_ids: Sequence[int], *, fast: bool = False) -> bytes:
    """Ask several servos for the same bytes; they answer one after another in this order; fast: joined."""
    code = Instruction.FAST_SYNC_READ if fast else Instruction.SYNC_READ
    return encode(Packet(BROADCAST_ID, code, struct.pack("<HH", address, length) + bytes(servo_ids)))


def bulk_read(items: Sequence[tuple[int, int, int]], *, fast: bool = False) -> bytes:
    """As sync_read, but each (id, address, length) has its own."""
    code = Instruction.FAST_BULK_READ if fast else Instruction.BULK_READ
    return encode(Packet(BROADCAST_ID, code, b"".join(struct.pack("<BHH", *item) for item in items)))


def sync_write(address: int, items: Sequence[tuple[int, bytes]]) -> bytes:
    """Write to several servos at once, (id, data) each, all data of one length. Never answered."""
    length = len(items[0][1])
    parameters = bytearray(struct.pack("<HH", address, length))
    for servo_id, data in items:
        if len(data) != length:
            raise ValueError(f"a sync write has one length: {length} bytes, but {len(data)} for {servo_id}")
        parameters.append(servo_id)
        parameters += data
    return encode(Packet(BROADCAST_ID, Instruction.SYNC_WRITE, bytes(parameters)))


def status(servo_id: int, code: int, data: bytes = b"") -> bytes:
    """What a servo answers."""
    return encode(Packet(servo_id, Instruction.STATUS, bytes((code,)) + data))


def joined(answers: Sequence[Status], length: int) -> list[bytes]:
    """What each servo adds to the one status packet of a fast read; length is what LEN announces."""
    pieces: list[bytes] = []
    crc = 0
    for answer in answers:
        head = b"" if pieces else _joined_head(length)
        piece = head + bytes((answer.code, answer.servo_id)) + answer.parameters
        check = crc16(piece, crc).to_bytes(2, "little")
        crc = crc16(check, crc16(piece, crc))
        pieces.append(piece + check)
    return pieces


def _joined_head(length: int) -> bytes:
    return HEADER + bytes((BROADCAST_ID,)) + length.to_bytes(2, "little") + bytes((Instruction.STATUS,))


def why_not_kept(register: Register) -> str:
    """What may be the reason when a register does not keep what was written; '' if nothing is known."""
    if register.eeprom:
        return "; is its torque on (torque_enable = 1)? the EEPROM is locked then"
    if register.name.startswith("goal_"):
        return "; has its bus watchdog tripped (bus_watchdog = -1), or is it out of its limits?"
    if register.name == "torque_enable":
        return f"; has it shut down ({HARDWARE_ERROR.name})? then only a reboot brings it back"
    return ""


class PacketReader(PacketStream[Packet]):
    """As PacketStream. longest_parameters makes a false header that announces more harmless at once."""

    def __init__(self, longest_parameters: int = LONGEST_PARAMETERS) -> None:
        super().__init__()
        # Stuffing adds at most one byte to three.
        self._longest = 3 + longest_parameters + (1 + longest_parameters) // 3

    def _next(self) -> Packet | None:
        buffer = self._buffer
        while True:
            self._drop(_begins(buffer, HEADER))
            if len(buffer) < 7:
                return None
            servo_id, length = buffer[4], buffer[5] | buffer[6] << 8
            if servo_id > BROADCAST_ID or servo_id == 0xFD or not 3 <= length <= self._longest:
                self._drop(1)
                continue
            end = 7 + length
            if len(buffer) < end:
                return None
            if crc16(memoryview(buffer)[: end - 2]) == buffer[end - 2] | buffer[end - 1] << 8:
                body = bytes(buffer[7 : end - 2]).replace(_STUFFED, _PLAIN)
                del buffer[:end]
                return Packet(servo_id, body[0], body[1:])
            self.broken += 1
            self._drop(1)


class StatusReader:
    """Of a stream, the answers with up to `length` bytes of data. Instructions are passed over: some adapters
    echo what is sent."""

    def __init__(self, length: int) -> None:
        self._reader = PacketReader(1 + length)

    @property
    def waiting(self) -> int:
        return self._reader.waiting

    @property
    def broken(self) -> int:
        return self._reader.broken

    @property
    def garbage_bytes(self) -> int:
        return self._reader.garbage_bytes

    def feed(self, data: bytes) -> list[Status]:
        return _answers(self._reader.feed(data))

    def finish(self) -> list[Status]:
        return _answers(self._reader.finish())


def status_reader(longest: int | None = None) -> StatusReader:
    """Reads answers with up to `longest` bytes of data."""
    return StatusReader(LONGEST_PARAMETERS - 1 if longest is None else longest)


class JoinedReader(Stream):
    """The answers of a fast read: `count` servos with `length` bytes of data each, in one status packet."""

    def __init__(self, length: int, count: int) -> None:
        super().__init__()
        self._each = JOINED_EACH_BYTES + length
        self._head = _joined_head(1 + count * self._each)
        self._count, self._left, self._crc = count, 0, 0

    def feed(self, data: bytes) -> list[Status]:
        """The answers completed by `data`; after a block whose CRC fails there are none any more."""
        buffer, answers = self._buffer, list[Status]()
        buffer += data
        while True:
            if not self._left:
                self._drop(_begins(buffer, self._head))
                if len(buffer) < len(self._head):
                    return answers
                self._crc, self._left = crc16(self._head), self._count
                del buffer[: len(self._head)]
            if len(buffer) < self._each:
                return answers
            block = bytes(buffer[: self._each])
            crc = crc16(block[:-2], self._crc)
            if crc != block[-2] | block[-1] << 8:
                self.broken += 1
                self._left = 0
                continue
            self._crc, self._left = crc16(block[-2:], crc), self._left - 1
            del buffer[: self._each]
            answers.append(Status(block[1], block[0], block[2:-2]))

    def finish(self) -> list[Status]:
        """The wire has gone quiet: what is left never was an answer."""
        self._left = 0
        self._drop(len(self._buffer))
        return []


def _begins(buffer: bytearray, head: bytes) -> int:
    """Where `head`, or as much of it as has come, begins in the buffer; its end if nowhere."""
    if (start := buffer.find(head)) >= 0:
        return start
    for size in range(min(len(head) - 1, len(buffer)), 0, -1):
        if buffer.endswith(head[:size]):
            return len(buffer) - size
    return len(buffer)


def _answers(packets: Sequence[Packet]) -> list[Status]:
    return [
        Status(packet.servo_id, packet.parameters[0], packet.parameters[1:])
        for packet in packets
        if packet.instruction == Instruction.STATUS and packet.parameters
    ]
