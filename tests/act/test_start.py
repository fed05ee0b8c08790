"""How an arm begins and stands: torque in stages, a joint that runs away, another servo's firmware; and the
proof that it stands."""

from __future__ import annotations

import arm_rig
import dynamixel_rig
import numpy as np
import pytest

from edge_wam.act import dynamixel, feetech
from edge_wam.act import dynamixel_table as table
from edge_wam.act.arm import RUNAWAY_COUNTS, STAGES
from edge_wam.act.calibration import RAD_PER_COUNT
from edge_wam.errors import BusError, CalibrationError

RIGS = {"feetech": arm_rig.rig, "dynamixel": dynamixel_rig.rig, "koch": None}
KOCH = {"models": dynamixel_rig.KOCH, "indirect": [dynamixel_rig.NEW] * 2 + [dynamixel_rig.OLD] * 4}


@pytest.fixture(params=RIGS)
def r(request):
    made = dynamixel_rig.rig(**KOCH) if request.param == "koch" else RIGS[request.param]()
    made.arm.connect()
    return made


def pass_time(r):
    """A tick, for the plant and for what is on the wire."""
    if hasattr(r, "clock"):
        r.clock.advance(0.02)
    else:
        arm_rig.run(r, 6)


def tick(r, target_rad):
    joints = r.arm.sense()
    r.arm.act(target_rad)
    pass_time(r)
    return joints


def test_torque_never_comes_on_before_the_goal_is_where_the_joint_is(r):
    goal = feetech.GOAL_POSITION if r.arm.calibration.joints[0].servos == "feetech" else table.GOAL_POSITION
    for servo in r.chain.servos:  # goals from an earlier life, far away
        servo.put(goal, 1000)
    write = r.port.write

    def watched(data):
        result = write(data)
        far = np.abs(r.plant.goal_rad - r.plant.position_rad) > RAD_PER_COUNT
        assert not (far & r.plant.torque_on).any()
        return result

    r.port.write = watched
    r.arm.start()
    assert r.plant.torque_on.all()


def test_torque_comes_in_stages_and_only_the_last_is_all_of_it(r):
    shares, on, block = [], [], r.arm.bus.read_block

    def looked():
        shares.append(r.plant.torque_limit.copy())
        on.append(r.plant.torque_on.all())
        return block()

    r.arm.bus.read_block = looked
    r.arm.start()
    strengths = [limits for limits, all_on in zip(shares, on, strict=True) if all_on]
    most = strengths[-1]
    steps = sorted({round(float(limits[1] / most[1]), 2) for limits in strengths})
    assert steps == pytest.approx(STAGES, abs=0.01)
    assert (np.diff([limits[1] for limits in strengths]) >= 0).all()
    assert most[:5] == pytest.approx(np.ones(5), abs=0.01)
    assert most[5] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_joint_that_runs_away_is_let_go_of_before_it_has_all_its_torque(r, sign):
    block, away_rad = r.arm.bus.read_block, sign * (RUNAWAY_COUNTS + 2) * 2 * np.pi / 4096

    def looked():
        if r.plant.torque_on.all() and r.plant.torque_limit[2] > 0.5:
            r.plant.position_rad[2] = READY + away_rad
            r.chain.update()
        return block()

    READY = float(r.plant.position_rad[2])
    r.arm.bus.read_block = looked
    with pytest.raises(BusError, match=r"servo 3 \(elbow_flex\) ran from \d+ to \d+ when its torque came on"):
        r.arm.start()
    assert not r.plant.torque_on.any()
    assert r.plant.torque_limit[2] < 0.7


def test_a_joint_that_sags_a_little_does_not_run_away():
    r = arm_rig.rig()
    block = r.arm.bus.read_block
    here_rad = r.plant.position_rad.copy()

    def looked():
        r.plant.position_rad = here_rad - (RUNAWAY_COUNTS - 2) * 2 * np.pi / 4096 * r.plant.torque_on
        r.plant.goal_rad[:] = r.plant.position_rad
        r.chain.update()
        return block()

    r.arm.bus.read_block = looked
    r.arm.start()
    assert r.plant.torque_on.all()


def test_another_servo_in_its_place_is_refused_when_it_is_connected_again(r):
    r.arm.connect()
    memory = r.chain.servos[3].memory
    at = table.FIRMWARE.address if hasattr(r.arm.bus, "models") else feetech.FIRMWARE_MINOR.address
    memory[at] += 1
    with pytest.raises(CalibrationError, match=r"servo 4 \(wrist_flex\) is another one than before: .* was"):
        r.arm.connect()
    memory[at] -= 1
    r.arm.connect()


# --- the proof that it stands -----------------------------------------------------------------------


def test_it_is_settled_once_every_goal_was_read_back_and_nothing_moves(r):
    held_rad = r.arm.start()
    assert tick(r, held_rad).settled is False  # nothing was sent yet
    every_tick = not hasattr(r.arm.bus, "models")  # or one by one
    told = [tick(r, held_rad).settled for _ in range(16)]
    assert told[0] is every_tick
    assert told[-1]
    moved_rad = held_rad + 0.1
    assert tick(r, moved_rad).settled  # it still tells of the goal before
    assert not any(tick(r, moved_rad).settled for _ in range(4))
    assert any(tick(r, moved_rad).settled for _ in range(20))
    nearby_rad = moved_rad + 0.0016  # a count: nothing moves long enough to tell
    tick(r, nearby_rad)
    assert [tick(r, nearby_rad).settled for _ in range(4)] == [every_tick] * 4
    assert any(tick(r, nearby_rad).settled for _ in range(20))


def test_a_servo_that_has_another_goal_or_still_moves_is_not_settled(r):
    held_rad = r.arm.start()
    servo, write = r.chain.servos[4], None
    codec, goal = (
        (dynamixel, table.GOAL_POSITION) if hasattr(r.arm.bus, "models") else (feetech, feetech.GOAL_POSITION)
    )
    write = servo.write

    def deaf(address, data, now_s):
        done = write(address, data, now_s)
        servo.memory[goal.address : goal.end] = codec.pack(goal, 2000)
        return done

    servo.write = deaf
    assert not any(tick(r, held_rad).settled for _ in range(20))
    servo.write = write
    assert any(tick(r, held_rad).settled for _ in range(20))
    r.plant.velocity_rad_s[1] = 0.5
    r.plant.step = lambda count=1: None
    r.chain.update()
    assert not r.arm.sense().settled


def test_an_arm_that_is_let_go_of_is_not_settled(r):
    held_rad = r.arm.start()
    for _ in range(16):
        tick(r, held_rad)
    r.arm.release()
    assert not r.arm.sense().settled
