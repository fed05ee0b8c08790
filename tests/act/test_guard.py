"""The guard's promises, dense at their boundaries; each line of `limit` has a test for what it prevents."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wam.act.guard import FELT_RAD, Limited, Limits, _braking, limit
from edge_wam.act.limits import load_limits
from edge_wam.act.park import Motion
from edge_wam.errors import CalibrationError
from edge_wam.types import JOINTS

PERIOD_S = 0.02
LIMITS = Limits(
    JOINTS,
    low_rad=np.array([-1.9, -1.7, -1.6, -1.6, -2.7, 0.0]),
    high_rad=np.array([1.9, 1.7, 1.6, 1.6, 2.8, 1.9]),
    speed_rad_s=np.array([2.0, 2.0, 2.0, 3.0, 3.0, 5.0]),
    lead_rad=np.array([0.3, 0.3, 0.3, 0.3, 0.3, 0.5]),
    acceleration_rad_s2=np.full(6, 1e6),  # none, but for the tests of it
)
SOFT = dataclasses.replace(LIMITS, acceleration_rad_s2=np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]))
STEP = LIMITS.speed_rad_s * PERIOD_S
MIDDLE = (LIMITS.low_rad + LIMITS.high_rad) / 2


def guard(wish, sent, measured, before=None, limits=LIMITS):
    return limit(wish, sent, sent if before is None else before, measured, limits, PERIOD_S)


def test_a_small_wish_passes_untouched():
    wish = MIDDLE + 0.5 * STEP
    target, limited = guard(wish, MIDDLE, MIDDLE)
    np.testing.assert_array_equal(target, wish)
    assert limited == Limited(0, 0, 0, 0, 0)
    assert not limited.any


def test_no_wish_means_hold():
    target, limited = guard(None, MIDDLE, MIDDLE + 0.1)
    np.testing.assert_array_equal(target, MIDDLE)
    assert not limited.any


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_number_in_the_wish_holds_the_whole_arm(bad):
    wish = MIDDLE + STEP
    wish[3] = bad
    target, limited = guard(wish, MIDDLE, MIDDLE)
    np.testing.assert_array_equal(target, MIDDLE)
    assert limited.not_finite == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("far", [1e308, -1e308, 1.7e308])
def test_a_wish_at_the_end_of_all_numbers_is_limited_like_any_other(far):
    wish, measured = MIDDLE.copy(), MIDDLE.copy()
    wish[1], wish[2], measured[1] = far, -far, -far  # farther apart than there are numbers
    target, limited = guard(wish, MIDDLE, measured)
    assert (np.abs(target - MIDDLE) <= STEP + 1e-12).all()
    assert limited.lead == 2


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("joint", range(6))
def test_nothing_is_faster_than_its_speed(joint, sign):
    wish = MIDDLE.copy()
    wish[joint] += sign * 0.2
    target, limited = guard(wish, MIDDLE, MIDDLE)
    assert target[joint] - MIDDLE[joint] == pytest.approx(sign * min(0.2, STEP[joint]))
    assert (np.delete(target, joint) == np.delete(MIDDLE, joint)).all()
    assert limited.speed == 1


def test_the_speed_limit_scales_with_the_period():
    target, _ = limit(MIDDLE + 0.1, MIDDLE, MIDDLE, MIDDLE, LIMITS, PERIOD_S / 4)
    np.testing.assert_allclose(target - MIDDLE, STEP / 4)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_target_does_not_wind_up_against_an_obstacle(sign):
    sent = MIDDLE
    for _ in range(100):
        sent, limited = guard(MIDDLE + sign * 0.9, sent, MIDDLE)  # the arm does not move
    np.testing.assert_allclose(sent, MIDDLE + sign * LIMITS.lead_rad)
    assert limited.lead == 6


def test_the_target_does_not_sag_with_the_arm():
    sent = MIDDLE
    for _ in range(100):
        sent, _ = guard(MIDDLE, sent, MIDDLE - 0.1)
    np.testing.assert_array_equal(sent, MIDDLE)


def test_one_garbled_reading_is_not_a_lunge():
    target, _ = guard(MIDDLE, MIDDLE, MIDDLE + 1.5)
    assert (np.abs(target - MIDDLE) <= STEP + 1e-12).all()


@pytest.mark.parametrize("past", [1e-6, 0.01, 1.0])
def test_the_range_is_not_left(past):
    for edge, wish in ((LIMITS.high_rad, LIMITS.high_rad + past), (LIMITS.low_rad, LIMITS.low_rad - past)):
        target, limited = guard(wish, edge, edge)
        np.testing.assert_array_equal(target, edge)
        assert limited.range == (6 if past > FELT_RAD else 0)


def test_the_range_is_not_left_even_where_the_arm_was_pushed_out_of_it():
    sent = LIMITS.high_rad
    for _ in range(50):
        sent, _ = guard(None, sent, LIMITS.high_rad + 1.0)
    np.testing.assert_array_equal(sent, LIMITS.high_rad)


@pytest.mark.parametrize(("edge", "out"), [(LIMITS.high_rad, 1.0), (LIMITS.low_rad, -1.0)])
def test_an_arm_found_outside_holds_still_comes_in_slowly_and_never_goes_out(edge, out):
    outside = edge + out * 0.2
    held, _ = guard(None, outside, outside)
    np.testing.assert_array_equal(held, outside)  # a start is bumpless
    further, _ = guard(outside + out * 0.1, outside, outside)
    np.testing.assert_array_equal(further, outside)
    inwards, _ = guard(MIDDLE, outside, outside)
    np.testing.assert_allclose(inwards, outside - out * STEP)
    back, _ = guard(outside, inwards, inwards)
    np.testing.assert_array_equal(back, inwards)


def test_an_unseen_joint_keeps_its_last_target_and_the_others_move():
    measured = MIDDLE.copy()
    measured[2] = np.nan
    target, limited = guard(MIDDLE + STEP / 2, MIDDLE, measured)
    assert target[2] == MIDDLE[2]
    np.testing.assert_array_equal(np.delete(target - MIDDLE - STEP / 2, 2) < 1e-12, True)
    assert limited.not_finite == 1


def test_without_finite_last_targets_nothing_may_be_sent():
    unknown = MIDDLE.copy()
    unknown[0] = np.nan
    for sent, before in ((unknown, MIDDLE), (MIDDLE, unknown)):
        with pytest.raises(ValueError, match="not finite"):
            guard(MIDDLE, sent, MIDDLE, before)


def test_the_inputs_are_not_written_to():
    wish, sent, measured = MIDDLE + 1, MIDDLE.copy(), MIDDLE.copy()
    target, _ = guard(wish, sent, measured)
    target += 1
    assert (wish == MIDDLE + 1).all()
    assert (sent == MIDDLE).all()
    assert (measured == MIDDLE).all()


def boundary(low: float, high: float) -> list[float]:
    """Dense around each bound, sparse elsewhere."""
    near = [0.0, 1e-9, -1e-9, 1e-3, -1e-3]
    return [*(low + d for d in near), *(high + d for d in near), (low + high) / 2, low - 9, high + 9]


def check_promises(wish, sent, measured, last_step=0.0, limits=LIMITS):
    target, _ = guard(wish, sent, measured, sent - last_step, limits)
    assert np.isfinite(target).all()
    assert (np.abs(target - sent) <= STEP + 1e-9).all()
    assert (target <= np.maximum(LIMITS.high_rad, sent)).all()
    assert (target >= np.minimum(LIMITS.low_rad, sent)).all()
    measured = np.where(np.isfinite(measured), measured, sent)
    follows = (np.abs(sent - measured) <= LIMITS.lead_rad) & (measured >= LIMITS.low_rad)
    follows &= measured <= LIMITS.high_rad
    assert (np.abs(target - measured) <= LIMITS.lead_rad + 1e-9)[follows].all()
    push = limits.acceleration_rad_s2 * PERIOD_S**2
    last = np.clip(last_step, -STEP, STEP)
    led = np.abs(target - measured) >= LIMITS.lead_rad - 1e-9
    assert (led | (target - sent <= np.maximum(last, 0) + push + 1e-9)).all()
    assert (led | (sent - target <= np.maximum(-last, 0) + push + 1e-9)).all()


def test_the_promises_hold_at_every_crossing_of_boundaries():
    low, high, lead = LIMITS.low_rad[0], LIMITS.high_rad[0], LIMITS.lead_rad[0]
    bad = [np.nan, np.inf]
    for wish, sent, lag in itertools.product(
        boundary(low, high) + bad, boundary(low, high), boundary(-lead, lead) + bad
    ):
        pose = MIDDLE.copy()
        pose[0] = sent
        target = pose.copy()
        target[0] = wish
        seen = pose.copy()
        seen[0] = sent + lag
        check_promises(target, pose, seen)


ANY = st.floats(allow_nan=True, allow_infinity=True, width=64)
SANE = st.floats(-7, 7)


@settings(max_examples=300, deadline=None)
@given(*[st.lists(kind, min_size=6, max_size=6).map(np.array) for kind in (ANY, SANE, ANY, SANE)])
def test_the_promises_hold_for_anything_upstream(wish, sent, measured, last_step):
    check_promises(wish, sent, measured)
    check_promises(wish, sent, measured, last_step, SOFT)


# --- acceleration ----------------------------------------------------------------------------


def follow(wishes, sent, limits=SOFT):
    """Targets for a series of wishes, with an arm that is where its target is; (N, 6)."""
    before, targets = sent, []
    for wish in wishes:
        target, _ = guard(wish, sent, sent, before, limits)
        before, sent = sent, target
        targets.append(target)
    return np.array(targets)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_jump_of_the_wish_becomes_a_ramp_of_speed(sign):
    targets = follow([MIDDLE + sign * 0.25] * 100, MIDDLE)
    speed = np.diff(targets, axis=0, prepend=MIDDLE[None]) / PERIOD_S * sign
    assert speed[0] == pytest.approx(SOFT.acceleration_rad_s2 * PERIOD_S)
    assert speed[1] == pytest.approx(2 * SOFT.acceleration_rad_s2 * PERIOD_S)
    assert (np.diff(speed, axis=0) <= SOFT.acceleration_rad_s2 * PERIOD_S + 1e-9).all()
    np.testing.assert_array_equal(targets[-1], MIDDLE + sign * 0.25)


def test_a_limited_acceleration_is_counted_as_such():
    _, limited = guard(MIDDLE + 0.02, MIDDLE, MIDDLE, limits=SOFT)
    assert limited == Limited(0, 0, 0, 4, 0)  # of the last two, 0.02 and 0.024 are enough


@pytest.mark.parametrize("wish", [None, MIDDLE])
def test_a_stop_is_at_once(wish):
    step = 0.9 * STEP
    target, limited = guard(wish, MIDDLE, MIDDLE, MIDDLE - step, SOFT)
    np.testing.assert_array_equal(target, MIDDLE)
    assert not limited.any


def test_a_reversal_begins_as_slowly_as_a_start():
    target, _ = guard(MIDDLE - 1, MIDDLE, MIDDLE, MIDDLE - 0.9 * STEP, SOFT)
    np.testing.assert_allclose(MIDDLE - target, SOFT.acceleration_rad_s2 * PERIOD_S**2)


@pytest.mark.parametrize("sign", [-1, 1])
def test_it_brakes_in_time_before_the_end_of_the_range(sign):
    edge = LIMITS.high_rad if sign > 0 else LIMITS.low_rad
    targets = follow([edge + sign] * 400, MIDDLE)
    steps = sign * np.diff(targets, axis=0)
    push = SOFT.acceleration_rad_s2 * PERIOD_S**2
    assert steps.max(0) == pytest.approx(STEP)  # it did move at full speed
    assert (steps >= -1e-12).all()
    assert (np.diff(steps, axis=0) >= -push - 1e-12).all()  # and never had to brake harder than it may
    np.testing.assert_allclose(targets[-1], edge, atol=1e-12)
    assert (sign * targets <= sign * edge).all()


def test_an_obstacle_stops_the_target_at_the_lead_however_fast_it_came():
    target, _ = guard(MIDDLE + 1, MIDDLE + LIMITS.lead_rad, MIDDLE, MIDDLE + LIMITS.lead_rad - STEP, SOFT)
    np.testing.assert_allclose(target, MIDDLE + LIMITS.lead_rad)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_target_too_far_ahead_comes_back_at_full_speed_however_it_stood(sign):
    sent = MIDDLE + sign * (LIMITS.lead_rad + 0.3)
    target, _ = guard(sent, sent, MIDDLE, sent, SOFT)
    np.testing.assert_allclose(sign * (sent - target), STEP)


def test_the_longest_step_before_an_end_is_one_that_can_still_be_braked():
    push = np.array([0.01])
    for room, step in (
        (0, 0),
        (0.5, 0.5),
        (1, 1),
        (2, 1.5),
        (2.9, 1.95),
        (3, 2),
        (4.5, 2.5),
        (6, 3),
        (55, 10),
    ):
        assert _braking(room * push, push) == pytest.approx(step * push)


def test_what_a_servo_cannot_feel_is_not_counted():
    closed = MIDDLE.copy()
    closed[5] = 0.0
    for past, counted in ((FELT_RAD, 0), (1.01 * FELT_RAD, 1)):
        wish = closed.copy()
        wish[5] = -past
        assert guard(wish, closed, closed)[1] == Limited(0, 0, counted, 0, 0)


def test_a_last_step_that_is_no_step_does_not_make_the_next_one_longer():
    target, _ = guard(MIDDLE + 1, MIDDLE, MIDDLE, MIDDLE - 5.0, SOFT)
    assert (target - MIDDLE <= STEP + 1e-12).all()


def test_a_wish_is_reached_and_then_nothing_is_limited():
    sent = measured = MIDDLE
    goal = MIDDLE + 0.4
    for _ in range(60):
        sent, limited = guard(goal, sent, measured)
        measured = measured + 0.5 * (sent - measured)
    np.testing.assert_array_equal(sent, goal)
    assert not limited.any


# --- parking ---------------------------------------------------------------------------------


def test_a_parking_motion_starts_and_ends_at_rest_in_its_poses_and_is_never_limited():
    start, goal = LIMITS.high_rad, LIMITS.low_rad
    motion = Motion(start, goal, LIMITS, start_s=50.0)
    np.testing.assert_array_equal(motion.at(50.0), start)
    np.testing.assert_allclose(motion.at(50.0 + motion.duration_s), goal)
    np.testing.assert_allclose(motion.at(1e6), goal)
    assert not motion.done(50.0 + motion.duration_s - 0.001)
    assert motion.done(50.0 + motion.duration_s + 1e-9)
    sent, t_s = start, 50.0
    while not motion.done(t_s):
        t_s += PERIOD_S
        before, (sent, limited) = sent, guard(motion.at(t_s), sent, sent)
        assert not limited.any
        assert (np.abs(sent - before) <= 0.41 * STEP).all()


def test_parking_where_one_is_takes_no_time():
    motion = Motion(MIDDLE, MIDDLE, LIMITS, start_s=1.0)
    assert motion.done(1.0)
    np.testing.assert_array_equal(motion.at(1.0), MIDDLE)


# --- limits.toml -----------------------------------------------------------------------------

GOOD = "".join(
    f"[joint.{name}]\nlow_rad = -1.5\nhigh_rad = 1\nspeed_rad_s = 2.0\nlead_rad = 0.3\npark_rad = {i / 10}\n"
    for i, name in enumerate(JOINTS)
)


def load(tmp_path, text):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    return load_limits(path)


def test_limits_are_read_in_the_robots_order(tmp_path):
    loaded = load(tmp_path, GOOD)
    assert loaded.joints == JOINTS
    assert loaded.high_rad.tolist() == [1.0] * 6
    assert loaded.acceleration_rad_s2.tolist() == [100.0] * 6  # where nothing is said of it
    assert loaded.park_rad.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    with pytest.raises(ValueError, match="read-only"):
        loaded.low_rad[0] = -9


def test_limits_without_a_resting_pose(tmp_path):
    text = "\n".join(line for line in GOOD.splitlines() if not line.startswith("park"))
    assert load(tmp_path, text).park_rad is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[joint.gripper]", "[joint.griper]", "did you mean 'gripper'"),
        ("speed_rad_s = 2.0", "speed_rads = 2.0", "did you mean 'speed_rads'"),
        ("lead_rad = 0.3", "lead_rad = 0.3\nlead_radd = 1", "did you mean 'lead_rad'"),
        ("lead_rad = 0.3", "lead_rad = 0.0", "0.01"),
        ("low_rad = -1.5", "low_rad = nan", "number"),
        ("high_rad = 1", "high_rad = -2", "high_rad"),
        ("high_rad = 1", "high_rad = true", "number"),
        ("park_rad = 0.1\n", "", "all or none"),
        ("park_rad = 0.1", "park_rad = 1.2", "park_rad"),
        ("[joint.shoulder_pan]", "[joint.shoulder_pan", "not TOML"),
    ],
)
def test_broken_limits_are_named(tmp_path, old, new, says):
    assert old in GOOD
    with pytest.raises(CalibrationError, match=says) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_missing_limits_are_named(tmp_path):
    with pytest.raises(CalibrationError, match="cannot read"):
        load_limits(tmp_path / "nowhere.toml")
    with pytest.raises(CalibrationError, match="wrist_roll"):
        load(tmp_path, GOOD.replace("joint.wrist_roll", "joint.gripper_", 1))
