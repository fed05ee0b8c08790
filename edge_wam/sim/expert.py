"""A scripted expert for every command: inverse kinematics, waypoints, minimum-jerk timing.

It reads the simulator's state, which no policy may. It can take over from any pose: `plan` looks at
where the gripper is now and leaves out what is already done, so the same code gives demonstrations
from the ready pose and recoveries from a policy's mistakes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.sim.scene import PLATE_RADIUS_M
from edge_wam.sim.tasks import Command, side_sign
from edge_wam.sim.world import READY_RAD, World
from edge_wam.types import JOINTS, FloatArray

OPEN_RAD, CLOSED_RAD = 0.65, 0.05  # a 25 mm cube stops the jaws at about 0.3
RELEASED_RAD = 0.5
GRASP_Z_M, ABOVE_Z_M, LIFTED_Z_M = 0.018, 0.075, 0.115
CARRY_Z_M, RELEASE_Z_M = 0.085, 0.024  # over a plate; a cube let go there drops 2 mm
PUSH_Z_M, PUSH_GAP_M, PUSH_M = 0.018, 0.020, 0.075
POINT_Z_M = 0.070
LOW_Z_M = 0.045
END_S = 0.6  # a plan ends at rest
SPEED_RAD_S = 1.8
SHOULDER_X_M = 0.0388


class Plan(NamedTuple):
    """Knots of a joint trajectory: knots_rad (n, J) at knot_s (n,), seconds from its start; through (n,) says
    that a knot is passed at speed, not stopped at."""

    knots_rad: FloatArray
    knot_s: FloatArray
    through: NDArray[np.bool_]

    def at(self, t_s: float | FloatArray) -> FloatArray:
        """Targets at t_s after the start, (..., J): minimum jerk between stops, held after the last. Knots
        that are passed lie on one such stretch, joined by straight lines in joint space."""
        t = np.clip(np.asarray(t_s, float), 0, self.knot_s[-1])
        stops = np.flatnonzero(~self.through)
        first = np.clip(np.searchsorted(self.knot_s[stops], t, side="right") - 1, 0, len(stops) - 2)
        start_s, end_s = self.knot_s[stops[first]], self.knot_s[stops[first + 1]]
        u = (t - start_s) / (end_s - start_s)
        warped_s = start_s + (end_s - start_s) * u**3 * (10 - 15 * u + 6 * u**2)
        index = np.clip(np.searchsorted(self.knot_s, warped_s, side="right") - 1, 0, len(self.knot_s) - 2)
        part = (warped_s - self.knot_s[index]) / (self.knot_s[index + 1] - self.knot_s[index])
        target: FloatArray = (
            self.knots_rad[index] * (1 - part[..., None]) + self.knots_rad[index + 1] * part[..., None]
        )
        return target


class _OutOfReach(Exception):
    """No joints put the gripper there."""


class Route:
    """A trajectory under construction, from now_rad (J,)."""

    def __init__(self, now_rad: FloatArray, pace: float) -> None:
        self._knots, self._seconds, self._pace = [now_rad.copy()], [0.0], pace
        self._through = [False]

    @property
    def now_rad(self) -> FloatArray:
        """Where it ends so far."""
        last: FloatArray = self._knots[-1]
        return last

    def go(self, pose: FloatArray, gripper_rad: float, least_s: float, smooth: bool = True) -> None:
        """On to a pose (5,), as slowly as least_s or as the longest joint path asks. smooth: stops there."""
        target = np.append(pose, gripper_rad)
        reach_rad = float(np.abs(target[:5] - self.now_rad[:5]).max())
        self._seconds.append(self._seconds[-1] + self._pace * max(least_s, 1.9 * reach_rad / SPEED_RAD_S))
        self._knots.append(target)
        self._through.append(not smooth)

    def wait(self, seconds: float) -> None:
        """Stay."""
        self.go(self.now_rad[:5], float(self.now_rad[5]), seconds)

    def plan(self) -> Plan:
        """What was asked for."""
        return Plan(np.array(self._knots), np.array(self._seconds), np.array(self._through))


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    """np.cross of two vectors, at a tenth of its price; inverse kinematics is all small vectors."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


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
            turn = 0.35 * _cross(-frame[:, 2], down)
            level = closing - down * (closing @ down)
            spin = 0.35 * (-frame[:, 2]) * (_cross(frame[:, 0], level) @ -frame[:, 2])
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

    def place_pose(self, plate: str, start_rad: FloatArray) -> tuple[FloatArray, float]:
        """The five body joints that let a cube go over a plate, and the position error left, in metres."""
        x, y = self._world.plate_position_m(plate)
        return self._reach(x, y, RELEASE_Z_M, start_rad)

    def plan(self, wish: Command, now_rad: FloatArray, pace: float = 1.0) -> Plan | None:
        """From now_rad (J,) to the wish fulfilled; None where something cannot be reached.

        pace > 1 is slower. Leaves out what is already done: a gripper above the cube goes straight
        down, one around it closes, one that holds it lifts or carries it.
        """
        route = Route(np.asarray(now_rad, float), pace)
        try:
            getattr(self, f"_{wish.verb}")(wish, route)
        except _OutOfReach:
            return None
        route.wait(END_S)
        return route.plan()

    def _reach(
        self, x: float, y: float, z: float, start_rad: FloatArray, yaw_rad: float | None = None
    ) -> tuple[FloatArray, float]:
        heading = float(np.arctan2(y, x - SHOULDER_X_M))
        return self.inverse(np.array([x, y, z]), heading if yaw_rad is None else yaw_rad, start_rad)

    def _pose(
        self, x: float, y: float, z: float, start_rad: FloatArray | None = None, yaw_rad: float | None = None
    ) -> FloatArray:
        """Joints (5,) for a grasp point; _OutOfReach where there are none; high up, about is enough."""
        start = np.array([np.arctan2(y, x), -0.3, 0.6, 1.2, 0.0]) if start_rad is None else start_rad
        pose, error_m = self._reach(x, y, z, start, yaw_rad)
        if error_m > (0.003 if z < ABOVE_Z_M + 1e-6 else 0.02):
            raise _OutOfReach
        return pose

    def _rise(self, route: Route, gripper_rad: float) -> None:
        """A gripper that is low goes up first, else the jaws plough through whatever stands beside them."""
        x, y, z = self._world.grasp_position_m()
        if z < LOW_Z_M:
            up, _ = self._reach(x, y, ABOVE_Z_M, route.now_rad[:5])
            route.go(up, gripper_rad, 0.35)

    def _holding(self, colour: str) -> bool:
        cube_m, tip_m = self._world.cube_position_m(colour), self._world.grasp_position_m()
        raised = self._world.height_m(colour) > 0.0125
        return raised and float(np.linalg.norm(tip_m - cube_m)) < 0.03

    def _grasp(self, colour: str, route: Route) -> FloatArray:
        """To the cube held, low; returns the grasp's pose. Already holding: just keeps the jaws closed."""
        world, yaw = self._world, self.grasp_yaw_rad(colour)
        (x, y, _), tip = world.cube_position_m(colour), world.grasp_position_m()
        if self._holding(colour):
            route.now_rad[5] = CLOSED_RAD
            return self._pose(tip[0], tip[1], GRASP_Z_M, yaw_rad=yaw)
        grasp = self._pose(x, y, GRASP_Z_M, yaw_rad=yaw)
        above = self._pose(x, y, ABOVE_Z_M, grasp, yaw)
        off_m = float(np.hypot(tip[0] - x, tip[1] - y))
        if not (off_m < 0.008 and abs(tip[2] - GRASP_Z_M) < 0.008):
            if off_m > 0.02:
                self._rise(route, OPEN_RAD)
            if not (off_m < 0.012 and tip[2] < ABOVE_Z_M + 0.01) or route.now_rad[5] < 0.55:
                route.go(above, OPEN_RAD, 0.3)
            route.go(grasp, OPEN_RAD, 0.45)
            route.go(grasp, OPEN_RAD, 0.08)
        route.go(grasp, CLOSED_RAD, 0.40)
        return grasp

    def _pick(self, wish: Command, route: Route) -> None:
        tip = self._world.grasp_position_m()
        x, y, _ = tip if self._holding(wish.colour) else self._world.cube_position_m(wish.colour)
        yaw = self.grasp_yaw_rad(wish.colour)
        grasp = self._grasp(wish.colour, route)
        route.go(self._pose(x, y, LIFTED_Z_M, grasp, yaw), CLOSED_RAD, 0.55)

    def _put(self, wish: Command, route: Route) -> None:
        world = self._world
        plate_x, plate_y = world.plate_position_m(wish.place)
        over = self._pose(plate_x, plate_y, CARRY_Z_M)
        down = self._pose(plate_x, plate_y, RELEASE_Z_M, over)
        cube_m, tip_m = world.cube_position_m(wish.colour), world.grasp_position_m()
        on_plate = float(np.hypot(cube_m[0] - plate_x, cube_m[1] - plate_y)) < 0.6 * PLATE_RADIUS_M
        if on_plate and world.height_m(wish.colour) < 0.009:
            if float(np.linalg.norm(tip_m - cube_m)) < 0.04:  # let go, straight up
                here, _ = self._reach(tip_m[0], tip_m[1], max(tip_m[2], RELEASE_Z_M), route.now_rad[:5])
                route.go(route.now_rad[:5], RELEASED_RAD, 0.3)
                up, _ = self._reach(tip_m[0], tip_m[1], CARRY_Z_M, here)
                route.go(up, RELEASED_RAD, 0.4)
            else:
                self._rise(route, RELEASED_RAD)
            return
        near_plate = float(np.hypot(tip_m[0] - plate_x, tip_m[1] - plate_y)) < 0.015
        if not (self._holding(wish.colour) and near_plate):
            x, y, _ = tip_m if self._holding(wish.colour) else cube_m
            grasp = self._grasp(wish.colour, route)
            if not (self._holding(wish.colour) and tip_m[2] > LOW_Z_M):
                up = self._pose(x, y, CARRY_Z_M, grasp, self.grasp_yaw_rad(wish.colour))
                route.go(up, CLOSED_RAD, 0.45)
            route.go(over, CLOSED_RAD, 0.4)
        route.now_rad[5] = CLOSED_RAD
        route.go(down, CLOSED_RAD, 0.4)
        route.go(down, CLOSED_RAD, 0.08)
        route.go(down, RELEASED_RAD, 0.3)
        route.go(over, RELEASED_RAD, 0.4)

    def _push(self, wish: Command, route: Route) -> None:
        world, sign = self._world, side_sign(wish.place)
        x, y, _ = world.cube_position_m(wish.colour)
        half_m = world.cube_size_m(wish.colour) * 0.6
        tip = world.grasp_position_m()
        start_y, end_y = y - sign * (half_m + PUSH_GAP_M), y + sign * (PUSH_M - half_m)
        behind_m = (y - tip[1]) * sign
        ready = abs(tip[0] - x) < 0.010 and tip[2] < LOW_Z_M and 0 < behind_m < half_m + PUSH_GAP_M + 0.02
        beside = self._pose(x, start_y, PUSH_Z_M)
        if not ready:
            self._rise(route, CLOSED_RAD)
            above = self._pose(x, start_y, ABOVE_Z_M, beside)
            if abs(tip[0] - x) > 0.01 or abs(tip[1] - start_y) > 0.01 or tip[2] > ABOVE_Z_M + 0.01:
                route.go(above, CLOSED_RAD, 0.3)
            route.go(beside, CLOSED_RAD, 0.45)
        # Straight along y: a few poses on the way, else the fingertip cuts the corner of an arc.
        from_y = tip[1] if ready else start_y
        pose = beside
        for part in (1 / 3, 2 / 3, 1.0):
            pose = self._pose(x, from_y + part * (end_y - from_y), PUSH_Z_M, pose)
            route.go(pose, CLOSED_RAD, 0.28, smooth=False)
        route.go(self._reach(x, end_y - sign * 0.01, ABOVE_Z_M, pose)[0], CLOSED_RAD, 0.4)

    def _point(self, wish: Command, route: Route) -> None:
        x, y, _ = self._world.cube_position_m(wish.colour)
        self._rise(route, CLOSED_RAD)
        route.go(self._pose(x, y, POINT_Z_M), CLOSED_RAD, 0.5)
        route.wait(0.6)

    def _home(self, wish: Command, route: Route) -> None:
        self._rise(route, OPEN_RAD)
        route.go(READY_RAD[:5], OPEN_RAD, 0.5)
