"""RealSenseCamera opened, refused, closed and recorded, by the real librealsense."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from software_camera import NONE_S, SPEC, WAIT_S, Bench, Size, picture, refusal, rs

from edge_wam.errors import CameraError
from edge_wam.sense.camera import CameraSpec, CameraStale, CameraThread
from edge_wam.sense.realsense import Device, RealSenseCamera, Recording, Simulated, sdk

# What is refused, and how


def test_a_wrong_serial_lists_what_is_there():
    bench = Bench().add("123").add("456", "Intel RealSense D405", usb="2.1")
    line = refusal(Device("789", bench.context))
    assert "no RealSense with serial '789'" in line
    assert "D435 123" in line
    assert "D405 456, on USB 2.1" in line


def test_no_camera_at_all_is_said():
    assert "found no RealSense at all; try: plug it in" in refusal(Device("789"))


SIZES = (
    Size(64, 48, 15),
    Size(64, 48, 30),
    Size(64, 48, 60),
    Size(640, 480, 30),
    Size(32, 32, 30, rs.format.bgr8),
)


def test_a_wrong_size_lists_the_sizes_nearest_first():
    bench = Bench().add(sizes=SIZES)
    line = refusal(Device("123", bench.context), CameraSpec("front", 128, 96, 30))
    assert "no 128x96 RGB8 at 30 Hz; it has 64x48 at 15, 30, 60 Hz; 640x480 at 30 Hz" in line


def test_a_wrong_rate_lists_the_rates():
    bench = Bench().add(sizes=SIZES)
    assert "64x48 at 15, 30, 60 Hz" in refusal(Device("123", bench.context), CameraSpec("front", 64, 48, 25))


def test_another_format_does_not_count():
    bench = Bench().add(sizes=SIZES)
    assert "no 32x32 RGB8" in refusal(Device("123", bench.context), CameraSpec("front", 32, 32, 30))


def test_a_camera_in_use_is_said(bench, opened):
    opened(Device("123", bench.context))
    assert "does not start" in refusal(Device("123", bench.context))


def test_a_missing_sdk_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrealsense2", None)
    with pytest.raises(CameraError, match="pip install pyrealsense2"):
        sdk()


# Opening and closing


def test_a_stopped_camera_starts_again(bench, opened):
    camera = opened(Device("123", bench.context))
    for stamp_ms in (1000.0, 500.0):
        bench.push(stamp_ms)
        camera.newest(WAIT_S)
        camera.stop()
        camera.stop()
        camera.start()
    with pytest.raises(CameraStale, match="no frame since the start"):
        camera.newest(NONE_S)


def test_misuse_is_a_defect_not_a_message_for_people(bench, opened):
    with pytest.raises(RuntimeError, match="not started"):
        RealSenseCamera(SPEC, Device("123", bench.context)).newest(0.0)
    camera = opened(Device("123", bench.context))
    with pytest.raises(RuntimeError, match="started already"):
        camera.start()


def test_a_camera_thread_keeps_the_newest_frame_of_a_live_pipeline(bench):
    thread = CameraThread(RealSenseCamera(SPEC, Simulated("123", bench.context)))
    thread.start()
    for i in range(1, 30):
        bench.push(i * 1000.0)
        assert thread.wait(i - 0.5, WAIT_S).t_s == i
    assert thread.fault is None
    thread.stop()


def test_a_process_that_forgets_to_stop_still_ends_quietly(tmp_path):
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import software_camera as t
from edge_wam.sense.camera import CameraThread
from edge_wam.sense.realsense import Simulated
bench = t.Bench().add()
camera = CameraThread(t.RealSenseCamera(t.SPEC, Simulated("123", bench.context)))
camera.start(); bench.push(1000.0); assert camera.wait(0.5, 2.0)
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Recordings


COUNT = 40  # more than the 32 buffers that the SDK has for a recording


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """COUNT frames at 30 Hz of a camera's life long ago, written by the SDK."""
    path = tmp_path_factory.mktemp("recording") / "front.db3"
    bench = Bench().add()
    camera = RealSenseCamera(SPEC, Simulated("123", bench.context), record_to=path)
    camera.start()
    for i in range(COUNT):
        bench.push(5000.0 + i / 30 * 1e3, picture(i), number=i)
        camera.newest(WAIT_S)
        time.sleep(1 / 60)  # the SDK dates what it writes with its own clock, which has no seam
    camera.stop()
    return path


def frames_of(camera):
    frames = []
    while True:
        try:
            frames.append(camera.newest(WAIT_S))
        except CameraError as error:
            over = error
            break
    assert not isinstance(over, CameraStale)
    assert f"the recording is over after {len(frames)} frames" in str(over)
    return frames


def test_a_recording_played_at_leisure_has_every_frame_at_its_time(recording, opened):
    camera = opened(Recording(recording, real_time=False))
    frames = frames_of(camera)
    assert len(frames) == COUNT
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))
        assert frame.sequence == i
        assert frame.t_s == pytest.approx(5.0 + i / 30, abs=2e-9)  # the file keeps nanoseconds


def test_a_recording_played_at_leisure_waits_for_a_slow_reader(recording, opened):
    camera = opened(Recording(recording, real_time=False))
    first = camera.newest(WAIT_S)
    time.sleep(0.1)
    assert [first.sequence, camera.newest(WAIT_S).sequence, camera.newest(WAIT_S).sequence] == [0, 1, 2]


def test_a_recording_played_in_real_time_is_dated_now(recording, opened):
    begin_s = time.monotonic()
    camera = opened(Recording(recording))
    frames = frames_of(camera)
    end_s = time.monotonic()
    assert len(frames) > COUNT / 2  # a busy machine may miss some, as with a camera
    for frame in frames:
        np.testing.assert_array_equal(frame.image, picture(frame.sequence))
        assert begin_s - 1.0 < frame.t_s < end_s
    last = frames[-1]
    steps_s = [(last.sequence - f.sequence) / 30 - (last.t_s - f.t_s) for f in frames[len(frames) // 2 :]]
    assert max(map(abs, steps_s)) < 0.5  # the recorded distances, but for a first guess that was corrected


def test_a_recording_of_another_size_is_refused(recording):
    line = refusal(Recording(recording), CameraSpec("front", 128, 96, 30))
    assert "it has 64x48 at 30 Hz" in line
    assert str(recording) in line


def test_what_is_no_recording_is_refused(tmp_path):
    path = tmp_path / "x.db3"
    assert "there is no recording" in refusal(Recording(path))
    path.write_text("not a recording")
    assert "is no recording" in refusal(Recording(path))


def test_a_recording_is_never_overwritten(bench, recording):
    before = recording.read_bytes()
    assert "can only record to a new .db3 file" in refusal(Device("123", bench.context), record_to=recording)
    assert recording.read_bytes() == before
