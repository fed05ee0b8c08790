"""A scripted expert that picks up a named cube: inverse kinematics, waypoints, minimum-jerk timing.

It reads the simulator's state, which no policy may. It can take over from any pose: `plan` looks at
where the gripper is now and leaves out what is already done, so the same code gives demonstrations
from the ready pose and recoveries from a policy's mistakes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge_wam.sim.world import World
from edge_wam.types import JOINTS, FloatArray

OPEN_RAD, CLOSED_RAD = 0.65, 0.05  # a 25 mm cube stops the jaws at about 0.3
GRASP_Z_M, ABOVE_Z_M, LIFTED_Z_M = 0.018, 0.075, 0.115
SHOULDER_X_M = 0.0388


class Plan(NamedTuple):
    """Knots of a joint trajectory: knots_rad (n, J) at knot_s (n,), seconds from its start; key_rad (5,)
    is the arm at the moment of grasping (gripper left out)."""

    knots_rad: FloatArray
    knot_s: FloatArray
    key_rad: FloatArray

    def at(self, t_s: float | FloatArray) -> FloatArray:
        """Targets at t_s after the start, (..., J): minimum jerk between knots, held after the last."""
        t = np.clip(np.asarray(t_s, float), 0, self.knot_s[-1])
        index = np.clip(np.searchsorted(self.knot_s, t, side="right") - 1, 0, len(self.knot_s) - 2)
        span_s = self.knot_s[index + 1] - self.knot_s[index]
        u = (t - self.knot_s[index]) / span_s
        blend = (u**3 * (10 - 15 * u + 6 * u**2))[..., None]
        target: FloatArray = self.knots_rad[index] * (1 - blend) + self.knots_rad[index + 1] * blend
        return target


class Expert:
    """Plans for one World. Inverse kinematics runs on a scratch copy of its state."""

    def __init__(self, world: World) -> None:
        import mujoco

        self._mujoco = mujoco
        self._world = world
        self._scratch = mujoco.MjData(world.model)
        self._site = world.model.site("grasp").id
        self._dofs = world.dofs[:5]
        self._qpos = np.array([world.model.joint(name).qposadr[0] for name in JOINTS[:5]])
        self._low, self._high = world.joint_low_rad[:5] + 0.02, world.joint_high_rad[:5] - 0.02

    def inverse(
        self, position_m: FloatArray, yaw_rad: float, start_rad: FloatArray, steps: int = 100
    ) -> tuple[FloatArray, float]:
        """Body joints (5,) that put the grasp point at position_m (3,), fingers down, jaws closing along yaw.

        Damped least squares on position, approach axis and closing axis; returns the joints and the
        remaining position error in metres.
        """
        data, mujoco = self._scratch, self._mujoco
        q = start_rad[:5].copy()
        jac_p, jac_r = np.zeros((3, self._world.model.nv)), np.zeros((3, self._world.model.nv))
        heading = np.arctan2(position_m[1], position_m[0] - SHOULDER_X_M)
        tilt = 4.5 * max(0.0, position_m[2] - 0.045)  # higher up the wrist's range ends before vertical
        down = np.array([np.sin(tilt) * np.cos(heading), np.sin(tilt) * np.sin(heading), -np.cos(tilt)])
        closing = np.array([np.cos(yaw_rad), np.sin(yaw_rad), 0.0])
        error_m = np.inf
        for _ in range(steps):
            data.qpos[self._qpos] = q
            mujoco.mj_kinematics(self._world.model, data)
            mujoco.mj_comPos(self._world.model, data)
            mujoco.mj_jacSite(self._world.model, data, jac_p, jac_r, self._site)
            frame = data.site_xmat[self._site].reshape(3, 3)
            off_m = position_m - data.site_xpos[self._site]
            error_m = float(np.linalg.norm(off_m))
            turn = 0.35 * np.cross(-frame[:, 2], down)
            level = closing - down * (closing @ down)
            spin = 0.35 * (-frame[:, 2]) * (np.cross(frame[:, 0], level) @ -frame[:, 2])
            residual = np.concatenate([off_m, 0.15 * (turn + spin)])
            if np.abs(residual).max() < 2e-4:
                break
            jac = np.vstack([jac_p[:, self._dofs], 0.15 * 0.35 * jac_r[:, self._dofs]])
            dq = jac.T @ np.linalg.solve(jac @ jac.T + 1e-5 * np.eye(6), residual)
            q = np.clip(q + np.clip(dq, -0.3, 0.3), self._low, self._high)
        return q, error_m

    def grasp_yaw_rad(self, colour: str) -> float:
        """The cube face nearest to the arm's own heading: four faces are alike, one turns the wrist least."""
        x, y, _ = self._world.cube_position_m(colour)
        heading = np.arctan2(y, x - SHOULDER_X_M)
        off = self._world.cube_yaw_rad(colour) - heading
        return float(heading + (off + np.pi / 4) % (np.pi / 2) - np.pi / 4)

    def key_pose(self, colour: str, start_rad: FloatArray) -> tuple[FloatArray, float]:
        """The five body joints at the moment of grasping, and the position error left, in metres."""
        x, y, _ = self._world.cube_position_m(colour)
        return self.inverse(np.array([x, y, GRASP_Z_M]), self.grasp_yaw_rad(colour), start_rad)

    def plan(self, colour: str, now_rad: FloatArray, pace: float = 1.0) -> Plan | None:
        """From now_rad (J,) to the cube lifted; None where the cube cannot be reached.

        pace > 1 is slower. Leaves out what is already done: a gripper above the cube goes straight
        down, one around it closes, one that holds it lifts.
        """
        world = self._world
        x, y, z = world.cube_position_m(colour)
        yaw = self.grasp_yaw_rad(colour)
        tip = world.grasp_position_m()
        off_m = float(np.hypot(tip[0] - x, tip[1] - y))
        holding = z > 0.025 and np.linalg.norm(tip - (x, y, z)) < 0.03
        if holding:
            x, y = tip[:2]
        grasp, error_m = self.inverse(
            np.array([x, y, GRASP_Z_M]), yaw, np.array([np.arctan2(y, x), -0.3, 0.6, 1.2, 0])
        )
        above, above_error_m = self.inverse(np.array([x, y, ABOVE_Z_M]), yaw, grasp)
        lifted, lifted_error_m = self.inverse(np.array([x, y, LIFTED_Z_M]), yaw, grasp)
        if max(error_m, above_error_m) > 0.003 or lifted_error_m > 0.02:
            return None
        knots, seconds = [np.asarray(now_rad, float)], [0.0]

        def go(pose: FloatArray, gripper_rad: float, least_s: float, speed_rad_s: float = 1.8) -> None:
            target = np.append(pose, gripper_rad)
            reach = float(np.abs(target[:5] - knots[-1][:5]).max())
            seconds.append(seconds[-1] + pace * max(least_s, 1.9 * reach / speed_rad_s))
            knots.append(target)

        around = off_m < 0.008 and abs(tip[2] - GRASP_Z_M) < 0.008
        if not holding:
            if not around:
                if tip[2] < 0.045 and off_m > 0.02:  # low and beside it: up first, else the jaws plough
                    up, _ = self.inverse(np.array([tip[0], tip[1], ABOVE_Z_M]), yaw, np.asarray(now_rad))
                    go(up, OPEN_RAD, 0.35)
                if not (off_m < 0.012 and tip[2] < ABOVE_Z_M + 0.01) or knots[-1][5] < 0.55:
                    go(above, OPEN_RAD, 0.3)
                go(grasp, OPEN_RAD, 0.45)
                go(grasp, OPEN_RAD, 0.08)
            go(grasp, CLOSED_RAD, 0.40)
        else:
            knots[0] = np.append(knots[0][:5], CLOSED_RAD)
        go(lifted, CLOSED_RAD, 0.55)
        go(lifted, CLOSED_RAD, 0.8)
        return Plan(np.array(knots), np.array(seconds), grasp)
