"""A tick's bytes of Feetech servos all at once, where they are exactly what they should be.

The careful way (feetech.PacketReader, feetech.present, feetech.sync_write) makes objects of every answer and
costs half a tick's Python; it is what every other answer gets. Tests hold both ways to the same values.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_wam.act import feetech
from edge_wam.act.feetech import BLOCK_BYTES, GOAL_POSITION, STATUS_BYTES

_EACH = STATUS_BYTES + BLOCK_BYTES
# Header, id, LEN, error; the block as feetech.present has it; checksum.
_FRAME, _FIELDS = "HBBBHHHBBBBBHHB", 15

IntArray = NDArray[np.int64]


class Blocks:
    """The answers of these servos, in this order, to a SYNC READ of the block."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._count = len(ids)
        self._answers = struct.Struct("<" + self._count * _FRAME)
        self._ids = tuple(ids)
        self._headers = self._count * (0xFFFF,)
        self._lengths = self._count * (BLOCK_BYTES + 2,)
        # From the id to the checksum, which is the inverted sum of the rest: together FF.
        self._bodies = [slice(at + 2, at + _EACH) for at in range(0, self.size, _EACH)]

    @property
    def size(self) -> int:
        """Bytes of all answers."""
        return self._answers.size

    def decode(self, data: bytes) -> tuple[IntArray, NDArray[np.uint8]] | None:
        """(8, J), rows as feetech.Present, and (J,) error bytes with the status; None unless every byte is as
        it should be."""
        if len(data) != self._answers.size:
            return None
        flat = self._answers.unpack(data)
        if (
            flat[0::_FIELDS] != self._headers
            or flat[1::_FIELDS] != self._ids
            or flat[2::_FIELDS] != self._lengths
        ):
            return None
        for body in self._bodies:
            if sum(data[body]) & 0xFF != 0xFF:
                return None
        # Plain integers: six of them are too few for numpy to be worth its calls.
        status = flat[10::_FIELDS]
        values = np.array(
            (
                [raw if raw < 0x8000 else 0x8000 - raw for raw in flat[4::_FIELDS]],
                [raw if raw < 0x8000 else 0x8000 - raw for raw in flat[5::_FIELDS]],
                [raw & 0x3FF if not raw & 0x400 else -(raw & 0x3FF) for raw in flat[6::_FIELDS]],
                flat[7::_FIELDS],
                flat[8::_FIELDS],
                status,
                flat[11::_FIELDS],
                [raw if raw < 0x8000 else 0x8000 - raw for raw in flat[13::_FIELDS]],
            ),
            np.int64,
        )
        return values, np.array([a | b for a, b in zip(flat[3::_FIELDS], status, strict=True)], np.uint8)


class Goals:
    """The SYNC WRITE of goal positions to these servos."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = tuple(ids)
        one_each = feetech.sync_write(GOAL_POSITION.address, [(i, bytes(GOAL_POSITION.size)) for i in ids])
        self._head = one_each[: -1 - 3 * len(ids)]
        self._sum = sum(self._head[2:])
        self._items = struct.Struct("<" + len(ids) * "BH")

    def encode(self, counts: Sequence[int]) -> bytes:
        """ValueError when a count is no goal."""
        if len(counts) != len(self._ids):
            raise ValueError(f"{len(self._ids)} servos, and {len(counts)} goals")
        if min(counts) < 0 or max(counts) > GOAL_POSITION.high:  # sign and magnitude, or too far
            items = [
                (i, feetech.pack(GOAL_POSITION, count)) for i, count in zip(self._ids, counts, strict=True)
            ]
            return feetech.sync_write(GOAL_POSITION.address, items)
        pairs = [number for pair in zip(self._ids, counts, strict=True) for number in pair]
        body = self._items.pack(*pairs)
        return self._head + body + bytes((~(self._sum + sum(body)) & 0xFF,))
