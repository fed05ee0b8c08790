"""A serial port that wakes its reader once an answer, not once a packet of it.

pyserial's own read comes back from the kernel for every few bytes that arrive: six servos that answer one
after the other wake the loop six times or more. Linux wakes a reader that waits in select when VMIN bytes are
there (termios(3), n_tty.c), so that is set to what the reader still lacks.
"""

from __future__ import annotations

import os
import select
import termios
import time
from typing import Any

_MOST_VMIN = 255  # it is a byte
_PIECE = 64  # in which the kernel hands out what is there (n_tty.c): a shorter one is the last
_MOST_BYTES = 4096  # that the kernel keeps
_VMIN_AT, _CC = termios.VMIN, 6  # tcgetattr's list: the control characters come last


class Tty:
    """A Port (act/bus.py) over an open pyserial port that nobody else reads. OSError once it is gone."""

    def __init__(self, line: Any) -> None:
        self._line, self.timeout = line, line.timeout
        self.port: str = line.port
        self.baudrate: int = line.baudrate
        self._least = 0  # VMIN as it is set

    def fileno(self) -> int:
        """For select; OSError once it is closed."""
        fd: int = self._line.fileno()
        return fd

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read without waiting."""
        count: int = self._line.in_waiting
        return count

    def reset_input_buffer(self) -> None:
        """Forget what has arrived."""
        self._line.reset_input_buffer()

    def close(self) -> None:
        """Give the line back. Harmless when done twice."""
        self._line.close()

    def read(self, size: int = 1, /) -> bytes:
        """Up to `size` bytes; fewer only once `timeout` seconds have passed."""
        fd = self.fileno()
        # A reader who is set to wake at that many bytes is woken at once where they are there already.
        data = b"" if self._least == min(size, _MOST_VMIN) else _take(fd, size)
        end_s = None if self.timeout is None else time.monotonic() + self.timeout
        while len(data) < size:
            self._wake_at(min(size - len(data), _MOST_VMIN))
            left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            ready, _, _ = select.select([fd], [], [], left_s)
            more = _take(fd, size - len(data))
            data += more
            if not ready:
                break
            if not more:
                raise OSError("the device has hung up")
        return data

    def take(self) -> bytes:
        """Whatever has come. Does not wait."""
        return _take(self.fileno(), _MOST_BYTES)

    def write(self, data: bytes, /) -> int:
        """One write to the system's buffer, which never waits; what does not fit is a lost request.

        pyserial's own looks at the clock after it has written: a process that was preempted there
        gets a write timeout for a request that went out whole (seen on a busy machine).
        """
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return 0

    def _wake_at(self, count: int) -> None:
        if count != self._least:
            try:
                attributes = termios.tcgetattr(self.fileno())
                attributes[_CC][_VMIN_AT] = count
                termios.tcsetattr(self.fileno(), termios.TCSANOW, attributes)
            except termios.error as error:  # which is no OSError
                raise OSError(*error.args) from error
            self._least = count


def _take(fd: int, size: int) -> bytes:
    """What is there, up to size bytes."""
    data = b""
    try:
        while len(data) < size:
            piece = os.read(fd, size - len(data))
            data += piece
            if len(piece) < _PIECE:
                break
    except BlockingIOError:
        pass
    return data
