"""The simulated servo's drive: where it says it is, where it goes, how fast, and what makes it let go."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from edge_wam.act import feetech
from edge_wam.act.calibration import RAD_PER_COUNT
from edge_wam.act.feetech import Instruction, Packet

# --- where it is --------------------------------------------------------------------------------


def test_present_position_is_actual_less_offset(bench):
    before = bench.read(3, feetech.PRESENT_POSITION)
    assert before == bench.counts()[2]
    bench.write(3, feetech.LOCK, 0)
    bench.write(3, feetech.HOMING_OFFSET, -1377 + 100)
    assert bench.read(3, feetech.PRESENT_POSITION) == before - 100


def test_present_position_wraps_within_one_turn_unless_set_to_several(bench):
    # feetech-cli's authors measured on a servo: raw 628 with an offset of 904 reports 3820.
    raw = bench.counts()[0] - 412  # actual = present + homing offset
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.HOMING_OFFSET, 2000)
    assert raw < 2000
    assert bench.read(1, feetech.PRESENT_POSITION) == (raw - 2000) % 4096
    bench.write(1, feetech.PHASE, 12 | 16)
    assert bench.read(1, feetech.PRESENT_POSITION) == raw - 2000


@pytest.mark.parametrize("through", ["torque enable 128", "calibrate", "calibrate to 1000"])
def test_recentring_renames_the_position_and_moves_nothing(bench, through):
    wanted = 2048
    bench.write(1, feetech.GOAL_POSITION, bench.counts()[0])
    before_rad = bench.plant.position_rad.copy()
    if through == "torque enable 128":
        bench.write(1, feetech.TORQUE_ENABLE, 128)
    elif through == "calibrate":
        bench.ask(feetech.encode(Packet(1, Instruction.CALIBRATE, b"")))
    else:
        wanted = 1000
        bench.ask(feetech.encode(Packet(1, Instruction.CALIBRATE, (1000).to_bytes(2, "little"))))
    assert bench.read(1, feetech.PRESENT_POSITION) == wanted
    assert bench.read(1, feetech.TORQUE_ENABLE) == 1
    bench.run(1.0)
    np.testing.assert_allclose(bench.plant.position_rad, before_rad, atol=RAD_PER_COUNT)
    assert bench.read(1, feetech.PRESENT_POSITION) == wanted


def test_speed_and_load_are_signed_and_in_the_drives_direction(bench):
    bench.write(1, feetech.GOAL_SPEED, 500)
    bench.write(1, feetech.GOAL_POSITION, bench.counts()[0] - 400)
    bench.plant.load[0] = -0.125
    bench.run(0.2)
    assert bench.read(1, feetech.PRESENT_SPEED) == -500
    assert bench.read(1, feetech.PRESENT_LOAD) == -125
    assert bench.read(1, feetech.PRESENT_CURRENT) == -round((0.03 + 0.125 * 2.7) / 0.0065)


def test_a_coarse_speed_unit_is_obeyed(bench):
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.PHASE, 8)  # bit 2 clear: 50 counts/s a step
    bench.write(1, feetech.GOAL_SPEED, 10)
    bench.write(1, feetech.GOAL_POSITION, bench.counts()[0] + 400)
    assert bench.plant.speed_limit_rad_s[0] == pytest.approx(500 * RAD_PER_COUNT)
    bench.run(0.2)
    assert bench.read(1, feetech.PRESENT_SPEED) == 10


def test_moving_is_true_from_the_goal_to_the_arrival(bench):
    assert bench.read(1, feetech.MOVING) == 0
    bench.write(1, feetech.GOAL_SPEED, 500)
    bench.write(1, feetech.ACCELERATION, 2)
    bench.write(1, feetech.GOAL_POSITION, bench.counts()[0] + 200)
    assert bench.read(1, feetech.MOVING) == 1
    for _ in range(20):
        bench.run(0.02)
        assert bench.read(1, feetech.MOVING) == 1
    bench.run(2)
    assert bench.read(1, feetech.MOVING) == 0


# --- what it drives to --------------------------------------------------------------------------


def test_a_servo_without_torque_stays_where_it_is(bench):
    assert not bench.plant.torque_on.any()
    before_rad = bench.plant.position_rad.copy()
    bench.run(0.5)
    np.testing.assert_allclose(bench.plant.position_rad, before_rad)


def test_a_goal_is_reached_to_the_count(bench):
    goals = [count + 37 for count in bench.counts()]
    for servo_id, goal in enumerate(goals, 1):
        bench.write(servo_id, feetech.GOAL_POSITION, goal)
    bench.run(1.0)
    assert [bench.read(i, feetech.PRESENT_POSITION) for i in range(1, 7)] == goals
    assert [bench.read(i, feetech.PRESENT_GOAL) for i in range(1, 7)] == goals


def test_a_goal_switches_the_torque_on_by_itself(bench):
    """Measured on an STS3215 by feetech-cli's authors: whoever releases must not write a goal after it."""
    bench.write(6, feetech.GOAL_POSITION, 2500)
    assert bench.plant.torque_on.tolist() == [False] * 5 + [True]
    assert bench.read(6, feetech.TORQUE_ENABLE) == 1
    bench.write(6, feetech.TORQUE_ENABLE, 0)
    assert not bench.plant.torque_on.any()


@pytest.mark.parametrize(
    ("goal", "reached"), [(782, 783), (783, 783), (784, 784), (3311, 3311), (3312, 3311), (-5, 783)]
)
def test_goals_end_at_the_position_limits(bench, goal, reached):
    bench.write(1, feetech.GOAL_POSITION, goal)
    assert bench.read(1, feetech.GOAL_POSITION) == goal
    assert bench.read(1, feetech.PRESENT_GOAL) == reached
    bench.run(3.0)
    assert (
        abs(bench.read(1, feetech.PRESENT_POSITION) - reached) <= 15
    )  # the joint's own stop is a little before


def test_limits_of_zero_mean_none(bench):
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.MIN_POSITION, 0)
    bench.ask(feetech.write(1, feetech.MAX_POSITION.address, b"\0\0"))
    bench.write(1, feetech.GOAL_POSITION, 4090)
    assert bench.read(1, feetech.PRESENT_GOAL) == 4090


@pytest.mark.parametrize("speed", [1, 100, 1000, 3400])
def test_goal_speed_is_the_drives_limit(bench, speed):
    bench.write(1, feetech.GOAL_SPEED, speed)
    assert bench.plant.speed_limit_rad_s[0] == pytest.approx(speed * RAD_PER_COUNT)


def test_goal_speed_0_is_full_speed_and_nothing_is_faster(bench):
    full = 3400 * RAD_PER_COUNT
    for speed in (0, 3401, 32767):
        bench.write(1, feetech.GOAL_SPEED, speed)
        assert bench.plant.speed_limit_rad_s[0] == pytest.approx(full)
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.PHASE, 4)  # bit 3 clear: speed 0 is standing still
    bench.write(1, feetech.GOAL_SPEED, 0)
    assert bench.plant.speed_limit_rad_s[0] == 0


def test_acceleration_is_a_hundred_counts_per_second_squared_a_step(bench):
    for value, expected in ((1, 100), (254, 25400), (0, 25400)):
        bench.write(1, feetech.ACCELERATION, value)
        assert bench.plant.accel_limit_rad_s2[0] == pytest.approx(expected * RAD_PER_COUNT)
    bench.write(1, feetech.MAX_ACCELERATION, 10)
    bench.write(1, feetech.ACCELERATION, 200)
    assert bench.plant.accel_limit_rad_s2[0] == pytest.approx(1000 * RAD_PER_COUNT)
    bench.write(1, feetech.MAX_ACCELERATION, 0)
    bench.write(1, feetech.ACCELERATION, 0)
    assert bench.plant.accel_limit_rad_s2[0] == math.inf


def test_torque_limit_is_the_lower_of_ram_and_eeprom(bench):
    bench.write(1, feetech.TORQUE_LIMIT, 400)
    assert bench.plant.torque_limit[0] == pytest.approx(0.4)
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.MAX_TORQUE, 300)
    assert bench.plant.torque_limit[0] == pytest.approx(0.3)
    bench.chain.power_cycle()
    assert bench.read(1, feetech.TORQUE_LIMIT) == 300


def test_speed_mode_turns_at_its_speed_until_the_stop(bench):
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.MODE, 1)
    bench.write(1, feetech.GOAL_SPEED, -300)
    bench.write(1, feetech.TORQUE_ENABLE, 1)
    start = bench.plant.position_rad[0]
    bench.run(1.0)
    assert bench.plant.position_rad[0] == pytest.approx(start - 300 * RAD_PER_COUNT, abs=0.02)
    bench.run(10.0)
    assert bench.plant.position_rad[0] == pytest.approx(bench.plant.joint_low_rad[0])
    bench.write(1, feetech.GOAL_SPEED, 300)  # and does not have to unwind first
    bench.run(0.5)
    assert bench.plant.position_rad[0] == pytest.approx(
        bench.plant.joint_low_rad[0] + 150 * RAD_PER_COUNT, abs=0.02
    )


def test_step_mode_goes_so_many_counts_from_here(bench):
    start = bench.counts()[0]
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.MODE, 3)
    for step in (100, -30):
        bench.write(1, feetech.GOAL_POSITION, step)
        bench.run(0.5)
        start += step
        assert bench.read(1, feetech.PRESENT_POSITION) == start


def test_pwm_mode_is_limp(bench):
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.MODE, 2)
    bench.write(1, feetech.TORQUE_ENABLE, 1)
    assert not bench.plant.torque_on[0]


# --- supply, heat, alarms -----------------------------------------------------------------------


def on(bench, servo_id: int = 1) -> SimpleNamespace:
    bench.write(servo_id, feetech.TORQUE_ENABLE, 1)
    return SimpleNamespace(error=lambda: bench.ask(feetech.ping(servo_id))[0].code)


def test_the_supply_sags_under_load(bench):
    on(bench)
    bench.run(0.1)
    rested = bench.read(1, feetech.PRESENT_VOLTAGE)
    bench.plant.load[0] = 1.0
    bench.run(0.1)
    assert rested == 120
    assert bench.read(1, feetech.PRESENT_VOLTAGE) == 113  # 2.7 A over a quarter of an ohm


@pytest.mark.parametrize(("supply_v", "alarm"), [(3.9, 1), (4.1, 0), (14.0, 0), (14.2, 1)])
def test_a_voltage_out_of_limits_is_an_alarm_while_it_lasts(bench, supply_v, alarm):
    servo = on(bench)
    bench.chain.supply_v = supply_v
    bench.run(0.1)
    assert servo.error() == alarm
    assert bench.read(1, feetech.STATUS) == alarm
    bench.chain.supply_v = 12.0
    bench.run(0.1)
    assert servo.error() == 0
    assert bench.plant.torque_on[0]  # the default mask (44) does not unload for voltage


def test_holding_a_third_of_the_torque_warms_a_servo_and_stalling_trips_it(bench):
    servo = on(bench)
    bench.chain.servos[0].put(feetech.OVERLOAD_TORQUE, 100)
    bench.chain.servos[0].put(feetech.PROTECTION_TIME, 254)
    bench.plant.load[0] = 0.33
    for _ in range(1500):  # in steps of a second
        bench.plant.time_s += 1.0
        bench.chain.update()
    assert 45 < bench.chain.servos[0].temperature_c < 58
    assert servo.error() == 0
    bench.plant.load[0] = 0.99
    seconds = 0
    while not servo.error() & feetech.ERROR_HEAT:
        bench.plant.time_s += 1.0
        bench.chain.update()
        seconds += 1
        assert seconds < 60
    assert bench.read(1, feetech.PRESENT_TEMPERATURE) >= 70
    assert not bench.plant.torque_on[0]


def test_a_hot_servo_lets_go_and_comes_back_when_it_has_cooled(bench):
    servo = on(bench)
    bench.chain.servos[0].temperature_c = 71.0
    bench.run(0.1)
    assert servo.error() == feetech.ERROR_HEAT
    assert not bench.plant.torque_on[0]
    bench.chain.servos[0].temperature_c = 67.0
    bench.run(0.1)
    assert servo.error() == feetech.ERROR_HEAT  # not yet
    bench.chain.servos[0].temperature_c = 64.0
    bench.run(0.1)
    assert servo.error() == 0
    assert bench.plant.torque_on[0]


def test_an_overload_leaves_protective_torque_until_the_goal_relieves_it(bench):
    servo = on(bench)
    goal = bench.counts()[0] + 100
    bench.write(1, feetech.GOAL_POSITION, goal)
    bench.plant.torque_limit[0] = 0.0  # stuck: the plant does not move
    bench.plant.load[0] = 0.85
    bench.run(1.9)
    assert servo.error() == 0
    bench.run(0.2)
    assert servo.error() == feetech.ERROR_OVERLOAD
    assert bench.plant.torque_on[0]
    assert bench.plant.torque_limit[0] == pytest.approx(0.2)
    bench.plant.load[0] = 0.2
    bench.plant.torque_limit[0] = 0.0
    bench.write(1, feetech.GOAL_POSITION, goal + 300)
    assert servo.error() == feetech.ERROR_OVERLOAD
    bench.write(1, feetech.GOAL_POSITION, bench.counts()[0] - 100)
    assert servo.error() == 0
    assert bench.plant.torque_limit[0] == 1.0


def test_a_load_just_below_the_threshold_never_trips(bench):
    servo = on(bench)
    bench.plant.load[0] = 0.79
    bench.run(5)
    assert servo.error() == 0


def test_overcurrent_cuts_the_torque_until_it_is_switched_again(bench):
    servo = on(bench)
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.PROTECTION_CURRENT, 150)  # about one ampere
    bench.write(1, feetech.CURRENT_TIME, 20)
    bench.plant.load[0] = 0.4
    bench.run(0.5)
    assert servo.error() == feetech.ERROR_CURRENT
    assert not bench.plant.torque_on[0]
    bench.plant.load[0] = 0.0
    bench.run(0.5)
    assert servo.error() == feetech.ERROR_CURRENT
    bench.write(1, feetech.TORQUE_ENABLE, 1)
    assert servo.error() == 0
    assert bench.plant.torque_on[0]


def test_a_world_that_was_reset_finds_the_servos_without_power(bench):
    on(bench)
    bench.run(1.0)
    bench.plant.time_s = 0.0
    bench.plant.position_rad = bench.plant.position_rad - 0.2
    # Asked before the first step, and after it: limp, the goal where the joint is.
    assert bench.read(1, feetech.TORQUE_ENABLE) == 0
    assert bench.read(1, feetech.GOAL_POSITION) == bench.counts()[0]
    bench.run(0.1)
    assert not bench.plant.torque_on.any()


def test_answers_come_from_one_step_even_while_the_plant_goes_on(bench):
    first = bench.read(1, feetech.PRESENT_POSITION)
    bench.chain.update()
    bench.plant.position_rad += 0.5  # in place, as a plant with its own buffers would
    assert bench.read(1, feetech.PRESENT_POSITION) == first
    bench.chain.update()
    assert bench.read(1, feetech.PRESENT_POSITION) != first
