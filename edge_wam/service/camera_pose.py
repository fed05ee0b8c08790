"""Where a camera is, from what it sees of a board: pure arithmetic on points.

Transforms (4, 4) are named from right to left: base_from_camera @ camera_from_board = base_from_board.
What a camera sees is given as rays (N, 2): x / z and y / z of each corner in the camera's frame (x right, y
down, z forward), whatever its lens does.

    base_from_camera    a fixed camera: the board's place is known, touched by the fingertip or stated
    hand_eye            a camera on the arm: the board lies anywhere, the arm goes to several poses
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_wam.errors import CalibrationError
from edge_wam.sense.camera import Mount
from edge_wam.service.board import opencv
from edge_wam.types import FloatArray

WORST_PX = 1.0  # root mean square; corners of a flat board are found to a tenth of a pixel
WORST_TOUCH_M = 0.006
WORST_HEIGHT_M = 0.015
LEAST_POSES = 8
LEAST_TURN_RAD = (
    0.35  # between two poses at least, about two axes: less, and the arm's errors are all there is
)
WORST_SCATTER_M = 0.015


class View(NamedTuple):
    """camera_from_board (4, 4), and how far the corners are from where it puts them, root mean square."""

    camera_from_board: FloatArray
    error_px: float


class Touched(NamedTuple):
    """base_from_board (4, 4), and how far each touched point was from where it puts it, (N,)."""

    base_from_board: FloatArray
    off_m: FloatArray


class HandEye(NamedTuple):
    """A camera on the arm: zero_from_camera (4, 4) is its pose in the base's frame with all joints at zero.
    The board must have been seen at one place; scatter_m and scatter_rad say how far it was, at the most."""

    zero_from_camera: FloatArray
    scatter_m: float
    scatter_rad: float


def view(points_m: FloatArray, rays: FloatArray, focal_px: float) -> View:
    """Where a flat board is, from its corners (N, 3) and their rays (N, 2). CalibrationError: no good fit."""
    cv2, eye = opencv(), np.eye(3)
    points_m, rays = np.ascontiguousarray(points_m), np.ascontiguousarray(rays)  # OpenCV takes no slices
    # Two poses explain a small flat thing nearly alike; IPPE gives both, the better one is refined.
    count, turns, shifts, _ = cv2.solvePnPGeneric(points_m, rays, eye, None, flags=cv2.SOLVEPNP_IPPE)
    found = []
    for turn, shift in zip(turns[:count], shifts[:count], strict=True):
        turn, shift = cv2.solvePnPRefineLM(points_m, rays, eye, None, turn, shift)
        off = cv2.projectPoints(points_m, turn, shift, eye, None)[0].reshape(-1, 2) - rays
        found.append((float(np.sqrt((off**2).sum(axis=1).mean())) * focal_px, turn, shift))
    error_px, turn, shift = min(found, key=lambda one: one[0])
    if error_px > WORST_PX:
        raise CalibrationError(
            f"the corners are {error_px:.2f} pixels from where a flat board would have them (at most "
            f"{WORST_PX}); try: glue the board onto something flat, hold still, look at it more squarely"
        )
    return View(rigid(cv2.Rodrigues(turn)[0], shift), error_px)


def flat(x_m: float, y_m: float, yaw_rad: float, height_m: float = 0.0) -> FloatArray:
    """base_from_board of a board that lies face up: corner A at (x, y), A to B turned by yaw from x."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    # Face up the board's z points down, and its y is to the right of its x.
    return rigid(np.array([[cos, sin, 0], [sin, -cos, 0], [0, 0, -1.0]]), (x_m, y_m, height_m))


def touched(board_m: FloatArray, tip_m: FloatArray, height_m: float | None = 0.0) -> Touched:
    """The board's place, from points on it (N, 3) and where the fingertip was as it touched them (N, 3).

    height_m: the board lies flat, face up, so high above the table; only its place and turn are looked for.
    None: it may be anywhere (Kabsch, A solution for the best rotation to relate two sets of vectors, 1976).
    CalibrationError: the touches do not fit the board.
    """
    if height_m is None:
        base_from_board = _kabsch(board_m, tip_m)
    else:
        high_m = float(tip_m[:, 2].mean()) - height_m
        if abs(high_m) > WORST_HEIGHT_M:
            raise CalibrationError(
                f"the fingertip was {1e3 * high_m:+.0f} mm off the board's height as it touched it; try: "
                f"scripts/calibrate.py verify, and --height-mm where the board does not lie on the table"
            )
        mirrored = board_m[:, :2] * (1, -1)  # as seen from above, y to the left of x
        centre, middle = mirrored.mean(axis=0), tip_m[:, :2].mean(axis=0)
        a, b = mirrored - centre, tip_m[:, :2] - middle
        yaw_rad = math.atan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
        base_from_board = flat(0.0, 0.0, yaw_rad, height_m)
        base_from_board[:2, 3] = middle - (base_from_board[:2, :2] @ (centre * (1, -1)))
    off = (base_from_board[:3, :3] @ board_m.T).T + base_from_board[:3, 3] - tip_m
    if height_m is not None:
        off = off[:, :2]
    off_m: FloatArray = np.sqrt((off**2).sum(axis=1))
    if off_m.max() > WORST_TOUCH_M:
        told = ", ".join(f"{1e3 * one:.1f}" for one in off_m)
        raise CalibrationError(
            f"the touches do not fit the board: {told} mm off, expected {1e3 * WORST_TOUCH_M:.0f} at most; "
            f"try: touch the corners in the order A, B, C, D, measure a square (--square-mm), or "
            f"scripts/calibrate.py arm"
        )
    return Touched(base_from_board, off_m)


def _kabsch(points: FloatArray, there: FloatArray) -> FloatArray:
    centre, middle = points.mean(axis=0), there.mean(axis=0)
    u, _, vt = np.linalg.svd((points - centre).T @ (there - middle))
    mirror = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ mirror @ u.T
    return rigid(rotation, middle - rotation @ centre)


def hand_eye(base_from_link: Sequence[FloatArray], camera_from_board: Sequence[FloatArray]) -> HandEye:
    """A camera on the arm, from what its link did (act/kinematics.py) and what it saw, pose by pose.

    Daniilidis, Hand-Eye Calibration Using Dual Quaternions, 1999. CalibrationError: too few poses, too alike,
    or a board that did not stay where it was.
    """
    if len(base_from_link) < LEAST_POSES:
        raise CalibrationError(f"{len(base_from_link)} poses, expected {LEAST_POSES} at least")
    if (spread_rad := _second_turn(base_from_link)) < LEAST_TURN_RAD:
        raise CalibrationError(
            f"the poses are too alike (turned by {math.degrees(spread_rad):.0f} degrees about a second axis, "
            f"expected {math.degrees(LEAST_TURN_RAD):.0f}); try: bend the wrist and roll it, not only one"
        )
    cv2 = opencv()
    rotation, shift = cv2.calibrateHandEye(
        [link[:3, :3] for link in base_from_link],
        [link[:3, 3] for link in base_from_link],
        [seen[:3, :3] for seen in camera_from_board],
        [seen[:3, 3] for seen in camera_from_board],
        method=cv2.CALIB_HAND_EYE_DANIILIDIS,
    )
    zero_from_camera = rigid(rotation, shift)
    boards = [
        link @ zero_from_camera @ seen for link, seen in zip(base_from_link, camera_from_board, strict=True)
    ]
    middle = np.mean([board[:3, 3] for board in boards], axis=0)
    scatter_m = max(float(np.linalg.norm(board[:3, 3] - middle)) for board in boards)
    scatter_rad = max(angle_rad(boards[0][:3, :3].T @ board[:3, :3]) for board in boards)
    if scatter_m > WORST_SCATTER_M:
        raise CalibrationError(
            f"seen from these poses the board is not at one place ({1e3 * scatter_m:.0f} mm apart, expected "
            f"{1e3 * WORST_SCATTER_M:.0f} at most); try: do not move the board, hold the arm still, "
            f"scripts/calibrate.py verify"
        )
    return HandEye(zero_from_camera, scatter_m, scatter_rad)


def _second_turn(motions: Sequence[FloatArray]) -> float:
    """How far the poses turn about the axis about which they turn second most, radians."""
    cv2 = opencv()
    turns = np.array(
        [cv2.Rodrigues(motions[0][:3, :3].T @ motion[:3, :3])[0].ravel() for motion in motions[1:]]
    )
    turns = np.vstack([np.zeros(3), turns])
    _, _, axes = np.linalg.svd(turns - turns.mean(axis=0))
    return float(np.ptp(turns @ axes[1]))


def rigid(rotation: FloatArray, shift: Sequence[float] | FloatArray) -> FloatArray:
    """(4, 4) from a rotation (3, 3) and a shift (3,)."""
    made: FloatArray = np.eye(4)
    made[:3, :3], made[:3, 3] = rotation, np.asarray(shift, np.float64).ravel()
    return made


def inverse(motion: FloatArray) -> FloatArray:
    """The way back, (4, 4)."""
    return rigid(motion[:3, :3].T, -motion[:3, :3].T @ motion[:3, 3])


def angle_rad(rotation: FloatArray) -> float:
    """How far a rotation (3, 3) turns."""
    return float(np.linalg.norm(opencv().Rodrigues(np.ascontiguousarray(rotation))[0]))


def mount_of(base_from_camera: FloatArray, moved_by: str, error_px: float) -> Mount:
    """As camera.json has it, to a hundredth of a millimetre."""
    turn = opencv().Rodrigues(np.ascontiguousarray(base_from_camera[:3, :3]))[0].ravel()
    half_rad = float(np.linalg.norm(turn)) / 2
    x, y, z = turn / 2 * np.sinc(half_rad / np.pi)
    quaternion = (math.cos(half_rad), x, y, z)
    return Mount(
        moved_by,
        tuple(round(float(part), 5) for part in base_from_camera[:3, 3]),
        tuple(round(float(part), 6) for part in quaternion),
        round(error_px, 3),
    )


def matrix_of(mount: Mount) -> FloatArray:
    """base_from_camera (4, 4) of a mount, all joints at zero."""
    w, x, y, z = np.array(mount.quaternion_wxyz) / math.hypot(*mount.quaternion_wxyz)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return rigid(rotation, mount.position_m)
