"""scripts/calibrate.py at a terminal, with cameras, in real time: they are placed, timed, verified."""

from __future__ import annotations

import json
import math
import re
import time

import numpy as np
import pytest

pytest.importorskip("pexpect")

from calibrate_desk import Desk, ended, out
from person import SHIPPED
from test_camera_pose import (
    BASE_FROM_BOARD,
    BASE_FROM_PAGE,
    GEOMETRY,
    PAGE_M,
    gazes,
    off,
    tips,
    true_pose,
)
from workbench import Workbench, camera_of

from edge_wam.act import feetech
from edge_wam.act.kinematics import fingertip_m
from edge_wam.sense.camera import load_calibration, save_calibration
from edge_wam.service.board import CORNERS, Board
from edge_wam.service.camera_pose import matrix_of
from edge_wam.sim.workbench import place_board, with_board
from edge_wam.sim.world import READY_RAD


def reaching(place_m, guess):
    """A pose (6,) whose fingertip is there, by Newton's method on our own kinematics."""
    pose = guess.copy()
    for _ in range(200):
        lack = place_m - fingertip_m(GEOMETRY, pose)
        if np.linalg.norm(lack) < 1e-5:
            return pose
        slope = np.array([(fingertip_m(GEOMETRY, pose + 1e-4 * row) - fingertip_m(GEOMETRY, pose)) / 1e-4
                          for row in np.eye(6)[:5]])  # fmt: skip
        pose[:5] += np.clip(np.linalg.lstsq(slope.T, lack, rcond=None)[0], -0.1, 0.1)
    raise AssertionError(f"out of reach: {place_m}")


@pytest.fixture
def bench(tmp_path):
    """A camera at the table's front and one on the wrist, a board, an arm that is calibrated."""
    for name in ("arm.json", "geometry.toml"):
        (tmp_path / name).write_text((SHIPPED.parent / name).read_text())
    page = np.asarray(Board().picture(dpi=200))
    cameras = [camera_of("front", "sim-front", 848, 480), camera_of("wrist", "sim-wrist", 848, 480)]
    with Workbench(
        tmp_path,
        cameras,
        spec=with_board(page, PAGE_M),
        lay=lambda world: place_board(world, BASE_FROM_PAGE),
        pose_rad=READY_RAD,
    ) as made:
        made.desk = Desk(tmp_path, made.port)
        made.simulated = ("--simulated", str(made.cameras), made.prefix, "--size", "848x480@30")
        yield made


@pytest.mark.slow
def test_a_camera_is_placed_by_touching_the_board(bench, tmp_path):
    corners = tips(BASE_FROM_BOARD, Board())
    child = bench.desk.start(
        "camera",
        "--out",
        str(tmp_path / "arm.json"),
        *bench.simulated,
        "--serial",
        "sim-front",
        "--height-mm",
        "1",
    )
    child.expect(r"SIM D435 sim-front: 848x480@30, focal length 62\d\.\d")
    child.expect("Is somebody holding it")
    pose = bench.hand = reaching(corners[0], np.array([0, 0.3, 0.3, 0.6, 0, 0.0]))
    child.sendline("y")
    rng = np.random.default_rng(0)
    for name, corner in zip(CORNERS, corners, strict=True):
        child.expect(f"on corner {name} and hold it there; then press ENTER")
        pose = bench.hand = reaching(corner + rng.normal(0, 0.001, 3), pose)
        time.sleep(0.5)
        child.sendline()
    child.expect(r"touched to (\d+\.\d) mm")
    assert float(child.match[1]) < 4
    child.expect("Move the arm away")
    bench.hand = READY_RAD + np.array([1.2, 0, 0, 0, 0, 0])
    time.sleep(0.5)
    child.sendline()
    child.expect("Write this to")
    child.sendline("y")
    text, code = ended(child)
    assert code == 0, text
    (camera,) = load_calibration(tmp_path / "camera.json")
    mm, degrees = off(matrix_of(camera.mount), true_pose(bench.world, "front"))
    print(f"front, through the program: {mm:.1f} mm, {degrees:.2f} degrees, {camera.mount.error_px} px")
    assert (camera.serial, camera.model, camera.spec[1:]) == ("sim-front", "SIM D435", (848, 480, 30))
    assert camera.intrinsics.fx_px == pytest.approx(240 / math.tan(math.radians(21)), abs=0.1)
    assert camera.mount.moved_by == "base"
    assert mm < 6
    assert degrees < 1
    assert bench.chain.servos[0].get(feetech.TORQUE_ENABLE) == 0


@pytest.mark.slow
def test_a_camera_is_placed_by_a_board_at_a_stated_place_and_a_wrong_answer_writes_nothing(bench, tmp_path):
    words = ("camera", "--out", str(tmp_path / "arm.json"), *bench.simulated, "--serial", "sim-front")
    where = ("--board-at", "165,-105,90", "--height-mm", "1")
    for answer, expected in (("no", 2), ("y", 0)):
        child = bench.desk.start(*words, *where)
        child.expect("Move the arm away")
        child.sendline()
        child.expect("Write this to")
        child.sendline(answer)
        text, code = ended(child)
        assert code == expected, text
        assert (tmp_path / "camera.json").exists() == (answer == "y")
    (camera,) = load_calibration(tmp_path / "camera.json")
    mm, degrees = off(matrix_of(camera.mount), true_pose(bench.world, "front"))
    assert mm < 3
    assert degrees < 0.3


@pytest.mark.slow
def test_a_camera_on_the_wrist_is_placed_from_many_poses(bench, tmp_path):
    from edge_wam.sim.world import World

    page = np.asarray(Board().picture(dpi=200))
    scout = World(3, spec=with_board(page, PAGE_M))
    place_board(scout, BASE_FROM_PAGE)
    poses = [pose for pose, _ in gazes(scout, Board(), 10)]
    scout.place_arm(np.zeros(6))
    true = true_pose(scout, "wrist")
    scout.close()
    child = bench.desk.start(
        "camera", "--out", str(tmp_path / "arm.json"), *bench.simulated, "--serial", "sim-wrist",
        "--name", "wrist", "--moved-by", "wrist_roll",
    )  # fmt: skip
    child.expect("Is somebody holding it")
    bench.hand = poses[0]
    child.sendline("y")
    for pose in poses:
        child.expect("Hold the arm so that the camera sees the board")
        bench.hand = pose
        time.sleep(0.4)
        child.sendline()
    child.expect(r"\(10 so far\)")
    child.sendline("done")
    child.expect("Write this to")
    child.sendline("y")
    text, code = ended(child)
    assert code == 0, text
    (camera,) = load_calibration(tmp_path / "camera.json")
    mm, degrees = off(matrix_of(camera.mount), true)
    print(f"wrist, through the program: {mm:.1f} mm, {degrees:.2f} degrees")
    assert camera.mount.moved_by == "wrist_roll"
    assert mm < 5
    assert degrees < 0.5


@pytest.mark.slow
def test_verify_and_delay_move_the_arm_and_let_go(tmp_path):
    (tmp_path / "arm.json").write_text(SHIPPED.read_text())
    camera = camera_of("front", "sim-front", 424, 240)
    save_calibration(tmp_path / "camera.json", [camera])
    late_s = 0.040
    with Workbench(tmp_path, [camera], late_s=late_s, pose_rad=READY_RAD) as bench:
        desk = Desk(tmp_path, bench.port)
        child = desk.start("verify", *out(desk))
        child.expect("Is there room")
        child.sendline("y")
        text, code = ended(child)
        assert code == 0, text
        assert len(re.findall(r"degrees off +ok", text)) == 6
        assert not bench.world.torque_on.any()

        child = desk.start("delay", *out(desk), "--simulated", str(bench.cameras), bench.prefix)
        child.expect("Is there room")
        child.sendline("y")
        child.expect(r"shows it (-?\d+\.\d) ± (\d+\.\d) ms after it was so")
        found_ms, error_ms = float(child.match[1]), float(child.match[2])
        child.expect("Write the camera's delay")
        child.sendline("y")
        text, code = ended(child)
        assert code == 0, text
        assert not bench.world.torque_on.any()
    print(f"delay, through the program: put in {1e3 * late_s:.0f} ms, found {found_ms} ± {error_ms} ms")
    assert found_ms == pytest.approx(1e3 * late_s, abs=8)
    kept = json.loads((tmp_path / "camera.json").read_text())["cameras"]["front"]["delay_s"]
    assert kept == pytest.approx(found_ms / 1e3, abs=1e-4)


@pytest.mark.slow
def test_ctrl_c_while_the_arm_moves_lets_go_and_writes_nothing(tmp_path):
    (tmp_path / "arm.json").write_text(SHIPPED.read_text())
    camera = camera_of("front", "sim-front", 424, 240)
    save_calibration(tmp_path / "camera.json", [camera])
    with Workbench(tmp_path, [camera], pose_rad=READY_RAD) as bench:
        desk = Desk(tmp_path, bench.port)
        child = desk.start("delay", *out(desk), "--simulated", str(bench.cameras), bench.prefix)
        child.expect("Is there room")
        child.sendline("y")
        limit_s = time.monotonic() + 30
        while abs(bench.world.position_rad[0] - READY_RAD[0]) < 0.02:
            assert time.monotonic() < limit_s
            time.sleep(0.01)
        assert bench.world.torque_on.all()
        child.sendintr()
        text, code = ended(child)
        assert code == 130, text
        assert "Traceback" not in text, text
        assert not bench.world.torque_on.any()
    assert load_calibration(tmp_path / "camera.json")[0].delay_s is None


def test_the_board_is_written_where_it_is_wanted(tmp_path):
    text, code = ended(Desk(tmp_path).start("board", "page.pdf", port=False))
    assert code == 0
    assert "print it at 100 %" in text
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
