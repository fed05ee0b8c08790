"""LeRobot's own bus, in a process of its own: calibrates as its drivers do, or says what it makes of a file.
The file is read and written by its robot's own methods (draccus).

python tests/service/lerobot_bus.py PACKAGES feetech|dynamixel PORT calibrate|accept FILE
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from edge_wam.sim.bench_lerobot import _UNUSED, _stand_in
from edge_wam.types import JOINTS

MODELS = {"feetech": ("FeetechMotorsBus", "sts3215"), "dynamixel": ("DynamixelMotorsBus", "xl430-w250")}
ROBOTS = {
    "feetech": ("so_follower", "SOFollower", "SOFollowerRobotConfig"),
    "dynamixel": ("koch_follower", "KochFollower", "KochFollowerConfig"),
}


def robot_of(servos, port, file):
    """Its SO-101 or Koch, which reads FOLDER/<id>.json when it is made. Its cameras and processors are other
    matters, and want packages that are not here."""
    for name in ("lerobot.processor", "lerobot.cameras", "lerobot.cameras.utils"):
        _stand_in(name)
    sys.modules["lerobot.cameras.utils"].make_cameras_from_configs = dict
    module, name, config = ROBOTS[servos]
    robots = importlib.import_module(f"lerobot.robots.{module}")
    config = getattr(robots, config)(port=port, id=file.stem, calibration_dir=file.parent)
    return getattr(robots, name)(config)


def main(packages, servos, port, what, file):
    sys.path.insert(0, packages)
    for name in _UNUSED:
        _stand_in(name)
    motors = importlib.import_module("lerobot.motors")
    bus_class, model = MODELS[servos]
    norm = motors.MotorNormMode.DEGREES
    arm = {name: motors.Motor(i, model, norm) for i, name in enumerate(JOINTS, 1)}
    path, calibration = Path(file), None
    robot = robot_of(servos, port, path)
    if what == "accept":
        calibration = robot.calibration
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
    robot.calibration = made
    robot._save_calibration()
    print(json.dumps({"is_calibrated": bus.is_calibrated}))


if __name__ == "__main__":
    main(*sys.argv[1:])
