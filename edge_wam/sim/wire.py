"""The wire to the simulated servos, twice: a pty for any program, and a port object for one process.

PtyPort    a serial port under a path; scservo_sdk, feetech-cli, LeRobot and our own bus open it
LoopPort   the same bytes without an operating system in between, for faster than real time
Faults     what goes wrong on the way back, by appointment: lost, garbled, late, noise, unplugged
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from edge_wam.sim.servos import Chain, Reply

BITS_PER_BYTE = 10  # 8N1
IDLE_MS = 20  # a packet that pauses this long is given up by the servo
DEFAULT_BAUD_BPS = 1_000_000

_LINE_SPEEDS = {
    termios.B4000000: 4_000_000,
    termios.B2000000: 2_000_000,
    termios.B1000000: 1_000_000,
    termios.B500000: 500_000,
    termios.B115200: 115_200,
    termios.B57600: 57_600,
    termios.B38400: 38_400,
}


class _Fault(NamedTuple):
    kind: str
    servo_id: int | None
    left: int
    late_s: float
    noise: bytes


class Faults:
    """Appointments with trouble. Each takes the next `count` replies (of one servo, or of any) in order."""

    def __init__(self) -> None:
        self._due: list[_Fault] = []
        self._lock = threading.Lock()
        self.unplugged = False  # nothing gets through either way while this is set

    def drop(self, count: int = 1, servo_id: int | None = None) -> None:
        """Lose replies."""
        self._add(_Fault("drop", servo_id, count, 0.0, b""))

    def garble(self, count: int = 1, servo_id: int | None = None) -> None:
        """Flip a bit in replies; the checksum no longer holds."""
        self._add(_Fault("garble", servo_id, count, 0.0, b""))

    def cut(self, count: int = 1, servo_id: int | None = None) -> None:
        """Lose the last two bytes of replies."""
        self._add(_Fault("cut", servo_id, count, 0.0, b""))

    def delay(self, late_s: float, count: int = 1, servo_id: int | None = None) -> None:
        """Send replies late_s later."""
        self._add(_Fault("delay", servo_id, count, late_s, b""))

    def noise(self, data: bytes, count: int = 1, servo_id: int | None = None) -> None:
        """Put stray bytes before replies."""
        self._add(_Fault("noise", servo_id, count, 0.0, data))

    def forget(self) -> None:
        """Cancel every appointment."""
        with self._lock:
            self._due.clear()

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._due.append(fault)

    def apply(self, replies: list[Reply]) -> list[Reply]:
        """The replies as they reach the host."""
        if self.unplugged:
            return []
        if not self._due:
            return replies
        with self._lock:
            return [bent for reply in replies if (bent := self._bend(reply)) is not None]

    def _bend(self, reply: Reply) -> Reply | None:
        for index, fault in enumerate(self._due):
            if fault.servo_id not in (None, reply.servo_id):
                continue
            self._due[index : index + 1] = [fault._replace(left=fault.left - 1)] if fault.left > 1 else []
            data = reply.data
            if fault.kind == "drop":
                return None
            if fault.kind == "garble":
                middle = len(data) // 2
                data = data[:middle] + bytes((data[middle] ^ 0x10,)) + data[middle + 1 :]
            elif fault.kind == "cut":
                data = data[:-2]
            return Reply(reply.servo_id, reply.after_s + fault.late_s, fault.noise + data)
        return reply


class LoopPort:
    """A pyserial-like port with the servos behind it, all in one process and thread.

    Time passes only if `advance` is given (a ManualClock's): then reading takes as long as the replies
    need, or the whole timeout. Without it a reply that would come after the timeout is late all the
    same. now_s is that clock's, where it is advanced by others too, between two calls. wire_time adds what
    the bytes need at `baudrate`.
    """

    port = "the simulated servo bus"

    def __init__(
        self,
        chain: Chain[Any, Any],
        advance: Callable[[float], None] | None = None,
        faults: Faults | None = None,
        *,
        wire_time: bool = False,
        now_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.faults = faults or Faults()
        self.timeout: float | None = 0.008
        self.baudrate = DEFAULT_BAUD_BPS
        self._chain = chain
        self._advance = advance
        self._byte_s = BITS_PER_BYTE / self.baudrate if wire_time else 0.0
        self._coming: deque[tuple[float, bytes]] = deque()  # (seconds from now, bytes)
        self._here = bytearray()
        self._closed = False
        self._now_s, self._seen_s = now_s, now_s()

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read without waiting."""
        self._check_open()
        self.elapse(0.0)
        return len(self._here)

    def write(self, data: bytes) -> int:
        """Put bytes on the wire; the servos answer at once, the answers arrive in time."""
        self._check_open()
        self.elapse(0.0)
        if not self.faults.unplugged:
            due_s = len(data) * self._byte_s
            late: list[tuple[float, bytes]] = list(self._coming)
            for reply in self.faults.apply(self._chain.replies(bytes(data), self.baudrate)):
                due_s += reply.after_s + len(reply.data) * self._byte_s
                late.append((due_s, reply.data))
            self._coming = deque(sorted(late, key=lambda item: item[0]))
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Up to size bytes; fewer when the timeout has passed first."""
        self._check_open()
        left_s = self.timeout if self.timeout is not None else float("inf")
        self.elapse(0.0)
        while len(self._here) < size:
            if not self._coming or self._coming[0][0] > left_s:
                if self.timeout is not None:
                    self.elapse(left_s)
                break
            wait_s = self._coming[0][0]
            left_s -= wait_s
            self.elapse(wait_s)
        data = bytes(self._here[:size])
        del self._here[:size]
        return data

    def take(self) -> bytes:
        """Whatever has come. Does not wait."""
        return self.read(count) if (count := self.in_waiting) else b""

    def elapse(self, wait_s: float) -> None:
        """Let wait_s pass on the wire: what is due by then has arrived."""
        if wait_s > 0 and self._advance is not None:
            self._advance(wait_s)
        passed_s = max(wait_s, self._now_s() - self._seen_s)
        self._seen_s = self._now_s()
        if passed_s > 0:
            self._coming = deque((due_s - passed_s, data) for due_s, data in self._coming)
        while self._coming and self._coming[0][0] <= 1e-12:
            self._here += self._coming.popleft()[1]

    def reset_input_buffer(self) -> None:
        """Forget what has arrived."""
        self.elapse(0.0)
        self._here.clear()

    def close(self) -> None:
        """No more traffic; reading or writing raises OSError, as an unplugged adapter does."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise OSError("the port is closed")


class PtyPort:
    """The servos on a pseudo-terminal: `path` is a serial port to any program on this machine.

    A thread of its own answers, so that physics and rendering next door do not delay it. wire_time
    makes the replies take as long as on a real line (a busy-waiting client then burns a core). tap is
    shown every byte that the host writes.
    """

    def __init__(
        self,
        chain: Chain[Any, Any],
        faults: Faults | None = None,
        *,
        wire_time: bool = True,
        tap: Callable[[bytes], object] = lambda data: None,
    ) -> None:
        self.faults = faults or Faults()
        self._chain = chain
        self._wire_time, self._tap = wire_time, tap
        self._master, self._slave = os.openpty()  # the slave stays open, or the last client's leaving ends us
        tty.setraw(self._slave)
        attributes = termios.tcgetattr(self._slave)
        attributes[4] = attributes[5] = termios.B1000000
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._running = True
        self._thread = threading.Thread(target=self._serve, name="servo-wire", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and take the port away."""
        self._running = False
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def __enter__(self) -> PtyPort:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        while self._running:
            if not poll.poll(IDLE_MS):
                self._send(self._chain.idle(), time.monotonic(), 0.0)
                continue
            began_s = time.monotonic()
            try:
                data = os.read(self._master, 4096)
            except OSError:
                continue
            self._tap(data)
            if self.faults.unplugged:
                continue
            baud_bps = self._line_speed()
            byte_s = BITS_PER_BYTE / (baud_bps or DEFAULT_BAUD_BPS) if self._wire_time else 0.0
            self._send(self._chain.replies(data, baud_bps), began_s + len(data) * byte_s, byte_s)

    def _send(self, replies: list[Reply], due_s: float, byte_s: float) -> None:
        """Each reply when its last byte would be through, one after another."""
        for reply in self.faults.apply(replies):
            due_s += reply.after_s + len(reply.data) * byte_s
            if (wait_s := due_s - time.monotonic()) > 0:
                time.sleep(wait_s)
            with contextlib.suppress(BlockingIOError):  # nobody reads: a wire does not wait either
                os.write(self._master, reply.data)

    def _line_speed(self) -> int:
        """What the client set the line to; 0 for a speed termios has no name for (no servo hears that)."""
        return _LINE_SPEEDS.get(termios.tcgetattr(self._master)[5], 0)
