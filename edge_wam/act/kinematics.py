"""Where a part of the arm is in a pose: forward kinematics from the robot's geometry.toml.

A part is carried by the first `joints` joints. The rigid motion from where it is with all joints at zero to
where it is in a pose is a product of exponentials (Lynch and Park, Modern Robotics, 2017, section 4.1).
"""

from __future__ import annotations

import numpy as np

from edge_wam.act.floor import Axis, Geometry
from edge_wam.types import FloatArray


def carried(geometry: Geometry, pose_rad: FloatArray, joints: int) -> FloatArray:
    """The rigid motion (4, 4), in the base's frame, of what the first `joints` joints carry."""
    motion: FloatArray = np.eye(4)
    for axis, angle_rad in zip(geometry.axes[:joints], pose_rad[:joints].tolist(), strict=True):
        motion = motion @ _turn(axis, angle_rad)
    return motion


def fingertip_m(geometry: Geometry, pose_rad: FloatArray) -> FloatArray:
    """Where the fixed jaw's tip is in pose_rad (J,): (3,), metres from the base."""
    tip = geometry.points[0]
    place: FloatArray = (carried(geometry, pose_rad, tip.joints) @ (*tip.at_m, 1.0))[:3]
    return place


def _turn(axis: Axis, angle_rad: float) -> FloatArray:
    """A turn about an axis through its anchor (Rodrigues), (4, 4)."""
    x, y, z = axis.direction
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation = np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross
    anchor_m = np.array(axis.anchor_m)
    turn: FloatArray = np.eye(4)
    turn[:3, :3] = rotation
    turn[:3, 3] = anchor_m - rotation @ anchor_m
    return turn
