"""The simulated bus of Dynamixel X servos, register for register, on a plant that moves.

As sim/servos.py, for protocol 2.0: it answers bytes with bytes, and ROBOTIS' own SDK talks to it. What is
modelled: the control table of XL330 and XL430 (act/dynamixel_table.py) with its refusals; EEPROM locked while
the torque is on; indirect addresses in both layouts; fast and plain sync and bulk reads; the alert bit,
hardware errors, shutdown and reboot; the status return level, the return delay; the bus watchdog in simulated
time; position modes with their profiles and limits (handed to the plant); the drive mode's reversal.

What is not: PID gains, velocity, PWM and current mode (such a servo goes limp), time-based profiles,
secondary ids, backup.

Where the e-manual leaves it open, the version that catches more mistakes of ours is chosen:
  - the bus watchdog is fed only by instructions for this servo or for all;
  - in a fast read, servos behind one that is not there stay silent.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.calibration import Calibration
from edge_wam.act.dynamixel import Instruction, Packet, PacketReader, Status
from edge_wam.sim.dynamixel_servo import (
    NEW_INDIRECT,
    NOMINAL_V,
    RETURN_DELAY_UNIT_S,
    DynamixelServo,
)
from edge_wam.sim.servos import Chain, Plant, Reply

XL430 = 1060
_READS = {Instruction.SYNC_READ, Instruction.FAST_SYNC_READ}
_BULK_READS = {Instruction.BULK_READ, Instruction.FAST_BULK_READ}
_FAST = {Instruction.FAST_SYNC_READ, Instruction.FAST_BULK_READ}


class DynamixelChain(Chain[DynamixelServo, Packet]):
    """models: one number a joint (dynamixel_table.MODELS); fast: whether the firmware knows fast reads;
    indirect: (begin, count) of the indirect data, one a joint."""

    def __init__(
        self,
        plant: Plant,
        calibration: Calibration,
        *,
        models: Sequence[int] | None = None,
        indirect: Sequence[tuple[int, int]] | None = None,
        fast: bool = True,
        supply_v: float = NOMINAL_V,
    ) -> None:
        self.fast = fast
        count = len(calibration.joints)
        kinds = zip(range(count), models or [XL430] * count, indirect or [NEW_INDIRECT] * count, strict=True)
        servos = [DynamixelServo(plant, index, calibration, model, at) for index, model, at in kinds]
        super().__init__(plant, servos, supply_v, PacketReader())

    def update(self) -> None:
        with self._lock:
            super().update()
            if any(servo.neglected(self._time_s) for servo in self.servos):
                self._refresh()  # it stops where it is now
                for servo in self.servos:
                    servo.watch(self._time_s)

    def mend(self) -> None:
        with self._lock:
            super().mend()
            self.fast = True
            for servo in self.servos:
                if servo.get(table.HARDWARE_ERROR):
                    servo.power_on()  # nothing else takes an error away
            self._stale = True

    def _answer(self, packet: Packet, hearing: dict[int, DynamixelServo]) -> list[Reply]:
        for servo_id, servo in hearing.items():
            if packet.servo_id in (servo_id, dynamixel.BROADCAST_ID):
                servo.heard(self._time_s)
        if packet.instruction in _READS | _BULK_READS:
            return self._read_all(packet, hearing)
        if packet.instruction == Instruction.SYNC_WRITE:
            self._sync_write(packet, hearing)
            return []
        return self._one_or_all(packet, hearing, packet.instruction == Instruction.PING)

    def _read_all(self, packet: Packet, hearing: dict[int, DynamixelServo]) -> list[Reply]:
        parameters, fast = packet.parameters, packet.instruction in _FAST
        if packet.servo_id != dynamixel.BROADCAST_ID or (fast and not self.fast):
            return []
        if packet.instruction in _READS:
            if len(parameters) < 5:
                return []
            span = parameters[:4]
            wanted = [(servo_id, span) for servo_id in parameters[4:]]
        else:
            if not parameters or len(parameters) % 5:
                return []
            wanted = [(parameters[at], parameters[at + 1 : at + 5]) for at in range(0, len(parameters), 5)]
        answers, delays = [], []
        for servo_id, span in wanted:
            servo = hearing.get(servo_id)
            if servo is None or servo.get(table.STATUS_LEVEL) == 0:
                if fast:
                    break
                continue
            address, length = (int.from_bytes(span[i : i + 2], "little") for i in (0, 2))
            code, data = servo.read(address, length)
            if fast and code:
                break
            answers.append(Status(servo_id, code | self._alert(servo), data))
            delays.append(servo.get(table.RETURN_DELAY) * RETURN_DELAY_UNIT_S)
        if not fast:
            return [
                Reply(answer.servo_id, after_s, dynamixel.status(*answer))
                for answer, after_s in zip(answers, delays, strict=True)
            ]
        # Those that are not there are missing from the packet, but LEN was announced by the first.
        length = 1 + sum(
            dynamixel.JOINED_EACH_BYTES + int.from_bytes(span[2:], "little") for _, span in wanted
        )
        pieces = dynamixel.joined(answers, length)
        return [
            Reply(answer.servo_id, after_s if at == 0 else 0.0, piece)
            for at, (answer, after_s, piece) in enumerate(zip(answers, delays, pieces, strict=True))
        ]

    def _sync_write(self, packet: Packet, hearing: dict[int, DynamixelServo]) -> None:
        parameters = packet.parameters
        if packet.servo_id != dynamixel.BROADCAST_ID or len(parameters) < 4:
            return
        address, length = (int.from_bytes(parameters[i : i + 2], "little") for i in (0, 2))
        if (len(parameters) - 4) % (length + 1):
            return  # its pieces do not fit: no servo can tell which is its own
        self._stale = True
        for start in range(4, len(parameters), length + 1):
            if (servo := hearing.get(parameters[start])) is not None:
                servo.write(address, parameters[start + 1 : start + 1 + length], self._time_s)

    def _alert(self, servo: DynamixelServo) -> int:
        return dynamixel.ALERT if servo.get(table.HARDWARE_ERROR) else 0

    def _one(self, servo: DynamixelServo, packet: Packet) -> Reply | None:
        parameters, level = packet.parameters, servo.get(table.STATUS_LEVEL)
        servo_id, code, data, least = servo.servo_id, 0, b"", 2
        after_s = servo.get(table.RETURN_DELAY) * RETURN_DELAY_UNIT_S
        match packet.instruction:
            case Instruction.PING:
                least, data = 0, bytes(servo.memory[:2]) + bytes((servo.get(table.FIRMWARE),))
            case Instruction.READ if len(parameters) == 4:
                least = 1
                address, length = (int.from_bytes(parameters[i : i + 2], "little") for i in (0, 2))
                code, data = servo.read(address, length)
            case Instruction.WRITE if len(parameters) >= 3:
                code = servo.write(int.from_bytes(parameters[:2], "little"), parameters[2:], self._time_s)
            case Instruction.REG_WRITE if len(parameters) >= 3:
                servo.keep(int.from_bytes(parameters[:2], "little"), parameters[2:])
            case Instruction.ACTION:
                code = servo.action(self._time_s)
            case Instruction.FACTORY_RESET if len(parameters) == 1:
                servo.factory_reset(parameters[0] in (1, 2), parameters[0] == 2)
            case Instruction.REBOOT:
                servo.power_on()
            case Instruction.STATUS:
                return None  # another servo's answer
            case _:
                code = dynamixel.INSTRUCTION_ERROR
        # A write may have changed what the present-value registers say.
        self._stale = self._stale or packet.instruction not in (Instruction.PING, Instruction.READ)
        if level < least:
            return None
        return Reply(servo_id, after_s, dynamixel.status(servo_id, code | self._alert(servo), data))
