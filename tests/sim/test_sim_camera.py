"""The simulated cameras: pushed frames come out of a live pipeline, here or from another process."""

import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_wam.errors import CameraError
from edge_wam.mailbox import private_name
from edge_wam.robot import Sight, open_cameras
from edge_wam.sense.camera import (
    CameraSpec,
    CameraStale,
    CameraThread,
    load_calibration,
    save_calibration,
)
from edge_wam.sense.realsense import RealSenseCamera, Recording
from edge_wam.sim.camera import FrameFeeder, FrameInlet, FrameOutlet, SoftwareCameras
from edge_wam.sim.scene import FOVY_DEG, FRAME_HEIGHT_PX, FRAME_WIDTH_PX

ROOT = Path(__file__).parents[2]
CALIBRATION = load_calibration(ROOT / "calibration" / "so101-sim" / "camera.json")
SPECS = tuple(camera.spec for camera in CALIBRATION)
WAIT_S = 2.0  # for what is there already, or comes from another process
NONE_S = 0.02


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (240, 424, 3), dtype=np.uint8)


@pytest.fixture
def cameras():
    return SoftwareCameras(CALIBRATION)


@pytest.fixture
def opened(cameras):
    """Both cameras' pipelines, by name."""
    found = {spec.name: RealSenseCamera(spec, cameras.source(spec.name), now_s=lambda: 1.0) for spec in SPECS}
    for camera in found.values():
        camera.start()
    yield found
    for camera in found.values():
        camera.stop()


@pytest.fixture
def prefix(request):
    return private_name(request.node.name[:40])


# Pushed and fetched


def test_what_is_pushed_can_be_fetched_at_once_at_any_speed(cameras, opened):
    """Evaluation: 30 simulated seconds of both cameras, none lost, none late, in well under a second each."""
    image = {name: picture(i) for i, name in enumerate(opened)}
    for i in range(900):
        for name, camera in opened.items():
            image[name][0, 0, 0] = i % 256
            cameras.push(name, image[name], i / 30)
            frame = camera.newest(0.0)
            assert frame.sequence == i
            assert frame.t_s == (i / 30) * 1e3 / 1e3
            assert frame.image[0, 0, 0] == i % 256
    np.testing.assert_array_equal(frame.image, image[name])


def test_the_two_cameras_are_told_apart(cameras, opened):
    cameras.push("wrist", picture(1), 0.5)
    with pytest.raises(CameraStale):
        opened["front"].newest(NONE_S)
    np.testing.assert_array_equal(opened["wrist"].newest(WAIT_S).image, picture(1))


def test_the_caller_may_render_into_the_same_array_again(cameras, opened):
    image = picture(1)
    cameras.push("front", image, 0.5)
    image[:] = 0
    np.testing.assert_array_equal(opened["front"].newest(WAIT_S).image, picture(1))


def test_a_flipped_view_arrives_as_it_looks(cameras, opened):
    """OpenGL renders from the bottom up: a view with negative strides is what a renderer hands over."""
    cameras.push("front", picture(1)[::-1], 0.5)
    np.testing.assert_array_equal(opened["front"].newest(WAIT_S).image, picture(1)[::-1])


def test_a_reset_simulation_goes_on(cameras, opened):
    for t_s in (0.0, 1 / 30, 0.0, 1 / 30):
        cameras.push("front", picture(1), t_s)
        assert opened["front"].newest(WAIT_S).t_s == pytest.approx(t_s)


def test_the_lens_of_the_calibration_arrives_at_the_other_end(opened):
    for camera in CALIBRATION:
        assert opened[camera.spec.name].intrinsics == pytest.approx(camera.intrinsics, rel=1e-6)


def test_the_calibration_describes_the_cameras_of_the_scene():
    for camera in CALIBRATION:
        fovy_deg = math.degrees(camera.intrinsics.fovy_rad(camera.spec.height))
        assert fovy_deg == pytest.approx(FOVY_DEG[camera.spec.name], abs=0.01)
        assert camera.spec[1:3] == (FRAME_WIDTH_PX, FRAME_HEIGHT_PX)


def test_frames_nobody_listens_to_are_dropped(cameras):
    for i in range(100):
        cameras.push("front", picture(1), i / 30)
    camera = RealSenseCamera(SPECS[0], cameras.source("front"))
    camera.start()
    with pytest.raises(CameraStale):
        camera.newest(NONE_S)
    camera.stop()


@pytest.mark.parametrize("wrong", [picture(1)[:, :-1], picture(1)[..., :1], picture(1).astype(np.float32)])
def test_a_render_of_another_size_is_a_defect(cameras, wrong, prefix):
    with pytest.raises(ValueError, match="takes"):
        cameras.push("front", wrong, 0.0)
    if wrong.dtype == np.uint8:
        with FrameOutlet(prefix, SPECS) as outlet, pytest.raises(ValueError, match="takes"):
            outlet.put("front", wrong, 0.0)


def test_a_simulated_camera_records_and_plays_back(cameras, tmp_path):
    path = tmp_path / "wrist.db3"
    camera = RealSenseCamera(SPECS[1], cameras.source("wrist"), record_to=path)
    camera.start()
    for i in range(5):
        cameras.push("wrist", picture(i), 7.0 + i / 30)
        camera.newest(WAIT_S)
    camera.stop()
    played = RealSenseCamera(SPECS[1], Recording(path, real_time=False))
    played.start()
    for i in range(5):
        frame = played.newest(WAIT_S)
        np.testing.assert_array_equal(frame.image, picture(i))
        assert frame.t_s == pytest.approx(7.0 + i / 30, abs=2e-9)
    played.stop()


# Between processes


def test_the_inlet_takes_each_frame_once_and_only_the_newest(prefix):
    with FrameOutlet(prefix, SPECS) as outlet:
        inlet = FrameInlet(prefix, SPECS)
        assert inlet.take("front") is None
        for i in range(3):
            outlet.put("front", picture(i), i / 30)
        frame = inlet.take("front")
        assert (frame.camera, frame.t_s, frame.sequence) == ("front", 2 / 30, 3)
        np.testing.assert_array_equal(frame.image, picture(2))
        assert inlet.take("front") is None
        assert inlet.take("wrist") is None
        inlet.close()


def test_an_inlet_without_an_outlet_says_so(prefix):
    with pytest.raises(CameraError, match="try: start the simulated robot first"):
        FrameInlet(prefix, SPECS)


def test_an_inlet_of_another_size_says_so(prefix):
    with FrameOutlet(prefix, SPECS), pytest.raises(CameraError, match="does not render 64x48"):
        FrameInlet(prefix, [CameraSpec("front", 64, 48, 30)])


def test_a_closed_outlet_leaves_no_name_behind(prefix):
    outlet = FrameOutlet(prefix, SPECS)
    outlet.close()
    outlet.close()
    with pytest.raises(CameraError):
        FrameInlet(prefix, SPECS)


def test_who_reads_the_frames_of_a_robot_that_was_killed_reads_those_of_the_next(prefix):
    FrameOutlet(prefix, SPECS)  # killed: nobody closed it
    inlet = FrameInlet(prefix, SPECS)
    with FrameOutlet(prefix, SPECS) as outlet:
        outlet.put("front", picture(3), 0.5)
        assert inlet.take("front").t_s == 0.5
    inlet.close()


def test_feeding_moves_the_newest_frames_with_their_times(cameras, opened, prefix):
    with FrameOutlet(prefix, SPECS) as outlet:
        inlet = FrameInlet(prefix, SPECS)
        feeder = FrameFeeder(inlet, cameras)
        for name in opened:
            outlet.put(name, picture(1), 1 / 3)
            outlet.put(name, picture(2), 2 / 3)
        assert feeder.feed() == 2
        assert feeder.feed() == 0
        for camera in opened.values():
            frame = camera.newest(WAIT_S)
            assert frame.t_s == (2 / 3) * 1e3 / 1e3
            np.testing.assert_array_equal(frame.image, picture(2))
        assert feeder.pushed == 2
        inlet.close()


def test_the_policys_frames_are_as_old_as_each_cameras_calibration_says(tmp_path, prefix):
    """What `calibrate.py delay` found is taken off in the process that thinks, per camera."""
    front, wrist = CALIBRATION
    save_calibration(tmp_path / "camera.json", [front._replace(delay_s=0.04), wrist])
    with FrameOutlet(prefix, SPECS) as outlet:
        eyes = open_cameras(Sight(str(tmp_path), ("front", "wrist"), ("", ""), prefix, 0.5))
        eyes.start()
        try:
            for name in ("front", "wrist"):
                outlet.put(name, picture(1), 7.0)
            assert [frame.t_s for frame in eyes.newest(6.0, WAIT_S)] == pytest.approx([6.96, 7.0])
            assert eyes.newest(6.96, NONE_S) is None  # its age, too, is the delay's
        finally:
            eyes.stop()


ROBOT = """
import sys, time, numpy as np
from edge_wam.sense.camera import CameraSpec
from edge_wam.sim.camera import FrameOutlet
specs = [CameraSpec(name, 424, 240, 30) for name in ("front", "wrist")]
with FrameOutlet(sys.argv[1], specs) as outlet:
    image = np.empty((240, 424, 3), np.uint8)
    for i in range(int(sys.argv[2])):
        for name, ahead in (("front", 0), ("wrist", 100)):
            image[:] = (i + ahead) % 256
            outlet.put(name, image, i / 1000)
        time.sleep(float(sys.argv[3]))
    print("done", flush=True)
    sys.stdin.read()
"""


class Robot:
    """A process of its own that puts frames of one colour each, as fast as it can or at a pace."""

    def __init__(self, prefix, count, pace_s):
        self.process = subprocess.Popen(
            [sys.executable, "-c", ROBOT, prefix, str(count), str(pace_s)],
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _, errors = self.process.communicate("", timeout=20)
        assert errors == ""
        assert self.process.returncode == 0


def test_no_frame_of_another_process_is_ever_torn(prefix):
    """A writer that never pauses, a reader that never pauses: each frame is of one colour, and its own."""
    count = 1000
    with Robot(prefix, count, 0.0):
        inlet = FrameInlet(prefix, SPECS, timeout_s=10.0)
        seen = {"front": 0, "wrist": 0}
        deadline_s = time.monotonic() + 15.0
        while min(seen.values()) < count and time.monotonic() < deadline_s:
            for name, ahead in (("front", 0), ("wrist", 100)):
                frame = inlet.take(name)
                if frame is None:
                    continue
                i = frame.sequence - 1
                assert frame.sequence > seen[name]
                assert frame.t_s == i / 1000
                assert (frame.image == (i + ahead) % 256).all()
                seen[name] = frame.sequence
        assert seen == {"front": count, "wrist": count}
        inlet.close()


def test_frames_flow_from_the_robots_process_to_the_camera_threads(cameras, prefix):
    threads = [CameraThread(RealSenseCamera(spec, cameras.source(spec.name))) for spec in SPECS]
    for thread in threads:
        thread.start()
    count = 20
    with Robot(prefix, count, 1 / 60):
        inlet = FrameInlet(prefix, SPECS, timeout_s=10.0)
        feeder = FrameFeeder(inlet, cameras)
        feeder.start()
        for thread, ahead in zip(threads, (0, 100), strict=True):
            frame = thread.wait((count - 1.5) / 1000, 10.0)
            assert frame is not None, thread.fault
            assert frame.t_s == pytest.approx((count - 1) / 1000, abs=1e-12)
            assert (frame.image == (count - 1 + ahead) % 256).all()
        assert feeder.pushed > 2
        feeder.stop()
        feeder.stop()
        inlet.close()
    for thread in threads:
        thread.stop()


def test_a_robot_that_died_leaves_starved_cameras(cameras, prefix):
    camera = RealSenseCamera(SPECS[0], cameras.source("front"), now_s=lambda: 1.5)
    camera.start()
    with Robot(prefix, 1, 0.0) as robot:
        inlet = FrameInlet(prefix, SPECS, timeout_s=10.0)
        assert robot.process.stdout.readline() == "done\n"
        feeder = FrameFeeder(inlet, cameras)
        assert feeder.feed() == 2
        assert camera.newest(WAIT_S).t_s == 0.0
        robot.process.kill()
        robot.process.wait()
        robot.process.returncode = 0
    assert feeder.feed() == 0
    with pytest.raises(CameraStale, match="starved") as caught:
        camera.newest(NONE_S)
    assert caught.value.age_s == 1.5
    camera.stop()
    FrameOutlet(prefix, SPECS).close()  # what the killed one left behind
    inlet.close()
