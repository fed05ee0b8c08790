"""A bus over the emulated servos, in one process; and waiting for bytes on a real port."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from edge_wam.act.arm import Calibration
from edge_wam.act.bus import Port
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import LoopPort

CALIBRATION = Path(__file__).parents[2] / "calibration" / "so101-sim" / "arm.json"
READY_RAD = np.array([0.1, -1.2, 0.9, 1.4, -0.3, 0.65])


class SteppedClock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.t_s = 100.0

    def now_s(self) -> float:
        return self.t_s

    def advance(self, by_s: float) -> None:
        self.t_s += by_s


def rig(*, wire_time: bool = False) -> SimpleNamespace:
    calibration = Calibration.load(CALIBRATION)
    plant = KinematicPlant(READY_RAD, calibration.low_rad, calibration.high_rad)
    chain = ServoChain(plant, calibration)
    clock = SteppedClock()
    port = LoopPort(chain, clock.advance, wire_time=wire_time)
    bus = FeetechBus(port, calibration.ids, clock)
    return SimpleNamespace(
        calibration=calibration, plant=plant, chain=chain, clock=clock, port=port, bus=bus, faults=port.faults
    )


def arrived(port: Port, count: int, wait_s: float = 5.0) -> None:
    """Wait until so many bytes can be read."""
    end_s = time.monotonic() + wait_s
    while port.in_waiting < count and time.monotonic() < end_s:
        time.sleep(0.001)
    assert port.in_waiting == count
