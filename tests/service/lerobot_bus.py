"""LeRobot's own bus, in a process of its own: calibrates as its drivers do, or says what it makes of a file.

python tests/service/lerobot_bus.py PACKAGES feetech|dynamixel PORT calibrate|accept FILE
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path

from edge_wam.sim.bench_lerobot import _UNUSED, _stand_in
from edge_wam.types import JOINTS

MODELS = {"feetech": ("FeetechMotorsBus", "sts3215"), "dynamixel": ("DynamixelMotorsBus", "xl430-w250")}


def main(packages, servos, port, what, file):
    sys.path.insert(0, packages)
    for name in _UNUSED:
        _stand_in(name)
    motors = importlib.import_module("lerobot.motors")
    bus_class, model = MODELS[servos]
    norm = motors.MotorNormMode.DEGREES
    arm = {name: motors.Motor(i, model, norm) for i, name in enumerate(JOINTS, 1)}
    path, calibration = Path(file), None
    if what == "accept":
        entries = json.loads(path.read_text())
        calibration = {name: motors.MotorCalibration(**entry) for name, entry in entries.items()}
    bus = getattr(importlib.import_module(f"lerobot.motors.{servos}"), bus_class)(port, arm, calibration)
    bus.connect()
    if what == "accept":
        degrees = bus.sync_read("Present_Position")
        print(json.dumps({"is_calibrated": bus.is_calibrated, "degrees": degrees}))
        return
    # As SOFollower.calibrate and KochFollower.calibrate do it, but for the person, who is not there: the arm
    # stands in its middle, and the range is given.
    bus.disable_torque()
    if servos == "dynamixel":
        for name in arm:
            bus.write("Operating_Mode", name, 4)
    offsets = bus.set_half_turn_homings()
    made = {
        name: motors.MotorCalibration(motor.id, 0, int(offsets[name]), 2047 - 1000, 2047 + 1000)
        for name, motor in arm.items()
    }
    bus.write_calibration(made)
    path.write_text(json.dumps({name: dataclasses.asdict(one) for name, one in made.items()}, indent=4))
    print(json.dumps({"is_calibrated": bus.is_calibrated}))


if __name__ == "__main__":
    main(*sys.argv[1:])
