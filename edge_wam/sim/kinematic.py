"""The smallest plant there is: joints that follow a trapezoid exactly, with no mass and no physics engine.

For tests of the servo bus and of everything above it, and wherever MuJoCo is too much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_wam.types import FloatArray

STEP_S = 1 / 300


class KinematicPlant:
    """A Plant (sim/servos.py). `load` is whatever the owner says it is; limp joints stay where they are."""

    def __init__(self, position_rad: FloatArray, low_rad: FloatArray, high_rad: FloatArray) -> None:
        count = len(position_rad)
        self.time_s = 0.0
        self.position_rad: FloatArray = np.array(position_rad, dtype=np.float64)
        self.velocity_rad_s: FloatArray = np.zeros(count)
        self.load: FloatArray = np.zeros(count)
        self.goal_rad: FloatArray = self.position_rad.copy()
        self.torque_on: NDArray[np.bool_] = np.ones(count, bool)
        self.speed_limit_rad_s: FloatArray = np.full(count, np.inf)
        self.accel_limit_rad_s2: FloatArray = np.full(count, np.inf)
        self.torque_limit: FloatArray = np.ones(count)
        self.joint_low_rad: FloatArray = np.array(low_rad, dtype=np.float64)
        self.joint_high_rad: FloatArray = np.array(high_rad, dtype=np.float64)

    def step(self, count: int = 1) -> None:
        """count steps of 1/300 s."""
        goal_rad = np.clip(self.goal_rad, self.joint_low_rad, self.joint_high_rad)
        powered = self.torque_on & (self.torque_limit > 0)
        for _ in range(count):
            error_rad = goal_rad - self.position_rad
            with np.errstate(invalid="ignore"):  # inf * 0 where a joint without limit has arrived
                braking = np.sqrt(2 * self.accel_limit_rad_s2 * np.abs(error_rad))
            braking = np.where(np.isinf(self.accel_limit_rad_s2), np.inf, braking)
            speed = np.minimum(np.minimum(self.speed_limit_rad_s, braking), np.abs(error_rad) / STEP_S)
            most = self.accel_limit_rad_s2 * STEP_S
            change = np.clip(np.sign(error_rad) * speed - self.velocity_rad_s, -most, most)
            self.velocity_rad_s = np.where(powered, self.velocity_rad_s + change, 0.0)
            self.position_rad = self.position_rad + self.velocity_rad_s * STEP_S
            self.time_s += STEP_S
