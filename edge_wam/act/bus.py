"""One half-duplex servo bus: ask, wait no longer than a deadline, count what was lost.

Two kinds of traffic. In the loop, `read_block` and `write_goals` never raise over a lost reply: a
joint that did not answer keeps its last value, is marked not fresh and is counted; the next tick is
the retry. Outside the loop, `read` and `write` (start-up, configuration) try a few times, check what
they wrote by reading it back, and raise a BusError that says which servo and which register.

What the bytes are is a Codec's to know (act/feetech.py, act/dynamixel.py); what a tick reads, the family's
own bus's (act/feetech_bus.py, act/dynamixel_bus.py).

The port is a pyserial port (act/tty.py) or anything shaped like `Port`, e.g. the simulated robot's.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import time
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_wam.act.codec import Answer, Codec, EntryT, Reader
from edge_wam.act.tty import Tty
from edge_wam.errors import BusError

# 6 servos' block is 1.4 ms on the wire at 1 Mbit/s, 4.4 ms with the factory's return delay, and a USB
# adapter adds up to a millisecond a turn; a reply later than this is no use to a 20 ms tick.
DEADLINE_S = 0.008
BITS_PER_BYTE = 10  # 8N1
ATTEMPTS = 3  # outside the loop only
SETTLE_S = 0.06  # outside the loop only: how long the line must be quiet before a question is asked again
NOISE_ALLOWANCE_BYTES = 512  # beyond what was asked for; then the bus is babbling and we stop reading
SHORTEST_WAIT_S = 1e-4  # ten bytes' time: not worth another read

IntArray = NDArray[np.int64]


class Port(Protocol):
    """What the bus needs of a serial port: act/tty.py's, and the simulated robot's."""

    timeout: float | None

    def write(self, data: bytes, /) -> int | None: ...
    def read(self, size: int = 1, /) -> bytes:
        """Up to `size` bytes; fewer only once `timeout` seconds have passed."""
        ...

    def take(self) -> bytes:
        """Whatever has come. Does not wait."""
        ...

    def reset_input_buffer(self) -> None: ...
    def close(self) -> None: ...


class Now(Protocol):
    """Any clock that tells the time."""

    def now_s(self) -> float: ...


class _Monotonic:
    def now_s(self) -> float:
        return time.monotonic()


class BusCounts(NamedTuple):
    """What happened on the bus since it was opened. Tuples hold one number a servo, in bus order.

    sent: instructions; answered: valid replies in time; missing: no valid reply by the deadline;
    late: valid replies that came after it (each was counted missing before); garbled: frames whose
    checksum failed; noise_bytes: bytes that belonged to no valid frame.
    """

    sent: int
    answered: tuple[int, ...]
    missing: tuple[int, ...]
    late: tuple[int, ...]
    garbled: int
    noise_bytes: int


class Block(NamedTuple):
    """The servos' own view at `t_s`, in register units. All arrays (J,), in bus order.

    What a count of speed, load and current is, the family's arm knows; voltage 0.1 V, temperature degC.
    error is the reply's error byte or'ed with the servo's error register; fresh says who answered now
    (the others show what they said last, zeros if they never did). As far as the family's block tells:
    limp is a servo whose torque is off, tripped one that its bus watchdog has stopped; moving is its flag.
    took_s: from the question to the last answer.
    """

    t_s: float
    position: IntArray
    speed: IntArray
    load: IntArray
    voltage: IntArray
    temperature: IntArray
    current: IntArray
    error: NDArray[np.uint8]
    moving: NDArray[np.bool_]
    fresh: NDArray[np.bool_]
    limp: NDArray[np.bool_]
    tripped: NDArray[np.bool_]
    took_s: float


def open_port(path: str, baud_bps: int = 1_000_000) -> Port:
    """The serial port at `path`, for us alone. BusError names it and lists the ports that do exist."""
    import serial

    try:
        line = serial.Serial(path, baud_bps, timeout=DEADLINE_S, exclusive=True)
    except (OSError, ValueError) as error:
        there = existing_ports()
        raise BusError(
            f"servo port {path} cannot be opened ({_reason(error)}); ports on this machine: "
            f"{', '.join(there) or 'none'}; try: plug in the adapter and its power, or set robot.port"
        ) from error
    with contextlib.suppress(
        ValueError, NotImplementedError
    ):  # not every driver has it (a USB-ACM's need not)
        line.set_low_latency_mode(True)
    return Tty(line)


def existing_ports() -> list[str]:
    """The serial ports that exist, adapters by name first."""
    from serial.tools import list_ports

    return sorted(glob.glob("/dev/serial/by-id/*")) + sorted(port.device for port in list_ports.comports())


def _reason(error: BaseException) -> str:
    """The operating system's few words, not pyserial's sentence around them."""
    number = getattr(error, "errno", None)
    if number in (errno.EAGAIN, errno.EBUSY):
        return "another program is using it"
    if number == errno.EACCES:
        return "permission denied: add yourself to the group dialout"
    return os.strerror(number).lower() if number else str(error).splitlines()[0]


class ServoBus(Generic[EntryT]):
    """The servos `ids` on one port, in this order wherever an array has a J."""

    def __init__(
        self,
        codec: Codec[EntryT],
        port: Port,
        ids: Sequence[int],
        clock: Now | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._codec = codec
        self._port = port
        self._ids = tuple(ids)
        self._index = {servo_id: index for index, servo_id in enumerate(self._ids)}
        self._clock: Now = clock or _Monotonic()
        self._deadline_s = deadline_s
        port.timeout = deadline_s
        self.name = str(getattr(port, "port", None) or "the servo bus")
        # A pyserial port knows its baud rate.
        self._byte_s = BITS_PER_BYTE / int(getattr(port, "baudrate", None) or 1_000_000)
        count = len(self._ids)
        self._sent = 0
        self._answered = [0] * count
        self._missing = [0] * count
        self._late = [0] * count
        self._garbled = 0
        self._noise_bytes = 0

    @property
    def ids(self) -> tuple[int, ...]:
        """The servos' ids, in bus order."""
        return self._ids

    @property
    def counts(self) -> BusCounts:
        """What was sent, answered and lost so far."""
        return BusCounts(
            self._sent,
            tuple(self._answered),
            tuple(self._missing),
            tuple(self._late),
            self._garbled,
            self._noise_bytes,
        )

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def reopen(self, port: Port) -> None:
        """Go on with another port; what was counted stays."""
        with contextlib.suppress(OSError):  # the adapter is gone, and its port with it
            self._port.close()
        self._port = port
        port.timeout = self._deadline_s

    # --- in the loop: one packet each, nothing raised over a lost reply -------------------------

    def read_block(self) -> Block:
        """Everything a tick wants to know of every servo, by one question."""
        raise NotImplementedError

    def write_goals(self, counts: Sequence[int] | IntArray) -> None:
        """Goal positions (J,) in counts, by one packet; never acknowledged."""
        raise NotImplementedError

    def write_all(self, register: EntryT, values: Sequence[int]) -> None:
        """One register of every servo, by one SYNC WRITE; never acknowledged."""
        items = [
            (servo_id, self._codec.pack(register, value))
            for servo_id, value in zip(self._ids, values, strict=True)
        ]
        self._send(self._codec.sync_write(register.address, items))

    def peek(self, servo_id: int, address: int, length: int) -> bytes | None:
        """Raw memory of one servo, asked once; None if it did not answer."""
        reply = self._ask(self._codec.read(servo_id, address, length), (servo_id,), length).get(servo_id)
        return None if reply is None else bytes(reply.parameters)

    def poke(self, servo_id: int, address: int, data: bytes) -> None:
        """Write raw memory of one servo; never acknowledged."""
        self._send(self._codec.sync_write(address, [(servo_id, data)]))

    # --- outside the loop: checked, a few attempts, then a BusError -----------------------------

    def ping(self, servo_id: int) -> int | None:
        """The servo's error byte (0 is healthy), or None if nobody answers."""
        for _ in range(ATTEMPTS):
            reply = self._ask(self._codec.ping(servo_id), (servo_id,), self._codec.PING_BYTES).get(servo_id)
            if reply is not None:
                return reply.code
            self._settle()
        return None

    def present(self, servo_id: int) -> bool:
        """Whether anybody answers to this id, asked once: for looking through all of them."""
        length = self._codec.PING_BYTES
        return servo_id in self._ask(self._codec.ping(servo_id), (servo_id,), length, optional=True)

    def read(self, servo_id: int, register: EntryT) -> int:
        """One register's value in its unit. BusError when the servo does not answer."""
        request = self._codec.read(servo_id, register.address, register.size)
        for _ in range(ATTEMPTS):
            reply = self._ask(request, (servo_id,), register.size).get(servo_id)
            if reply is not None:
                return self._codec.unpack(register, reply.parameters)
            self._settle()
        raise self._silent(servo_id, f"a read of {register.name}")

    def write(self, servo_id: int, register: EntryT, value: int) -> None:
        """Write one register and read it back. BusError when it is not there afterwards.

        An acknowledgement is not waited for: a servo with response level 0 never sends one, and what
        was read back says more.
        """
        request = self._codec.write(servo_id, register.address, self._codec.pack(register, value))
        found = None
        for _ in range(ATTEMPTS):
            self._ask(request, (servo_id,), 0, optional=True)
            found = self.read(servo_id, register)
            if found == value:
                return
        raise BusError(
            f"servo {servo_id} on {self.name} does not keep {register.name}: wrote {value}, read back {found}"
            + self._codec.why_not_kept(register)
        )

    def _silent(self, servo_id: int, what: str) -> BusError:
        return BusError(
            f"no reply from servo {servo_id} to {what} in {self._deadline_s * 1e3:.0f} ms "
            f"({ATTEMPTS} attempts) on {self.name}; is it powered and plugged in?"
        )

    # --- the wire -------------------------------------------------------------------------------

    def _send(self, request: bytes, *, quiet: bool = False) -> None:
        """quiet: what has come before is somebody else's business, or was taken just now."""
        try:
            if not quiet and (late := self._port.take()):
                # It came after its deadline: count it, do not take it for an answer.
                self._count_late(self._codec.status_reader(), late)
            self._port.write(request)
        except OSError as error:
            raise BusError(f"{self.name} failed while sending ({_reason(error)}); unplugged?") from error
        self._sent += 1

    def _settle(self) -> None:
        """Wait until the line has been quiet for SETTLE_S: replies carry no number, so one that is late
        would pass for the answer to the next question about another register."""
        try:
            self._port.timeout = SETTLE_S
            while data := self._port.read(1):
                data += self._port.take()
                reader = self._codec.status_reader()
                self._count_late(reader, data)
        except OSError as error:
            raise BusError(f"{self.name} failed while reading ({_reason(error)}); unplugged?") from error
        finally:
            self._port.timeout = self._deadline_s

    def _count_late(self, reader: Reader[Answer], data: bytes) -> None:
        for packet in (*reader.feed(data), *reader.finish()):
            if packet.servo_id in self._index:
                self._late[self._index[packet.servo_id]] += 1
        self._count_garbage(reader)

    def _ask(
        self, request: bytes, ids: tuple[int, ...], length: int, *, optional: bool = False
    ) -> dict[int, Answer]:
        """Send, and collect one reply with `length` data bytes from each of `ids` until the deadline."""
        reader, each_bytes = self._codec.status_reader(length), self._codec.STATUS_BYTES + length
        return self._collect(request, ids, length, reader, 0, each_bytes, optional=optional)

    def _collect(
        self,
        request: bytes,
        ids: tuple[int, ...],
        length: int,
        reader: Reader[Answer],
        head_bytes: int,
        each_bytes: int,
        *,
        optional: bool = False,
    ) -> dict[int, Answer]:
        """As _ask; the replies are head_bytes once and each_bytes for every servo on the wire."""
        self._send(request)
        started_s = self._clock.now_s()
        return self._gather(ids, length, reader, head_bytes, each_bytes, started_s, optional=optional)

    def _hear(self, count: int = 0) -> bytes:
        """So many bytes, or what there is at the deadline; 0: whatever has come by now."""
        try:
            return self._port.read(count) if count else self._port.take()
        except OSError as error:
            raise BusError(f"{self.name} failed while reading ({_reason(error)}); unplugged?") from error

    def _gather(
        self,
        ids: tuple[int, ...],
        length: int,
        reader: Reader[Answer],
        head_bytes: int,
        each_bytes: int,
        started_s: float,
        *,
        heard: bytes | None = None,
        optional: bool = False,
    ) -> dict[int, Answer]:
        """The replies to what was sent at started_s; heard: what _hear gave when asked for all of them."""
        replies: dict[int, Answer] = {}
        most_bytes = head_bytes + len(ids) * each_bytes + NOISE_ALLOWANCE_BYTES
        got_bytes, lacking = 0, len(ids)
        try:
            while lacking and got_bytes < most_bytes:
                rest_bytes = (0 if replies else head_bytes) + lacking * each_bytes
                wanted_bytes = max(1, rest_bytes - reader.waiting)
                data, heard = self._port.read(wanted_bytes) if heard is None else heard, None
                got_bytes += len(data)
                packets = list(reader.feed(data))
                over = len(data) < wanted_bytes  # the port has waited its whole timeout
                if over:
                    packets += reader.finish()
                for packet in packets:
                    if packet.servo_id in ids and len(packet.parameters) == length:
                        replies[packet.servo_id] = packet
                lacking = len(ids) - len(replies)
                if over or not lacking:
                    break
                # Noise took the place of a reply: only what is left of the deadline may go on it.
                left_s = self._deadline_s - (self._clock.now_s() - started_s)
                if left_s < SHORTEST_WAIT_S:
                    break
                self._port.timeout = left_s
        except OSError as error:
            raise BusError(f"{self.name} failed while reading ({_reason(error)}); unplugged?") from error
        finally:
            if self._port.timeout != self._deadline_s:  # pyserial reconfigures the port on every assignment
                self._port.timeout = self._deadline_s
        self._count_garbage(reader)
        for servo_id in ids:
            if (index := self._index.get(servo_id)) is not None:
                if servo_id in replies:
                    self._answered[index] += 1
                elif not optional:
                    self._missing[index] += 1
        return replies

    def _count_garbage(self, reader: Reader[Answer]) -> None:
        self._garbled += reader.broken
        self._noise_bytes += reader.garbage_bytes
