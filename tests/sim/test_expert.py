"""The scripted expert: reaches, lifts, and takes over from where somebody else went wrong."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.sim.expert import ABOVE_Z_M, CLOSED_RAD, GRASP_Z_M, OPEN_RAD, Expert, Plan
from edge_wam.sim.world import LIFT_M, READY_RAD
from edge_wam.train.data import SERVO_SPEED_RAD_S, prepare

CONTROL_STEPS = 6  # of 1/300 s: 50 Hz


def follow(world, plan, seconds=None):
    """Drive the arm along a plan, as fast as the drives allow."""
    ticks = round((plan.knot_s[-1] if seconds is None else seconds) * 50)
    for tick in range(ticks):
        world.goal_rad[:] = plan.at(tick / 50)
        world.step(CONTROL_STEPS)


@pytest.fixture
def expert(world):
    return Expert(world)


def begin(world, seed, pose_rad=READY_RAD):
    world.reset(seed, pose_rad)
    prepare(world)
    return world.scene.colours[seed % 3]


def test_the_expert_lifts_nine_of_ten(world, expert):
    lifted = []
    for seed in range(10):
        colour = begin(world, seed)
        plan = expert.plan(colour, world.goal_rad)
        if plan is not None:
            follow(world, plan)
            lifted.append(world.lifted() == colour)
    assert sum(lifted) >= 9


def test_a_plan_begins_where_the_arm_is_and_ends_closed_and_high(world, expert):
    colour = begin(world, 1)
    plan = expert.plan(colour, world.goal_rad)
    assert np.allclose(plan.at(0.0), world.goal_rad)
    assert np.allclose(plan.at(-1.0), plan.at(0.0))
    assert np.allclose(plan.at(99.0), plan.knots_rad[-1])
    assert plan.knots_rad[-1][5] == CLOSED_RAD
    assert (np.diff(plan.knot_s) > 0).all()
    assert plan.at(np.zeros((2, 3))).shape == (2, 3, 6)


def test_a_plan_is_smooth_and_slower_than_the_drives(world, expert):
    colour = begin(world, 2)
    plan = expert.plan(colour, world.goal_rad)
    times_s = np.arange(0, plan.knot_s[-1], 0.01)
    speed = np.abs(np.diff(plan.at(times_s), axis=0)) / 0.01
    assert speed.max() < SERVO_SPEED_RAD_S
    at_knots = [np.abs(plan.at(t + 1e-3) - plan.at(t)).max() / 1e-3 for t in plan.knot_s[:-1]]
    assert max(at_knots) < 0.05  # it stops at every knot
    slow = expert.plan(colour, world.goal_rad, pace=1.5)
    assert slow.knot_s[-1] == pytest.approx(1.5 * plan.knot_s[-1])


def test_between_knots_the_jerk_is_least():
    plan = Plan(np.array([np.zeros(6), np.ones(6)]), np.array([0.0, 2.0]), np.zeros(5))
    assert np.allclose(plan.at(1.0), 0.5)
    assert np.allclose(plan.at(0.5), 0.103515625)  # 10 u^3 - 15 u^4 + 6 u^5


def test_inverse_kinematics_puts_the_fingers_there(world, expert):
    for x, y, z in ((0.22, 0.0, 0.02), (0.2, 0.1, 0.07), (0.25, -0.08, 0.03)):
        joints_rad, error_m = expert.inverse(np.array([x, y, z]), np.arctan2(y, x - 0.0388), READY_RAD)
        assert error_m < 0.002
        world.place_arm(np.append(joints_rad, OPEN_RAD))
        assert np.linalg.norm(world.grasp_position_m() - (x, y, z)) == pytest.approx(error_m, abs=1e-6)


def test_planning_leaves_the_world_alone(world, expert):
    colour = begin(world, 3)
    before = world.data.qpos.copy()
    expert.plan(colour, world.goal_rad)
    assert np.array_equal(world.data.qpos, before)


def test_a_cube_out_of_reach_has_no_plan(world, expert):
    colour = begin(world, 4)
    poses = world.scene.cubes_xy_yaw.copy()
    poses[world.scene.colours.index(colour)] = (0.6, 0.0, 0.0)
    world.place_cubes(world.scene.colours, poses)
    assert expert.plan(colour, world.goal_rad) is None


def test_the_jaws_take_the_nearest_of_four_faces(world, expert):
    colour = begin(world, 5)
    index = world.scene.colours.index(colour)
    x, y, _ = world.scene.cubes_xy_yaw[index]
    heading = np.arctan2(y, x - 0.0388)
    for yaw in np.linspace(-3, 3, 13):
        poses = world.scene.cubes_xy_yaw.copy()
        poses[index, 2] = yaw
        world.place_cubes(world.scene.colours, poses)
        grasp = expert.grasp_yaw_rad(colour)
        assert abs(grasp - heading) <= np.pi / 4 + 1e-6
        quarters = (grasp - yaw) / (np.pi / 2)
        assert quarters == pytest.approx(round(quarters), abs=1e-6)


def test_a_gripper_that_holds_the_cube_goes_straight_up(world, expert):
    colour = begin(world, 1)
    follow(world, expert.plan(colour, world.goal_rad))
    assert world.lifted() == colour
    plan = expert.plan(colour, world.goal_rad)
    assert (plan.knots_rad[:, 5] == CLOSED_RAD).all()  # never lets go
    follow(world, plan)
    assert world.height_m(colour) >= LIFT_M


def test_a_gripper_low_beside_the_cube_goes_up_first(world, expert):
    """Else the jaws plough through what lies there."""
    colour = begin(world, 1)
    x, y, _ = world.cube_position_m(colour)
    beside, _ = expert.inverse(np.array([x - 0.05, y, GRASP_Z_M]), expert.grasp_yaw_rad(colour), READY_RAD)
    world.place_arm(np.append(beside, OPEN_RAD))
    plan = expert.plan(colour, world.goal_rad)
    tips_m = []
    for knot in plan.knots_rad[:3]:
        world.place_arm(knot)
        tips_m.append(world.grasp_position_m())
    assert tips_m[0][2] < GRASP_Z_M + 0.01
    assert tips_m[1][2] > ABOVE_Z_M - 0.02
    assert np.hypot(*(tips_m[1] - tips_m[0])[:2]) < 0.01  # straight up
    assert np.hypot(*(tips_m[2][:2] - (x, y))) < 0.01
