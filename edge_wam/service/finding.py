"""calibrate find, calibrate ids: which servos hang on which port, and giving them their ids one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from edge_wam.act import dynamixel_table, feetech
from edge_wam.act.bus import BITS_PER_BYTE, existing_ports, open_port
from edge_wam.act.calibration import DYNAMIXEL, FEETECH
from edge_wam.act.families import FAMILIES
from edge_wam.errors import BusError, EdgeWamError
from edge_wam.service.eeprom import IDS, rename, set_baud
from edge_wam.service.sweeping import CHAIN
from edge_wam.service.terminal import Table, Terminal
from edge_wam.types import JOINTS

# What an arm is set to, what a factory sets (1 000 000; Dynamixel 57 600), the others.
SPEEDS_BPS: dict[str, tuple[int, ...]] = {
    FEETECH: (1_000_000, 115_200, 500_000, 57_600, 38_400),
    DYNAMIXEL: (1_000_000, 57_600, 2_000_000, 3_000_000, 4_000_000, 115_200, 9_600),
}
USUAL_IDS = range(21)
EVERY_ID = range(feetech.HIGHEST_ID + 1)
_DEADLINE_S = 0.02  # an adapter may still sit on a reply for 16 ms (edge-wam doctor)
_ANSWER_BYTES = 64  # a question and its answer, generously
_FEETECH_MODELS = {777: "STS3215", 2825: "STS3250", 11272: "SM8512BL", 1284: "SCS0009"}


class Found(NamedTuple):
    """A servo that answers; where its supply is not known, voltage_v is 0."""

    servos: str
    baud_bps: int
    servo_id: int
    model: str
    voltage_v: float


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


def scan(path: str, servos: str, baud_bps: int, ids: Sequence[int]) -> list[Found]:
    """Who answers at this speed. Nothing is written."""
    deadline_s = _DEADLINE_S + _ANSWER_BYTES * BITS_PER_BYTE / baud_bps
    family: Any = FAMILIES[servos]
    port = open_port(path, baud_bps)
    try:
        bus = family.bus(port, ids[:1], deadline_s=deadline_s)
        there = [servo_id for servo_id in ids if bus.present(servo_id)]
        return [Found(servos, baud_bps, servo_id, *_told(bus, servos, servo_id)) for servo_id in there]
    finally:
        port.close()


def _told(bus: Any, servos: str, servo_id: int) -> tuple[str, float]:
    if servos == FEETECH:
        number = bus.read(servo_id, feetech.MODEL)
        return _FEETECH_MODELS.get(number, f"model {number}"), bus.read(
            servo_id, feetech.PRESENT_VOLTAGE
        ) / 10
    number = bus.read(servo_id, dynamixel_table.MODEL)
    if (model := dynamixel_table.MODELS.get(number)) is None:
        return f"model {number}", 0.0  # whose table may be another
    return model.name, bus.read(servo_id, dynamixel_table.PRESENT_VOLTAGE) / 10


def find(terminal: Terminal, port: str, ids: Sequence[int] = USUAL_IDS) -> list[Found]:
    """Every port (or the one that was named), family and speed. BusError if nobody answers anywhere."""
    paths = [port] if port else _adapters()
    everyone: list[Found] = []
    for path in paths:
        on_it: list[Found] = []
        for servos, speeds in SPEEDS_BPS.items():
            for baud_bps in speeds:
                terminal.say(f"looking on {path} for {servos} servos at {baud_bps} baud")
                try:
                    on_it += scan(path, servos, baud_bps, ids)
                except BusError as error:
                    terminal.say(f"  {error}")
                    break
        if on_it:
            terminal.say(str(found_table(on_it)))
            terminal.say(advice(path, on_it))
        everyone += on_it
    if not everyone:
        raise BusError(
            f"no servo answers on {', '.join(paths)} (ids {min(ids)} to {max(ids)}, every speed); is the arm "
            f"powered, and the data cable in? try: --every-id, or edge-wam doctor"
        )
    return everyone


def _adapters() -> list[str]:
    there = existing_ports()
    named = [path for path in there if path.startswith("/dev/serial/by-id/")]
    if not (paths := named or there):
        raise BusError("no serial port on this machine; try: plug in the bus adapter, or name it with --port")
    return paths


def found_table(found: Sequence[Found]) -> Table:
    """A row a servo."""
    rows = []
    for one in found:
        joint = JOINTS[IDS.index(one.servo_id)] if one.servo_id in IDS else ""
        volts = f"{one.voltage_v:.1f}" if one.voltage_v else "?"
        rows.append((joint, str(one.servo_id), one.model, one.servos, str(one.baud_bps), volts))
    return Table(("joint", "id", "model", "servos", "baud", "V"), rows)


def advice(path: str, found: Sequence[Found]) -> str:
    """What to do with what is on a port."""
    first = found[0]
    where = f"--port {path} --servos {first.servos}"
    alike = all((one.servos, one.baud_bps) == (first.servos, first.baud_bps) for one in found)
    if alike and sorted(one.servo_id for one in found) == list(IDS):
        said = f'settings: robot.port = "{path}", robot.servos = "{first.servos}"'
        speed = first.baud_bps
        return f"{said}, robot.baud_bps = {speed}\nnext: scripts/calibrate.py arm {where} --baud {speed}"
    return (
        f"an arm is six servos of one kind at one speed with the ids 1 to 6; "
        f"next: scripts/calibrate.py ids {where}"
    )


def set_ids(terminal: Terminal, port: str, baud_bps: int, servos: str = FEETECH) -> None:
    """Servos come from the factory with the id 1, all of them: one after another is given its own."""
    for name, servo_id in zip(reversed(JOINTS), reversed(IDS), strict=True):
        terminal.ask(f"Connect {CHAIN[name]} ({name}) alone, no other; then press ENTER.")
        there = _alone(port, servos, baud_bps)
        was = _settle(port, there, servo_id, baud_bps)
        terminal.say(f"{name} has the id {servo_id}{was}")
    terminal.say("now connect all six, base first; then: scripts/calibrate.py arm")


def _alone(path: str, servos: str, baud_bps: int) -> Found:
    """The one servo on the wire, at whatever speed it listens to."""
    for speed_bps in dict.fromkeys((baud_bps, *SPEEDS_BPS[servos])):
        there = scan(path, servos, speed_bps, EVERY_ID)
        if len(there) > 1:
            ids = ", ".join(str(one.servo_id) for one in there)
            raise BusError(
                f"{len(there)} servos answer on {path} (ids {ids}); try: connect exactly one, and its power"
            )
        if there:
            return there[0]
    raise BusError(
        f"no {servos} servo answers on {path} at any speed; try: connect exactly one, and its power"
    )


def _settle(path: str, found: Found, servo_id: int, baud_bps: int) -> str:
    """Give the one servo its id and its speed; says what it had."""
    was = []
    if found.servo_id != servo_id:
        _with_bus(path, found, lambda bus: rename(bus, found.servos, found.servo_id, servo_id), servo_id)
        was.append(f"it was {found.servo_id}")
    if found.baud_bps != baud_bps:
        _with_bus(path, found, lambda bus: set_baud(bus, found.servos, servo_id, baud_bps), servo_id)
        if not (now := scan(path, found.servos, baud_bps, [servo_id])):
            raise BusError(f"servo {servo_id} on {path} does not answer at its new speed, {baud_bps} baud")
        if found.servos == FEETECH:
            _with_bus(path, now[0], lambda bus: bus.write(servo_id, feetech.LOCK, 1), servo_id)
        was.append(f"at {found.baud_bps} baud")
    return f" ({' '.join(was)})" if was else ""


def _with_bus(path: str, found: Found, do: Any, servo_id: int) -> None:
    port = open_port(path, found.baud_bps)
    try:
        do(FAMILIES[found.servos].bus(port, (servo_id,)))
    finally:
        port.close()
