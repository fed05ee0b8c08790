"""Hold or let go of the arm after anything whatever has happened to the rest of us, and prove it.

    edge-wam-safe-stop --port /dev/ttyACM0 release     torque off, read back from every servo
    edge-wam-safe-stop --port /dev/ttyACM0 hold        goals := where the joints are, read back
    edge-wam-safe-stop --port /dev/ttyUSB0 --servos dynamixel release

A servo goes on to its last goal when its host has died; a Dynamixel until its bus watchdog trips, and then it
takes no goal until that is cleared. This is the program that a service manager runs then: no numpy, no
pyserial, no settings but its arguments, nothing shared with what crashed but the protocols' bytes
(act/feetech.py, act/dynamixel.py). It opens the port past another program's lock if it may, says in one line
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
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from edge_wam.act import dynamixel, dynamixel_table, feetech
from edge_wam.act.codec import Codec

SIMULATED = "sim"  # as config.py has it, which this program does without
REPLY_S = 0.02
ATTEMPTS = 10
_SPEEDS = {
    4_000_000: termios.B4000000,
    3_000_000: termios.B3000000,
    2_000_000: termios.B2000000,
    1_000_000: termios.B1000000,
    500_000: termios.B500000,
    115_200: termios.B115200,
    57_600: termios.B57600,
}


class Servos(NamedTuple):
    """The bytes of a family and the registers that are needed here; watchdog: to be cleared before a goal."""

    codec: Codec[Any]
    torque: Any
    goal: Any
    position: Any
    watchdog: Any = None


FAMILIES = {
    "feetech": Servos(feetech, feetech.TORQUE_ENABLE, feetech.GOAL_POSITION, feetech.PRESENT_POSITION),
    "dynamixel": Servos(
        dynamixel,
        dynamixel_table.TORQUE_ENABLE,
        dynamixel_table.GOAL_POSITION,
        dynamixel_table.PRESENT_POSITION,
        dynamixel_table.BUS_WATCHDOG,
    ),
}


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


def ask(line: Line, servos: Servos, servo_id: int, register: Any) -> int | None:
    """A register's value; None where nobody answers in time."""
    line.send(servos.codec.read(servo_id, register.address, register.size))
    reader, end_s = servos.codec.status_reader(register.size), time.monotonic() + REPLY_S
    while (left_s := end_s - time.monotonic()) > 0:
        for packet in reader.feed(line.receive(left_s)):
            if packet.servo_id == servo_id and len(packet.parameters) == register.size:
                return servos.codec.unpack(register, packet.parameters)
    return None


def release(line: Line, servos: Servos, ids: Sequence[int]) -> list[Outcome]:
    """Torque off. First to all at once, since that needs nobody's answer."""
    off = servos.codec.pack(servos.torque, 0)
    for _ in range(3):
        line.send(servos.codec.sync_write(servos.torque.address, [(i, off) for i in ids]))
    return [_confirmed(line, servos, i, servos.torque, 0) for i in ids]


def hold(line: Line, servos: Servos, ids: Sequence[int]) -> list[Outcome]:
    """Goals := where the joints are. A servo that does not say where it is is let go, alone."""
    found = []
    for servo_id in ids:
        if servos.watchdog is not None:
            _confirmed(line, servos, servo_id, servos.watchdog, 0)
        at = _position(line, servos, servo_id)
        if at is None:
            _confirmed(line, servos, servo_id, servos.torque, 0)
            found.append(Outcome(servo_id, False, None))
        else:
            found.append(_confirmed(line, servos, servo_id, servos.goal, at))
    return found


def _position(line: Line, servos: Servos, servo_id: int) -> int | None:
    tries = (ask(line, servos, servo_id, servos.position) for _ in range(ATTEMPTS))
    return next((at for at in tries if at is not None), None)


def _confirmed(line: Line, servos: Servos, servo_id: int, register: Any, value: int) -> Outcome:
    """Write until it is read back."""
    said = None
    for _ in range(ATTEMPTS):
        line.send(servos.codec.write(servo_id, register.address, servos.codec.pack(register, value)))
        line.receive(REPLY_S)  # the acknowledgement, if this servo gives any
        said = ask(line, servos, servo_id, register)
        if said == value:
            return Outcome(servo_id, True, said)
    return Outcome(servo_id, False, said)


class Settings(NamedTuple):
    """[robot] of the settings; port is SIMULATED if it names none, '' if the file cannot be read."""

    port: str = SIMULATED
    servos: str = "feetech"
    baud_bps: int = 1_000_000


def settings_of(config: str) -> Settings:
    """[robot] of a settings file."""
    try:
        with open(config, "rb") as file:
            robot = tomllib.load(file).get("robot", {})
        found = Settings(**{key: robot[key] for key in Settings._fields if key in robot})
        return Settings(str(found.port), str(found.servos), int(found.baud_bps))
    except (OSError, ValueError, TypeError, AttributeError):
        return Settings(port="")


_WAYS: dict[str, Callable[[Line, Servos, Sequence[int]], list[Outcome]]] = {"release": release, "hold": hold}


def main(argv: Sequence[str] | None = None) -> int:
    """0: every servo confirmed; 1: some did not; 2: the port cannot be opened."""
    parser = argparse.ArgumentParser(prog="edge-wam-safe-stop", description="Hold or let go of the arm.")
    parser.add_argument("way", choices=_WAYS, help="release: torque off; hold: stay where it is")
    parser.add_argument("--port", default="", help="serial port, instead of the settings'")
    parser.add_argument("--config", default="", help="settings (TOML) whose [robot] is meant")
    parser.add_argument("--servos", choices=FAMILIES, help="instead of the settings'; feetech if none say")
    parser.add_argument("--baud", type=int, choices=_SPEEDS, help="instead of the settings'; else 1000000")
    parser.add_argument("--ids", default="1,2,3,4,5,6", help="default: 1,2,3,4,5,6")
    words = parser.parse_args(argv)
    settings = settings_of(words.config)
    port, family = words.port or settings.port, words.servos or settings.servos
    if port == SIMULATED:
        print(json.dumps({"way": words.way, "confirmed": True, "servos": []}))
        return 0
    try:
        if family not in FAMILIES:
            raise ValueError(f"robot.servos is '{family}', expected one of {', '.join(FAMILIES)}")
        ids, servos = [int(text) for text in words.ids.split(",")], FAMILIES[family]
        line = Line(port, words.baud or settings.baud_bps)
    except (OSError, ValueError, KeyError, termios.error) as error:
        print(f"edge-wam-safe-stop: {port or 'no --port'}, ids {words.ids}: {error}", file=sys.stderr)
        return 2
    try:
        found = _WAYS[words.way](line, servos, ids)
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
