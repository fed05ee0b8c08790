"""Hold or let go of the arm after anything whatever has happened to the rest of us, and prove it.

    edge-wam-safe-stop --port /dev/ttyACM0 release     torque off, read back from every servo
    edge-wam-safe-stop --port /dev/ttyACM0 hold        goals := where the joints are, read back

A servo goes on to its last goal when its host has died. This is the program that a service manager runs
then: no numpy, no pyserial, no settings but its arguments, nothing shared with what crashed but the
protocol's bytes (act/feetech.py). It opens the port past another program's lock if it may, says in one line
of JSON what every servo answered, and ends with 0 only if all of them confirmed.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import termios
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from edge_wam.act import feetech
from edge_wam.act.feetech import PacketReader, Register

SIMULATED = "sim"  # as config.py has it, which this program does without
REPLY_S = 0.02
ATTEMPTS = 10
_SPEEDS = {1_000_000: termios.B1000000, 500_000: termios.B500000, 115_200: termios.B115200}


class Outcome(NamedTuple):
    """One servo: whether it confirmed, and what it said last (None: nothing)."""

    servo_id: int
    confirmed: bool
    said: int | None


class Line:
    """A serial port of our own, raw."""

    def __init__(self, path: str, baud_bps: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        if os.isatty(self._fd):
            speed = _SPEEDS[baud_bps]
            control = termios.CS8 | termios.CREAD | termios.CLOCAL
            characters: list[bytes | int] = [b"\0"] * 32
            raw: list[int | list[bytes | int]] = [0, 0, control, 0, speed, speed, characters]
            termios.tcsetattr(self._fd, termios.TCSANOW, raw)
            termios.tcflush(self._fd, termios.TCIFLUSH)

    def close(self) -> None:
        os.close(self._fd)

    def send(self, data: bytes) -> None:
        os.write(self._fd, data)

    def receive(self, timeout_s: float) -> bytes:
        """Whatever there is, or nothing after timeout_s."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return b""
        return os.read(self._fd, 4096)


def ask(line: Line, servo_id: int, register: Register) -> int | None:
    """A register's value; None where nobody answers in time."""
    line.send(feetech.read(servo_id, register.address, register.size))
    reader, end_s = PacketReader(register.size), time.monotonic() + REPLY_S
    while (left_s := end_s - time.monotonic()) > 0:
        for packet in reader.feed(line.receive(left_s)):
            if packet.servo_id == servo_id and len(packet.parameters) == register.size:
                return feetech.unpack(register, packet.parameters)
    return None


def release(line: Line, ids: Sequence[int]) -> list[Outcome]:
    """Torque off. First to all at once, since that needs nobody's answer."""
    off = feetech.pack(feetech.TORQUE_ENABLE, 0)
    for _ in range(3):
        line.send(feetech.sync_write(feetech.TORQUE_ENABLE.address, [(i, off) for i in ids]))
    return [_confirmed(line, i, feetech.TORQUE_ENABLE, 0) for i in ids]


def hold(line: Line, ids: Sequence[int]) -> list[Outcome]:
    """Goals := where the joints are. A servo that does not say where it is is let go, alone."""
    found = []
    for servo_id in ids:
        at = next((x for _ in range(ATTEMPTS) if (x := _position(line, servo_id)) is not None), None)
        if at is None:
            _confirmed(line, servo_id, feetech.TORQUE_ENABLE, 0)
            found.append(Outcome(servo_id, False, None))
        else:
            found.append(_confirmed(line, servo_id, feetech.GOAL_POSITION, at))
    return found


def _position(line: Line, servo_id: int) -> int | None:
    return ask(line, servo_id, feetech.PRESENT_POSITION)


def _confirmed(line: Line, servo_id: int, register: Register, value: int) -> Outcome:
    """Write until it is read back."""
    said = None
    for _ in range(ATTEMPTS):
        line.send(feetech.write(servo_id, register.address, feetech.pack(register, value)))
        line.receive(REPLY_S)  # the acknowledgement, if this servo gives any
        said = ask(line, servo_id, register)
        if said == value:
            return Outcome(servo_id, True, said)
    return Outcome(servo_id, False, said)


def port_of(config: str) -> str:
    """robot.port of a settings file; SIMULATED if it names none, '' if the file cannot be read."""
    try:
        with open(config, "rb") as file:
            content = tomllib.load(file)
        return str(content.get("robot", {}).get("port", SIMULATED))
    except (OSError, ValueError, AttributeError):
        return ""


_WAYS: dict[str, Callable[[Line, Sequence[int]], list[Outcome]]] = {"release": release, "hold": hold}


def main(argv: Sequence[str] | None = None) -> int:
    """0: every servo confirmed; 1: some did not; 2: the port cannot be opened."""
    parser = argparse.ArgumentParser(prog="edge-wam-safe-stop", description="Hold or let go of the arm.")
    parser.add_argument("way", choices=_WAYS, help="release: torque off; hold: stay where it is")
    parser.add_argument("--port", default="", help="serial port, instead of the settings'")
    parser.add_argument("--config", default="", help="settings (TOML) whose robot.port is meant")
    parser.add_argument("--baud", type=int, choices=_SPEEDS, default=1_000_000)
    parser.add_argument("--ids", default="1,2,3,4,5,6", help="default: 1,2,3,4,5,6")
    words = parser.parse_args(argv)
    port = words.port or port_of(words.config)
    if port == SIMULATED:
        print(json.dumps({"way": words.way, "confirmed": True, "servos": []}))
        return 0
    try:
        ids = [int(text) for text in words.ids.split(",")]
        line = Line(port, words.baud)
    except (OSError, ValueError, termios.error) as error:
        print(f"edge-wam-safe-stop: {port or 'no --port'}, ids {words.ids}: {error}", file=sys.stderr)
        return 2
    try:
        found = _WAYS[words.way](line, ids)
    except OSError as error:
        print(f"edge-wam-safe-stop: {port} failed: {error}", file=sys.stderr)
        return 1
    finally:
        line.close()
    silent = [one.servo_id for one in found if not one.confirmed]
    print(json.dumps({"way": words.way, "confirmed": not silent, "servos": [one._asdict() for one in found]}))
    if silent:
        print(
            f"edge-wam-safe-stop: servo {', '.join(map(str, silent))} did not confirm; switch the power off",
            file=sys.stderr,
        )
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
