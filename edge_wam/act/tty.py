"""A serial port that wakes its reader once an answer, not once a packet of it.

pyserial's own read comes back from the kernel for every few bytes that arrive: six servos that answer one
after the other wake the loop six times or more. Linux wakes a reader that waits in select when VMIN bytes are
there (termios(3), n_tty.c), so that is set to what the reader still lacks.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import time

import serial

_MOST_VMIN = 255  # it is a byte
_VMIN_AT, _CC = termios.VMIN, 6  # tcgetattr's list: the control characters come last


class Tty(serial.Serial):  # type: ignore[misc]  # pyserial is untyped
    """As serial.Serial, raw and for one reader. OSError once the device is gone."""

    _least = 0  # VMIN as it is set

    @property
    def timeout(self) -> float | None:
        """How long `read` waits, seconds. Nothing but read needs it; pyserial sets the line up anew."""
        timeout_s: float | None = self._timeout
        return timeout_s

    @timeout.setter
    def timeout(self, timeout_s: float | None) -> None:
        self._timeout = timeout_s

    def read(self, size: int = 1, /) -> bytes:
        """Up to `size` bytes; fewer only once `timeout` seconds have passed."""
        if not self.is_open:
            raise serial.PortNotOpenError
        data = self._take(size)
        end_s = None if self._timeout is None else time.monotonic() + self._timeout
        while len(data) < size:
            self._wake_at(min(size - len(data), _MOST_VMIN))
            left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            ready, _, _ = select.select([self.fd], [], [], left_s)
            more = self._take(size - len(data))
            data += more
            if not ready:
                break
            if not more:
                raise OSError("the device has hung up")
        return data

    def write(self, data: bytes, /) -> int:
        """One write to the system's buffer, which never waits; what does not fit is a lost request.

        pyserial's own looks at the clock after it has written: a process that was preempted there
        gets a write timeout for a request that went out whole (seen on a busy machine).
        """
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0

    def _take(self, size: int) -> bytes:
        """What is there, up to size bytes. The kernel hands it out in pieces of 64."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while len(data) < size and (piece := os.read(self.fd, size - len(data))):
                data += piece
        return data

    def _wake_at(self, count: int) -> None:
        if count != self._least:
            try:
                attributes = termios.tcgetattr(self.fd)
                attributes[_CC][_VMIN_AT] = count
                termios.tcsetattr(self.fd, termios.TCSANOW, attributes)
            except termios.error as error:  # which is no OSError
                raise OSError(*error.args) from error
            self._least = count

    def _reconfigure_port(self, force_update: bool = False) -> None:
        super()._reconfigure_port(force_update)
        self._least = 0
