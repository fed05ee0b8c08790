"""The demo's stage: a wish lays a table and leaves the arm alone; the judge judges when he is told to."""

import numpy as np
import pytest

from edge_wam import robot
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.sim import tasks
from edge_wam.sim.robot import TRUTH, WISH, Stage
from edge_wam.sim.world import PARK_RAD, READY_RAD

ONE_OF_EACH = ("pick_red", "push_blue_left", "put_green_on_purple", "point_purple", "home")


@pytest.fixture
def ends(world):
    """The simulated robot's end and the demo's, over real mailboxes."""
    with (
        Mailbox.create(private_name("test.wish"), WISH) as wishes,
        Mailbox.create(private_name("test.truth"), TRUTH) as truths,
    ):
        yield Stage(world, wishes, truths, "/dev/pts/7"), robot.Stage(wishes, truths, WISH)


def test_the_port_is_known_before_any_wish(ends):
    assert ends[1].port == "/dev/pts/7"


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_wish_lays_a_table_for_the_command_under_an_arm_that_stays(world, ends, name):
    here, demo = ends
    world.step(30)
    before_rad = world.position_rad
    demo.lay(5, name)
    assert demo.verdict() is None  # not before the robot has read it
    here.look()
    truth = demo.verdict()
    wish = tasks.command(name)
    np.testing.assert_array_equal(world.position_rad, before_rad)
    assert truth.cubes == world.scene.colours
    assert truth.plates == world.scene.plates
    assert not wish.colour or wish.colour in truth.cubes
    assert wish.verb != "put" or wish.place in truth.plates


def test_the_same_seed_lays_the_same_table_and_another_one_another(world, ends):
    here, demo = ends
    tables = []
    for seed in (5, 5, 6):
        demo.lay(seed, "pick_red")
        here.look()
        tables.append(world.scene.cubes_xy_yaw.tolist())
    assert tables[0] == tables[1] != tables[2]


def test_without_a_command_there_is_a_table_and_nothing_to_judge(world, ends):
    here, demo = ends
    demo.lay(5, "")
    here.look()
    assert len(demo.verdict().cubes) >= 3
    assert not demo.verdict().over


def test_judging_begins_when_the_command_was_heard(world, ends):
    """Whatever happened before is nobody's success, and nobody's time."""
    here, demo = ends
    demo.lay(5, "home")
    here.look()
    world.place_arm(READY_RAD)
    for _ in range(3):
        world.step(300)
        here.look()
    assert not demo.verdict().success
    world.place_arm(PARK_RAD)
    demo.judge()
    assert demo.verdict() is None  # the word on what was not judged yet is no verdict
    here.look()
    assert not demo.verdict().over
    world.place_arm(READY_RAD)
    for _ in range(3):
        world.step(60)
        here.look()
    assert demo.verdict()[:3] == (True, False, True)


def test_a_command_that_is_not_carried_out_is_over_in_the_end(world, ends):
    here, demo = ends
    demo.lay(5, "home")
    demo.judge()  # at once: the robot may see both wishes as one
    here.look()
    assert world.scene.colours == demo.verdict().cubes
    world.step(round(tasks.TIME_LIMIT_S["home"] * 300) + 1)
    here.look()
    assert demo.verdict()[:3] == (False, False, True)


def test_a_new_table_forgets_the_verdict_of_the_old_one(world, ends):
    here, demo = ends
    demo.lay(5, "home")
    demo.judge()
    here.look()
    world.step(round(tasks.TIME_LIMIT_S["home"] * 300) + 1)
    here.look()
    demo.lay(6, "home")
    here.look()
    assert not demo.verdict().over
