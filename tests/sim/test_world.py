"""The simulated world: the same by seed, an arm that obeys its drives' limits, cubes that can be judged."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.sim import scene
from edge_wam.sim.scene import COLOURS, PHYSICS_DT_S, PLATE_HALF_HEIGHT_M
from edge_wam.sim.world import LIFT_M, PARK_RAD, READY_RAD, Scene


def raise_cube(world, colour, height_m):
    """Put a cube into the air by hand."""
    start = world.model.joint(f"cube_{colour}").qposadr[0]
    world.data.qpos[start + 2] = world.cube_size_m(colour) / 2 + height_m
    world._mujoco.mj_forward(world.model, world.data)


def snapshot(world):
    return np.concatenate([world.data.qpos, world.data.qvel]), world.render("front")


# --- what lies on the table -----------------------------------------------------------------


def test_a_seed_gives_the_same_scene_to_the_pixel(world):
    table = world.scene
    world.reset(11)
    world.set_table(table)
    state, image = snapshot(world)
    world.goal_rad[:] = READY_RAD
    world.step(100)
    world.reset(12)
    assert not np.array_equal(world.render("front"), image)
    world.reset(11)
    assert world.scene.colours == ()  # an empty table
    world.set_table(table)
    again, image_again = snapshot(world)
    assert np.array_equal(state, again)
    assert np.array_equal(image, image_again)


def test_physics_repeats_itself_exactly_from_a_seed(world):
    ends = []
    for _ in range(2):
        world.reset(3)
        world.goal_rad[:] = READY_RAD
        world.step(150)
        ends.append(world.position_rad)
    assert np.array_equal(*ends)


def test_a_table_is_laid_anew_without_moving_the_arm(world):
    world.place_arm(READY_RAD)
    world.set_table(world.scene._replace(cubes_xy_yaw=world.scene.cubes_xy_yaw + 0.005))
    assert np.allclose(world.position_rad, READY_RAD)
    world.step(60)
    assert np.abs(world.position_rad - READY_RAD).max() < 0.02


def test_what_a_scene_does_not_name_is_out_of_sight(world):
    world.set_table(Scene(0, ("red",), np.array([[0.2, 0.0, 0.0]]), np.array([0.025])))
    assert world.cube_position_m("red")[0] == pytest.approx(0.2)
    for colour in ("green", "blue", "purple"):
        assert world.cube_position_m(colour)[0] > 1.0
    assert all(world.plate_position_m(colour)[0] > 1.0 for colour in COLOURS)


def test_a_small_cube_is_lighter_and_a_cube_keeps_its_size_in_the_physics(world):
    """20 and 30 mm: each comes to rest on its own half height, and weighs as its volume."""
    sizes_m = np.array([0.020, 0.030])
    spots = np.array([[0.2, 0.05, 0.0], [0.2, -0.05, 0.0]])
    world.set_table(Scene(0, ("red", "blue"), spots, sizes_m))
    world.step(150)
    for colour, size_m in zip(("red", "blue"), sizes_m, strict=True):
        assert world.cube_size_m(colour) == size_m
        assert world.cube_position_m(colour)[2] == pytest.approx(size_m / 2, abs=5e-4)
        assert abs(world.height_m(colour)) < 5e-4
    mass_kg = [world.model.body(f"cube_{c}").mass[0] for c in ("red", "blue")]
    assert mass_kg[1] / mass_kg[0] == pytest.approx(1.5**3)


def test_a_cube_rests_on_a_plate(world):
    world.set_table(
        Scene(0, ("red",), np.array([[0.2, 0, 0]]), np.array([0.025]), ("blue",), np.array([[0.2, 0]]))
    )
    world.hold("red", np.zeros(3))  # somewhere in the air; then above the plate
    start = world.model.joint("cube_red").qposadr[0]
    world.data.qpos[start : start + 7] = (0.2, 0, 0.03, 1, 0, 0, 0)
    world.step(200)
    assert world.cube_position_m("red")[2] == pytest.approx(2 * PLATE_HALF_HEIGHT_M + 0.0125, abs=5e-4)


def test_cameras_stand_a_little_off_their_places_by_the_seed(world):
    """Else a model learns one mounting to the pixel. The square crop moves with its frame."""
    table, places = world.scene, []
    for seed in (1, 2, 1):
        world.reset(seed)
        world.set_table(table)
        places.append(np.concatenate([world.model.cam_pos, world.model.cam_quat], axis=1))
        wide, square = world.render("front"), world.render("front_crop", scene.CROP_PX, scene.CROP_PX)
        top, left = (240 - scene.CROP_PX) // 2, (424 - scene.CROP_PX) // 2
        middle = wide[top : top + scene.CROP_PX, left : left + scene.CROP_PX]
        assert np.abs(middle.astype(int) - square).mean() < 0.5
    assert np.array_equal(places[0], places[2])
    shift = np.abs(places[0] - places[1])
    assert 0 < shift[:, :3].max() < 0.0045
    assert 0 < shift[:, 3:].max() < np.radians(0.6)


def test_cubes_stay_where_they_were_put(world):
    world.step(300)
    for colour, (x, y, yaw) in zip(world.scene.colours, world.scene.cubes_xy_yaw, strict=True):
        assert np.hypot(*(world.cube_position_m(colour)[:2] - (x, y))) < 1e-3
        assert world.cube_yaw_rad(colour) == pytest.approx(yaw, abs=0.01)
        assert abs(world.height_m(colour)) < 1e-3


def test_a_cube_is_lifted_from_five_centimetres_on(world):
    colour = world.scene.colours[1]
    assert world.lifted() is None
    raise_cube(world, colour, LIFT_M - 0.001)
    assert world.lifted() is None
    raise_cube(world, colour, LIFT_M + 0.001)
    assert world.lifted() == colour


def test_a_cube_that_is_not_in_the_scene_is_never_lifted(world):
    world.set_table(Scene(0, ("red",), np.array([[0.2, 0.0, 0.0]]), np.array([0.025])))
    raise_cube(world, "blue", 0.5)
    assert world.lifted() is None


# --- the arm --------------------------------------------------------------------------------


@pytest.mark.parametrize("pose_rad", [PARK_RAD, READY_RAD])
def test_the_arm_stays_where_it_is_placed(world, pose_rad):
    world.place_arm(pose_rad)
    assert np.allclose(world.position_rad, pose_rad, atol=1e-9)
    world.step(300)
    assert np.abs(world.position_rad - pose_rad).max() < 0.02


def test_the_arm_reaches_its_goal(world):
    world.place_arm(PARK_RAD)
    world.goal_rad[:] = READY_RAD
    world.step(450)
    assert np.abs(world.position_rad - READY_RAD).max() < 0.02
    assert np.abs(world.velocity_rad_s).max() < 0.05
    assert world.time_s == pytest.approx(1.5)


def test_a_drive_keeps_to_its_speed_and_acceleration(world):
    world.place_arm(READY_RAD)
    world.speed_limit_rad_s[:], world.accel_limit_rad_s2[:] = 1.0, 5.0
    world.goal_rad[0] = 0.8
    positions = [world.position_rad[0]]
    for _ in range(390):
        world.step()
        positions.append(world.position_rad[0])
    speed = np.diff(positions) / PHYSICS_DT_S
    assert 0.9 < speed.max() < 1.1
    assert speed[:30].max() < 0.65  # 0.1 s at 5 rad/s2
    assert positions[-1] == pytest.approx(0.8, abs=0.02)
    assert max(positions) < 0.83


def test_a_goal_beyond_the_range_is_reached_as_far_as_it_goes(world):
    world.place_arm(READY_RAD)
    world.goal_rad[0] = 9.0
    world.step(600)
    assert world.position_rad[0] == pytest.approx(world.joint_high_rad[0], abs=0.05)


def test_without_torque_the_arm_ignores_its_goal_and_does_not_leap_afterwards(world):
    world.place_arm(READY_RAD)
    world.torque_on[:] = False
    world.goal_rad[0] = 1.0
    world.step(150)
    assert abs(world.position_rad[0]) < 0.1
    world.speed_limit_rad_s[:] = 1.0
    world.torque_on[:] = True
    world.step(30)
    assert abs(world.position_rad[0]) < 0.2


def test_the_load_says_which_way_a_joint_pushes(world):
    world.place_arm(READY_RAD)
    world.step(150)
    assert np.abs(world.load).max() < 0.8
    assert np.abs(world.load).max() > 0.02  # gravity
    world.torque_limit[:] = 0.0
    world.step(1)
    assert np.abs(world.load).max() < 1e-6


def test_the_gripper_is_zero_where_it_is_closed(world):
    assert world.joint_low_rad[-1] == pytest.approx(0, abs=1e-4)
    assert world.joint_high_rad[-1] > 1.5


# --- cameras and meshes ---------------------------------------------------------------------


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_a_camera_shows_a_colour_picture_of_its_size(world, camera):
    world.place_arm(READY_RAD)
    image = world.render(camera)
    assert image.shape == (240, 424, 3)
    assert image.dtype == np.uint8
    assert image.std() > 8


def test_the_front_camera_sees_every_cube_in_its_colour_within_the_square(world):
    world.place_arm(PARK_RAD)
    square = world.render("front_crop", scene.CROP_PX, scene.CROP_PX).astype(int)
    for colour in world.scene.colours:
        rgb = np.array(COLOURS[colour])
        direction = square / np.maximum(np.linalg.norm(square, axis=-1, keepdims=True), 1)
        close = (direction @ (rgb / np.linalg.norm(rgb)) > 0.985) & (np.ptp(square, axis=-1) > 40)
        assert close.sum() > 30, colour


def test_clustering_vertices_keeps_the_shape_and_the_normals():
    """A finely cut square in a plane stays one, with its normal."""
    grid = np.stack(np.meshgrid(np.arange(20) / 1000, np.arange(20) / 1000, indexing="ij"), -1)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    flat = np.concatenate([np.stack(corners, 2).reshape(-1, 3, 2) for corners in ((a, b, c), (a, c, d))])
    triangles = np.pad(flat, ((0, 0), (0, 0), (0, 1)))
    few = scene.decimate(triangles, 0.003)
    assert len(few) < len(triangles) / 5
    normals = np.cross(few[:, 1] - few[:, 0], few[:, 2] - few[:, 0])
    area = np.linalg.norm(
        np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1
    )
    assert np.linalg.norm(normals, axis=1).sum() > 0.7 * area.sum()
    assert not few[..., 2].any()


def test_a_mesh_survives_being_written_and_read(tmp_path):
    triangles = np.random.default_rng(0).normal(size=(7, 3, 3)).astype(np.float32)
    scene.write_stl(tmp_path / "a.stl", triangles)
    assert np.array_equal(scene.read_stl(tmp_path / "a.stl"), triangles)
    assert [path.name for path in tmp_path.iterdir()] == ["a.stl"]
