"""calibrate arm, calibrate verify: every joint swept by hand; every joint moved a little by itself.

Until the last question is answered the servos' EEPROM is put back as it was by whatever ends the program, and
the file is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_wam.act.arm import Arm
from edge_wam.act.bus import Block
from edge_wam.act.calibration import FEETECH, Calibration, JointCalibration
from edge_wam.act.families import FAMILIES
from edge_wam.act.sweep import Span, Sweep, calibrated, complaint, span_deg
from edge_wam.errors import BusError, CalibrationError, EdgeWamError
from edge_wam.service.eeprom import EEPROMS, IDS, Eeprom, Kept, limp, opened
from edge_wam.service.terminal import SAMPLE_S, Table, Terminal, sure
from edge_wam.types import JOINTS, FloatArray

NUDGE_RAD, NUDGE_S, NUDGE_OFF_RAD = 0.15, 1.0, 0.05
CHAIN = {
    "shoulder_pan": "the servo in the base, that turns the whole arm",
    "shoulder_lift": "the next one, that lifts the upper arm",
    "elbow_flex": "the one at the elbow",
    "wrist_flex": "the one that bends the wrist",
    "wrist_roll": "the one that turns the wrist",
    "gripper": "the one that opens the jaws",
}


def calibrate_arm(
    terminal: Terminal, path: Path, port: str, baud_bps: int, servos: str = FEETECH
) -> Calibration:
    """The whole conversation; returns what was written to `path` and into the servos."""
    eeprom = EEPROMS[servos]
    with opened(port, servos, IDS, baud_bps) as bus:
        look_for_servos(bus, eeprom)
        terminal.say("all six servos answer; the arm will be limp: hold it")
        if not sure(terminal, "Is somebody holding it?"):
            raise EdgeWamError("nothing was changed: hold the arm, then start again")
        limp(bus, servos)
        modes = eeprom.drive_modes(bus, _former(path, servos))
        kept = [Kept(i, tuple(bus.read(i, register) for register in eeprom.registers)) for i in IDS]
        try:
            made = Calibration(_sweep(terminal, bus, eeprom, modes), str(path))
            terminal.say(str(table(made)))
            if not sure(terminal, f"Write this to {path} and into the servos?"):
                raise EdgeWamError("nothing was changed: the servos are as they were")
            for joint in made.joints:
                eeprom.store(bus, joint)
            before = made.save(path)
        except BaseException as reason:
            _put_back(bus, eeprom, kept, reason)
            raise
    terminal.say(f"written: {path}" + (f" (what was there is now {before})" if before else ""))
    family = "" if servos == FEETECH else f" --servos {servos}"
    terminal.say(f"try: scripts/calibrate.py verify --port {bus.name} --out {path}{family}")
    return made


def _former(path: Path, servos: str) -> Calibration | None:
    """What the file said before, where it can be read."""
    try:
        return Calibration.load(path, servos)
    except CalibrationError:
        return None


def look_for_servos(bus: Any, eeprom: Eeprom) -> None:
    """BusError unless all six answer and are what they should be."""
    silent = [name for name, i in zip(JOINTS, IDS, strict=True) if bus.ping(i) is None]
    if silent:
        raise BusError(
            f"no reply from {', '.join(f'{name} ({CHAIN[name]})' for name in silent)} on {bus.name}; is the "
            f"arm powered and every cable in? What is there: scripts/calibrate.py find. If its servos "
            f"have no ids yet: scripts/calibrate.py ids"
        )
    eeprom.check(bus)


def _put_back(bus: Any, eeprom: Eeprom, kept: Sequence[Kept], reason: BaseException) -> None:
    """The EEPROM as it was; BusError with what could not be put back."""
    left = []
    for one in kept:
        try:
            eeprom.write(bus, one.servo_id, one.values)
        except BusError:
            left.append(f"servo {one.servo_id}: {', '.join(map(str, one.values))}")
    if left:
        names = ", ".join(register.name for register in eeprom.registers)
        raise BusError(
            f"{reason or 'interrupted'}; and then the servos could not be put back as they were "
            f"({names}; {'; '.join(left)}); try: calibrate again"
        ) from reason


def _sweep(
    terminal: Terminal, bus: Any, eeprom: Eeprom, modes: tuple[int, ...]
) -> tuple[JointCalibration, ...]:
    """The joints as they were swept, asked for again until nothing is to be complained of."""
    for servo_id in IDS:
        eeprom.blank(bus, servo_id)
    sweep = Sweep(_whole(bus).position)
    lost: set[int] = set()

    def sample() -> Table:
        block = bus.read_block()
        if block.fresh.all():
            lost.update(sweep.add(block.position))
        return progress(sweep.spans, block.temperature.tolist(), eeprom.servos)

    while True:
        terminal.watch(
            "Move every joint to both of its stops, the gripper too, in any order; then press ENTER.", sample
        )
        if lost:
            names = ", ".join(JOINTS[index] for index in sorted(lost))
            raise CalibrationError(f"{names} moved too fast to be followed; try: again, more slowly")
        try:
            return calibrated(sweep.spans, IDS, modes, eeprom.servos)
        except CalibrationError as error:
            terminal.say(f"not yet: {error}")


def _whole(bus: Any) -> Block:
    """What all servos say, together."""
    for _ in range(10):
        block: Block = bus.read_block()
        if block.fresh.all():
            return block
    raise BusError(f"servos on {bus.name} do not answer all together; try: edge-wam doctor")


def progress(spans: Sequence[Span], temperature_c: Sequence[int], servos: str) -> Table:
    """A row a joint: where it is, how far it was swept, whether that will do."""
    rows = []
    for name, span, celsius in zip(JOINTS, spans, temperature_c, strict=True):
        done = "ok" if not complaint(name, span, servos) else f"at least {span_deg(name, servos)[0]}"
        numbers = (span.now, span.low, span.high, round(span.degrees), celsius)
        rows.append((name, *map(str, numbers), done))
    return Table(("joint", "now", "least", "most", "degrees", "degC", ""), rows)


def table(made: Calibration) -> Table:
    """What is about to be written."""
    rows = [
        (j.name, *map(str, (j.id, j.drive_mode, j.homing_offset, j.range_min, j.range_max)))
        for j in made.joints
    ]
    return Table(("joint", "id", "reversed", "offset", "least", "most"), rows)


# --- verify ---------------------------------------------------------------------------------


def verify(
    terminal: Terminal,
    path: Path,
    port: str,
    baud_bps: int,
    servos: str = FEETECH,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Each joint a little to one side and back, compared with what it measures. True if all followed."""
    calibration = Calibration.load(path, servos)
    with opened(port, servos, calibration.ids, baud_bps) as bus:
        arm = FAMILIES[servos].arm(bus, calibration)
        arm.connect()
        if not sure(terminal, "The arm will move a little. Is there room?"):
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
