"""What every reader of a servo bus does, whatever its packets look like. Pure, as the codecs are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

PacketT = TypeVar("PacketT")


class Stream:
    """Bytes that came and have not been understood yet. broken counts frames whose checksum failed,
    garbage_bytes everything that was thrown away."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.broken = 0
        self.garbage_bytes = 0

    @property
    def waiting(self) -> int:
        """Bytes of a packet that has not come to its end yet."""
        return len(self._buffer)

    def _drop(self, count: int) -> None:
        self.garbage_bytes += count
        del self._buffer[:count]


class PacketStream(Stream, ABC, Generic[PacketT]):
    """Cuts a stream of bytes, in pieces of any size, into packets; finds its feet after garbage."""

    def feed(self, data: bytes) -> list[PacketT]:
        """The packets completed by `data`, in order."""
        self._buffer += data
        packets = []
        while (packet := self._next()) is not None:
            packets.append(packet)
        return packets

    def finish(self) -> list[PacketT]:
        """The wire has gone quiet: an unfinished packet never was one. Look for others behind its header."""
        packets = []
        while self._buffer:
            self._drop(1)
            packets += self.feed(b"")
        return packets

    @abstractmethod
    def _next(self) -> PacketT | None:
        """Take the first whole packet from the buffer, drop what cannot be one; None if more has to come."""
