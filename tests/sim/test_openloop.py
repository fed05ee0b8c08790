"""Open loop: the expert drives, policies look over its shoulder, and their rows are held against its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_wam.sim.expert import Expert
from edge_wam.sim.fast import FastRobot
from edge_wam.sim.openloop import LOOK_EVERY, Pupil, action_mrad
from edge_wam.sim.tasks import Trial, command

CALIBRATION = Path(__file__).parents[2] / "calibration" / "so101-sim"
TRIAL = Trial(70_001, "point_red", "show me the red cube", "seen")


class Copyist:
    """Plans as the expert does, at the same first frame, and is off by `off_rad` in the first 8 rows."""

    def __init__(self, off_rad):
        self.robot, self.off_rad, self.plan, self.looks = None, off_rad, None, []

    progress = 0.25, 0.5

    def infer(self, observation, committed_rad):
        if self.plan is None:
            self.plan = Expert(self.robot.world).plan(command(TRIAL.command_id), observation.sent_rad)
            self.begun_s = observation.t_s
        self.looks.append((observation, len(committed_rad)))
        rows = self.plan.at(observation.t_s - self.begun_s + np.arange(16) / 30)
        rows[:8] += self.off_rad
        rows[8:] += 5.0  # rows that are replaced before they are due do not count
        return rows


@pytest.fixture(scope="module")
def asked(manifest):
    """A demonstration, and the errors of two that copy it."""
    pupils = [Pupil(manifest, Copyist(0.0)), Pupil(manifest, Copyist(np.array([0.06, 0, 0, 0, 0, 0])))]
    robot = FastRobot(CALIBRATION, manifest, pupils[0].policy)
    for pupil in pupils:
        pupil.policy.robot = robot
    errors = action_mrad(robot, TRIAL, pupils)
    yield robot, pupils, errors
    robot.close()


def test_the_error_is_the_mean_distance_to_the_experts_rows(asked):
    assert asked[2] == pytest.approx([0.0, 10.0], abs=1e-6)  # one joint of six is 60 mrad off


def test_pupils_see_what_the_robot_sees_every_few_thoughts_with_nothing_decided(asked):
    for pupil in asked[1]:
        looks = pupil.policy.looks
        assert len(looks) >= 3
        times_s = np.array([observation.t_s for observation, _ in looks])
        assert np.allclose(np.diff(times_s), 0.2 * LOOK_EVERY, atol=1e-6)
        assert {committed for _, committed in looks} == {0}
        assert {observation.command for observation, _ in looks} == {TRIAL.phrase}


class Thief(Copyist):
    """Takes the cubes away when it looks: the expert, whose plan is made, points at nothing."""

    progress = 0.25, 0.5

    def infer(self, observation, committed_rad):
        world = self.robot.world
        away = world.scene.cubes_xy_yaw + np.array([0.5, 0.0, 0.0])
        world.set_table(world.scene._replace(cubes_xy_yaw=away))
        return np.tile(observation.position_rad, (16, 1))


def test_where_the_expert_fails_there_is_nothing_to_compare_with(asked):
    robot, pupils, _ = asked
    thief = Thief(0.0)
    thief.robot = robot
    assert action_mrad(robot, TRIAL, [Pupil(pupils[0].manifest, thief)]) == [None]
