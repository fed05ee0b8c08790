"""A servo chain on a plant without physics, and shorthands that speak in packets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from servo_stage import Stage

from edge_wam.act import feetech
from edge_wam.act.calibration import Calibration
from edge_wam.act.feetech import Packet, PacketReader, Register
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain

CALIBRATION = Path(__file__).parents[2] / "calibration" / "so101-sim" / "arm.json"
LOW_RAD = np.array([-1.920, -1.746, -1.690, -1.659, -2.744, 0.0])
HIGH_RAD = np.array([1.920, 1.746, 1.690, 1.659, 2.842, 1.92])
READY_RAD = np.array([0.1, -1.2, 0.9, 1.4, -0.3, 0.65])


class Bench(Stage):
    """A chain, its plant, and shorthands that speak in packets."""

    def __init__(self, position_rad) -> None:
        self.calibration = Calibration.load(CALIBRATION)
        self.plant = KinematicPlant(position_rad, LOW_RAD, HIGH_RAD)
        self.chain = ServoChain(self.plant, self.calibration)

    def ask(self, packet: bytes) -> list[Packet]:
        return PacketReader().feed(self.chain.handle(packet))

    def read(self, servo_id: int, register: Register) -> int:
        (answer,) = self.ask(feetech.read(servo_id, register.address, register.size))
        assert answer.servo_id == servo_id
        return feetech.unpack(register, answer.parameters)

    def write(self, servo_id: int, register: Register, value: int) -> list[Packet]:
        return self.ask(feetech.write(servo_id, register.address, feetech.pack(register, value)))


@pytest.fixture
def bench() -> Bench:
    return Bench(READY_RAD)
