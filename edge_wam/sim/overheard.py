"""What a host writes on the servo bus, decoded by the judge's own few lines: not by act/, which wrote it.

Two decoders, one a family, each fed with bytes in any pieces and yielding every goal position that a whole
packet with a right checksum brings, however it is written (WRITE, REG WRITE, SYNC WRITE, BULK WRITE). What
follows a packet that breaks off is looked at again, as a servo would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

# Feetech (manual, chapter 4): goal position, two bytes, sign and magnitude.
_F_GOAL, _F_END = 42, 44
# Dynamixel X (e-manual, control table): goal position, four bytes; where indirect data may begin.
_D_GOAL, _D_END, _D_INDIRECT, _D_TABLE_END = 116, 120, 208, 252
_WRITE, _REG_WRITE, _SYNC_WRITE, _BULK_WRITE = 0x03, 0x04, 0x83, 0x93


class FeetechGoals:
    """Protocol 1: FF FF, id, length, code, parameters, inverted sum."""

    def __init__(self) -> None:
        self._stream = bytearray()
        self.hidden = 0  # writes of which nobody can tell whether they hold a goal

    def hear(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(servo, goal in counts) for every goal that these bytes complete."""
        self._stream += data
        for servo_id, address, payload in self._writes():
            if address <= _F_GOAL and address + len(payload) >= _F_END:
                raw = int.from_bytes(payload[_F_GOAL - address : _F_END - address], "little")
                yield servo_id, -(raw & 0x7FFF) if raw & 0x8000 else raw

    def _writes(self) -> Iterator[tuple[int, int, bytes]]:
        """Every whole write so far: servo, address, data."""
        stream = self._stream
        while (start := stream.find(b"\xff\xff")) >= 0 and len(stream) >= start + 4:
            if stream[start + 2] == 0xFF:  # noise before a header
                del stream[: start + 1]
                continue
            end = start + 4 + stream[start + 3]
            if len(stream) < end:
                return
            packet = bytes(stream[start + 2 : end])
            if len(packet) < 4 or (~sum(packet[:-1]) & 0xFF) != packet[-1]:
                del stream[: start + 1]
                continue
            del stream[:end]
            servo_id, code, parameters = packet[0], packet[2], packet[3:-1]
            if code in (_WRITE, _REG_WRITE) and parameters:
                yield servo_id, parameters[0], parameters[1:]
            elif code == _SYNC_WRITE and len(parameters) > 2:
                size = parameters[1]
                for at in range(2, len(parameters), size + 1):
                    yield parameters[at], parameters[0], parameters[at + 1 : at + 1 + size]


class DynamixelGoals:
    """Protocol 2.0: FF FF FD 00, id, length (two bytes), code, stuffed parameters, CRC-16.

    A write to indirect data goes wherever an indirect address says: it counts as hidden.
    """

    def __init__(self) -> None:
        self._stream = bytearray()
        self.hidden = 0

    def hear(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(servo, goal in counts) for every goal that these bytes complete."""
        self._stream += data
        for servo_id, address, payload in self._writes():
            if address <= _D_GOAL and address + len(payload) >= _D_END:
                raw = payload[_D_GOAL - address : _D_END - address]
                yield servo_id, int.from_bytes(raw, "little", signed=True)
            if address < _D_TABLE_END and address + len(payload) > _D_INDIRECT:
                self.hidden += 1

    def _writes(self) -> Iterator[tuple[int, int, bytes]]:
        stream = self._stream
        while (start := stream.find(b"\xff\xff\xfd\x00")) >= 0 and len(stream) >= start + 7:
            length = stream[start + 5] + 256 * stream[start + 6]
            end = start + 7 + length
            if length > 1024:  # a header that is none
                del stream[: start + 1]
                continue
            if len(stream) < end:
                return
            packet = bytes(stream[start:end])
            if length < 3 or _remainder(packet[:-2]) != packet[-2] + 256 * packet[-1]:
                del stream[: start + 1]
                continue
            del stream[:end]
            body = packet[7:-2].replace(b"\xff\xff\xfd\xfd", b"\xff\xff\xfd")
            yield from _written(packet[4], body[0], body[1:])


def _written(servo_id: int, code: int, rest: bytes) -> Iterator[tuple[int, int, bytes]]:
    def word(at: int) -> int:
        return rest[at] + 256 * rest[at + 1]

    if code in (_WRITE, _REG_WRITE) and len(rest) > 2:
        yield servo_id, word(0), rest[2:]
    elif code == _SYNC_WRITE and len(rest) > 4:
        address, size = word(0), word(2)
        for at in range(4, len(rest), size + 1):
            yield rest[at], address, rest[at + 1 : at + 1 + size]
    elif code == _BULK_WRITE:
        at = 0
        while at + 5 <= len(rest):
            size = word(at + 3)
            yield rest[at], word(at + 1), rest[at + 5 : at + 5 + size]
            at += 5 + size


def _shifted(byte: int) -> int:
    """What one byte leaves of x^16 + x^15 + x^2 + 1, long division by hand."""
    rest = byte << 8
    for _ in range(8):
        rest = rest << 1 ^ (0x18005 if rest & 0x8000 else 0)
    return rest


_SHIFTED = [_shifted(byte) for byte in range(256)]


def _remainder(data: bytes) -> int:
    rest = 0
    for byte in data:
        rest = rest << 8 & 0xFF00 ^ _SHIFTED[rest >> 8 ^ byte]
    return rest


Goals = FeetechGoals | DynamixelGoals
GOALS: dict[str, Callable[[], Goals]] = {"feetech": FeetechGoals, "dynamixel": DynamixelGoals}
