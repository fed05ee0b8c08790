"""The arm of Dynamixel servos until it holds: its calibration, what connect refuses, the bumpless start."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from dynamixel_rig import ARMED, FILE, MIXED, READY_RAD, load, registers, rig, run, started, tick

from edge_wam.act import dynamixel_table as table
from edge_wam.act.calibration import DYNAMIXEL, RAD_PER_COUNT, Calibration
from edge_wam.errors import BusError, CalibrationError

# --- the calibration file ------------------------------------------------------------------------


def test_dynamixels_drive_mode_is_the_servos_own_and_turns_no_sign(tmp_path):
    """LeRobot's Dynamixel bus does not apply drive_mode; its Feetech bus does."""
    content = json.loads(FILE.read_text())
    for entry in content.values():
        entry["drive_mode"] = 1
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(content))
    turned, plain = Calibration.load(path, DYNAMIXEL), load()
    assert turned.rad_per_count.tolist() == plain.rad_per_count.tolist() == [RAD_PER_COUNT] * 6
    assert turned.zero_count.tolist() == plain.zero_count.tolist()
    assert Calibration.load(path).rad_per_count.tolist() == [-RAD_PER_COUNT] * 6
    turned.save(path)
    assert json.loads(path.read_text()) == content


def test_a_homing_offset_of_several_turns_is_dynamixels_alone(tmp_path):
    content = json.loads(FILE.read_text())
    path = tmp_path / "arm.json"
    for offset, works in ((1_044_479, True), (-1_044_479, True), (1_044_480, False)):
        content["elbow_flex"]["homing_offset"] = offset
        path.write_text(json.dumps(content))
        if works:
            assert Calibration.load(path, DYNAMIXEL).joints[2].homing_offset == offset
        else:
            with pytest.raises(CalibrationError, match="1044479"):
                Calibration.load(path, DYNAMIXEL)
        with pytest.raises(CalibrationError, match="2047"):
            Calibration.load(path)


def test_present_is_actual_plus_offset():
    joint = load().joints[0]
    assert (joint.homing_offset, joint.actual_minus_present) == (-412, 412)
    assert dataclasses.replace(joint, servos="feetech").actual_minus_present == -412


# --- connect ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (table.HOMING_OFFSET, -1376),
        (table.MIN_POSITION, 930),
        (table.MAX_POSITION, 3156),
        (table.DRIVE_MODE, 1),
        (table.DRIVE_MODE, 4),  # a profile in milliseconds: the limits would mean something else
    ],
)
def test_connect_refuses_an_arm_calibrated_otherwise(register, value):
    r = rig()
    r.chain.servos[2].put(register, value)
    with pytest.raises(CalibrationError, match=rf"servo 3 \(elbow_flex\) has {register.name} {value}, but"):
        r.arm.connect()


@pytest.mark.parametrize("mode", [0, 1, 16])
def test_connect_refuses_a_mode_that_follows_no_position(mode):
    r = rig()
    r.chain.servos[4].put(table.OPERATING_MODE, mode)
    with pytest.raises(
        BusError, match=rf"servo 5 \(wrist_roll\).*operating_mode is {mode}, expected one of 3, 4, 5"
    ):
        r.arm.connect()


def test_connect_refuses_an_offset_that_the_servo_would_ignore():
    for offset, refused in ((1024, False), (1025, True), (-1025, True)):
        joints = list(load().joints)
        joints[0] = dataclasses.replace(joints[0], homing_offset=offset)
        r = rig(Calibration(tuple(joints)))
        r.chain.servos[0].put(table.OPERATING_MODE, table.POSITION)
        if refused:
            with pytest.raises(CalibrationError, match=r"would ignore its homing offset.*operating_mode 4"):
                r.arm.connect()
        else:
            r.arm.connect()


def test_connect_names_every_servo_that_does_not_answer():
    r = rig()
    r.faults.drop(1000, servo_id=3)
    r.faults.drop(1000, servo_id=6)
    with pytest.raises(BusError, match=r"servo 3 \(elbow_flex\), 6 \(gripper\)"):
        r.arm.connect()


def test_connect_moves_nothing_and_leaves_the_eeprom_alone():
    r = rig()
    before = [bytes(servo.memory[:120]) for servo in r.chain.servos]
    r.arm.connect()
    assert [bytes(servo.memory[:120]) for servo in r.chain.servos] == before


# --- start --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [{}, MIXED, {"fast": False}], ids=["XL430", "Koch", "plain"])
def test_start_moves_nothing(kinds):
    r = rig(**kinds)
    r.arm.connect()
    for servo in r.chain.servos:  # goals from an earlier life, far away
        servo.put(table.GOAL_POSITION, 1000)
    before = r.plant.position_rad.copy()
    held_rad = r.arm.start()
    assert r.plant.torque_on.all()
    run(r, 0.2)
    np.testing.assert_allclose(r.plant.position_rad, before, atol=RAD_PER_COUNT / 2 + 1e-9)
    np.testing.assert_allclose(held_rad, before, atol=RAD_PER_COUNT / 2 + 1e-9)


def test_start_sets_the_drives_own_limits_and_arms_the_watchdog():
    r = rig(**MIXED)
    gripper = r.chain.servos[5]
    gripper.put(table.OPERATING_MODE, table.CURRENT_POSITION)
    r.arm.connect()
    r.arm.start()
    np.testing.assert_allclose(r.plant.speed_limit_rad_s, 3.6, atol=0.01)
    np.testing.assert_allclose(r.plant.accel_limit_rad_s2, 38.9, atol=0.2)
    assert r.plant.torque_limit[:5].tolist() == [1, 1, 1, 1, 1]
    assert r.plant.torque_limit[5] == pytest.approx(0.5, abs=0.001)
    assert (gripper.get(table.GOAL_PWM), gripper.get(table.GOAL_CURRENT)) == (442, 875)
    assert registers(r, table.BUS_WATCHDOG) == [ARMED] * 6 == [15] * 6


def test_start_clears_a_watchdog_that_tripped_when_the_last_host_died():
    r = started()
    run(r, 1.0)
    assert registers(r, table.BUS_WATCHDOG) == [-1] * 6
    r.arm.connect()
    r.arm.start()
    assert registers(r, table.BUS_WATCHDOG) == [ARMED] * 6
    assert tick(r).stopped == ""


def test_start_refuses_a_servo_with_a_hardware_error():
    r = rig()
    r.arm.connect()
    r.chain.supply_v = 3.0
    run(r, 0.1)
    with pytest.raises(BusError, match=r"servo 1 \(shoulder_pan\) reports voltage and alert \(0x81\)"):
        r.arm.start()
    assert not r.plant.torque_on.any()


def test_start_refuses_a_servo_that_counts_anew_when_its_torque_comes_on():
    r = rig()
    r.arm.connect()
    servo, obey = r.chain.servos[3], r.chain.servos[3]._obey

    def jumps(touched, now_s):
        if table.TORQUE_ENABLE in touched and servo.get(table.TORQUE_ENABLE):
            servo._mount_count += 100
        obey(touched, now_s)

    servo._obey = jumps
    with pytest.raises(BusError, match=r"servo 4 \(wrist_flex\) is at \d+ with its torque on, but was at"):
        r.arm.start()
    assert not r.plant.torque_on.any()


def test_start_refuses_a_joint_that_hangs_outside_its_range():
    calibration = load()
    for counts, refused in ((20, False), (21, True)):
        outside_rad = READY_RAD.copy()
        outside_rad[0] = calibration.high_rad[0] + counts * RAD_PER_COUNT
        r = rig(position_rad=outside_rad)
        r.arm.connect()
        if refused:
            with pytest.raises(
                BusError, match=r"servo 1 \(shoulder_pan\) is at 3332, outside its range 783 to 3311"
            ):
                r.arm.start()
            assert not r.plant.torque_on.any()
        else:
            r.arm.start()


@pytest.mark.parametrize("roll_rad", [-2.7, -0.5, 0.0, 0.5, 1.5, 2.7])
def test_whole_turns_that_a_servo_counts_after_power_on_are_taken_off_and_put_on(roll_rad):
    """The roll's encoder passes its zero within the range: LeRobot's offset is -1855."""
    at_rad = READY_RAD.copy()
    at_rad[4] = roll_rad
    r = rig(position_rad=at_rad)
    r.arm.connect()
    np.testing.assert_allclose(r.arm.start(), at_rad, atol=RAD_PER_COUNT)
    np.testing.assert_allclose(r.arm.sense().position_rad, at_rad, atol=RAD_PER_COUNT)
    target_rad = at_rad.copy()
    target_rad[4] = roll_rad / 2
    for _ in range(100):
        tick(r, target_rad)
    np.testing.assert_allclose(r.plant.position_rad, target_rad, atol=RAD_PER_COUNT)


def test_some_of_those_poses_do_need_it():
    at_rad = READY_RAD.copy()
    at_rad[4] = 2.7
    r = rig(position_rad=at_rad)
    r.arm.connect()
    r.arm.start()
    assert r.arm._turn_counts.tolist() == [0, 0, 0, 0, -4096, 0]
