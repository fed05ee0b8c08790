"""The arm of Dynamixel servos at work: signs and units, the watchdog, restarts, release."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dynamixel_rig import ARMED, MIXED, READY_RAD, registers, rig, run, started, tick

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.calibration import RAD_PER_COUNT
from edge_wam.act.dynamixel_arm import WATCHDOG_S

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
