"""Where a camera is: rendered pictures of a board whose place is known; the arithmetic without pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from person import SHIPPED

from edge_wam.act.floor import load_geometry
from edge_wam.act.kinematics import carried, fingertip_m
from edge_wam.errors import CalibrationError, CameraError, EdgeWamError
from edge_wam.service import camera_pose
from edge_wam.service.board import COLUMNS, ROWS, SQUARE_M, SQUARE_MM, Board
from edge_wam.service.camera_pose import (
    angle_rad,
    flat,
    hand_eye,
    inverse,
    matrix_of,
    mount_of,
    rigid,
    touched,
    view,
)
from edge_wam.sim.scene import FOVY_DEG
from edge_wam.sim.workbench import place_board, with_board
from edge_wam.sim.world import World

GEOMETRY = load_geometry(SHIPPED.parent)
PAGE_M = (0.297, 0.210)
SIZE_PX = (848, 480)
# From the page's middle to the board's corner A, and the board's axes in the page's.
PAGE_FROM_BOARD = rigid(np.diag([1.0, -1.0, -1.0]), (-COLUMNS * SQUARE_M / 2, ROWS * SQUARE_M / 2, 0))
# In front of the arm, its letters upright for the front camera: A to B is the base's +y.
BASE_FROM_BOARD = flat(0.165, -0.105, math.pi / 2, 0.001)
BASE_FROM_PAGE = BASE_FROM_BOARD @ inverse(PAGE_FROM_BOARD)


def off(one, other):
    """(mm, degrees) between two poses."""
    apart = inverse(one) @ other
    return 1e3 * float(np.linalg.norm(apart[:3, 3])), math.degrees(angle_rad(apart[:3, :3]))


@pytest.fixture(scope="module")
def board():
    return Board()


@pytest.fixture(scope="module")
def world(board):
    made = World(3, spec=with_board(np.asarray(board.picture(dpi=200)), PAGE_M))
    place_board(made, BASE_FROM_PAGE)
    yield made
    made.close()


def focal_px(camera):
    return SIZE_PX[1] / 2 / math.tan(math.radians(FOVY_DEG[camera]) / 2)


def seen_by(world, board, camera):
    """What the camera sees of the board, through a lens without distortion."""
    found = board.find(world.render(camera, *SIZE_PX))
    rays = (found.corners_px - (np.array(SIZE_PX) - 1) / 2) / focal_px(camera)
    return view(board.points_m(found.ids), rays, focal_px(camera))


def true_pose(world, camera):
    index = world.model.camera(camera).id
    return rigid(
        world.data.cam_xmat[index].reshape(3, 3) @ np.diag([1, -1, -1]), world.data.cam_xpos[index].copy()
    )


# --- a camera that stands still -------------------------------------------------------------


def test_a_still_camera_is_found_to_a_few_millimetres(world, board):
    seen = seen_by(world, board, "front")
    mm, degrees = off(BASE_FROM_BOARD @ inverse(seen.camera_from_board), true_pose(world, "front"))
    print(f"front: {mm:.2f} mm, {degrees:.3f} degrees, {seen.error_px:.2f} px")
    assert mm < 2.5
    assert degrees < 0.25
    assert seen.error_px < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_and_with_touches_that_are_a_millimetre_or_two_off(world, board, seed):
    rng = np.random.default_rng(seed)
    corners = (BASE_FROM_BOARD @ np.c_[board.touched_m, np.ones(4)].T).T[:, :3]
    place = touched(board.touched_m, corners + rng.normal(0, 0.0015, (4, 3)), 0.001)
    seen = seen_by(world, board, "front")
    mm, degrees = off(place.base_from_board @ inverse(seen.camera_from_board), true_pose(world, "front"))
    print(f"front, touched: {mm:.2f} mm, {degrees:.3f} degrees")
    assert mm < 6
    assert degrees < 1.0


def test_without_a_board_it_says_what_to_do(world, board):
    place_board(world, rigid(np.eye(3), (3, 3, 0)))
    try:
        with pytest.raises(CameraError, match=r"found 0 of its 24 corners.*try: all of it in the picture"):
            seen_by(world, board, "front")
    finally:
        place_board(world, BASE_FROM_PAGE)


def test_a_board_that_is_bent_is_refused(board):
    points = board.points_m(np.arange(24))
    camera_from_board = rigid(np.eye(3), (-0.1, -0.07, 0.5))
    bent = points.copy()
    bent[:, 2] += 4 * (points[:, 0] - 0.1) ** 2
    there = bent + camera_from_board[:3, 3]
    rays = there[:, :2] / there[:, 2:]
    with pytest.raises(CalibrationError, match=r"pixels from where a flat board would have them"):
        view(points, rays, 600.0)


# --- touching -------------------------------------------------------------------------------


def tips(base_from_board, board):
    return (base_from_board[:3, :3] @ board.touched_m.T).T + base_from_board[:3, 3]


@pytest.mark.parametrize("yaw_deg", [-170, -90, 0, 35, 90, 180])
def test_a_flat_board_is_where_it_was_touched(board, yaw_deg):
    true = flat(0.2, -0.1, math.radians(yaw_deg), 0.003)
    mm, degrees = off(true, touched(board.touched_m, tips(true, board), 0.003).base_from_board)
    assert (mm, degrees) == pytest.approx((0, 0), abs=1e-6)


def test_a_board_that_stands_up_is_where_it_was_touched(board):
    turn = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # face towards -y
    true = rigid(turn, (0.1, 0.25, 0.2))
    mm, degrees = off(true, touched(board.touched_m, tips(true, board), None).base_from_board)
    assert (mm, degrees) == pytest.approx((0, 0), abs=1e-6)


def test_corners_in_another_order_are_refused(board):
    there = tips(BASE_FROM_BOARD, board)
    with pytest.raises(CalibrationError, match="in the order A, B, C, D"):
        touched(board.touched_m, there[[1, 0, 2, 3]], 0.001)
    with pytest.raises(CalibrationError, match="in the order A, B, C, D"):
        touched(board.touched_m, there[[1, 0, 2, 3]], None)


def test_a_fingertip_in_the_air_is_refused(board):
    there = tips(BASE_FROM_BOARD, board) + np.array([0, 0, 0.03])
    with pytest.raises(CalibrationError, match=r"\+30 mm off the board's height"):
        touched(board.touched_m, there, 0.001)


def test_the_fingertip_is_where_the_simulator_has_it():
    """Our forward kinematics against MuJoCo's, of the same arm."""
    world = World(0)
    try:
        zero = np.zeros(6)
        world.place_arm(zero)
        body = world.model.body("gripper").id
        at_zero = rigid(world.data.xmat[body].reshape(3, 3), world.data.xpos[body].copy())
        tip = inverse(at_zero) @ (*GEOMETRY.points[0].at_m, 1.0)
        rng = np.random.default_rng(1)
        for _ in range(20):
            pose = rng.uniform(world.joint_low_rad, world.joint_high_rad)
            world.place_arm(pose)
            now = rigid(world.data.xmat[body].reshape(3, 3), world.data.xpos[body].copy())
            assert fingertip_m(GEOMETRY, pose) == pytest.approx((now @ tip)[:3], abs=2e-4)
            assert carried(GEOMETRY, pose, 5) @ at_zero == pytest.approx(now, abs=2e-3)
    finally:
        world.close()


# --- a camera on the arm --------------------------------------------------------------------


def gazes(world, board, count, seed=0):
    """Poses in which the wrist camera sees the board, and what it sees."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(600):
        if len(found) == count:
            return found
        pose = np.array([0, -1.2, 0.6, 1.3, 0, 0.0]) + rng.uniform(-1, 1, 6) * (0.5, 0.5, 0.5, 0.5, 0.7, 0)
        world.place_arm(pose)
        try:
            found.append((pose, seen_by(world, board, "wrist")))
        except (CameraError, CalibrationError):
            continue
    raise AssertionError(f"only {len(found)} poses see the board")


@pytest.fixture(scope="module")
def ten_gazes(world, board):
    return gazes(world, board, 12)


def test_a_camera_on_the_wrist_is_found(world, ten_gazes):
    links = [carried(GEOMETRY, pose, 5) for pose, _ in ten_gazes]
    found = hand_eye(links, [seen.camera_from_board for _, seen in ten_gazes])
    world.place_arm(np.zeros(6))
    mm, degrees = off(found.zero_from_camera, true_pose(world, "wrist"))
    print(f"wrist: {mm:.2f} mm, {degrees:.3f} degrees, scatter {1e3 * found.scatter_m:.2f} mm")
    assert mm < 4
    assert degrees < 0.5


def test_and_with_joints_that_are_a_few_tenths_of_a_degree_off(world, board):
    rng = np.random.default_rng(0)
    many = gazes(world, board, 20, seed=1)
    links = [carried(GEOMETRY, pose + rng.normal(0, math.radians(0.25), 6), 5) for pose, _ in many]
    found = hand_eye(links, [seen.camera_from_board for _, seen in many])
    world.place_arm(np.zeros(6))
    mm, degrees = off(found.zero_from_camera, true_pose(world, "wrist"))
    print(f"wrist, joints off: {mm:.2f} mm, {degrees:.3f} degrees, scatter {1e3 * found.scatter_m:.2f} mm")
    assert mm < 10
    assert degrees < 1.0


def test_poses_that_only_roll_are_refused(ten_gazes):
    links = [carried(GEOMETRY, np.array([0, -1.2, 0.6, 1.3, roll, 0]), 5) for roll in np.linspace(-1, 1, 9)]
    with pytest.raises(CalibrationError, match="the poses are too alike"):
        hand_eye(links, [seen.camera_from_board for _, seen in ten_gazes[:9]])


def test_a_board_that_was_moved_is_refused(ten_gazes):
    links = [carried(GEOMETRY, pose, 5) for pose, _ in ten_gazes]
    views = [seen.camera_from_board for _, seen in ten_gazes]
    views[5] = views[5] @ rigid(np.eye(3), (0.06, 0, 0))
    with pytest.raises(CalibrationError, match="the board is not at one place"):
        hand_eye(links, views)
    with pytest.raises(CalibrationError, match="7 poses, expected 8"):
        hand_eye(links[:7], views[:7])


# --- files ----------------------------------------------------------------------------------


def test_a_mount_says_the_same_pose_again():
    rng = np.random.default_rng(0)
    for angle in (0.0, 1e-9, 0.3, 2.0, math.pi - 1e-6):
        axis = rng.normal(size=3)
        turn = camera_pose.opencv().Rodrigues(angle * axis / np.linalg.norm(axis))[0]
        pose = rigid(turn, rng.uniform(-1, 1, 3))
        mm, degrees = off(pose, matrix_of(mount_of(pose, "base", 0.2)))
        assert mm < 0.02
        assert degrees < 1e-3


def test_the_page_is_printed_at_true_scale(tmp_path, board):
    from PIL import Image

    board.save(tmp_path / "board.png")
    page = Image.open(tmp_path / "board.png")
    dpi = page.info["dpi"][0]
    assert page.width / dpi * 25.4 == pytest.approx(297, abs=0.1)
    found = board.find(np.repeat(np.asarray(page)[:, :, None], 3, axis=2))
    across = found.corners_px[found.ids == 5][0] - found.corners_px[found.ids == 0][0]  # of the first row
    assert across / dpi * 25.4 == pytest.approx((5 * SQUARE_MM, 0), abs=0.1)
    board.save(tmp_path / "board.pdf")
    media = (tmp_path / "board.pdf").read_bytes().split(b"MediaBox [")[1].split(b"]")[0].split()
    assert [float(side) / 72 * 25.4 for side in media] == pytest.approx([0, 0, 297, 210], abs=0.1)


def test_a_board_in_another_format_is_refused(tmp_path, board):
    with pytest.raises(EdgeWamError, match=r"\.pdf or \.png, not 'board.gif'"):
        board.save(Path(tmp_path / "board.gif"))
