"""Cables, as the doctor sees them: a made-up /sys, and frames through the real librealsense."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from edge_wam import config
from edge_wam.config import CameraConfig
from edge_wam.errors import CameraError
from edge_wam.sense.camera import load_calibration
from edge_wam.sense.realsense import sdk
from edge_wam.service import looks, wiring

D435, D405, ADAPTER, SOUND = ("Intel(R) RealSense(TM) 435", "5000", "0e"), ("RealSense 405", "5000", "0e"), (
    "USB Single Serial", "12", "02"), ("USB PnP Sound", "12", "01")  # fmt: skip


class Bus:
    """A /sys/bus/usb/devices, and a /sys/class/tty."""

    def __init__(self, folder):
        self.devices, self.ttys = folder / "devices", folder / "tty"
        self.devices.mkdir()
        self.ttys.mkdir()
        self.add("usb1", ("xHCI Host Controller", "480", "09"))

    def add(self, port, what):
        name, speed, kind = what
        place = self.devices / port
        place.mkdir()
        for file, text in (
            ("product", name),
            ("speed", speed),
            ("bDeviceClass", "09" if kind == "09" else "ef"),
        ):
            (place / file).write_text(f"{text}\n")
        part = self.devices / f"{port}:1.0"
        part.mkdir()
        (part / "bInterfaceClass").write_text(f"{kind}\n")
        (place / part.name).symlink_to(part)
        return self

    def tty(self, port, name):
        (self.devices / f"{port}" / name).mkdir()
        (self.ttys / name).mkdir()
        (self.ttys / name / "device").symlink_to(self.devices / port / name)
        return self

    def look(self, path="sim"):
        usual = config.load()
        return wiring.usb(replace(usual, robot=replace(usual.robot, port=path)), self.devices, self.ttys)


@pytest.fixture
def bus(tmp_path):
    return Bus(tmp_path)


def test_cameras_sound_and_the_arms_adapter_are_told_with_their_ports(bus):
    bus.add("2-1", D435).add("2-2", D405).add("1-4", SOUND).add("1-3", ADAPTER).tty("1-3", "ttyACM0")
    bus.add("1-2", ("Keyboard", "1.5", "03")).add("1-1", ("USB2.0 Hub", "480", "09"))
    said = bus.look("/dev/ttyACM0")
    assert "USB Single Serial on 1-3 (12 Mbit/s)" in said
    assert "435 on 2-1 (5000 Mbit/s)" in said
    assert "Sound on 1-4" in said
    assert "Keyboard" not in said
    assert "Hub" not in said
    assert "Serial" not in bus.look()  # a simulated arm has none
    assert "Serial" not in bus.look("/dev/ttyACM9")


def test_two_cameras_on_one_hub_share_what_it_carries(bus):
    bus.add("2-1", ("USB3 Hub", "5000", "09")).add("2-1.1", D435)
    assert "2-1.1" in bus.look()
    bus.add("2-1.4", D405)
    with pytest.raises(
        looks.Imperfect, match=r"RealSense.*share the hub 2-1, .*; try: a port of the computer's"
    ):
        bus.look()


def test_a_machine_without_usb_is_none(tmp_path, bus):
    assert bus.look() == "no camera, no microphone, no adapter"
    assert wiring.usb(config.load(), tmp_path / "nowhere") == "no USB on this machine"


@pytest.mark.parametrize(
    ("gaps_s", "well", "said"),
    [
        ([1 / 30] * 60, True, "a frame every 33.3 ms of 33.3, longest 33 ms"),
        ([0.031, 0.036] * 30, True, "longest 36 ms"),
        ([1 / 15] * 30, False, "a frame every 66.7 ms of 33.3"),  # a long exposure
        ([1 / 30] * 30 + [0.1] + [1 / 30] * 30, False, "longest 100 ms"),  # three were lost
        ([1 / 30], False, "2 frames, expected 30 a second"),
    ],
)
def test_frames_that_come_too_slowly_or_with_gaps_are_seen(gaps_s, well, said):
    text, found = wiring.rhythm(np.cumsum([0.0, *gaps_s]), 30)
    assert said in text
    assert found == well


def test_where_no_camera_is_plugged_in_there_is_none_to_look_at():
    assert wiring.frames(config.load()) == "no camera that is plugged in"


@contextlib.contextmanager
def plugged(spec, rate_hz):
    """A software device of the SDK's own that gives frames at a rate: (its context, its serial number)."""
    rs, end, kept = sdk(), threading.Event(), []
    context, device = rs.context(), rs.software_device()
    context.set_devices_changed_callback(lambda event: kept.append(event.get_new_devices()))
    for what, text in (
        ("name", "Intel RealSense D435"),
        ("serial_number", "123"),
        ("usb_type_descriptor", "3.2"),
    ):
        device.register_info(getattr(rs.camera_info, what), text)
    sensor, video = device.add_sensor("RGB Camera"), rs.video_stream()
    video.type, video.index, video.uid = rs.stream.color, 0, 0
    video.width, video.height, video.fps = spec.width, spec.height, spec.fps
    video.bpp, video.fmt, video.intrinsics = 3, rs.format.rgb8, rs.intrinsics()
    profile = sensor.add_video_stream(video, True).as_video_stream_profile()
    device.add_to(context)

    def expose():
        rng, begin_s = np.random.default_rng(0), time.monotonic()
        for number in itertools.count():
            if end.wait(max(0.0, begin_s + number / rate_hz - time.monotonic())):
                return
            frame = rs.software_video_frame()
            frame.pixels = rng.integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
            frame.stride, frame.bpp, frame.domain = 3 * spec.width, 3, rs.timestamp_domain.hardware_clock
            frame.timestamp, frame.frame_number, frame.profile = 1e3 * number / rate_hz, number, profile
            sensor.on_video_frame(frame)

    camera = threading.Thread(target=expose)
    camera.start()
    try:
        yield context, "123"
    finally:
        end.set()
        camera.join()


@pytest.mark.parametrize(("part", "well"), [(1, True), (2, False)])
def test_a_cameras_frames_are_timed_through_its_sdk(monkeypatch, part, well):
    monkeypatch.setattr(wiring, "SETTLE_S", 0.2)
    usual = config.load()
    spec = load_calibration(usual.robot.calibration / "camera.json")[0].spec
    with plugged(spec, spec.fps / part) as (context, serial):
        ours = replace(usual, cameras=(CameraConfig(spec.name, serial), CameraConfig("wrist", "sim-wrist")))
        if well:
            assert f"{spec.name}: a frame every" in wiring.frames(ours, context, 1.0)
            return
        with pytest.raises(looks.Imperfect, match=f"{spec.name} too slow or with gaps; try: more light"):
            wiring.frames(ours, context, 1.0)


def test_a_camera_that_is_not_there_is_named():
    ours = replace(config.load(), cameras=(CameraConfig("front", "999"), CameraConfig("wrist", "sim-wrist")))
    with pytest.raises(CameraError, match="999"):
        wiring.frames(ours, sdk().context(), 1.0)
