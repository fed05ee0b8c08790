"""How low the gripper is: against MuJoCo's own kinematics; and that the guard keeps it off the table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge_wam.act.floor import FILE, Floor, Point, load_floor
from edge_wam.act.guard import limit
from edge_wam.act.limits import load_limits
from edge_wam.errors import CalibrationError
from edge_wam.sim.world import PARK_RAD, READY_RAD, World

FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"
LIMITS, PERIOD_S = load_limits(FOLDER / "limits.toml"), 0.02
DOWN_RAD = np.array([0.0, 1.2, 0.2, 0.2, 0.0, 0.5])  # well into the table


@pytest.fixture(scope="module")
def floor():
    return load_floor(FOLDER)


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.close()


def poses(count):
    return np.random.default_rng(0).uniform(LIMITS.low_rad, LIMITS.high_rad, (count, 6))


def test_a_point_is_as_high_as_mujoco_says(floor, world):
    world.place_arm(np.zeros(6))
    home = world.grasp_position_m().copy()
    one = Floor(floor._axes, [Point(tuple(home), 5)], 0.0)
    for pose in poses(50):
        world.place_arm(pose)
        assert one.lowest_m(pose) == pytest.approx(world.grasp_position_m()[2], abs=2e-5)


def test_the_moving_jaw_is_moved_by_its_own_joint_too(floor):
    jaw = Floor(floor._axes, [floor._points[1]], 0.0)
    assert floor._points[1].joints == 6
    heights = [jaw.lowest_m(READY_RAD + np.array([0, 0, 0, 0, 0, opened])) for opened in (-0.5, 0.0, 0.8)]
    assert max(heights) - min(heights) > 0.01


def test_the_usual_poses_are_above_the_table(floor):
    assert floor.lowest_m(PARK_RAD) > 0.05
    assert floor.lowest_m(READY_RAD) > 0.05
    assert floor.lowest_m(DOWN_RAD) < -0.05


def test_what_is_high_enough_passes_untouched(floor):
    assert floor.reach(PARK_RAD, READY_RAD) is READY_RAD


def test_a_way_down_ends_at_the_floor_and_not_much_above_it(floor):
    end_rad = floor.reach(READY_RAD, DOWN_RAD)
    assert floor.height_m <= floor.lowest_m(end_rad) < floor.height_m + 0.03


def test_found_below_the_floor_it_may_rise_and_not_go_deeper(floor):
    up_rad, deeper_rad = DOWN_RAD.copy(), DOWN_RAD.copy()
    up_rad[1] -= 0.05
    deeper_rad[1] += 0.05
    assert floor.reach(DOWN_RAD, up_rad) is up_rad
    np.testing.assert_array_equal(floor.reach(DOWN_RAD, deeper_rad), DOWN_RAD)


# --- in the guard ---------------------------------------------------------------------------


def test_no_series_of_wishes_takes_the_gripper_into_the_table(floor):
    sent = before = READY_RAD.copy()
    stopped = 0
    for _ in range(300):
        target, limited = limit(DOWN_RAD, sent, before, sent, LIMITS, PERIOD_S)
        before, sent = sent, target
        stopped += limited.floor > 0
        assert floor.lowest_m(sent) >= floor.height_m - 1e-9
    assert stopped > 100
    assert floor.lowest_m(sent) < floor.height_m + 0.005


def test_the_other_promises_are_kept_on_the_way():
    rng = np.random.default_rng(1)
    for _ in range(300):
        sent, wish, measured = (rng.uniform(LIMITS.low_rad, LIMITS.high_rad) for _ in range(3))
        measured = sent + np.clip(measured - sent, -0.3, 0.3)
        target, _ = limit(wish, sent, sent, measured, LIMITS, PERIOD_S)
        assert (np.abs(target - sent) <= LIMITS.speed_rad_s * PERIOD_S + 1e-9).all()
        assert (np.abs(target - measured) <= LIMITS.lead_rad + 1e-9).all()
        assert (target >= LIMITS.low_rad).all()
        assert (target <= LIMITS.high_rad).all()


def test_without_a_floor_nothing_is_held_back():
    free = dataclasses.replace(LIMITS, floor=None)
    target, limited = limit(DOWN_RAD, DOWN_RAD - 0.01, DOWN_RAD - 0.01, DOWN_RAD, free, PERIOD_S)
    np.testing.assert_array_equal(target, DOWN_RAD)
    assert not limited.any


# --- geometry.toml --------------------------------------------------------------------------


def test_a_folder_without_geometry_has_no_floor(tmp_path):
    assert load_floor(tmp_path) is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("axis = [0, 1, 0]", "axis = [0, 2, 0]", "length 1"),
        ('moved_by = "gripper"', 'moved_by = "griper"', "did you mean 'gripper'"),
        ("[joint.elbow_flex]", "[joint.elbow]", "elbow_flex"),
        ("floor_m = -0.01", "floor_m = 7", "floor_m"),
        ("at_m = [0.3975, -0.0005, 0.2231]", "at_m = [1, 2]", "3 numbers"),
    ],
)
def test_a_wrong_geometry_is_refused(tmp_path, old, new, says):
    text = (FOLDER / FILE).read_text()
    assert old in text
    (tmp_path / FILE).write_text(text.replace(old, new))
    with pytest.raises(CalibrationError, match=says):
        load_floor(tmp_path)
