"""A chain of Dynamixel servos on a plant without physics, and shorthands that speak in packets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from servo_stage import Stage

from edge_wam.act import dynamixel
from edge_wam.act.calibration import DYNAMIXEL, Calibration
from edge_wam.act.dynamixel import Status, StatusReader
from edge_wam.sim.dynamixel import DynamixelChain
from edge_wam.sim.kinematic import KinematicPlant

FILE = Path(__file__).parents[2] / "calibration" / "so101-sim" / "arm.json"
READY_RAD = np.array([0.1, -1.2, 0.9, 1.4, -0.3, 0.65])
KOCH = (1060, 1060, 1200, 1200, 1200, 1200)
OLD, NEW = (208, 20), (224, 28)
MIXED = {"models": KOCH, "indirect": [NEW, NEW, OLD, OLD, OLD, OLD]}


class Bench(Stage):
    """A chain, its plant, and shorthands that speak in packets."""

    def __init__(self, **kinds) -> None:
        self.calibration = Calibration.load(FILE, DYNAMIXEL)
        self.plant = KinematicPlant(READY_RAD, READY_RAD - 1, READY_RAD + 1)
        self.chain = DynamixelChain(self.plant, self.calibration, **kinds)
        self.run(0.05)

    def ask(self, packet: bytes) -> list[Status]:
        return StatusReader(dynamixel.LONGEST_PARAMETERS).feed(self.chain.handle(packet))

    def read(self, servo_id: int, register) -> int:
        (answer,) = self.ask(dynamixel.read(servo_id, register.address, register.size))
        assert (answer.servo_id, answer.code) == (servo_id, 0)
        return dynamixel.unpack(register, answer.parameters)

    def write(self, servo_id: int, register, value: int) -> int:
        (answer,) = self.ask(dynamixel.write(servo_id, register.address, dynamixel.pack(register, value)))
        return answer.code
