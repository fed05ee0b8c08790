"""What calibrating does to the servos of each family: which registers it keeps, blanks and writes.

feetech      present = actual - homing_offset; written behind a lock; the drive mode is the file's alone
dynamixel    present = actual + homing_offset; needs a mode that counts over several turns (in the others
             an offset beyond a quarter turn is ignored); the drive mode is the servo's own
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from edge_wam.act import dynamixel, feetech
from edge_wam.act import dynamixel_table as table
from edge_wam.act.bus import open_port
from edge_wam.act.calibration import DYNAMIXEL, FEETECH, Calibration, JointCalibration
from edge_wam.act.dynamixel_bus import DynamixelBus
from edge_wam.act.families import FAMILIES
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.errors import BusError
from edge_wam.types import JOINTS

IDS = (1, 2, 3, 4, 5, 6)
# Nobody waits for a tick here, and an adapter may still sit on a reply for 16 ms (edge-wam doctor).
DEADLINE_S = 0.05


class Kept(NamedTuple):
    """What the EEPROM of a servo said, in the order of its family's registers."""

    servo_id: int
    values: tuple[int, ...]


class Eeprom(Protocol):
    """One family's ways; `registers` are those that calibrating changes."""

    servos: str
    registers: tuple[Any, ...]

    def check(self, bus: Any) -> None:
        """BusError unless every servo is of a model that is known."""

    def blank(self, bus: Any, servo_id: int) -> None:
        """No offset, no limits: what is reported is what the encoder says."""

    def write(self, bus: Any, servo_id: int, values: Sequence[int]) -> None:
        """The registers of a servo that is limp, read back."""

    def drive_modes(self, bus: Any, former: Calibration | None) -> tuple[int, ...]:
        """One a joint, for the file."""

    def store(self, bus: Any, joint: JointCalibration) -> None:
        """A joint's calibration, into its servo."""


class FeetechEeprom:
    """STS3215."""

    servos = FEETECH
    registers = (feetech.HOMING_OFFSET, feetech.MIN_POSITION, feetech.MAX_POSITION)

    def check(self, bus: FeetechBus) -> None:
        for name, servo_id in zip(JOINTS, bus.ids, strict=True):
            if (model := bus.read(servo_id, feetech.MODEL)) != feetech.MODEL_STS3215:
                raise BusError(f"servo {servo_id} ({name}) is a model {model}, expected an STS3215 (777)")

    def blank(self, bus: FeetechBus, servo_id: int) -> None:
        self.write(bus, servo_id, (0, 0, feetech.COUNTS_PER_TURN - 1))

    def write(self, bus: FeetechBus, servo_id: int, values: Sequence[int]) -> None:
        bus.write(servo_id, feetech.LOCK, 0)
        try:
            for register, value in zip(self.registers, values, strict=True):
                bus.write(servo_id, register, value)
        finally:
            bus.write(servo_id, feetech.LOCK, 1)

    def drive_modes(self, bus: FeetechBus, former: Calibration | None) -> tuple[int, ...]:
        # Which way the joint is built in: no servo knows, and sweeping it does not tell.
        return (0,) * len(bus.ids) if former is None else tuple(joint.drive_mode for joint in former.joints)

    def store(self, bus: FeetechBus, joint: JointCalibration) -> None:
        self.write(bus, joint.id, (joint.homing_offset, joint.range_min, joint.range_max))


class DynamixelEeprom:
    """XL330 and XL430."""

    servos = DYNAMIXEL
    registers = (table.OPERATING_MODE, table.HOMING_OFFSET, table.MIN_POSITION, table.MAX_POSITION)

    def check(self, bus: DynamixelBus) -> None:
        bus.prepare()
        for name, servo_id in zip(JOINTS, bus.ids, strict=True):
            if (mode := bus.read(servo_id, table.DRIVE_MODE)) not in (0, 1):
                raise BusError(
                    f"servo {servo_id} ({name}) has drive_mode {mode}, expected 0 or 1 (reversed); "
                    f"try: set it with ROBOTIS' Dynamixel Wizard"
                )

    def blank(self, bus: DynamixelBus, servo_id: int) -> None:
        self.write(bus, servo_id, (self._mode(bus, servo_id), 0, 0, table.COUNTS_PER_TURN - 1))

    def write(self, bus: DynamixelBus, servo_id: int, values: Sequence[int]) -> None:
        for register, value in zip(self.registers, values, strict=True):
            bus.write(servo_id, register, value)

    def drive_modes(self, bus: DynamixelBus, former: Calibration | None) -> tuple[int, ...]:
        return tuple(bus.read(servo_id, table.DRIVE_MODE) for servo_id in bus.ids)

    def store(self, bus: DynamixelBus, joint: JointCalibration) -> None:
        mode = self._mode(bus, joint.id)
        self.write(bus, joint.id, (mode, joint.homing_offset, joint.range_min, joint.range_max))

    def _mode(self, bus: DynamixelBus, servo_id: int) -> int:
        mode = bus.read(servo_id, table.OPERATING_MODE)
        return mode if mode == table.CURRENT_POSITION else table.EXTENDED_POSITION


EEPROMS: dict[str, Eeprom] = {FEETECH: FeetechEeprom(), DYNAMIXEL: DynamixelEeprom()}


@contextmanager
def opened(path: str, servos: str, ids: Sequence[int], baud_bps: int) -> Iterator[Any]:
    """The bus on a port, for as long as the block lasts."""
    family: Any = FAMILIES[servos]
    bus = family.bus(open_port(path, baud_bps), ids, deadline_s=DEADLINE_S)
    try:
        yield bus
    finally:
        bus.close()


def limp(bus: Any, servos: str) -> None:
    """Torque off, read back from every servo."""
    register = feetech.TORQUE_ENABLE if servos == FEETECH else table.TORQUE_ENABLE
    bus.write_all(register, [0] * len(bus.ids))
    for servo_id in bus.ids:
        bus.write(servo_id, register, 0)


def rename(bus: Any, servos: str, servo_id: int, new_id: int) -> None:
    """Give a servo another id, for good. BusError if that one answers already, or does not afterwards."""
    if servos == FEETECH:
        bus.write(servo_id, feetech.LOCK, 0)
        bus.rename(servo_id, new_id)
        bus.write(new_id, feetech.LOCK, 1)
        return
    if bus.ping(new_id) is not None:
        raise BusError(f"id {new_id} is taken on {bus.name}; try: connect one servo at a time")
    bus.write(servo_id, table.TORQUE_ENABLE, 0)
    bus.poke(servo_id, table.ID.address, dynamixel.pack(table.ID, new_id))
    if bus.ping(new_id) is None:
        raise BusError(f"servo {servo_id} on {bus.name} does not answer to its new id {new_id}")


def set_baud(bus: Any, servos: str, servo_id: int, baud_bps: int) -> None:
    """Let a servo listen at another speed, for good; it answers at that one from then on."""
    if servos == FEETECH:
        bus.write(servo_id, feetech.LOCK, 0)
        bus.poke(
            servo_id, feetech.BAUD.address, feetech.pack(feetech.BAUD, feetech.BAUDS_BPS.index(baud_bps))
        )
    else:
        bus.write(servo_id, table.TORQUE_ENABLE, 0)
        bus.poke(servo_id, table.BAUD.address, dynamixel.pack(table.BAUD, table.BAUDS_BPS.index(baud_bps)))
