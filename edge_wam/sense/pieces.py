"""Sound on its way between two processes: records in a pipe, from sense/ear.py to sense/microphone.py.

    opened   the device's name and its rate      once, first
    sound    a piece, at the device's own rate   every PIECE_S
    failed   why there will be no more           once, last

The writer counts what never got into a piece; the counts travel with every one.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PIECE_S = 0.02

Wave = NDArray[np.float32]  # (N,), full scale is 1

_HEADER = struct.Struct("<cIdII")  # kind, length of what follows, and for sound: t_s, dropped, overflows
_OPENED, _SOUND, _FAILED = b"o", b"s", b"f"
_RATE = struct.Struct("<I")
_READ_BYTES = 1 << 16


class Opened(NamedTuple):
    """The device is open, under PortAudio's name for it, at its own rate."""

    name: str
    rate_hz: int


class Piece(NamedTuple):
    """samples has shape (N,); the last of them was heard at `t_s`. Pieces dropped for want of room and
    overflows of PortAudio's, both counted since the device was opened."""

    samples: Wave
    t_s: float
    dropped: int
    overflows: int


class Failed(NamedTuple):
    """Why there is no sound, in one line."""

    reason: str


Record = Opened | Piece | Failed


def encode(record: Record) -> bytes:
    """A record as bytes."""
    if isinstance(record, Piece):
        body = record.samples.tobytes()
        return _HEADER.pack(_SOUND, len(body), record.t_s, record.dropped, record.overflows) + body
    if isinstance(record, Opened):
        body, kind = _RATE.pack(record.rate_hz) + record.name.encode(), _OPENED
    else:
        body, kind = record.reason.encode(), _FAILED
    return _HEADER.pack(kind, len(body), 0.0, 0, 0) + body


class Decoder:
    """Bytes as they come, in whatever portions -> records."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Record]:
        """The records that are whole by now, oldest first."""
        self._rest += data
        records: list[Record] = []
        start = 0
        while len(self._rest) - start >= _HEADER.size:
            kind, length, t_s, dropped, overflows = _HEADER.unpack_from(self._rest, start)
            end = start + _HEADER.size + length
            if len(self._rest) < end:
                break
            body = bytes(self._rest[start + _HEADER.size : end])
            start = end
            if kind == _SOUND:
                records.append(Piece(np.frombuffer(body, np.float32), t_s, dropped, overflows))
            elif kind == _OPENED:
                name = body[_RATE.size :].decode("utf-8", "replace")
                records.append(Opened(name, _RATE.unpack_from(body)[0]))
            else:
                records.append(Failed(body.decode("utf-8", "replace")))
        del self._rest[:start]
        return records


def write_all(pipe: int, data: bytes) -> None:
    """Write it, however long the reader takes. BrokenPipeError once nobody reads any more."""
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


def read_some(pipe: int) -> bytes | None:
    """What there is in a pipe that does not block; b'' at its end, None while it is empty."""
    try:
        return os.read(pipe, _READ_BYTES)
    except BlockingIOError:
        return None
