"""The scripted expert: does what it is told, and takes over from where somebody else went wrong."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.sim import tasks
from edge_wam.sim.expert import ABOVE_Z_M, CLOSED_RAD, END_S, GRASP_Z_M, OPEN_RAD, Expert, Plan
from edge_wam.sim.judge import Judge
from edge_wam.sim.world import LIFT_M, READY_RAD
from edge_wam.train.data import SERVO_SPEED_RAD_S, prepare

CONTROL_STEPS = 6  # of 1/300 s: 50 Hz


def follow(world, plan):
    """Drive the arm along a plan, as fast as the drives allow; yields after each tick."""
    for tick in range(round(plan.knot_s[-1] * 50)):
        world.goal_rad[:] = plan.at(tick / 50)
        world.step(CONTROL_STEPS)
        yield tick


@pytest.fixture
def expert(world):
    return Expert(world)


def begin(world, command_id, seed=1):
    tasks.lay(world, command_id, seed)
    prepare(world)
    return tasks.command(command_id)


@pytest.mark.parametrize("verb", tasks.VERBS)
def test_the_expert_does_what_it_is_told_seven_times_of_eight(world, expert, verb):
    content = 0
    choice = [c for c in tasks.commands() if c.verb == verb]
    for seed in range(8):
        wish = begin(world, choice[seed % len(choice)].id, seed)
        judge = Judge(world, wish.id)
        plan = expert.plan(wish, world.goal_rad)
        if plan is not None:
            verdicts = [judge.look() for _ in follow(world, plan)]
            content += verdicts[-1].success and not verdicts[-1].wrong_object
    assert content >= 7


def test_a_plan_begins_where_the_arm_is_and_ends_at_rest(world, expert):
    wish = begin(world, "pick_red")
    plan = expert.plan(wish, world.goal_rad)
    assert np.allclose(plan.at(0.0), world.goal_rad)
    assert np.allclose(plan.at(-1.0), plan.at(0.0))
    assert np.allclose(plan.at(99.0), plan.knots_rad[-1])
    assert np.allclose(plan.at(plan.knot_s[-1] - END_S), plan.at(plan.knot_s[-1]))
    assert plan.knots_rad[-1][5] == CLOSED_RAD
    assert (np.diff(plan.knot_s) > 0).all()
    assert plan.at(np.zeros((2, 3))).shape == (2, 3, 6)


@pytest.mark.parametrize("command_id", ["put_red_on_blue", "push_red_left", "home"])
def test_a_plan_is_smooth_and_slower_than_the_drives(world, expert, command_id):
    wish = begin(world, command_id)
    plan = expert.plan(wish, world.goal_rad)
    times_s = np.arange(0, plan.knot_s[-1], 0.01)
    speed = np.abs(np.diff(plan.at(times_s), axis=0)) / 0.01
    assert speed.max() < SERVO_SPEED_RAD_S
    stops_s = plan.knot_s[:-1][~plan.through[:-1]]
    at_stops = [np.abs(plan.at(t + 1e-3) - plan.at(t)).max() / 1e-3 for t in stops_s]
    assert max(at_stops) < 0.05
    slow = expert.plan(wish, world.goal_rad, pace=1.5)
    assert slow.knot_s[-1] == pytest.approx(1.5 * plan.knot_s[-1])


def test_a_push_goes_straight_and_does_not_stop_on_its_way(world, expert):
    wish = begin(world, "push_red_left")
    x = world.cube_position_m("red")[0]
    plan = expert.plan(wish, world.goal_rad)
    assert plan.through.sum() == 3
    first, last = np.flatnonzero(plan.through)[0] - 1, np.flatnonzero(plan.through)[-1]
    tips_m = []
    for t_s in np.linspace(plan.knot_s[first], plan.knot_s[last], 30):
        world.place_arm(plan.at(t_s))
        tips_m.append(world.grasp_position_m())
    tips_m = np.array(tips_m)
    tips_m = tips_m[tips_m[:, 2] < 0.022]  # then it goes up, in the same swing
    assert np.ptp(tips_m[:, 1]) > 0.07
    assert np.abs(tips_m[:, 0] - x).max() < 0.008
    assert (np.diff(tips_m[:, 1]) > -1e-4).all()
    middle_s = np.linspace(plan.knot_s[first] + 0.2, plan.knot_s[last] - 0.2, 20)
    assert (np.abs(plan.at(middle_s + 0.01) - plan.at(middle_s)).max(1) > 1e-3).all()


def test_between_knots_the_jerk_is_least():
    plan = Plan(np.array([np.zeros(6), np.ones(6)]), np.array([0.0, 2.0]), np.zeros(2, bool))
    assert np.allclose(plan.at(1.0), 0.5)
    assert np.allclose(plan.at(0.5), 0.103515625)  # 10 u^3 - 15 u^4 + 6 u^5


def test_inverse_kinematics_puts_the_fingers_there(world, expert):
    for x, y, z in ((0.22, 0.0, 0.02), (0.2, 0.1, 0.07), (0.25, -0.08, 0.03)):
        joints_rad, error_m = expert.inverse(np.array([x, y, z]), np.arctan2(y, x - 0.0388), READY_RAD)
        assert error_m < 0.002
        world.place_arm(np.append(joints_rad, OPEN_RAD))
        assert np.linalg.norm(world.grasp_position_m() - (x, y, z)) == pytest.approx(error_m, abs=1e-6)


@pytest.mark.parametrize("verb", tasks.VERBS)
def test_planning_leaves_the_world_alone(world, expert, verb):
    wish = begin(world, next(c.id for c in tasks.commands() if c.verb == verb), 3)
    before = world.data.qpos.copy(), world.goal_rad.copy()
    expert.plan(wish, world.goal_rad)
    assert np.array_equal(world.data.qpos, before[0])
    assert np.array_equal(world.goal_rad, before[1])


@pytest.mark.parametrize("command_id", ["pick_red", "push_red_left", "put_red_on_blue", "point_red"])
def test_a_cube_out_of_reach_has_no_plan(world, expert, command_id):
    wish = begin(world, command_id)
    poses = world.scene.cubes_xy_yaw.copy()
    poses[world.scene.colours.index("red")] = (0.6, 0.0, 0.0)
    world.set_table(world.scene._replace(cubes_xy_yaw=poses))
    assert expert.plan(wish, world.goal_rad) is None


def test_the_jaws_take_the_nearest_of_four_faces(world, expert):
    begin(world, "pick_red", 5)
    index = world.scene.colours.index("red")
    x, y, _ = world.scene.cubes_xy_yaw[index]
    heading = np.arctan2(y, x - 0.0388)
    for yaw in np.linspace(-3, 3, 13):
        poses = world.scene.cubes_xy_yaw.copy()
        poses[index, 2] = yaw
        world.set_table(world.scene._replace(cubes_xy_yaw=poses))
        grasp = expert.grasp_yaw_rad("red")
        assert abs(grasp - heading) <= np.pi / 4 + 1e-6
        quarters = (grasp - yaw) / (np.pi / 2)
        assert quarters == pytest.approx(round(quarters), abs=1e-6)


# --- taking over ----------------------------------------------------------------------------


def run(world, plan):
    for _ in follow(world, plan):
        pass


def test_a_gripper_that_holds_the_cube_goes_straight_up(world, expert):
    wish = begin(world, "pick_red")
    run(world, expert.plan(wish, world.goal_rad))
    assert world.lifted() == "red"
    plan = expert.plan(wish, world.goal_rad)
    assert (plan.knots_rad[:, 5] == CLOSED_RAD).all()  # never lets go
    run(world, plan)
    assert world.height_m("red") >= LIFT_M


def test_a_cube_in_the_hand_is_carried_not_picked_again(world, expert):
    wish = begin(world, "put_red_on_blue")
    run(world, expert.plan(tasks.command("pick_red"), world.goal_rad))
    plan = expert.plan(wish, world.goal_rad)
    heights_m = []
    judge = Judge(world, wish.id)
    for _ in follow(world, plan):
        heights_m.append(world.height_m("red"))
        verdict = judge.look()
    assert verdict.success
    lowered = np.argmax(np.array(heights_m) < 0.02)
    assert np.hypot(*(world.plate_position_m("blue") - world.cube_position_m("red")[:2])) < 0.02
    assert lowered > len(heights_m) / 4  # not put down where it was


def test_a_cube_that_lies_on_its_plate_is_left_there(world, expert):
    wish = begin(world, "put_red_on_blue")
    run(world, expert.plan(wish, world.goal_rad))
    before_m = world.cube_position_m("red")
    run(world, expert.plan(wish, world.goal_rad))
    assert np.linalg.norm(world.cube_position_m("red") - before_m) < 1e-3


@pytest.mark.parametrize("command_id", ["pick_red", "point_red", "home"])
def test_a_gripper_low_beside_the_cube_goes_up_first(world, expert, command_id):
    """Else the jaws plough through what lies there."""
    wish = begin(world, command_id)
    x, y, _ = world.cube_position_m("red") if wish.colour else (0.22, 0.0, 0.0)
    beside, _ = expert.inverse(np.array([x - 0.05, y, GRASP_Z_M]), np.arctan2(y, x - 0.0388), READY_RAD)
    world.place_arm(np.append(beside, OPEN_RAD))
    plan = expert.plan(wish, world.goal_rad)
    tips_m = []
    for knot in plan.knots_rad[:2]:
        world.place_arm(knot)
        tips_m.append(world.grasp_position_m())
    assert tips_m[0][2] < GRASP_Z_M + 0.01
    assert tips_m[1][2] > ABOVE_Z_M - 0.02
    assert np.hypot(*(tips_m[1] - tips_m[0])[:2]) < 0.01  # straight up
