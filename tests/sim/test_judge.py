"""When it counts as done, and when as done to the wrong thing. Things are moved by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.sim import judge, tasks
from edge_wam.sim.judge import Judge
from edge_wam.sim.world import LIFT_M, READY_RAD, Scene

XY_YAW = np.array([[0.22, 0.0, 0.0], [0.20, 0.09, 0.3], [0.20, -0.09, 0.0]])
PLATES_XY = np.array([[0.27, 0.07], [0.27, -0.07]])


class Table:
    """Red, green and blue cubes, a red and a blue plate; cubes, arm and clock move by hand."""

    def __init__(self, world, command_id, hold_s=0.3) -> None:
        self.world = world
        world.reset(1, READY_RAD)
        world.set_table(
            Scene(1, ("red", "green", "blue"), XY_YAW, np.full(3, 0.025), ("red", "blue"), PLATES_XY)
        )
        self.judge = Judge(world, command_id, hold_s)

    def move(self, colour, dx=0.0, dy=0.0, height_m=0.0):
        """Where it lay, and that far from there."""
        start = self.world.model.joint(f"cube_{colour}").qposadr[0]
        x, y, _ = XY_YAW[("red", "green", "blue").index(colour)]
        self.world.data.qpos[start : start + 3] = x + dx, y + dy, 0.0125 + height_m
        self.world._mujoco.mj_forward(self.world.model, self.world.data)

    def onto(self, colour, plate, off_m=0.0, height_m=0.003):
        x, y, _ = XY_YAW[("red", "green", "blue").index(colour)]
        to = PLATES_XY[("red", "blue").index(plate)]
        self.move(colour, to[0] - x + off_m, to[1] - y, height_m)

    def tip_at(self, x, y, z, gripper_rad=0.05):
        from edge_wam.sim.expert import Expert

        pose, error_m = Expert(self.world).inverse(np.array([x, y, z]), np.arctan2(y, x), READY_RAD)
        assert error_m < 0.004
        self.world.place_arm(np.append(pose, gripper_rad))

    def look(self, after_s=0.0):
        self.world.data.time += after_s
        return self.judge.look()

    def lasting(self):
        """The verdict once what is there has been there for a while."""
        self.look()
        return self.look(0.31)


@pytest.fixture
def table(shared_world):
    return lambda command_id: Table(shared_world, command_id)


DONE, NOT_YET, WRONG = (True, False, True), (False, False, False), (False, True, False)


def test_a_lift_counts_once_it_has_lasted(table):
    pick = table("pick_red")
    pick.move("red", height_m=LIFT_M + 0.01)
    assert pick.look() == NOT_YET
    assert pick.look(0.29) == NOT_YET
    assert pick.look(0.02) == DONE


def test_a_cube_thrown_up_and_dropped_does_not_count(table):
    pick = table("pick_red")
    pick.move("red", height_m=0.1)
    pick.look()
    pick.move("red")
    pick.look(0.2)
    pick.move("red", height_m=0.1)
    assert not pick.look(0.2).success
    assert not pick.look(0.2).success
    assert pick.look(0.2).success


def test_another_cube_lifted_is_never_forgotten(table):
    pick = table("pick_red")
    pick.move("green", height_m=0.1)
    assert pick.lasting() == WRONG
    pick.move("green")
    pick.move("red", height_m=0.1)
    pick.look(0.1)
    assert pick.look(0.4) == (True, True, True)


@pytest.mark.parametrize(("side", "sign"), [("left", 1), ("right", -1)])
def test_a_push_counts_to_the_side_that_was_named(table, side, sign):
    push = table(f"push_red_{side}")
    push.move("red", dy=sign * (judge.PUSHED_M - 0.002))
    assert push.lasting() == NOT_YET
    push.move("red", dy=-sign * 0.06)
    assert push.lasting() == NOT_YET
    push.move("red", dy=sign * (judge.PUSHED_M + 0.002))
    assert push.lasting() == DONE


def test_a_cube_pushed_away_more_than_aside_does_not_count(table):
    push = table("push_red_left")
    push.move("red", dx=0.06, dy=0.05)
    assert push.lasting() == NOT_YET


def test_a_cube_carried_aside_is_not_pushed(table):
    push = table("push_red_left")
    push.move("red", dy=0.05, height_m=0.05)
    assert push.lasting() == NOT_YET


def test_another_cube_shoved_about_is_the_wrong_one(table):
    push = table("push_red_left")
    push.move("green", dx=judge.DISTURBED_M + 0.002)
    assert push.lasting() == WRONG


def test_a_cube_on_its_plate_counts_once_it_was_let_go(table):
    put = table("put_red_on_blue")
    put.onto("red", "blue", height_m=0.03)
    assert put.lasting() == NOT_YET  # above it
    put.onto("red", "blue")
    put.tip_at(*PLATES_XY[1], 0.018)
    put.onto("red", "blue")
    assert put.lasting() == NOT_YET  # still between the jaws
    put.world.place_arm(READY_RAD)
    put.onto("red", "blue", off_m=0.04)
    assert put.lasting() == NOT_YET  # beside it
    put.onto("red", "blue")
    assert put.lasting() == DONE


def test_another_plate_or_another_cube_is_wrong(table):
    put = table("put_red_on_blue")
    put.onto("red", "red")
    assert put.lasting() == WRONG
    put = table("put_red_on_blue")
    put.move("green", height_m=0.08)
    assert put.lasting() == WRONG


def test_pointing_is_hovering_above_the_cube_closed_and_still(table):
    point = table("point_red")
    point.tip_at(*XY_YAW[0, :2], 0.07)
    assert point.lasting() == DONE


@pytest.mark.parametrize(
    ("x_off_m", "z_m", "gripper_rad"),
    [(0.03, 0.07, 0.05), (0.0, 0.125, 0.05), (0.0, 0.03, 0.05), (0, 0.07, 0.6)],
)
def test_pointing_beside_from_afar_at_the_table_or_with_open_jaws_does_not_count(
    table, x_off_m, z_m, gripper_rad
):
    point = table("point_red")
    point.tip_at(XY_YAW[0, 0] + x_off_m, XY_YAW[0, 1], z_m, gripper_rad)
    assert point.lasting() == NOT_YET


def test_pointing_in_passing_does_not_count(table):
    point = table("point_red")
    point.tip_at(*XY_YAW[0, :2], 0.07)
    point.world.data.qvel[point.world.dofs[0]] = 0.5
    assert point.lasting() == NOT_YET


def test_pointing_at_another_cube_is_wrong(table):
    point = table("point_red")
    point.tip_at(*XY_YAW[1, :2], 0.07)
    assert point.lasting() == WRONG


def test_home_is_the_ready_pose(table):
    home = table("home")
    assert home.lasting() == DONE
    home = table("home")
    home.world.place_arm(READY_RAD + np.eye(6)[1] * (judge.AT_HOME_RAD + 0.01))
    assert home.lasting() == NOT_YET


@pytest.mark.parametrize("verb", tasks.VERBS)
def test_time_runs_out_from_where_the_judge_began(table, verb):
    wish = next(c for c in tasks.commands() if c.verb == verb)
    late = table(wish.id)
    late.world.place_arm(np.array([0.5, -1.0, 1.0, 1.0, 0.5, 0.6]))
    assert not late.look(tasks.TIME_LIMIT_S[verb] - 0.01).over
    verdict = late.look(0.02)
    assert verdict.over
    assert not verdict.success
