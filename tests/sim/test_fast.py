"""The whole robot faster than real time, with a scripted policy in place of the model.

Worker, mailboxes, plan, guard, arm, bus, servo emulator, librealsense and physics are the ones that are
evaluated; so what a model achieves there is the model's doing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_wam.sim.expert import Expert
from edge_wam.sim.fast import DELAY_S, FastRobot
from edge_wam.sim.tasks import Trial, command
from edge_wam.sim.world import READY_RAD

CALIBRATION = Path(__file__).parents[2] / "calibration" / "so101-sim"
TRIAL = Trial(70_001, "pick_red", "please grab the red block", "held_out_phrasing")


class ScriptedPolicy:
    """The expert's plan for a command, made at the first frame; a Policy that needs no model. It imagines
    that nothing changes."""

    ahead_s = (8 / 30, 16 / 30)

    def __init__(self) -> None:
        self.robot, self.plan, self.begun_s = None, None, 0.0
        self.seen, self.committed = [], []
        self.asleep = False
        self.wish = ""

    progress = 0.25, 0.5

    def infer(self, observation, committed_rad):
        if self.plan is None:
            self.plan = Expert(self.robot.world).plan(command(self.wish), observation.sent_rad)
            self.begun_s = observation.t_s
        self.seen.append(observation)
        self.committed.append(committed_rad)
        if self.asleep:
            return np.tile(observation.position_rad, (16, 1))
        return self.plan.at(observation.t_s - self.begun_s + np.arange(16) / 30)

    def imagine(self):
        small = [
            frame.image[24:216, 116:308].reshape(48, 4, 48, 4, 3).mean((1, 3))
            for frame in self.seen[-1].frames
        ]
        return np.stack([small, small], axis=1).astype(np.uint8)


@pytest.fixture(scope="module")
def robot_and_policy(manifest):
    policy = ScriptedPolicy()
    robot = FastRobot(CALIBRATION, manifest, policy)
    policy.robot = robot
    yield robot, policy
    robot.close()


def episode(robot_and_policy, trial, watch=None, imagine_every=0):
    robot, policy = robot_and_policy
    policy.plan, policy.seen, policy.committed, policy.wish = None, [], [], trial.command_id
    return robot.episode(trial, watch, imagine_every)


@pytest.fixture(scope="module")
def lifted(robot_and_policy):
    """An episode, what the policy saw of it, and where the arm was at every frame."""
    joints = []
    outcome = episode(robot_and_policy, TRIAL, lambda world: joints.append(world.position_rad))
    return outcome, list(robot_and_policy[1].seen), list(robot_and_policy[1].committed), np.array(joints)


def test_a_scripted_policy_lifts_the_named_cube_through_the_whole_loop(lifted):
    outcome = lifted[0]
    assert outcome.verdict.success
    assert not outcome.verdict.wrong_object
    assert 2 < outcome.seconds < 8
    assert outcome.closest_m < 0.015
    assert outcome.trial == TRIAL


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


def test_the_policy_is_told_the_phrase_word_for_word(lifted):
    assert {observation.command for observation in lifted[1]} == {"please grab the red block"}


def test_the_arm_starts_ready_and_what_is_sent_keeps_within_its_limits(lifted):
    history = lifted[0].history
    assert np.abs(history.measured_rad[0] - READY_RAD).max() < 0.15
    assert np.abs(np.diff(history.sent_rad, axis=0)).max() < 3.0 / 50 + 2e-3  # the guard's speed, and a count
    assert np.diff(history.t_s).max() < 0.021  # no tick is ever late here


def test_an_episode_repeats_itself_and_imagining_changes_nothing(robot_and_policy, lifted):
    again = episode(robot_and_policy, TRIAL, imagine_every=5)
    assert again.seconds == pytest.approx(lifted[0].seconds, abs=0.021)
    assert np.abs(again.history.sent_rad[:100] - lifted[0].history.sent_rad[:100]).max() < 2e-3
    assert lifted[0].imagined == ()
    assert [part.ahead_s for part in again.imagined] == pytest.approx([8 / 30, 16 / 30], abs=1e-4)
    for part in again.imagined:
        assert part.frames >= 2 * 2  # two thoughts at least, two cameras
        assert part.moving > 0
        assert part.imagined == pytest.approx(part.still, rel=0.03)  # but for the rounding to whole levels
    assert again.glimpse is not None
    assert again.glimpse.present.shape == again.glimpse.real.shape == (2, 48, 48, 3)


@pytest.mark.parametrize("command_id", ["put_blue_on_red", "point_green", "home"])
def test_every_verb_has_its_judge_and_its_clock(robot_and_policy, command_id):
    outcome = episode(robot_and_policy, Trial(70_010, command_id, command(command_id).tokens, "seen"))
    assert outcome.verdict.success
    assert np.isnan(outcome.closest_m) == (command_id == "home")


def test_another_policy_takes_its_seat_but_not_with_other_cameras(robot_and_policy, manifest):
    robot, policy = robot_and_policy
    robot.change(manifest, policy)
    with pytest.raises(ValueError, match="cameras are"):
        robot.change(replace(manifest, cameras=manifest.cameras[:1]), policy)


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
            episode(robot_and_policy, TRIAL, watch)
    finally:
        policy.asleep = False
    assert set(lifted) == {None}
    assert len(policy.seen) >= 6
    assert not robot.world.torque_on.any()
