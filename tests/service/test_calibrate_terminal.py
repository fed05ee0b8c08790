"""scripts/calibrate.py as a person meets it: the program at a terminal of its own, its arm behind another."""

from __future__ import annotations

import contextlib
import json
import math
import re
import signal
import sys
import time

import numpy as np
import pytest
from person import HIGH_RAD, LOW_RAD, REST_RAD, ROOT, SHIPPED, by_hand
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
from edge_wam.act.calibration import Calibration
from edge_wam.act.kinematics import fingertip_m
from edge_wam.sense.camera import load_calibration, save_calibration
from edge_wam.service.board import CORNERS, Board
from edge_wam.service.camera_pose import matrix_of
from edge_wam.service.eeprom import FeetechEeprom
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import PtyPort
from edge_wam.sim.workbench import place_board, with_board
from edge_wam.sim.world import READY_RAD

pexpect = pytest.importorskip("pexpect")


class Desk:
    """Six servos on a pty, and calibrate.py started in a folder of its own."""

    def __init__(self, folder, port=""):
        self.folder, self.port = folder, port

    def start(self, *words, port=True):
        words = [str(ROOT / "scripts/calibrate.py"), *words, *(["--port", self.port] if port else [])]
        child = pexpect.spawn(
            sys.executable,
            words,
            cwd=str(self.folder),
            encoding="utf-8",
            timeout=30,
            # A job in a shell's background has it ignored, and hands that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        child.setwinsize(50, 160)
        return child


def sweep(desk, child, way):
    """The arm along a way, by hand: on as soon as the program has asked where it is. The table is read
    meanwhile, since no terminal stands still."""
    for pose in way:
        desk.put(pose)
        until = desk.asked + 2  # the first may have been answered before
        limit_s = time.monotonic() + 30
        while desk.asked < until:
            assert time.monotonic() < limit_s
            with contextlib.suppress(pexpect.TIMEOUT):
                child.read_nonblocking(4096, 0.005)


def ended(child):
    """The rest of what it said, and its exit code."""
    child.expect(pexpect.EOF)
    child.close()
    return child.before.replace("\r\n", "\n"), child.exitstatus


@pytest.fixture
def desk(tmp_path):
    """The arm is moved by put."""
    plant = KinematicPlant(REST_RAD, LOW_RAD, HIGH_RAD)
    chain = ServoChain(plant, Calibration.load(SHIPPED))
    made = Desk(tmp_path)
    made.chain, made.plant, made.asked = chain, plant, 0

    def tap(data):
        made.asked += 1

    with PtyPort(chain, wire_time=False, tap=tap) as wire:
        made.port = wire.path

        def put(pose):
            plant.position_rad[:] = pose
            plant.goal_rad[:] = pose
            chain.update()

        made.put = put
        yield made


def eeprom(chain):
    return [[servo.get(register) for register in FeetechEeprom.registers] for servo in chain.servos]


def out(desk):
    return "--out", str(desk.folder / "arm.json")


@pytest.mark.slow
def test_an_arm_is_swept_after_a_joint_was_forgotten(desk):
    (desk.folder / "arm.json").write_text("the former one")
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendline("y")
    child.expect("press ENTER")
    sweep(desk, child, by_hand(only=range(5), steps=12))
    child.expect(r"shoulder_pan .* ok")  # the table that changes
    child.sendline()
    child.expect("not yet: gripper was moved through 0 degrees")
    child.expect("press ENTER")
    sweep(desk, child, by_hand(only=[5], steps=12))
    child.sendline()
    child.expect("Write this to")
    child.sendline("y")
    text, code = ended(child)
    assert code == 0, text
    assert "written: " in text
    made, true = Calibration.load(desk.folder / "arm.json"), Calibration.load(SHIPPED)
    for ours, right in zip(made.joints[:5], true.joints, strict=False):
        assert abs(ours.homing_offset - right.homing_offset) <= 40  # the wrist's stops are not symmetrical
    assert [[j.homing_offset, j.range_min, j.range_max] for j in made.joints] == eeprom(desk.chain)
    (kept,) = desk.folder.glob("*.bak")
    assert kept.read_text() == "the former one"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["sweeping", "asked"])
def test_ctrl_c_leaves_servos_and_file_as_they_were(desk, where):
    (desk.folder / "arm.json").write_text("the former one")
    before = eeprom(desk.chain)
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendline("y")
    child.expect("press ENTER")
    sweep(desk, child, by_hand(steps=12))
    assert eeprom(desk.chain) != before  # blank, while they are swept
    if where == "asked":
        child.sendline()
        child.expect("Write this to")
    child.sendintr()
    text, code = ended(child)
    assert code == 130
    assert "interrupted; everything is as it was" in text
    assert "Traceback" not in text
    assert eeprom(desk.chain) == before
    assert [servo.get(feetech.LOCK) for servo in desk.chain.servos] == [1] * 6
    assert [path.name for path in desk.folder.iterdir()] == ["arm.json"]
    assert (desk.folder / "arm.json").read_text() == "the former one"


def test_a_wrong_answer_changes_nothing(desk):
    before = eeprom(desk.chain)
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendline("what?")
    text, code = ended(child)
    assert (code, eeprom(desk.chain)) == (2, before)
    assert "calibrate: nothing was changed: hold the arm" in text


def test_an_arm_is_found(desk):
    text, code = ended(desk.start("find"))
    assert code == 0
    assert len(re.findall(r"STS3215 +feetech +1000000 +12\.", text)) == 6
    assert f"next: scripts/calibrate.py arm --port {desk.port} --servos feetech --baud 1000000" in text


@pytest.mark.slow
def test_ids_are_given_to_one_servo_after_another(desk):
    servos, left = desk.chain.servos, list(reversed(desk.chain.servos))
    for servo in servos:
        servo.put(feetech.ID, 1)
        servo.put(feetech.BAUD, 5)  # 76800, which nobody tries: not connected
    child = desk.start("ids")
    for name, servo_id in zip(("gripper", "wrist_roll"), (6, 5), strict=True):
        child.expect(rf"\({name}\) alone, no other; then press ENTER")
        for servo in servos:
            servo.put(feetech.BAUD, 5)
        left.pop(0).put(feetech.BAUD, 0)
        child.sendline()
        child.expect(rf"{name} has the id {servo_id} \(it was 1\)")
    child.expect(r"\(wrist_flex\) alone")
    child.sendintr()
    assert ended(child)[1] == 130
    assert [servo.get(feetech.ID) for servo in servos] == [1, 1, 1, 1, 5, 6]


def test_nobody_at_the_terminal_is_said_in_a_line(desk):
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendeof()
    text, code = ended(child)
    assert code == 2
    assert "nobody answers" in text


# --- with cameras, in real time -------------------------------------------------------------


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


def test_a_terminal_that_is_closed_while_sweeping_changes_nothing(desk):
    before = eeprom(desk.chain)
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendline("y")
    child.expect("press ENTER")
    child.sendeof()
    text, code = ended(child)
    assert code == 2
    assert "nobody answers" in text
    assert eeprom(desk.chain) == before
