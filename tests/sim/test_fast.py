"""The whole robot faster than real time, with a scripted policy in place of the model.

Worker, mailboxes, plan, guard, arm, bus, servo emulator, librealsense and physics are the ones that are
evaluated; so what a model achieves there is the model's doing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_wam.sim.expert import Expert
from edge_wam.sim.fast import DELAY_S, FastRobot
from edge_wam.sim.world import PARK_RAD

CALIBRATION = Path(__file__).parents[2] / "calibration" / "so101-sim"


class ScriptedPolicy:
    """The expert's plan for the named cube, made at the first frame; a Policy that needs no model."""

    def __init__(self) -> None:
        self.robot, self.plan, self.begun_s = None, None, 0.0
        self.seen, self.committed = [], []
        self.asleep = False

    def infer(self, observation, committed_rad):
        if self.plan is None:
            colour = next(
                word for word in observation.command.split() if word in self.robot.world.scene.colours
            )
            self.plan = Expert(self.robot.world).plan(colour, observation.sent_rad)
            self.begun_s = observation.t_s
        self.seen.append(observation)
        self.committed.append(committed_rad)
        if self.asleep:
            return np.tile(observation.position_rad, (16, 1))
        return self.plan.at(observation.t_s - self.begun_s + np.arange(16) / 30)


@pytest.fixture(scope="module")
def robot_and_policy(manifest):
    policy = ScriptedPolicy()
    robot = FastRobot(CALIBRATION, manifest, policy)
    policy.robot = robot
    yield robot, policy
    robot.close()


def episode(robot_and_policy, seed, watch=None):
    robot, policy = robot_and_policy
    policy.plan, policy.seen, policy.committed = None, [], []
    return robot.episode(seed, watch=watch)


@pytest.fixture(scope="module")
def lifted(robot_and_policy):
    """An episode, what the policy saw of it, and where the arm was at every frame."""
    joints = []
    outcome = episode(robot_and_policy, 70_001, lambda world: joints.append(world.position_rad))
    return outcome, list(robot_and_policy[1].seen), list(robot_and_policy[1].committed), np.array(joints)


def test_a_scripted_policy_lifts_the_named_cube_through_the_whole_loop(lifted):
    outcome = lifted[0]
    assert outcome.verdict.success
    assert not outcome.verdict.wrong_object
    assert 2 < outcome.seconds < 8
    assert outcome.closest_m < 0.015
    assert outcome.seed == 70_001


def test_the_policy_is_shown_frames_five_times_a_second_as_they_were_exposed(lifted):
    outcome, seen, _, joints = lifted
    times_s = np.array([observation.t_s for observation in seen])
    assert np.allclose(np.diff(times_s), 0.2, atol=1e-6)
    assert len(outcome.infer_ms) == len(seen)
    for observation in seen:
        assert [frame.camera for frame in observation.frames] == ["front", "wrist"]
        assert all(frame.image.shape == (240, 424, 3) for frame in observation.frames)
        assert all(abs(frame.t_s - observation.t_s) < 1e-3 for frame in observation.frames)
    start_s = outcome.history.t_s[0]
    assert np.abs(np.diff(joints, axis=0)).max() > 0.03
    for observation in seen:
        at = round((observation.t_s - start_s) * 30) - 1
        assert np.abs(observation.position_rad - joints[at]).max() < 5e-3  # interpolated; a tick is 0.03 rad
    moved = seen[0].frames[0].image.astype(int) - seen[-1].frames[0].image
    assert np.abs(moved).max() > 50


def test_chunks_are_followed_a_delay_after_their_frame(lifted):
    outcome, seen, committed, _ = lifted
    history = outcome.history
    assert len(committed[0]) == 0
    assert all(len(rows) == 3 for rows in committed[1:])  # 60 ms are two rows, and one
    delays_s = history.servo_s[np.isfinite(history.servo_s)]
    assert len(delays_s) >= len(seen) - 1
    assert delays_s.min() >= DELAY_S - 1e-6
    assert delays_s.max() < DELAY_S + 0.021  # the next tick


def test_the_arm_starts_parked_and_what_is_sent_keeps_within_its_limits(lifted):
    history = lifted[0].history
    assert np.abs(history.measured_rad[0] - PARK_RAD).max() < 0.02
    assert np.abs(np.diff(history.sent_rad, axis=0)).max() < 3.0 / 50 + 2e-3  # the guard's speed, and a count
    assert np.diff(history.t_s).max() < 0.021  # no tick is ever late here


def test_an_episode_repeats_itself(robot_and_policy, lifted):
    again = episode(robot_and_policy, 70_001)
    assert again.command_id == lifted[0].command_id
    assert again.seconds == pytest.approx(lifted[0].seconds, abs=0.021)
    assert np.abs(again.history.sent_rad[:100] - lifted[0].history.sent_rad[:100]).max() < 2e-3


class Enough(Exception):
    """Of an episode."""


def test_an_arm_that_does_not_move_lifts_nothing_and_is_let_go_whatever_ends_the_loop(robot_and_policy):
    """The twin: success is the policy's doing."""
    robot, policy = robot_and_policy
    lifted = []

    def watch(world):
        assert world.torque_on.all() or not lifted
        lifted.append(world.lifted())
        if len(lifted) == 45:
            raise Enough

    policy.asleep = True
    try:
        with pytest.raises(Enough):
            episode(robot_and_policy, 70_001, watch)
    finally:
        policy.asleep = False
    assert set(lifted) == {None}
    assert len(policy.seen) >= 6
    assert not robot.world.torque_on.any()
