"""RealSenseCamera against the real librealsense: its frames, their times, and what is no new one."""

import time

import numpy as np
import pytest
from software_camera import GLOBAL, NONE_S, SYSTEM, WAIT_S, picture

from edge_wam.sense.camera import CameraStale
from edge_wam.sense.realsense import Device, Simulated

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
