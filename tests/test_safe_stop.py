"""The program that stops the arm when nothing else is left: proved on the bytes of simulated servos."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_wam.act import dynamixel, feetech
from edge_wam.act import dynamixel_table as table
from edge_wam.act.bus import open_port
from edge_wam.act.calibration import Calibration
from edge_wam.safe_stop import main
from edge_wam.sim.dynamixel import DynamixelChain
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import Faults, PtyPort

ROOT = Path(__file__).parents[1]
AT_RAD = np.array([0.1, -1.2, 0.9, 1.0, -0.3, 0.65])
LOW_RAD, HIGH_RAD = np.full(6, -2.0), np.full(6, 2.0)


@pytest.fixture
def arm():
    """Six servos with torque on, told to go far away by a host that then died."""
    plant = KinematicPlant(AT_RAD, LOW_RAD, HIGH_RAD)
    calibration = Calibration.load(ROOT / "calibration/so101-sim/arm.json")
    chain = ServoChain(plant, calibration)
    faults = Faults()
    with PtyPort(chain, wire_time=False, faults=faults) as wire:
        for servo in chain.servos:
            for register, value in ((feetech.GOAL_POSITION, 2500), (feetech.TORQUE_ENABLE, 1)):
                servo.write(register.address, feetech.pack(register, value), 0.0)
        yield SimpleNamespace(chain=chain, faults=faults, path=wire.path, calibration=calibration)


@pytest.fixture
def other():
    """Six Dynamixel servos, likewise; their watchdogs have tripped."""
    plant = KinematicPlant(AT_RAD, LOW_RAD, HIGH_RAD)
    calibration = Calibration.load(ROOT / "calibration/so101-sim/arm.json", "dynamixel")
    chain, faults = DynamixelChain(plant, calibration), Faults()
    with PtyPort(chain, wire_time=False, faults=faults) as wire:
        for servo in chain.servos:
            for register, value in ((table.TORQUE_ENABLE, 1), (table.GOAL_POSITION, 2500)):
                assert servo.write(register.address, dynamixel.pack(register, value), 0.0) == 0
            servo.put(table.BUS_WATCHDOG, -1)
        yield SimpleNamespace(chain=chain, faults=faults, path=wire.path, calibration=calibration)


def values(arm, register):
    return [servo.get(register) for servo in arm.chain.servos]


def told(capsys):
    out = capsys.readouterr()
    return json.loads(out.out), out.err


def test_release_takes_the_torque_off_and_proves_it(arm, capsys):
    assert main(["release", "--port", arm.path]) == 0
    assert values(arm, feetech.TORQUE_ENABLE) == [0] * 6
    said, err = told(capsys)
    assert said["confirmed"]
    assert [one["servo_id"] for one in said["servos"]] == [1, 2, 3, 4, 5, 6]
    assert err == ""


def test_hold_leaves_the_torque_and_sends_every_joint_where_it_is(arm, capsys):
    here = arm.calibration.to_counts(AT_RAD).tolist()
    assert main(["hold", "--port", arm.path]) == 0
    assert values(arm, feetech.GOAL_POSITION) == here
    assert values(arm, feetech.TORQUE_ENABLE) == [1] * 6
    assert told(capsys)[0]["confirmed"]


@pytest.mark.parametrize("way", ["release", "hold"])
def test_a_bus_that_loses_replies_is_asked_again(arm, way):
    arm.faults.drop(3)
    arm.faults.garble(2)
    arm.faults.noise(b"\xff\xff\x01", 2)
    assert main([way, "--port", arm.path]) == 0


def test_a_servo_that_stays_silent_is_named_and_the_others_are_stopped(arm, capsys):
    arm.faults.drop(1000, servo_id=4)
    assert main(["release", "--port", arm.path]) == 1
    said, err = told(capsys)
    assert [one["servo_id"] for one in said["servos"] if not one["confirmed"]] == [4]
    assert "servo 4 did not confirm; switch the power off" in err
    assert values(arm, feetech.TORQUE_ENABLE) == [0] * 6  # it obeyed; it only did not say so


def test_a_joint_that_does_not_say_where_it_is_is_let_go(arm):
    arm.faults.drop(1000, servo_id=2)
    assert main(["hold", "--port", arm.path]) == 1
    assert values(arm, feetech.TORQUE_ENABLE) == [1, 0, 1, 1, 1, 1]


def test_another_program_that_hangs_on_to_the_port_is_no_obstacle(arm):
    """pyserial's exclusive access is an advisory lock; nobody who died asks for more."""
    ours = open_port(arm.path)
    try:
        assert main(["release", "--port", arm.path]) == 0
    finally:
        ours.close()


def test_the_port_may_come_from_the_settings(arm, tmp_path, capsys):
    settings = tmp_path / "config.toml"
    settings.write_text(f'[robot]\nport = "{arm.path}"\n')
    assert main(["release", "--config", str(settings)]) == 0
    assert values(arm, feetech.TORQUE_ENABLE) == [0] * 6
    settings.write_text("[voice]\n")  # the simulated robot: nothing to stop
    assert main(["release", "--config", str(settings)]) == 0
    settings.write_text("[robot")
    assert main(["release", "--config", str(settings)]) == 2
    assert main(["release"]) == 2


def test_dynamixel_servos_are_let_go(other, capsys):
    other.faults.drop(3)
    other.faults.garble(2)
    assert main(["release", "--port", other.path, "--servos", "dynamixel"]) == 0
    assert values(other, table.TORQUE_ENABLE) == [0] * 6
    assert told(capsys)[0]["confirmed"]


def test_dynamixel_servos_are_held_though_their_watchdogs_had_tripped(other):
    here = other.calibration.to_counts(AT_RAD).tolist()
    assert main(["hold", "--port", other.path, "--servos", "dynamixel"]) == 0
    assert values(other, table.GOAL_POSITION) == here
    assert values(other, table.TORQUE_ENABLE) == [1] * 6
    assert values(other, table.BUS_WATCHDOG) == [0] * 6


def test_servos_and_speed_may_come_from_the_settings_too(other, tmp_path, capsys):
    settings = tmp_path / "config.toml"
    text = f'[robot]\nport = "{other.path}"\nservos = "dynamixel"\nbaud_bps = 57600\n'
    settings.write_text(text)
    assert main(["release", "--config", str(settings)]) == 1  # they hear nothing at that speed
    for servo in other.chain.servos:
        servo.put(table.BAUD, table.BAUDS_BPS.index(57_600))
    assert main(["release", "--config", str(settings)]) == 0
    assert values(other, table.TORQUE_ENABLE) == [0] * 6
    settings.write_text(text.replace("dynamixel", "dynamixle"))
    capsys.readouterr()
    assert main(["release", "--config", str(settings)]) == 2
    assert "robot.servos is 'dynamixle', expected one of feetech, dynamixel" in capsys.readouterr().err


def test_no_port_is_one_line(capsys):
    assert main(["release", "--port", "/dev/nothing-here"]) == 2
    assert "edge-wam-safe-stop: /dev/nothing-here" in capsys.readouterr().err
    assert main(["release", "--port", "/dev/null", "--ids", "1,x"]) == 2


def test_it_needs_neither_numpy_nor_pyserial():
    code = "import sys; sys.modules['numpy'] = sys.modules['serial'] = None; import edge_wam.safe_stop"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
