"""How old a camera's pictures are: arithmetic on tracks; a delay put into a simulated camera, found."""

from __future__ import annotations

import argparse
import time

import numpy as np
import pytest
from person import SHIPPED, Person
from workbench import Workbench, camera_of

from edge_wam.errors import CalibrationError, CameraError, EdgeWamError
from edge_wam.sense.camera import load_calibration, save_calibration
from edge_wam.service import delay
from edge_wam.service.delay import (
    DURATION_S,
    PARTS,
    Track,
    camera_lag,
    changes,
    coarse,
    pattern_rad,
    servo_lag,
)
from edge_wam.service.delay_talk import Watcher, calibrate_delay
from edge_wam.sim.world import READY_RAD, Scene
from edge_wam.types import Frame


def joint_track(seed=0):
    """What an encoder says every 10 ms or so, in counts."""
    t_s = np.arange(0, DURATION_S + 2, 0.01) + np.random.default_rng(seed).uniform(0, 0.002, 1400)
    return Track(t_s, np.round([pattern_rad(t - 1) / 0.00153 for t in t_s]) * 0.00153)


def pictures_of(true_delay_s, noise=0.02, rate_hz=30):
    """(stamps, changes) of a camera that is true_delay_s late."""
    t_s = np.arange(0, DURATION_S + 2, 1 / rate_hz)
    moved = np.abs(np.diff([100 * pattern_rad(t - 1) for t in t_s]))
    rng = np.random.default_rng(1)
    return t_s + true_delay_s, np.hypot(moved, 0.1) + rng.normal(0, noise, len(moved))


@pytest.mark.parametrize("true_s", [-0.02, 0.0, 0.0137, 0.045, 0.12, 0.4])
def test_a_delay_is_found_to_a_millisecond(true_s):
    found = camera_lag(joint_track(), *pictures_of(true_s))
    assert found.delay_s == pytest.approx(true_s, abs=0.001)
    assert found.error_s < 0.002
    assert found.correlation > 0.95


def test_a_camera_that_looks_elsewhere_is_refused():
    stamps_s, _ = pictures_of(0.03)
    noise = np.random.default_rng(0).uniform(0, 1, len(stamps_s) - 1)
    with pytest.raises(CalibrationError, match="does not see it move"):
        camera_lag(joint_track(), stamps_s, noise)
    with pytest.raises(CalibrationError, match="does not see it move"):
        camera_lag(joint_track(), stamps_s, np.zeros(len(stamps_s) - 1))


def test_a_delay_that_jumps_half_way_is_refused():
    early, late = pictures_of(0.02), pictures_of(0.08)
    half = len(early[0]) // 2
    stamps_s = np.concatenate([early[0][:half], late[0][half:]])
    with pytest.raises(CalibrationError, match="not the same throughout"):
        camera_lag(joint_track(), stamps_s, np.concatenate([early[1][:half], late[1][half:]]))


@pytest.mark.parametrize("part", range(PARTS))
def test_one_disturbed_part_spoils_nothing_and_two_are_refused(part):
    stamps_s, changed = pictures_of(0.03)
    parts = np.array_split(np.arange(len(changed)), PARTS)
    late = np.interp(stamps_s[1:], stamps_s[1:] + 0.106, changed)  # as if the computer had stalled
    spoilt = changed.copy()
    spoilt[parts[part]] = late[parts[part]]
    found = camera_lag(joint_track(), stamps_s, spoilt)
    assert found.delay_s == pytest.approx(0.03, abs=0.001)
    assert found.error_s < 0.003
    spoilt[parts[(part + 2) % PARTS]] = late[parts[(part + 2) % PARTS]]
    with pytest.raises(CalibrationError, match=r"not the same throughout|does not see it move"):
        camera_lag(joint_track(), stamps_s, spoilt)


def test_a_servo_that_follows_late_is_found():
    told = joint_track()
    measured = Track(told.t_s, np.interp(told.t_s - 0.085, *told))
    assert servo_lag(told, measured).delay_s == pytest.approx(0.085, abs=0.001)
    with pytest.raises(CalibrationError, match="does not follow"):
        servo_lag(told, Track(told.t_s, np.zeros(len(told.t_s))))


def test_the_pattern_begins_and_ends_at_rest_and_stays_small():
    t_s = np.arange(-1, DURATION_S + 1, 0.001)
    at = np.array([pattern_rad(t) for t in t_s])
    assert (
        pattern_rad(0) == pattern_rad(DURATION_S) == pattern_rad(-0.5) == pattern_rad(DURATION_S + 0.5) == 0
    )
    assert 0.5 * delay.AMPLITUDE_RAD < np.abs(at).max() < 1.2 * delay.AMPLITUDE_RAD
    speed = np.abs(np.diff(at)) / 0.001
    assert speed.max() < 1.0  # rad/s, below what the guard allows
    assert speed[[999, 13000]].max() < 0.01


def test_pictures_are_made_coarse_and_compared():
    image = np.zeros((243, 424, 3), np.uint8)
    image[:8, 8:16] = 240
    small = coarse(image)
    assert small.shape == (30, 53)
    assert small[0, 1] == 240
    assert small.sum() == 240
    assert changes([small, small, small * 0]) == pytest.approx([0, 240 / np.sqrt(30 * 53)])


# --- the whole, on the simulated arm --------------------------------------------------------


def lay_cubes(world):
    """Something that the camera on the gripper can see move."""
    world.set_table(
        Scene(3, ("red", "blue"), np.array([[0.2, 0.03, 0.2], [0.22, -0.04, 0.5]]), np.array([0.03, 0.03]))
    )


def words(bench, folder, name, joint=None):
    return argparse.Namespace(
        out=folder / "arm.json", name=name, joint=joint, servos="feetech", baud=1_000_000,
        simulated=(str(bench.cameras), bench.prefix),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "joint", "late_s"),
    [("front", "shoulder_pan", 0.0), ("front", "wrist_roll", 0.060), ("wrist", "gripper", 0.025)],
)
def test_a_delay_put_into_a_simulated_camera_is_found_again(tmp_path, name, joint, late_s):
    (tmp_path / "arm.json").write_text(SHIPPED.read_text())
    camera = camera_of(name, f"sim-{name}", 424, 240)
    save_calibration(tmp_path / "camera.json", [camera])
    with Workbench(tmp_path, [camera], late_s=late_s, pose_rad=READY_RAD, lay=lay_cubes) as bench:
        person = Person(None, ["y", "y"])
        found = calibrate_delay(person, words(bench, tmp_path, name, joint), bench.port)
        assert not bench.world.torque_on.any()  # let go
    print(f"{name} {joint}: put in {1e3 * late_s:.0f} ms, found {found}")
    assert found.camera.delay_s == pytest.approx(late_s, abs=0.008)
    assert 0.0 < found.servo.delay_s < 0.2
    (kept,) = load_calibration(tmp_path / "camera.json")
    assert kept.delay_s == pytest.approx(found.camera.delay_s, abs=1e-4)


def test_nothing_moves_before_yes(tmp_path):
    save_calibration(tmp_path / "camera.json", [camera_of("front", "sim-front", 424, 240)])
    asked = argparse.Namespace(out=tmp_path / "arm.json", name="front", joint=None)
    with pytest.raises(EdgeWamError, match="nothing was moved"):
        calibrate_delay(Person(None, [""]), asked, "/dev/nowhere")


def test_a_camera_that_was_not_calibrated_yet_is_named(tmp_path):
    asked = argparse.Namespace(out=tmp_path / "arm.json", name="front", joint=None)
    with pytest.raises(CalibrationError, match=r"no camera 'front' .* scripts/calibrate.py camera first"):
        calibrate_delay(Person(None), asked, "/dev/nowhere")


class Startable:
    """A camera that is fetched from once it has been stopped: what librealsense makes a crash of."""

    def __init__(self):
        self.stopped, self.misused = False, []

    def newest(self, timeout_s):
        time.sleep(0.005)
        if self.stopped:
            self.misused.append(timeout_s)
        return Frame("front", np.zeros((16, 16, 3), np.uint8), 1.0, 1)


def test_the_watcher_has_ended_before_its_camera_is_stopped_whatever_happened():
    eye = Startable()
    watcher = Watcher(eye)

    def interrupted():
        with watcher:
            time.sleep(0.03)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    eye.stopped = True
    count = len(watcher.seen()[0])
    time.sleep(0.03)
    assert count == len(watcher.seen()[0]) > 0
    assert eye.misused == []


def test_a_camera_that_stops_on_the_way_is_said_to_have():
    class Broken(Startable):
        def newest(self, timeout_s):
            raise CameraError("starved")

    with Watcher(Broken()) as watcher:
        time.sleep(0.02)
    with pytest.raises(CameraError, match="starved"):
        watcher.seen()
