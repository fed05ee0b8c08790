"""The arm: the calibration file, counts and radians, the bumpless start, the release that cannot raise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from arm_rig import FOLDER, READY_RAD, rig, run

from edge_wam.act import feetech
from edge_wam.act.calibration import RAD_PER_COUNT, Calibration
from edge_wam.act.feetech_arm import FeetechArm
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.errors import BusError, CalibrationError


def flipped() -> Calibration:
    """The same arm with every drive mode reversed."""
    joints = Calibration.load(FOLDER / "arm.json").joints
    return Calibration(tuple(dataclasses.replace(joint, drive_mode=1) for joint in joints))


# --- connect ------------------------------------------------------------------------------------


def test_connect_accepts_the_arm_the_file_was_made_for_and_writes_nothing():
    r = rig()
    memory = [bytes(servo.memory[:56]) for servo in r.chain.servos]
    r.arm.connect()
    assert [bytes(servo.memory[:56]) for servo in r.chain.servos] == memory


def test_connect_names_every_servo_that_does_not_answer():
    r = rig()
    r.faults.drop(1000, servo_id=3)
    r.faults.drop(1000, servo_id=6)
    with pytest.raises(BusError, match=r"servo 3 \(elbow_flex\), 6 \(gripper\) on the simulated servo bus"):
        r.arm.connect()


@pytest.mark.parametrize(
    ("register", "value"),
    [(feetech.HOMING_OFFSET, -1376), (feetech.MIN_POSITION, 930), (feetech.MAX_POSITION, 3156)],
)
def test_connect_refuses_an_arm_calibrated_otherwise(register, value):
    r = rig()
    r.chain.servos[2].put(register, value)
    with pytest.raises(
        CalibrationError, match=rf"servo 3 \(elbow_flex\) has {register.name} {value}, but .* says"
    ):
        r.arm.connect()


@pytest.mark.parametrize(
    ("register", "value", "what"),
    [(feetech.MODEL, 2825, "not an STS3215"), (feetech.MODE, 1, "not position mode")],
)
def test_connect_refuses_other_servos_and_other_modes(register, value, what):
    r = rig()
    r.chain.servos[4].put(register, value)
    with pytest.raises(BusError, match=rf"servo 5 \(wrist_roll\).*{what}"):
        r.arm.connect()


def test_a_bus_in_another_order_is_a_defect():
    r = rig()
    with pytest.raises(ValueError, match="ids"):
        FeetechArm(FeetechBus(r.port, (6, 5, 4, 3, 2, 1)), r.calibration)


# --- start --------------------------------------------------------------------------------------


def test_start_moves_nothing():
    r = rig()
    for servo in r.chain.servos:  # goals from an earlier life, far away
        servo.put(feetech.GOAL_POSITION, 1000)
    before = r.plant.position_rad.copy()
    held_rad = r.arm.start()
    assert r.plant.torque_on.all()
    run(r, 300)
    np.testing.assert_allclose(r.plant.position_rad, before, atol=RAD_PER_COUNT / 2 + 1e-9)
    np.testing.assert_allclose(held_rad, before, atol=RAD_PER_COUNT / 2 + 1e-9)


def test_start_sets_the_drives_own_limits():
    r = rig()
    r.arm.start()
    np.testing.assert_allclose(r.plant.speed_limit_rad_s, 3.6, atol=0.001)
    np.testing.assert_allclose(r.plant.accel_limit_rad_s2, 38.96, atol=0.1)
    assert r.plant.torque_limit.tolist() == [1, 1, 1, 1, 1, 0.5]


def test_start_refuses_a_servo_with_an_alarm():
    r = rig()
    r.chain.supply_v = 3.0
    run(r, 10)
    with pytest.raises(BusError, match=r"servo 1 \(shoulder_pan\) reports voltage \(0x01\)"):
        r.arm.start()
    assert not r.plant.torque_on.any()


def test_start_refuses_a_joint_that_hangs_outside_its_range():
    calibration = Calibration.load(FOLDER / "arm.json")
    for counts, refused in ((20, False), (21, True)):
        outside_rad = READY_RAD.copy()
        outside_rad[0] = calibration.high_rad[0] + counts * RAD_PER_COUNT
        r = rig(position_rad=outside_rad)
        if refused:
            with pytest.raises(
                BusError, match=r"servo 1 \(shoulder_pan\) is at 3332, outside its range 783 to 3311"
            ):
                r.arm.start()
            assert not r.plant.torque_on.any()
        else:
            r.arm.start()


def test_start_refuses_a_silent_servo():
    r = rig()
    r.faults.drop(1000, servo_id=2)
    with pytest.raises(BusError, match=r"servo 2 \(shoulder_lift\)"):
        r.arm.start()
    assert not r.plant.torque_on.any()


# --- sense and act ------------------------------------------------------------------------------


def test_sense_gives_si_units_and_the_joints_own_signs():
    for calibration in (None, flipped()):
        r = rig(calibration)
        r.arm.start()
        r.arm.act(READY_RAD + 0.3)
        r.plant.load[:] = [0.5, -0.25, 0.1, 0.0, 0.0, 0.3]
        run(r, 30)
        joints = r.arm.sense()
        np.testing.assert_allclose(joints.position_rad, r.plant.position_rad, atol=RAD_PER_COUNT / 2 + 1e-9)
        np.testing.assert_allclose(joints.velocity_rad_s, r.plant.velocity_rad_s, atol=RAD_PER_COUNT)
        assert (joints.velocity_rad_s > 1).all()
        np.testing.assert_allclose(joints.load, [0.5, -0.25, 0.1, 0.0, 0.0, 0.3], atol=0.0006)
        np.testing.assert_allclose(joints.voltage_v, 12 - 0.25 * np.abs(joints.current_a).sum(), atol=0.06)
        np.testing.assert_allclose(np.abs(joints.current_a[0]), 0.03 + 0.5 * 2.7, atol=0.007)
        np.testing.assert_allclose(joints.temperature_c, 25, atol=1)
        assert joints.fresh.all()
        assert not joints.error.any()


def test_what_act_returns_is_what_the_servos_hold():
    for calibration in (None, flipped()):
        r = rig(calibration)
        r.arm.start()
        target_rad = READY_RAD + np.array([0.1001, -0.2003, 0.3001, -0.05, 0.07, 0.09])
        sent_rad = r.arm.act(target_rad)
        np.testing.assert_allclose(sent_rad, target_rad, atol=RAD_PER_COUNT / 2 + 1e-12)
        np.testing.assert_allclose(r.plant.goal_rad, sent_rad, atol=1e-9)
        run(r, 300)
        np.testing.assert_allclose(r.arm.sense().position_rad, sent_rad, atol=1e-9)


def test_act_ends_at_the_calibrated_range():
    r = rig()
    r.arm.start()
    np.testing.assert_allclose(r.arm.act(np.full(6, 50.0)), r.calibration.high_rad)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_that_is_not_finite_reaches_the_wire(bad):
    r = rig()
    r.arm.start()
    sent = r.arm.bus.counts.sent
    target_rad = READY_RAD.copy()
    target_rad[3] = bad
    with pytest.raises(ValueError, match="finite"):
        r.arm.act(target_rad)
    with pytest.raises(ValueError, match="6 finite radians"):
        r.arm.act(READY_RAD[:5])
    assert r.arm.bus.counts.sent == sent


# --- release ------------------------------------------------------------------------------------


def test_release_takes_the_torque_off_where_the_arm_is():
    r = rig()
    r.arm.start()
    r.arm.act(READY_RAD + 0.3)
    run(r, 10)
    assert r.arm.release() is True
    assert not r.plant.torque_on.any()
    np.testing.assert_allclose(r.plant.goal_rad, r.plant.position_rad, atol=RAD_PER_COUNT)


def test_release_is_repeated_until_it_is_heard():
    r = rig()
    r.arm.start()
    write, lost = r.port.write, []

    def deaf_to_the_first_stops(data):
        if feetech.TORQUE_ENABLE.address in data[5:6] and len(lost) < 2:
            lost.append(data)
            return len(data)
        return write(data)

    r.port.write = deaf_to_the_first_stops
    assert r.arm.release() is True
    assert len(lost) == 2
    assert not r.plant.torque_on.any()


def test_the_stop_goes_to_all_at_once_before_anybody_is_asked_to_confirm():
    r = rig()
    r.arm.start()
    write, sent = r.port.write, []
    r.port.write = lambda data: (sent.append(data), write(data))[1]
    r.arm.release()
    stop = feetech.sync_write(feetech.TORQUE_ENABLE.address, [(i, b"\0") for i in range(1, 7)])
    assert sent[2:5] == [stop] * 3  # after the look and the hold
    assert stop not in sent[5:]


def test_release_says_when_a_servo_did_not_confirm():
    r = rig()
    r.arm.start()
    r.faults.drop(1000, servo_id=4)
    assert r.arm.release() is False
    assert not r.plant.torque_on.any()  # it obeyed all the same


def test_release_never_raises():
    r = rig()
    r.arm.start()
    r.faults.unplugged = True
    assert r.arm.release() is False
    r.port.close()
    assert r.arm.release() is False


# --- the whole path is cheap --------------------------------------------------------------------


def test_sense_and_act_together_cost_less_than_a_millisecond_of_python():
    """CPU time (other programs do not count), median, the emulator's own work included."""
    from time import thread_time

    r = rig()
    r.arm.start()
    took_s = []
    for _ in range(200):
        began_s = thread_time()
        joints = r.arm.sense()
        r.arm.act(joints.position_rad)
        took_s.append(thread_time() - began_s)
    assert sorted(took_s)[100] < 0.001
