"""How low the gripper reaches in a pose: forward kinematics of a few points on it, from the robot's folder.

geometry.toml holds every joint's axis and a point on it, with all joints at zero, and points on the gripper
that reach lowest, in metres, in the frame of the base (z up, the table at z = 0). A pose turns each point
about the axes of the joints that move it, the outermost first (product of exponentials; Lynch and Park,
Modern Robotics, 2017, section 4.1). Only heights are wanted, so it is the vertical that is turned back
through the joints, once for all points: 7 microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_wam import tomlfile
from edge_wam.errors import CalibrationError, nearest
from edge_wam.types import JOINTS, FloatArray

FILE = "geometry.toml"
Vector = tuple[float, float, float]


class Axis(NamedTuple):
    """A joint with all joints at zero: the direction it turns about (unit length), and a point on it."""

    direction: Vector
    anchor_m: Vector


class Point(NamedTuple):
    """A point of the gripper with all joints at zero, moved by the first `joints` joints."""

    at_m: Vector
    joints: int


class Floor:
    """No point of the gripper is to be sent below height_m."""

    def __init__(self, axes: Sequence[Axis], points: Sequence[Point], height_m: float) -> None:
        self.height_m = height_m
        self._axes, self._points = tuple(axes), tuple(points)

    def lowest_m(self, pose_rad: FloatArray) -> float:
        """Height of the lowest point in a pose (J,)."""
        x, y, z, offset = 0.0, 0.0, 1.0, 0.0  # a height is (x, y, z) . point + offset
        rows = [(x, y, z, offset)]
        for (direction, anchor_m), angle_rad in zip(self._axes, pose_rad.tolist(), strict=True):
            a, b, c = direction
            cos, sin = math.cos(angle_rad), math.sin(angle_rad)
            along = (a * x + b * y + c * z) * (1 - cos)
            turned_x = x * cos - (b * z - c * y) * sin + a * along
            turned_y = y * cos - (c * x - a * z) * sin + b * along
            turned_z = z * cos - (a * y - b * x) * sin + c * along
            p, q, r = anchor_m
            offset += (x - turned_x) * p + (y - turned_y) * q + (z - turned_z) * r
            x, y, z = turned_x, turned_y, turned_z
            rows.append((x, y, z, offset))
        lowest_m = math.inf
        for (p, q, r), joints in self._points:
            x, y, z, offset = rows[joints]
            lowest_m = min(lowest_m, x * p + y * q + z * r + offset)
        return lowest_m

    def reach(self, from_rad: FloatArray, to_rad: FloatArray) -> FloatArray:
        """to_rad if it is high enough or no lower than from_rad; else as far on the way as is."""
        least_m = min(self.height_m, self.lowest_m(from_rad))
        if self.lowest_m(to_rad) >= least_m:
            return to_rad
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.lowest_m(from_rad + middle * (to_rad - from_rad)) >= least_m:
                low = middle
            else:
                high = middle
        reached_rad: FloatArray = from_rad + low * (to_rad - from_rad)
        return reached_rad


_HALVINGS = 5  # of one step: half a millimetre, at most


class Geometry(NamedTuple):
    """geometry.toml: an axis a joint, points of the gripper (the fixed jaw's tip is the first), and the
    height below which none of them is to be sent."""

    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    floor_m: float


def load_floor(folder: Path, joints: Sequence[str] = JOINTS) -> Floor | None:
    """The floor under the robot of this folder; None if the folder says nothing of its geometry."""
    geometry = load_geometry(folder, joints)
    return None if geometry is None else Floor(*geometry)


def load_geometry(folder: Path, joints: Sequence[str] = JOINTS) -> Geometry | None:
    """The geometry of the robot of this folder, checked; None if the folder has none."""
    path = folder / FILE
    if not path.exists():
        return None
    top = tomlfile.read(path, CalibrationError, "geometry of the arm")
    height_m = top.number("floor_m", low=-1.0, high=1.0)
    table, axes = top.table("joint"), []
    for name in joints:
        joint = table.table(name)
        direction, anchor_m = (joint.numbers(key, 3) for key in ("axis", "anchor_m"))
        if not math.isclose(math.hypot(*direction), 1.0, abs_tol=1e-3):
            raise joint.wrong("axis", "a direction of length 1", direction)
        axes.append(Axis(_vector(direction), _vector(anchor_m)))
        joint.done()
    points = []
    for point in top.tables("point"):
        moved_by = point.text("moved_by")
        if moved_by not in joints:
            raise point.wrong("moved_by", f"one of {', '.join(joints)}{nearest(moved_by, joints)}", moved_by)
        points.append(Point(_vector(point.numbers("at_m", 3)), list(joints).index(moved_by) + 1))
        point.done()
    top.done()
    return Geometry(tuple(axes), tuple(points), height_m)


def _vector(numbers: Sequence[float]) -> Vector:
    x, y, z = numbers
    return x, y, z
