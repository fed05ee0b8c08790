"""What the arm notices while it runs: servos that restart, and positions that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from arm_rig import READY_RAD, rig, run

from edge_wam.act import feetech
from edge_wam.act.calibration import RAD_PER_COUNT

# --- a servo that restarts ----------------------------------------------------------------------


def restarted(r, index):
    """The servo forgets what is in its RAM, torque and all, and falls a little."""
    r.chain.servos[index].power_on()
    r.plant.position_rad[index] += 0.02
    run(r, 6)


def settings(r, index):
    servo = r.chain.servos[index]
    registers = (feetech.TORQUE_ENABLE, feetech.ACCELERATION, feetech.GOAL_SPEED, feetech.TORQUE_LIMIT)
    return [servo.get(register) for register in registers]


def tick(r):
    """A tick's sense and act, without moving; what sense said had restarted."""
    seen = r.arm.sense()
    r.arm.act(seen.position_rad)
    return seen.reset


@pytest.mark.parametrize("index", range(6))
def test_a_servo_that_restarts_is_seen_in_the_next_tick_and_gets_its_settings_and_torque_back(index):
    r = rig()
    r.arm.start()
    before = settings(r, index)
    restarted(r, index)
    assert settings(r, index) != before
    # The first tick asks behind its goals, the second has the answer.
    assert [tick(r) for _ in range(4)] == ["", r.calibration.joints[index].name, "", ""]
    assert settings(r, index) == before


def test_when_all_restart_they_are_given_theirs_back_one_a_tick():
    r = rig()
    r.arm.start()
    before = [settings(r, index) for index in range(6)]
    for index in range(6):
        restarted(r, index)
    assert [tick(r) for _ in range(8)] == ["", *(joint.name for joint in r.calibration.joints), ""]
    assert [settings(r, index) for index in range(6)] == before


def test_one_that_was_silent_is_looked_at_as_soon_as_it_answers():
    r = rig()
    r.arm.start()
    restarted(r, 4)
    r.faults.drop(6, r.calibration.joints[4].id)  # two a tick: the block, and its settings
    for _ in range(3):
        assert tick(r) == ""
    assert tick(r) == "wrist_roll"


def test_a_restarted_servo_is_held_where_it_is_and_not_thrown_to_an_old_goal():
    r = rig()
    r.arm.start()
    target = READY_RAD.copy()
    target[1] += 0.3
    r.arm.act(target)
    restarted(r, 1)
    here_rad = r.plant.position_rad[1]
    for _ in range(7):
        if r.arm.sense().reset:
            break
        r.arm.act(target)
    else:
        pytest.fail("nobody saw it")
    run(r, 100)
    assert r.plant.position_rad[1] == pytest.approx(here_rad, abs=2 * RAD_PER_COUNT)


def test_a_servo_that_let_go_with_an_alarm_is_not_switched_on_again():
    r = rig()
    r.arm.start()
    servo = r.chain.servos[2]
    servo.power_on()
    servo.temperature_c = 90.0
    lost = settings(r, 2)[1:]
    for _ in range(20):
        run(r, 3)
        assert tick(r) == ""
    assert settings(r, 2)[1:] == lost


def test_before_the_start_and_after_the_release_nothing_is_given_back():
    r = rig()
    for _ in range(7):
        assert r.arm.sense().reset == ""
    r.arm.start()
    r.arm.release()
    for _ in range(7):
        assert r.arm.sense().reset == ""
    assert not r.plant.torque_on.any()


# --- what is not believed -----------------------------------------------------------------------


def lying(r, index, counts, times=1):
    """The next replies of a servo say another position, in packets that are right in every other way."""
    servo_id, apply = r.calibration.joints[index].id, r.faults.apply

    def bent(replies):
        nonlocal times
        out = []
        for reply in apply(replies):
            if reply.servo_id == servo_id and len(reply.data) == 6 + feetech.BLOCK_BYTES and times > 0:
                times -= 1
                there = int.from_bytes(reply.data[5:7], "little") + counts
                data = there.to_bytes(2, "little") + reply.data[7:-1]
                reply = reply._replace(data=feetech.status(servo_id, 0, data))
            out.append(reply)
        return out

    r.faults.apply = bent


def test_a_position_where_the_joint_cannot_be_is_no_answer():
    r = rig()
    r.arm.start()
    lying(r, 2, 600)
    seen = r.arm.sense()
    assert seen.fresh.tolist() == [True, True, False, True, True, True]
    np.testing.assert_allclose(seen.position_rad, READY_RAD, atol=RAD_PER_COUNT)
    assert r.arm.doubted == 1
    assert r.arm.sense().fresh.all()


def test_a_joint_that_moves_as_fast_as_it_can_is_believed():
    r = rig()
    r.arm.start()
    lying(r, 2, round(0.14 / RAD_PER_COUNT))
    assert r.arm.sense().fresh.all()


def test_before_the_start_an_arm_may_be_moved_by_hand_as_fast_as_one_likes():
    r = rig()
    r.arm.sense()
    r.plant.position_rad[0] += 1.5
    run(r, 1)
    assert r.arm.sense().fresh.all()


def test_a_release_is_no_move_even_if_an_encoder_lies():
    r = rig()
    r.arm.start()
    goals = [servo.get(feetech.GOAL_POSITION) for servo in r.chain.servos]
    lying(r, 1, -700)
    assert r.arm.release()
    assert [servo.get(feetech.GOAL_POSITION) for servo in r.chain.servos] == goals
