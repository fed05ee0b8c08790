"""How far a policy's rows are from an expert's, where the expert drives: no mistake of its own adds up.

The demonstration is fresh: the trial's table, seen through the same cameras, driven through the same loop,
bus and guard; the expert is merely the policy. Policies look over its shoulder and say what they would do.
The expert's pace and its choice among equal ways cannot be known, so not even a perfect policy reaches
zero; the figure compares policies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_wam.manifest import Manifest
from edge_wam.sim.expert import Expert, Plan
from edge_wam.sim.fast import FastRobot
from edge_wam.sim.tasks import Trial, command
from edge_wam.think.policy import Policy
from edge_wam.types import FloatArray, Observation

ROWS = 8  # a new chunk is there before row 8 is due
LOOK_EVERY = 3  # thoughts, of 0.2 s each


class Pupil(NamedTuple):
    """A policy that is asked, and its manifest."""

    manifest: Manifest
    policy: Policy


class Shadowed:
    """A Policy that carries out the expert's plan and, every few thoughts, asks the pupils for theirs."""

    progress = math.nan, math.nan

    def __init__(self, robot: FastRobot, trial: Trial, manifest: Manifest, pupils: Sequence[Pupil]) -> None:
        self._robot, self._trial, self._manifest, self._pupils = robot, trial, manifest, pupils
        self._plan: Plan | None = None
        self._begun_s, self._thoughts = 0.0, 0
        self.off_rad: list[list[float]] = [[] for _ in pupils]  # mean distance of each look

    def infer(self, observation: Observation, committed_rad: FloatArray) -> FloatArray:
        """Targets (K, J); where the expert finds no way, the arm stays."""
        if not self._thoughts:
            wish = command(self._trial.command_id)
            self._plan = Expert(self._robot.world).plan(wish, observation.sent_rad)
            self._begun_s = observation.t_s
        self._thoughts += 1
        rows = self._manifest.rows
        if self._plan is None:
            return np.tile(observation.sent_rad, (rows, 1))
        since_s = observation.t_s - self._begun_s
        if (self._thoughts - 1) % LOOK_EVERY == 0:
            self._look(self._plan, since_s, observation)
        return self._plan.at(since_s + self._manifest.dt_s * np.arange(rows, dtype=np.float64))

    def _look(self, plan: Plan, since_s: float, observation: Observation) -> None:
        nothing = np.zeros((0, len(observation.position_rad)))
        for off_rad, pupil in zip(self.off_rad, self._pupils, strict=True):
            theirs = pupil.policy.infer(observation, nothing)[:ROWS]
            right = plan.at(since_s + pupil.manifest.dt_s * np.arange(len(theirs), dtype=np.float64))
            off_rad.append(float(np.abs(theirs - right).mean()))


def action_mrad(robot: FastRobot, trial: Trial, pupils: Sequence[Pupil]) -> list[float | None]:
    """Mean distance to the expert's first ROWS rows, one a pupil; None where the expert itself failed."""
    manifest = pupils[0].manifest
    shadowed = Shadowed(robot, trial, manifest, pupils)
    robot.change(manifest, shadowed)
    if not robot.episode(trial).verdict.success:
        return [None] * len(pupils)
    return [1e3 * float(np.mean(off_rad)) for off_rad in shadowed.off_rad]
