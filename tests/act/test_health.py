"""How the servos fare: each threshold from both sides, how long a thing must last, and what is old news."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge_wam.act.guard import Limits, slowed
from edge_wam.act.health import Health, Level, Thresholds
from edge_wam.act.limits import load_guards
from edge_wam.errors import ArmError, CalibrationError
from edge_wam.orders import Order, Verb
from edge_wam.pilot import Mode, Patience, Pilot
from edge_wam.types import JOINTS, Joints

PERIOD_S = 0.02
SET = Thresholds(voltage_low_v=9.5)
WATCHED = np.array([0.3] * 5 + [9.0])
POSE = np.zeros(6)


def joints(t_s=0.0, **changed):
    """Healthy servos, but for what is given (index -> value)."""
    values = {
        "position_rad": POSE.copy(),
        "velocity_rad_s": np.zeros(6),
        "load": np.zeros(6),
        "current_a": np.full(6, 0.1),
        "voltage_v": np.full(6, 12.0),
        "temperature_c": np.full(6, 30.0),
        "error": np.zeros(6, np.uint8),
        "fresh": np.ones(6, bool),
    }
    for name, by_joint in changed.items():
        for index, value in by_joint.items():
            values[name][index] = value
    return Joints(t_s, **values)


@pytest.fixture
def health():
    return Health(JOINTS, SET, WATCHED)


def last(health, duration_s, sent=POSE, **changed):
    """The verdict after so long of the same."""
    ticks = round(duration_s / PERIOD_S)
    return [health.judge(joints(i * PERIOD_S, **changed), sent) for i in range(ticks + 1)][-1]


def test_healthy_servos_are_not_spoken_of(health):
    assert last(health, 2.0) == (Level.OK, 1.0, "")


@pytest.mark.parametrize(
    ("temperature_c", "level", "scale"),
    [(54.9, Level.OK, 1.0), (55, Level.DERATE, 1.0), (60.5, Level.DERATE, 0.65), (65.9, Level.DERATE, 0.306),
     (66, Level.PARK, 0.3), (79.9, Level.PARK, 0.3), (80, Level.RELEASE, 0.3)],
)  # fmt: skip
def test_heat_slows_then_parks_then_lets_go(health, temperature_c, level, scale):
    verdict = last(health, SET.settle_s, temperature_c={2: temperature_c})
    assert verdict.level is level
    assert verdict.scale == pytest.approx(scale, abs=0.01)
    assert (f"elbow_flex is at {temperature_c:.0f} degC" in verdict.why) == (level is not Level.OK)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"voltage_v": {4: 9.4}}, "wrist_roll has 9.4 V"),
        ({"error": {0: 0x20}}, "shoulder_pan reports overload"),
    ],
)
def test_low_supply_and_errors_hold_once_they_last(health, changed, said):
    assert last(health, SET.settle_s - PERIOD_S, **changed).level < Level.HOLD
    verdict = last(Health(JOINTS, SET, WATCHED), SET.settle_s, **changed)
    assert verdict.level is Level.HOLD
    assert said in verdict.why


def test_what_comes_and_goes_does_not_add_up(health):
    for i in range(200):
        sag = {"voltage_v": {4: 9.0}} if i % 4 else {}
        assert health.judge(joints(i * PERIOD_S, **sag), POSE).level < Level.HOLD


@pytest.mark.parametrize(
    ("behind_rad", "current_a", "stalls"),
    [(0.31, 1.7, True), (-0.31, -1.7, True), (0.29, 2.7, False), (0.5, 1.5, False)],  # within stall_s
)
def test_a_stall_is_far_behind_and_drawing_a_lot_for_a_while(health, behind_rad, current_a, stalls):
    sent = POSE.copy()
    sent[1] = behind_rad
    verdict = last(health, SET.stall_s, sent, current_a={1: current_a})
    assert (verdict.level is Level.HOLD) == stalls
    assert (verdict.why == "shoulder_lift pushes against something") == stalls
    shorter = last(Health(JOINTS, SET, WATCHED), SET.stall_s - PERIOD_S, sent, current_a={1: current_a})
    assert shorter.level is Level.OK


def test_one_reading_of_any_heat_is_no_reason_to_let_go(health):
    assert health.judge(joints(temperature_c={2: 128.0}), POSE).level is Level.DERATE
    assert health.judge(joints(PERIOD_S), POSE).level is Level.OK


def test_a_joint_that_does_not_follow_holds_the_arm_though_it_draws_little(health):
    sent = POSE.copy()
    sent[1] = 0.4
    assert last(health, SET.follow_s - PERIOD_S, sent).level is Level.OK
    verdict = last(Health(JOINTS, SET, WATCHED), SET.follow_s, sent)
    assert (verdict.level, verdict.why) == (Level.HOLD, "shoulder_lift does not follow its target")


def test_a_gripper_that_squeezes_is_no_stall(health):
    sent = POSE.copy()
    sent[5] = 0.8
    assert last(health, 2.0, sent, current_a={5: 2.0}).level is Level.OK


@pytest.mark.parametrize(
    ("drawn_a", "level", "scale"),
    [(1.39, Level.OK, 1.0), (1.41, Level.DERATE, 0.965), (-1.5, Level.DERATE, 0.65),
     (1.59, Level.DERATE, 0.335), (2.7, Level.DERATE, 0.3)],
)  # fmt: skip
def test_an_arm_that_draws_a_lot_on_average_slows_down(health, drawn_a, level, scale):
    verdict = last(health, 8.0, current_a={1: drawn_a})
    assert verdict.level is level
    assert verdict.scale == pytest.approx(scale, abs=0.01)
    assert ("shoulder_lift draws" in verdict.why) == (level is Level.DERATE)


def test_what_is_drawn_for_a_moment_slows_nothing_down_and_the_mean_takes_its_time(health):
    scales = []
    for i in range(200):
        scales.append(health.judge(joints(i * PERIOD_S, current_a={1: 2.0}), POSE).scale)
    assert scales[: round(1.1 / PERIOD_S)] == [1.0] * round(1.1 / PERIOD_S)  # ln(1.9 / 0.6) s
    assert scales[round(1.3 / PERIOD_S)] < 1.0
    fresh = Health(JOINTS, SET, WATCHED)
    for i in range(100):  # a reading that cannot be, now and then
        drawn_a = 200.0 if i % 25 == 0 else 0.1
        assert fresh.judge(joints(i * PERIOD_S, current_a={1: drawn_a}), POSE).level is Level.OK


def test_who_was_silent_or_may_push_is_not_averaged(health):
    assert last(health, 5.0, current_a={1: 2.0}, fresh={1: False}).level is Level.OK
    assert last(Health(JOINTS, SET, WATCHED), 5.0, current_a={5: 2.0}).level is Level.OK
    paused = Health(JOINTS, SET, WATCHED)
    paused.judge(joints(0.0), POSE)
    assert paused.judge(joints(60.0, current_a={1: 3.0}), POSE).scale == 1.0  # nobody looked meanwhile


@pytest.mark.parametrize(
    ("given", "heavy_a"), [("", 1.4), ("stall_a = 0.8", 0.7), ("stall_a = 0.8\nheavy_a = 0.5", 0.5)]
)
def test_where_it_slows_down_is_given_or_follows_from_a_stall(tmp_path, given, heavy_a):
    assert with_health(tmp_path, given).heavy_a == pytest.approx(heavy_a)


@pytest.mark.parametrize("given", ["heavy_a = 1.7", "stall_a = 0.5\nheavy_a = 0.5", "heavy_s = 0"])
def test_a_mean_that_can_never_be_a_stall_s_is_refused(tmp_path, given):
    with pytest.raises(CalibrationError, match="heavy_a"):
        with_health(tmp_path, given)


def with_health(tmp_path, lines):
    file = tmp_path / "limits.toml"
    folder = Path(__file__).parents[2] / "calibration" / "so101-sim"
    file.write_text((folder / "limits.toml").read_text().partition("[health]")[0] + "[health]\n" + lines)
    return load_guards(file)[1].thresholds


@pytest.mark.parametrize(
    "changed", [{"temperature_c": {3: 90.0}}, {"voltage_v": {3: 1.0}}, {"error": {3: 0x20}}]
)
def test_a_servo_that_did_not_answer_is_not_judged_by_what_it_said_before(health, changed):
    assert last(health, 1.0, fresh={3: False}, **changed).level is Level.OK


def test_nobody_answering_is_not_health_s_business(health):
    assert last(health, 1.0, fresh=dict.fromkeys(range(6), False)).level is Level.OK


# --- what the pilot makes of it ---------------------------------------------------------------

LIMITS = Limits(
    JOINTS, np.full(6, -1.8), np.full(6, 1.8), np.full(6, 3.0), np.full(6, 0.5), np.full(6, 60.0), POSE + 1
)


@pytest.fixture
def pilot(health):
    pilot = Pilot(LIMITS, Patience(), health)
    pilot.obey(Order(Verb.DO, "pick up the red cube"), 0.0, POSE, POSE)
    return pilot


def fly(pilot, seconds, t_s=0.0, sent=POSE, **changed):
    for i in range(round(seconds / PERIOD_S)):
        wish = pilot.wish(t_s + i * PERIOD_S, sent, joints(t_s + i * PERIOD_S, **changed))
    return wish


def said(pilot):
    return [event.text for event in pilot.events]


def test_a_warm_arm_goes_on_more_slowly_says_so_once_and_recovers(pilot):
    fly(pilot, 0.5, temperature_c={1: 60.5})
    assert pilot.mode is Mode.FOLLOWING
    np.testing.assert_allclose(pilot.limits.speed_rad_s, 0.65 * 3.0)
    np.testing.assert_allclose(pilot.limits.lead_rad, 0.65 * 0.5)
    assert said(pilot)[1:] == ["shoulder_lift is at 60 degC; moving more slowly"]
    fly(pilot, 0.1, 0.5)
    np.testing.assert_array_equal(pilot.limits.speed_rad_s, LIMITS.speed_rad_s)


def test_a_hot_arm_parks_and_stays_parked_though_it_is_still_hot(pilot):
    fly(pilot, 0.5, temperature_c={1: 70})
    assert pilot.mode is Mode.PARKING
    assert not pilot.task.running
    fly(pilot, 5.0, 0.5, temperature_c={1: 70})
    assert pilot.mode is Mode.PARKED
    assert said(pilot).count("parking") == 1


def test_a_servo_beyond_that_is_let_go(pilot):
    with pytest.raises(ArmError, match="shoulder_lift is at 85 degC: letting go"):
        fly(pilot, 0.2, temperature_c={1: 85})


def test_a_stall_ends_the_task_where_the_arm_is_and_a_new_order_starts_again(pilot):
    sent = POSE + 0.4
    wish = fly(pilot, 0.5, sent=sent, current_a={1: 2.5})
    assert pilot.mode is Mode.HOLDING
    assert not pilot.task.running
    np.testing.assert_array_equal(wish.target_rad, POSE)  # it yields: not the pose it was pushing for
    assert said(pilot)[-1] == "shoulder_lift pushes against something: holding"
    pilot.obey(Order(Verb.DO, "go home"), 1.0, POSE, POSE)
    fly(pilot, 0.5, 1.0)
    assert pilot.mode is Mode.FOLLOWING


def test_an_error_while_parking_holds_too(pilot):
    pilot.obey(Order(Verb.PARK), 0.1, POSE, POSE)
    fly(pilot, 0.3, 0.1, error={2: 0x04})
    assert pilot.mode is Mode.HOLDING


def test_slower_limits_leave_the_rest_as_it_was():
    half = slowed(LIMITS, 0.5)
    np.testing.assert_array_equal(half.low_rad, LIMITS.low_rad)
    np.testing.assert_array_equal(half.acceleration_rad_s2, LIMITS.acceleration_rad_s2)
    assert dataclasses.replace(half, speed_rad_s=0, lead_rad=0) is not LIMITS


# --- limits.toml ------------------------------------------------------------------------------

GOOD = "".join(
    f"[joint.{name}]\nlow_rad = -1\nhigh_rad = 1\nspeed_rad_s = 2\nlead_rad = 0.3\n" for name in JOINTS
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hot_c = 50", "hot_c"),
        ("hot_c = 90", "hot_c"),
        ("warm = 5", "did you mean 'warm_c'"),
        ("stall_s = -1", "0"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(tmp_path, text, says):
    path = tmp_path / "limits.toml"
    path.write_text(f"{GOOD}[health]\n{text}\n")
    with pytest.raises(CalibrationError, match=says):
        load_guards(path)
