"""The arm of Dynamixel servos: signs and units, the bumpless start, the watchdog, restarts, release."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from dynamixel_rig import FILE, KOCH, NEW, OLD, READY_RAD, load, rig, run, started

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.calibration import DYNAMIXEL, RAD_PER_COUNT, Calibration
from edge_wam.act.dynamixel_arm import WATCHDOG_S
from edge_wam.errors import BusError, CalibrationError

MIXED = {"models": KOCH, "indirect": [NEW, NEW, OLD, OLD, OLD, OLD]}
ARMED = round(WATCHDOG_S / table.WATCHDOG_UNIT_S)


def registers(r, register):
    return [servo.get(register) for servo in r.chain.servos]


def tick(r, target_rad=None):
    """One of the loop's: 20 ms, sense, act."""
    r.clock.advance(0.02)
    seen = r.arm.sense()
    r.arm.act(seen.position_rad if target_rad is None else target_rad)
    return seen


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


def test_torque_never_comes_on_before_the_goal_is_where_the_joint_is():
    r = rig()
    r.arm.connect()
    write = r.port.write

    def watched(data):
        result = write(data)
        far = np.abs(r.plant.goal_rad - r.plant.position_rad) > RAD_PER_COUNT
        assert not (far & r.plant.torque_on).any()
        return result

    r.port.write = watched
    r.arm.start()


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


# --- sense and act ------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [{}, MIXED], ids=["XL430", "Koch"])
def test_sense_gives_si_units(kinds):
    r = started(**kinds)
    r.plant.load[:] = [0.5, -0.25, 0.1, 0.2, -0.2, 0.3]
    for _ in range(5):
        joints = tick(r, READY_RAD + 0.2)
    np.testing.assert_allclose(joints.position_rad, r.plant.position_rad, atol=RAD_PER_COUNT / 2 + 1e-9)
    np.testing.assert_allclose(joints.velocity_rad_s, r.plant.velocity_rad_s, atol=table.SPEED_UNIT_RAD_S)
    assert (joints.velocity_rad_s > 0.5).all()
    # 20 mA of an XL330 flow without any load.
    np.testing.assert_allclose(joints.load, r.plant.load, atol=0.015)
    senses = [model.current_a > 0 for model in r.bus.models]
    sensed_a = (0.02 + np.abs(r.plant.load) * 1.47) * np.sign(r.plant.load)
    np.testing.assert_allclose(joints.current_a, np.where(senses, sensed_a, 1.4 * r.plant.load), atol=0.001)
    np.testing.assert_allclose(joints.voltage_v, [model.supply_v for model in r.bus.models], rtol=0.06)
    np.testing.assert_allclose(joints.temperature_c, 25, atol=1)
    assert joints.fresh.all()
    assert not joints.error.any()


def test_units_are_the_manuals():
    speed_unit, acceleration_unit = table.SPEED_UNIT_RAD_S, table.ACCELERATION_UNIT_RAD_S2
    assert speed_unit == pytest.approx(0.229 / 60 * 2 * math.pi)
    assert acceleration_unit == pytest.approx(214.577 / 3600 * 2 * math.pi)


def test_what_act_returns_is_what_the_servos_hold():
    r = started()
    target_rad = READY_RAD + np.array([0.1001, -0.2003, 0.3001, -0.05, 0.07, 0.09])
    sent_rad = r.arm.act(target_rad)
    np.testing.assert_allclose(sent_rad, target_rad, atol=RAD_PER_COUNT / 2 + 1e-12)
    np.testing.assert_allclose(r.plant.goal_rad, sent_rad, atol=1e-9)


def test_act_ends_at_the_calibrated_range_and_refuses_what_is_not_finite():
    r = started()
    np.testing.assert_allclose(r.arm.act(np.full(6, 50.0)), r.calibration.high_rad)
    sent = r.bus.counts.sent
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            r.arm.act(np.full(6, bad))
    assert r.bus.counts.sent == sent


def test_a_position_where_the_joint_cannot_be_is_no_answer():
    r = started()
    r.chain.servos[2]._mount_count += 600
    seen = tick(r, READY_RAD)
    assert seen.fresh.tolist() == [True, True, False, True, True, True]
    assert r.arm.doubted == 1


# --- the host dies ------------------------------------------------------------------------------


def test_when_the_host_falls_silent_the_arm_stops_where_it_is_and_holds():
    r = started()
    target_rad = READY_RAD.copy()
    target_rad[0] += 1.5
    for _ in range(5):
        tick(r, target_rad)
    assert abs(r.plant.velocity_rad_s[0]) > 1
    run(r, WATCHDOG_S + 0.01)
    assert registers(r, table.BUS_WATCHDOG) == [-1] * 6
    stopped_rad = r.plant.position_rad.copy()
    run(r, 2.0)
    np.testing.assert_allclose(r.plant.position_rad, stopped_rad, atol=0.02)
    assert r.plant.position_rad[0] < target_rad[0] - 0.25
    assert r.plant.torque_on.all()


def test_ticks_feed_the_watchdog_and_a_little_less_than_its_time_does_not_trip_it():
    r = started()
    for _ in range(50):
        assert tick(r).stopped == ""
    run(r, WATCHDOG_S - 0.02)
    assert tick(r).stopped == ""
    assert registers(r, table.BUS_WATCHDOG) == [ARMED] * 6


def test_a_tripped_watchdog_is_named_and_the_arm_obeys_again_from_where_it_is():
    r = started()
    target_rad = READY_RAD + 0.2
    for _ in range(2):
        tick(r, target_rad)
    r.plant.speed_limit_rad_s[:] = 0.1  # so that silence finds it under way
    run(r, 1.0)
    here_rad = r.plant.position_rad.copy()
    r.arm.act(target_rad)  # not taken: the goals are read-only
    run(r, 0.1)
    np.testing.assert_allclose(r.plant.position_rad, here_rad, atol=1e-9)
    seen = r.arm.sense()
    assert seen.stopped.split(", ") == [joint.name for joint in r.calibration.joints]
    assert seen.reset == ""
    np.testing.assert_allclose(r.plant.goal_rad, here_rad, atol=RAD_PER_COUNT)
    assert r.arm.sense().stopped == ""
    assert registers(r, table.BUS_WATCHDOG) == [ARMED] * 6
    for _ in range(50):
        tick(r, target_rad)
    np.testing.assert_allclose(r.plant.position_rad, target_rad, atol=RAD_PER_COUNT)


def test_one_servo_that_heard_nothing_is_the_only_one_that_is_named():
    r = started()
    servo = r.chain.servos[3]
    servo.put(table.BUS_WATCHDOG, -1)
    assert tick(r).stopped == "wrist_flex"
    assert tick(r).stopped == ""


# --- a servo that restarts ----------------------------------------------------------------------

KEPT = (
    table.TORQUE_ENABLE,
    table.BUS_WATCHDOG,
    table.GOAL_PWM,
    table.PROFILE_ACCELERATION,
    table.PROFILE_VELOCITY,
)


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("kinds", [{}, MIXED], ids=["XL430", "Koch"])
def test_a_servo_that_restarts_gets_back_what_it_had(index, kinds):
    r = started(**kinds)
    servo = r.chain.servos[index]
    tick(r, READY_RAD)
    before = [servo.get(register) for register in KEPT]
    servo.power_on()
    r.plant.position_rad[index] += 0.02  # it falls a little
    seen = tick(r, READY_RAD)
    assert seen.reset == r.calibration.joints[index].name
    assert not seen.fresh[index]
    assert [servo.get(register) for register in KEPT] == before
    assert servo.get(table.GOAL_POSITION) == pytest.approx(servo.get(table.PRESENT_POSITION), abs=20)
    for _ in range(3):
        seen = tick(r, READY_RAD)
        assert (seen.reset, seen.stopped) == ("", "")
        assert seen.fresh.all()


def test_a_restarted_servo_is_held_where_it_is():
    r = started()
    servo = r.chain.servos[1]
    servo.power_on()
    r.plant.position_rad[1] += 0.05
    r.clock.advance(0.02)
    here_rad = r.plant.position_rad[1]
    assert r.arm.sense().reset == "shoulder_lift"
    run(r, 0.2)
    assert r.plant.position_rad[1] == pytest.approx(here_rad, abs=2 * RAD_PER_COUNT)


def test_a_restart_beyond_the_encoders_zero_changes_the_turns():
    r = started()
    target_rad = READY_RAD.copy()
    target_rad[4] = 2.5
    for _ in range(100):
        tick(r, target_rad)
    before = int(r.arm._turn_counts[4])
    r.chain.servos[4].power_on()
    assert tick(r, target_rad).reset == "wrist_roll"
    assert r.arm._turn_counts[4] != before
    for _ in range(5):
        np.testing.assert_allclose(tick(r, target_rad).position_rad, target_rad, atol=0.01)


def test_a_servo_that_shut_down_is_healths_matter_and_not_switched_on_again():
    r = started()
    servo = r.chain.servos[2]
    servo.temperature_c = 90.0
    for _ in range(20):
        seen = tick(r, READY_RAD)
        assert seen.reset == ""
    assert servo.get(table.TORQUE_ENABLE) == 0
    assert seen.error[2] == dynamixel.ERROR_HEAT | dynamixel.ALERT


def test_before_the_start_and_after_the_release_nothing_is_given_back():
    r = rig()
    r.arm.connect()
    for _ in range(3):
        assert (r.arm.sense().reset, r.arm.sense().stopped) == ("", "")
    r.arm.start()
    r.arm.release()
    for _ in range(3):
        assert r.arm.sense().reset == ""
    assert not r.plant.torque_on.any()


# --- release ------------------------------------------------------------------------------------


def test_release_takes_the_torque_off_where_the_arm_is_and_disarms_the_watchdog():
    r = started()
    for _ in range(3):
        tick(r, READY_RAD + 0.2)
    assert r.arm.release() is True
    assert not r.plant.torque_on.any()
    assert registers(r, table.BUS_WATCHDOG) == [0] * 6
    np.testing.assert_allclose(r.plant.goal_rad, r.plant.position_rad, atol=RAD_PER_COUNT)


def test_a_tripped_arm_lets_go_too():
    r = started()
    run(r, 1.0)
    assert r.arm.release() is True
    assert not r.plant.torque_on.any()


def test_release_says_when_a_servo_did_not_confirm_and_never_raises():
    r = started()
    r.faults.drop(1000, servo_id=4)
    assert r.arm.release() is False
    assert not r.plant.torque_on.any()  # it obeyed all the same
    r = started()
    r.faults.unplugged = True
    assert r.arm.release() is False
    r.port.close()
    assert r.arm.release() is False
    assert rig().arm.release() is True  # nobody was ever connected
