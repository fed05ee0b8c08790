"""scripts/calibrate.py: a person, a terminal, an arm.

    calibrate arm      find the servos, sweep every joint by hand, write the file and the servos' EEPROM
    calibrate verify   move each joint a little and compare with what it says
    calibrate ids      give the servos their ids, one by one

Nothing is lost: the former file is kept beside the new one, and until the last question is answered the
servos' EEPROM is put back as it was by whatever ends the program.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from edge_wam.act import feetech
from edge_wam.act.arm import Arm
from edge_wam.act.bus import IntArray, existing_ports, open_port
from edge_wam.act.calibration import Calibration, JointCalibration
from edge_wam.act.feetech_arm import FeetechArm
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.act.sweep import SPAN_DEG, Span, Sweep, calibrated, complaint
from edge_wam.errors import BusError, CalibrationError, EdgeWamError
from edge_wam.types import JOINTS, FloatArray

IDS = (1, 2, 3, 4, 5, 6)
SAMPLE_S = 0.02
EEPROM = (feetech.HOMING_OFFSET, feetech.MIN_POSITION, feetech.MAX_POSITION)
NUDGE_RAD, NUDGE_S, NUDGE_OFF_RAD = 0.15, 1.0, 0.05
CHAIN = {
    "shoulder_pan": "the servo in the base, that turns the whole arm",
    "shoulder_lift": "the next one, that lifts the upper arm",
    "elbow_flex": "the one at the elbow",
    "wrist_flex": "the one that bends the wrist",
    "wrist_roll": "the one that turns the wrist",
    "gripper": "the one that opens the jaws",
}


class Terminal(Protocol):
    """The person."""

    def say(self, text: str) -> None: ...

    def ask(self, question: str) -> str:
        """A line of text, stripped."""

    def watch(self, question: str, sample: Callable[[], str]) -> None:
        """Call sample about every SAMPLE_S and show what it gives, until ENTER."""


class Console:
    """A person at this process's own terminal."""

    def say(self, text: str) -> None:
        print(text, flush=True)

    def ask(self, question: str) -> str:
        try:
            return input(f"{question} ").strip()
        except EOFError:
            raise EdgeWamError(
                "nobody answers: standard input is closed; try: run it in a terminal"
            ) from None

    def watch(self, question: str, sample: Callable[[], str]) -> None:
        self.say(question)
        lines, shown_s = 0, 0.0
        while not select.select([sys.stdin], [], [], SAMPLE_S)[0]:
            text = sample()
            if time.monotonic() - shown_s > 0.1 and sys.stdout.isatty():
                shown_s = time.monotonic()
                print(f"\x1b[{lines}A\x1b[J{text}" if lines else text, flush=True)
                lines = text.count("\n") + 1
        if not sys.stdin.readline():
            raise EdgeWamError("nobody answers: standard input is closed; try: run it in a terminal")
        self.say(sample())


class Kept(NamedTuple):
    """What a servo's EEPROM said before."""

    servo_id: int
    values: tuple[int, ...]


# --- the arm --------------------------------------------------------------------------------


def calibrate_arm(terminal: Terminal, path: Path, port: str, baud_bps: int) -> Calibration:
    """The whole conversation; returns what was written to `path` and into the servos."""
    with opened(choose_port(terminal, port), IDS, baud_bps) as bus:
        look_for_servos(bus)
        terminal.say("all six servos answer; the arm will be limp: hold it")
        if terminal.ask("Is somebody holding it? [y/N]").lower() not in ("y", "yes"):
            raise EdgeWamError("nothing was changed: hold the arm, then start again")
        bus.write_all(feetech.TORQUE_ENABLE, [0] * len(IDS))
        kept = [Kept(i, tuple(bus.read(i, register) for register in EEPROM)) for i in IDS]
        try:
            made = Calibration(_sweep(terminal, bus), str(path))
            terminal.say(table(made))
            if terminal.ask(f"Write this to {path} and into the servos? [y/N]").lower() not in ("y", "yes"):
                raise EdgeWamError("nothing was changed: the servos are as they were")
            for joint in made.joints:
                write_eeprom(bus, joint.id, (joint.homing_offset, joint.range_min, joint.range_max))
        except BaseException as reason:
            _put_back(bus, kept, reason)
            raise
        before = made.save(path)
    terminal.say(f"written: {path}" + (f" (what was there is now {before})" if before else ""))
    terminal.say(f"try: scripts/calibrate.py verify --port {bus.name} --out {path}")
    return made


def _put_back(bus: FeetechBus, kept: Sequence[Kept], reason: BaseException) -> None:
    """The EEPROM as it was; BusError with what could not be put back."""
    left = []
    for one in kept:
        try:
            write_eeprom(bus, one.servo_id, one.values)
        except BusError:
            left.append(f"servo {one.servo_id}: {', '.join(map(str, one.values))}")
    if left:
        raise BusError(
            f"{reason or 'interrupted'}; and then the servos could not be put back as they were "
            f"(homing offset, least, most: {'; '.join(left)}); try: calibrate again"
        ) from reason


def _sweep(terminal: Terminal, bus: FeetechBus) -> tuple[JointCalibration, ...]:
    """The joints as they were swept, asked for again until nothing is to be complained of."""
    for servo_id in IDS:
        write_eeprom(bus, servo_id, (0, 0, feetech.COUNTS_PER_TURN - 1))
    sweep = Sweep(_counts(bus))
    lost: set[int] = set()

    def sample() -> str:
        block = bus.read_block()
        if block.fresh.all():
            lost.update(sweep.add(block.position))
        return progress(sweep.spans, block.temperature.tolist())

    while True:
        terminal.watch(
            "Move every joint to both of its stops, the gripper too, in any order; then press ENTER.", sample
        )
        if lost:
            names = ", ".join(JOINTS[index] for index in sorted(lost))
            raise CalibrationError(f"{names} moved too fast to be followed; try: again, more slowly")
        try:
            return calibrated(sweep.spans, IDS, (0,) * len(IDS))
        except CalibrationError as error:
            terminal.say(f"not yet: {error}")


def _counts(bus: FeetechBus) -> IntArray:
    for _ in range(10):
        block = bus.read_block()
        if block.fresh.all():
            return block.position
    raise BusError(f"servos on {bus.name} do not answer all together; try: edge-wam doctor")


def write_eeprom(bus: FeetechBus, servo_id: int, values: Sequence[int]) -> None:
    """Homing offset, least and greatest position of a servo that is limp, read back; locked again."""
    bus.write(servo_id, feetech.LOCK, 0)
    try:
        for register, value in zip(EEPROM, values, strict=True):
            bus.write(servo_id, register, value)
    finally:
        bus.write(servo_id, feetech.LOCK, 1)


def progress(spans: Sequence[Span], temperature_c: Sequence[int]) -> str:
    """A line a joint: where it is, how far it was swept, whether that will do."""
    lines = [f"{'joint':<16}{'now':>7}{'least':>7}{'most':>7}{'degrees':>9}{'degC':>6}"]
    for name, span, celsius in zip(JOINTS, spans, temperature_c, strict=True):
        done = "ok" if not complaint(name, span) else f"at least {SPAN_DEG[name][0]}"
        lines.append(
            f"{name:<16}{span.now:>7}{span.low:>7}{span.high:>7}{span.degrees:>9.0f}{celsius:>6}  {done}"
        )
    return "\n".join(lines)


def table(made: Calibration) -> str:
    """What is about to be written."""
    lines = [f"{'joint':<16}{'id':>4}{'offset':>8}{'least':>7}{'most':>7}"]
    for joint in made.joints:
        lines.append(
            f"{joint.name:<16}{joint.id:>4}{joint.homing_offset:>8}{joint.range_min:>7}{joint.range_max:>7}"
        )
    return "\n".join(lines)


# --- verify ---------------------------------------------------------------------------------


def verify(
    terminal: Terminal,
    path: Path,
    port: str,
    baud_bps: int,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Each joint a little to one side and back, compared with what it measures. True if all followed."""
    calibration = Calibration.load(path)
    with opened(choose_port(terminal, port), calibration.ids, baud_bps) as bus:
        arm = FeetechArm(bus, calibration)
        arm.connect()
        if terminal.ask("The arm will move a little. Is there room? [y/N]").lower() not in ("y", "yes"):
            raise EdgeWamError("nothing was moved")
        try:
            start = arm.start()
            off = [_nudge(arm, start, index, sleep) for index in range(len(JOINTS))]
        finally:
            arm.release()
    for name, error_rad in zip(JOINTS, off, strict=True):
        verdict = "ok" if error_rad < NUDGE_OFF_RAD else "does not follow: is it free to move, and powered?"
        terminal.say(f"{name:<16}{np.rad2deg(error_rad):>6.1f} degrees off  {verdict}")
    return all(error_rad < NUDGE_OFF_RAD for error_rad in off)


def _nudge(arm: Arm, start_rad: FloatArray, index: int, sleep: Callable[[float], None]) -> float:
    """How far a joint is from where it was sent, at the far end of a small motion; it comes back."""
    room = arm.calibration.high_rad[index] - start_rad[index]
    side = 1.0 if room > 2 * NUDGE_RAD else -1.0
    ticks = round(NUDGE_S / SAMPLE_S)

    def go(part: float) -> FloatArray:
        target = start_rad.copy()
        target[index] += side * NUDGE_RAD * part
        sent = arm.act(target)
        sleep(SAMPLE_S)
        return sent

    for part in (*np.linspace(0, 1, ticks), *np.ones(ticks // 2)):
        sent = go(part)
    seen = arm.sense()
    off_rad = abs(float(seen.position_rad[index] - sent[index])) if seen.fresh[index] else float("inf")
    for part in np.linspace(1, 0, ticks):
        go(part)
    return off_rad


# --- ids ------------------------------------------------------------------------------------


def set_ids(terminal: Terminal, port: str, baud_bps: int) -> None:
    """Servos come from the factory with the id 1, all of them: one after another is given its own."""
    path = choose_port(terminal, port)
    for name, servo_id in zip(reversed(JOINTS), reversed(IDS), strict=True):
        terminal.ask(f"Connect {CHAIN[name]} ({name}) alone, no other; then press ENTER.")
        with opened(path, (servo_id,), baud_bps) as bus:
            there = [i for i in range(feetech.ID.high + 1) if bus.present(i)]
            if len(there) != 1:
                raise BusError(
                    f"{len(there)} servos answer on {bus.name} (ids {', '.join(map(str, there)) or 'none'}); "
                    f"try: connect exactly one, and its power"
                )
            if there[0] != servo_id:
                bus.write(there[0], feetech.LOCK, 0)
                bus.rename(there[0], servo_id)
                bus.write(servo_id, feetech.LOCK, 1)
            was = f" (it was {there[0]})" if there[0] != servo_id else ""
            terminal.say(f"{name} has the id {servo_id}{was}")
    terminal.say("now connect all six, base first; then: scripts/calibrate.py arm")


# --- the bus --------------------------------------------------------------------------------


def choose_port(terminal: Terminal, port: str) -> str:
    """The port that was named, or the only one there is, or the one that is picked."""
    if port:
        return port
    there = existing_ports()
    by_id = [path for path in there if path.startswith("/dev/serial/by-id/")] or there
    if not by_id:
        raise BusError("no serial port on this machine; try: plug in the bus adapter, or name it with --port")
    if len(by_id) == 1:
        return by_id[0]
    terminal.say("\n".join(f"  {number}  {path}" for number, path in enumerate(by_id, 1)))
    answer = terminal.ask(f"Which one is the arm's? [1-{len(by_id)}]")
    if not (answer.isdigit() and 1 <= int(answer) <= len(by_id)):
        raise EdgeWamError(f"expected a number from 1 to {len(by_id)}, found '{answer}'; try: --port")
    return by_id[int(answer) - 1]


def look_for_servos(bus: FeetechBus) -> None:
    """BusError unless all six answer and are what they should be."""
    silent = [name for name, i in zip(JOINTS, IDS, strict=True) if bus.ping(i) is None]
    if silent:
        raise BusError(
            f"no reply from {', '.join(f'{name} ({CHAIN[name]})' for name in silent)} on {bus.name}; is the "
            f"arm powered and every cable in? If its servos have no ids yet: scripts/calibrate.py ids"
        )
    for name, servo_id in zip(JOINTS, IDS, strict=True):
        if (model := bus.read(servo_id, feetech.MODEL)) != feetech.MODEL_STS3215:
            raise BusError(f"servo {servo_id} ({name}) is a model {model}, expected an STS3215 (777)")


@contextlib.contextmanager
def opened(path: str, ids: Sequence[int], baud_bps: int) -> Iterator[FeetechBus]:
    """The bus on a port, for as long as the block lasts."""
    bus = FeetechBus(open_port(path, baud_bps), ids)
    try:
        yield bus
    finally:
        bus.close()


def main(argv: Sequence[str] | None = None) -> int:
    """The command. 0: done; 1: verified, and something does not follow; 2: one line says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/calibrate.py", description="Calibrate an SO-101 arm, at a terminal."
    )
    parser.add_argument(
        "what",
        choices=("arm", "verify", "ids"),
        help="arm: sweep by hand, then write; verify: move each joint a little; ids: for factory-new servos",
    )
    parser.add_argument("--port", default="", help="serial port (default: the only one, or you are asked)")
    parser.add_argument("--baud", type=int, default=1_000_000, help="default: 1000000")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("calibration/my-so101/arm.json"),
        help="the calibration (LeRobot's file)",
    )
    words = parser.parse_args(argv)
    terminal = Console()
    try:
        if words.what == "ids":
            set_ids(terminal, words.port, words.baud)
        elif words.what == "verify":
            return 0 if verify(terminal, words.out, words.port, words.baud) else 1
        else:
            calibrate_arm(terminal, words.out, words.port, words.baud)
    except EdgeWamError as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncalibrate: interrupted; the servos are as they were", file=sys.stderr)
        return 130
    return 0
