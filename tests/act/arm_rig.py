"""An arm on an emulated servo bus, for the tests of act/arm.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from edge_wam.act.calibration import Calibration
from edge_wam.act.feetech_arm import FeetechArm
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import LoopPort

FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"
READY_RAD = np.array([0.1, -1.2, 0.9, 1.4, -0.3, 0.65])
# The SO-101's mechanical range, in calibrated radians (the MuJoCo model's joint ranges).
MECHANICAL_LOW_RAD = np.array([-1.920, -1.746, -1.690, -1.659, -2.744, 0.0])
MECHANICAL_HIGH_RAD = np.array([1.920, 1.746, 1.690, 1.659, 2.842, 1.92])


def rig(calibration: Calibration | None = None, position_rad=READY_RAD) -> SimpleNamespace:
    calibration = calibration or Calibration.load(FOLDER / "arm.json")
    plant = KinematicPlant(position_rad, MECHANICAL_LOW_RAD, MECHANICAL_HIGH_RAD)
    chain = ServoChain(plant, calibration)
    port = LoopPort(chain)
    clock = SimpleNamespace(now_s=lambda: plant.time_s)
    arm = FeetechArm(FeetechBus(port, calibration.ids, clock), calibration)
    return SimpleNamespace(
        calibration=calibration, plant=plant, chain=chain, port=port, faults=port.faults, arm=arm
    )


def run(r: SimpleNamespace, steps: int) -> None:
    for _ in range(steps):
        r.plant.step()
        r.chain.update()
