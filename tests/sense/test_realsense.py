"""RealSenseCamera against the real librealsense. The fake is a software device: the SDK's own wire."""

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edge_wam.errors import CameraError
from edge_wam.sense.camera import CameraSpec, CameraStale, CameraThread
from edge_wam.sense.realsense import Device, RealSenseCamera, Recording, Simulated, sdk

rs = sdk()
SPEC = CameraSpec("front", 64, 48, 30)
WAIT_S = 2.0  # for what is there already: only a failing test waits
NONE_S = 0.02  # for what will not come
HARDWARE, SYSTEM = rs.timestamp_domain.hardware_clock, rs.timestamp_domain.system_time
GLOBAL = rs.timestamp_domain.global_time


class Size(NamedTuple):
    width: int
    height: int
    fps: int
    format: object = rs.format.rgb8


ONE_SIZE = (Size(64, 48, 30),)


class Bench:
    """Software devices in one context, pushed to with any stamp, clock and metadata."""

    def __init__(self):
        self.context, kept = rs.context(), []
        self.context.set_devices_changed_callback(lambda event: kept.append(event.get_new_devices()))
        self.sensors, self.profiles, self.kept, self.number = {}, {}, kept, 0

    def add(self, serial="123", name="Intel RealSense D435", sizes=ONE_SIZE, usb="3.2"):
        device = rs.software_device()
        device.register_info(rs.camera_info.name, name)
        device.register_info(rs.camera_info.serial_number, serial)
        device.register_info(rs.camera_info.usb_type_descriptor, usb)
        sensor = device.add_sensor("RGB Camera")
        for uid, size in enumerate(sizes):
            stream = rs.video_stream()
            stream.type, stream.index, stream.uid = rs.stream.color, 0, uid
            stream.width, stream.height, stream.fps = size.width, size.height, size.fps
            stream.bpp, stream.fmt = 3, size.format
            stream.intrinsics = rs.intrinsics()
            profile = sensor.add_video_stream(stream, uid == 0).as_video_stream_profile()
            self.profiles.setdefault(serial, profile)
        device.add_to(self.context)
        self.sensors[serial] = sensor
        self.kept.append(device)
        return self

    def push(self, stamp_ms, image=None, *, serial="123", domain=HARDWARE, number=None):
        self.number = self.number + 1 if number is None else number
        frame = rs.software_video_frame()
        frame.pixels = picture(self.number) if image is None else image
        frame.stride, frame.bpp, frame.timestamp, frame.domain = 64 * 3, 3, stamp_ms, domain
        frame.frame_number, frame.profile = self.number, self.profiles[serial]
        self.sensors[serial].on_video_frame(frame)

    def metadata(self, serial="123", **values):
        for key, value in values.items():
            self.sensors[serial].set_metadata(getattr(rs.frame_metadata_value, key), value)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def bench():
    return Bench().add()


@pytest.fixture
def opened():
    """Starts cameras and stops them afterwards."""
    cameras = []

    def start(source, spec=SPEC, **options):
        camera = RealSenseCamera(spec, source, **options)
        cameras.append(camera)
        camera.start()
        return camera

    yield start
    for camera in cameras:
        camera.stop()


def refusal(source, spec=SPEC, **options):
    """The one line that start() refuses with, and that it does not take long."""
    begin_s = time.monotonic()
    with pytest.raises(CameraError) as caught:
        RealSenseCamera(spec, source, **options).start()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("camera 'front'")
    assert time.monotonic() - begin_s < 2.0  # the SDK itself waits 15 s for a device that is not there
    return str(caught.value)


# Frames


def test_a_frame_arrives_bit_for_bit_and_cannot_be_written(bench, opened):
    camera = opened(Simulated("123", bench.context))
    image = picture(1)
    bench.push(1000.0, image, number=7)
    frame = camera.newest(WAIT_S)
    np.testing.assert_array_equal(frame.image, image)
    assert (frame.camera, frame.sequence, frame.image.dtype) == ("front", 7, np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        frame.image[0, 0, 0] = 1


def test_kept_frames_stay_what_they_were(bench, opened):
    """None is overwritten; that the pool of the SDK does not run dry is seen with the recording below."""
    camera = opened(Simulated("123", bench.context))
    frames = []
    for i in range(100):
        bench.push(i * 33.3, picture(i))
        frames.append(camera.newest(WAIT_S))
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, picture(i))


def test_a_slow_reader_gets_the_newest(bench, opened):
    camera = opened(Simulated("123", bench.context))
    for i in range(10):
        bench.push(1000.0 + i)
    assert camera.newest(WAIT_S).t_s == 1.009
    with pytest.raises(CameraStale):
        camera.newest(NONE_S)


def test_our_stamps_survive_to_the_last_bit(bench, opened):
    camera = opened(Simulated("123", bench.context))
    for t_s in (1 / 300, 1 / 3, 12.3456789, time.monotonic()):
        bench.push(t_s * 1e3)
        assert camera.newest(WAIT_S).t_s == t_s * 1e3 / 1e3


# Starved and frozen


def test_a_starved_camera_tells_the_age_of_its_last_frame(bench, opened):
    camera = opened(Simulated("123", bench.context), now_s=lambda: 10.75)
    bench.push(10_000.0)
    camera.newest(WAIT_S)
    with pytest.raises(
        CameraStale, match=r"'front' \(D435 123\) is starved: no frame after the last one, 0\.75 s"
    ) as e:
        camera.newest(NONE_S)
    assert e.value.age_s == pytest.approx(0.75)
    bench.push(10_700.0)
    assert camera.newest(WAIT_S).t_s == pytest.approx(10.7)  # and it comes back


def test_a_camera_that_never_sent_a_frame_tells_how_long_it_is_open(bench, opened):
    now_s = 5.0
    camera = opened(Simulated("123", bench.context), now_s=lambda: now_s)
    now_s = 8.0
    with pytest.raises(CameraStale, match="no frame since the start") as caught:
        camera.newest(NONE_S)
    assert caught.value.age_s == 3.0


def test_the_same_frame_again_is_frozen_not_new(bench, opened):
    camera = opened(Simulated("123", bench.context), now_s=lambda: 3.0)
    bench.push(1000.0, number=1)
    camera.newest(WAIT_S)
    bench.push(1000.0, number=1)
    with pytest.raises(CameraStale, match=r"frozen: the same frame came again \(1 time") as caught:
        camera.newest(NONE_S)
    assert caught.value.age_s == 2.0


def test_a_stamp_that_stands_still_is_frozen_though_frames_are_counted(bench, opened):
    camera = opened(Simulated("123", bench.context))
    bench.push(1000.0, number=1)
    camera.newest(WAIT_S)
    bench.push(1000.0, number=2)
    with pytest.raises(CameraStale, match="frozen"):
        camera.newest(NONE_S)


def test_an_older_frame_is_not_new(bench, opened):
    camera = opened(Simulated("123", bench.context))
    bench.push(1000.0, number=5)
    camera.newest(WAIT_S)
    bench.push(967.0, number=4)
    with pytest.raises(CameraStale):
        camera.newest(NONE_S)


def test_a_clock_that_begins_anew_is_followed(bench, opened):
    camera = opened(Simulated("123", bench.context))
    bench.push(500.0, number=15)
    camera.newest(WAIT_S)
    bench.push(0.0, number=16)  # the simulation was reset
    assert camera.newest(WAIT_S).t_s == 0.0
    bench.push(4_294_967.0, number=17)
    camera.newest(WAIT_S)
    bench.push(12.0, number=0)  # the camera was: its counter and its frame numbers
    assert camera.newest(WAIT_S).t_s == 0.012


def still_pictures(bench, opened, source, noise=0):
    """Three seconds of the same picture at 30 Hz, but for one value in it; the time at the end."""
    now_s = 0.0
    camera = opened(source, now_s=lambda: now_s)
    image = np.zeros((48, 64, 3), np.uint8)
    for i in range(90):
        now_s = i / 30
        image[17, 33, 1] = noise * (i % 2)
        bench.push(i / 30 * 1e3, image)
        camera.newest(WAIT_S)
    return now_s


def test_a_real_camera_whose_picture_stands_still_is_frozen(bench, opened):
    with pytest.raises(CameraStale, match=r"frozen: the picture has not changed for 2\.0") as caught:
        still_pictures(bench, opened, Device("123", bench.context))
    assert caught.value.age_s == pytest.approx(2.0, abs=0.1)


def test_a_still_simulation_is_not_frozen(bench, opened):
    assert still_pictures(bench, opened, Simulated("123", bench.context)) > 2.9


def test_one_pixel_of_noise_is_a_living_picture(bench, opened):
    assert still_pictures(bench, opened, Device("123", bench.context), noise=1) > 2.9


# The clock of a real camera


def test_a_wall_clock_stamp_becomes_monotonic(bench, opened):
    camera = opened(Device("123", bench.context))
    for domain in (SYSTEM, GLOBAL):
        exposed_s, stamp_ms = time.monotonic() - 0.010, (time.time() - 0.010) * 1e3
        bench.push(stamp_ms, domain=domain)
        assert camera.newest(WAIT_S).t_s == pytest.approx(exposed_s, abs=1e-3)


def test_a_counters_stamp_becomes_monotonic(bench, opened):
    now_s = 100.0
    camera = opened(Device("123", bench.context), now_s=lambda: now_s)
    seen_s = []
    for i in range(10):
        now_s = 100.0 + i / 30 + (0.004 if i == 3 else 0.015)  # the fourth came soonest
        bench.push(5e6 + i / 30 * 1e3)
        seen_s.append(camera.newest(WAIT_S).t_s)
    np.testing.assert_allclose(seen_s[3:], 100.004 + np.arange(3, 10) / 30, atol=1e-6)


def test_metadata_moves_the_time_to_the_middle_of_the_exposure(bench, opened):
    camera = opened(Simulated("123", bench.context))
    bench.metadata(frame_timestamp=1_000_000, sensor_timestamp=992_000)
    bench.push(1000.0)
    assert camera.newest(WAIT_S).t_s == pytest.approx(0.992)
    bench.metadata(frame_timestamp=5, sensor_timestamp=4_294_960_000)  # wrapped in between
    bench.push(2000.0)
    assert camera.newest(WAIT_S).t_s == pytest.approx(2.0)


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
import test_realsense as t
bench = t.Bench().add()
camera = t.CameraThread(t.RealSenseCamera(t.SPEC, t.Simulated("123", bench.context)))
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
