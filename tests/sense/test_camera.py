"""camera.json, and the thread that keeps the newest frame. The camera is faked at its Protocol."""

import json
import math
import queue
from pathlib import Path

import numpy as np
import pytest

from edge_wam.errors import CalibrationError, CameraError
from edge_wam.sense.camera import (
    CameraStale,
    CameraThread,
    Intrinsics,
    Mount,
    load_calibration,
    newest_frames,
    save_calibration,
)
from edge_wam.types import Frame

SHIPPED = Path(__file__).parents[2] / "calibration" / "so101-sim" / "camera.json"
WAIT_S = 5.0  # only ever waited for in a failing test


def frame(t_s, name="front"):
    return Frame(name, np.zeros((2, 2, 3), np.uint8), t_s, 0)


class ScriptedCamera:
    """What `newest` and `start` do is put into queues: a frame to return or an error to raise."""

    def __init__(self, name="front"):
        self.name, self.opened, self.is_open = name, 0, False
        self.script, self.starts = queue.Queue(), queue.Queue()

    def start(self):
        assert not self.is_open
        if not self.starts.empty():
            raise self.starts.get()
        self.opened, self.is_open = self.opened + 1, True

    def newest(self, timeout_s):
        assert self.is_open
        try:
            item = self.script.get(timeout=timeout_s)
        except queue.Empty:
            raise CameraStale("nothing", 0.0) from None
        if isinstance(item, Exception):
            raise item
        return item

    def stop(self):
        self.is_open = False


@pytest.fixture
def camera():
    return ScriptedCamera()


@pytest.fixture
def thread(camera):
    thread = CameraThread(camera, stale_s=0.5, reopen_s=0.01)
    yield thread
    thread.stop()


def test_there_is_no_frame_before_the_first_and_its_age_is_infinite(thread):
    thread.start()
    assert thread.newest() is None
    assert thread.age_s() == math.inf
    assert thread.fault is None


def test_only_the_newest_frame_is_kept(camera, thread):
    for t_s in (1.0, 2.0, 3.0):
        camera.script.put(frame(t_s))
    thread.start()
    assert thread.wait(2.5, WAIT_S).t_s == 3.0
    assert thread.newest().t_s == 3.0


def test_waiting_for_a_newer_frame_ends_in_none_when_there_is_none(camera, thread):
    camera.script.put(frame(1.0))
    thread.start()
    assert thread.wait(0.5, WAIT_S).t_s == 1.0
    assert thread.wait(1.0, 0.01) is None


def test_the_age_is_told_from_the_exposure(camera):
    camera.script.put(frame(1.0))
    thread = CameraThread(camera, now_s=lambda: 1.75)
    thread.start()
    thread.wait(0.0, WAIT_S)
    assert thread.age_s() == 0.75
    thread.stop()


def test_a_camera_that_cannot_open_is_told_to_the_caller(camera, thread):
    camera.starts.put(CameraError("not there"))
    with pytest.raises(CameraError, match="not there"):
        thread.start()


def test_a_stale_camera_shows_as_a_fault_and_a_new_frame_clears_it(camera, thread):
    camera.script.put(frame(1.0))
    thread.start()
    thread.wait(0.0, WAIT_S)
    camera.starts.put(CameraError("still unplugged"))
    camera.script.put(CameraStale("starved", 9.0))
    camera.script.put(frame(2.0))
    assert thread.wait(1.0, WAIT_S).t_s == 2.0
    assert thread.fault is None
    assert thread.reopened == 1  # the start that failed does not count
    assert camera.opened == 2


def test_the_fault_says_why_and_the_last_frame_stays(camera):
    thread = CameraThread(camera, stale_s=0.5, reopen_s=100.0)
    camera.script.put(frame(1.0))
    thread.start()
    thread.wait(0.0, WAIT_S)
    camera.script.put(CameraStale("starved since 0.6 s", 0.6))
    camera.script.put(CameraStale("a moment", 0.1))  # not worth a word: the fault stays what it was
    while not camera.script.empty():
        thread.wait(1.0, 0.01)
    thread.stop()
    assert thread.fault == "starved since 0.6 s"
    assert thread.newest().t_s == 1.0
    assert thread.reopened == 0


def test_an_end_is_not_reopened(camera, thread):
    camera.script.put(CameraError("the recording is over"))
    thread.start()
    thread._thread.join(WAIT_S)
    assert thread.fault == "the recording is over"
    assert camera.opened == 1


def test_a_defect_in_the_driver_shows_as_a_fault_and_the_camera_is_reopened(camera, thread):
    camera.script.put(RuntimeError("usb burp"))
    camera.script.put(frame(1.0))
    thread.start()
    assert thread.wait(0.0, WAIT_S).t_s == 1.0
    assert thread.reopened == 1


def test_stopping_closes_the_camera_and_may_be_repeated(camera, thread):
    thread.start()
    thread.stop()
    thread.stop()
    assert not camera.is_open


def test_one_frame_a_camera_in_their_order_or_none():
    front, wrist = ScriptedCamera("front"), ScriptedCamera("wrist")
    threads = [CameraThread(camera) for camera in (front, wrist)]
    for thread in threads:
        thread.start()
    front.script.put(frame(2.0, "front"))
    assert newest_frames(threads, 1.0, 0.02) is None
    wrist.script.put(frame(2.1, "wrist"))
    assert [f.camera for f in newest_frames(threads, 1.0, WAIT_S)] == ["front", "wrist"]
    for thread in threads:
        thread.stop()


# camera.json


def test_the_shipped_calibration_has_a_front_and_a_wrist_camera_of_one_size():
    front, wrist = load_calibration(SHIPPED)
    assert (front.spec.name, wrist.spec.name) == ("front", "wrist")
    assert front.spec[1:] == wrist.spec[1:] == (424, 240, 30)
    assert math.degrees(front.intrinsics.fovy_rad(240)) == pytest.approx(42, abs=0.01)  # D435, colour
    assert math.degrees(wrist.intrinsics.fovy_rad(240)) == pytest.approx(58, abs=0.01)  # D405


def test_a_wider_lens_sees_more():
    assert Intrinsics(200, 200, 0, 0).fovy_rad(240) > Intrinsics(300, 300, 0, 0).fovy_rad(240)


def without(key):
    return lambda tree: tree["cameras"]["front"].pop(key)


def put(key, value):
    return lambda tree: tree["cameras"]["front"].update({key: value})


def mounted(**change):
    mount = {
        "moved_by": "base",
        "position_m": [0.5, 0, 0.4],
        "quaternion_wxyz": [1, 0, 0, 0],
        "error_px": 0.2,
    }
    return put("mount", mount | change)


def test_what_is_saved_is_loaded_again_and_what_was_there_is_kept(tmp_path):
    front, wrist = load_calibration(SHIPPED)
    assert (front.mount, front.delay_s) == (None, None)
    mount = Mount("wrist_roll", (0.1, -0.2, 0.3), (0.5, -0.5, 0.5, -0.5), 0.25)
    cameras = (front._replace(delay_s=0.0315), wrist._replace(mount=mount))
    path = tmp_path / "me" / "camera.json"
    assert save_calibration(path, [front]) is None
    first, second = save_calibration(path, cameras), save_calibration(path, cameras)
    assert load_calibration(path) == cameras
    assert load_calibration(first) == (front,)
    assert load_calibration(second) == cameras  # both within a second
    assert sorted(path.parent.iterdir()) == sorted([path, first, second])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("serial"), "'front' needs serial"),
        (without("fx_px"), "'front' needs fx_px"),
        (put("width", 424.0), "width, a whole number"),
        (put("width", True), "width, a whole number"),
        (put("fps", 0), "fps, a whole number above 0, and has 0"),
        (put("cx_px", math.nan), "cx_px, a number above 0"),
        (put("fy_px", math.inf), "fy_px, a number above 0"),
        (put("serial", ""), "serial, a word"),
        (put("seriel", "1"), "unknown 'seriel' (did you mean 'serial'?)"),
        (put("serial", "sim-wrist"), "'sim-wrist' stands at more than one camera"),
        (put("delay_s", "40 ms"), "delay_s '40 ms', expected seconds"),
        (put("delay_s", 40.0), "delay_s 40.0, expected seconds, 1.0 at most"),
        (mounted(moved_by="gripper_roll"), "mount.moved_by is 'gripper_roll', expected one of base"),
        (mounted(position_m=[0, 0]), "mount.position_m is [0, 0], expected 3 numbers"),
        (mounted(position_m=[0, 0, math.nan]), "expected 3 numbers"),
        (mounted(quaternion_wxyz=[1, 0, 0, 1]), "expected one of length 1"),
        (mounted(error_px=-0.1), "mount.error_px is -0.1, expected pixels"),
        (mounted(yaw=0.0), "expected mount to have moved_by, position_m, quaternion_wxyz, error_px"),
        (lambda tree: tree.update(schema=2), '"schema": 1'),
        (lambda tree: tree["cameras"].update(front=[]), "'front' is not a table"),
    ],
)
def test_an_unsound_calibration_is_refused_in_one_line(tmp_path, change, says):
    tree = json.loads(SHIPPED.read_text())
    change(tree)
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(CalibrationError) as caught:
        load_calibration(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_torn_calibration_is_refused(tmp_path):
    with pytest.raises(CalibrationError, match="try: copy"):
        load_calibration(tmp_path / "camera.json")
    (tmp_path / "camera.json").write_text('{"schema": 1,')
    with pytest.raises(CalibrationError, match="not JSON"):
        load_calibration(tmp_path / "camera.json")
