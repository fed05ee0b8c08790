"""An arm of emulated Dynamixel servos, for the tests of the bus and of the arm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from edge_wam.act import dynamixel_table as table
from edge_wam.act.calibration import DYNAMIXEL, Calibration
from edge_wam.act.dynamixel_arm import WATCHDOG_S, DynamixelArm
from edge_wam.act.dynamixel_bus import DynamixelBus
from edge_wam.clock import ManualClock
from edge_wam.sim.dynamixel import DynamixelChain
from edge_wam.sim.kinematic import STEP_S, KinematicPlant
from edge_wam.sim.wire import LoopPort

FILE = Path(__file__).parents[2] / "calibration" / "so101-sim" / "arm.json"
READY_RAD = np.array([0.1, -1.2, 0.9, 1.4, -0.3, 0.65])
LOW_RAD = np.array([-1.920, -1.746, -1.690, -1.659, -2.744, 0.0])
HIGH_RAD = np.array([1.920, 1.746, 1.690, 1.659, 2.842, 1.92])
KOCH = (1060, 1060, 1200, 1200, 1200, 1200)  # LeRobot's Koch arm: two XL430, four XL330
OLD, NEW = (208, 20), (224, 28)
MIXED = {"models": KOCH, "indirect": [NEW, NEW, OLD, OLD, OLD, OLD]}
ARMED = round(WATCHDOG_S / table.WATCHDOG_UNIT_S)


def load() -> Calibration:
    return Calibration.load(FILE, DYNAMIXEL)


def rig(calibration: Calibration | None = None, position_rad=READY_RAD, *, wire_time=False, **kinds):
    """Time passes on the clock, in physics steps: by waiting on the wire, or by `run`."""
    calibration = calibration or load()
    plant = KinematicPlant(position_rad, LOW_RAD, HIGH_RAD)
    chain = DynamixelChain(plant, calibration, **kinds)

    def advance(t_s: float) -> None:
        while plant.time_s + STEP_S <= t_s:
            plant.step()
            chain.update()

    clock = ManualClock(0.0, on_advance=advance)
    port = LoopPort(chain, clock.advance, wire_time=wire_time)
    bus = DynamixelBus(port, calibration.ids, clock)
    clock.advance(0.05)  # the protections have run: there is a supply to be read
    return SimpleNamespace(
        calibration=calibration,
        plant=plant,
        chain=chain,
        clock=clock,
        port=port,
        bus=bus,
        arm=DynamixelArm(bus, calibration),
        faults=port.faults,
    )


def run(r: SimpleNamespace, seconds: float) -> None:
    """Nobody speaks for a while."""
    r.clock.advance(seconds)


def started(**kinds) -> SimpleNamespace:
    r = rig(**kinds)
    r.arm.connect()
    r.held_rad = r.arm.start()
    return r


def registers(r, register):
    return [servo.get(register) for servo in r.chain.servos]


def tick(r, target_rad=None):
    """One of the loop's: 20 ms, sense, act."""
    r.clock.advance(0.02)
    seen = r.arm.sense()
    r.arm.act(seen.position_rad if target_rad is None else target_rad)
    return seen
