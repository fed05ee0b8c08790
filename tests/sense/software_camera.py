"""RealSense cameras for the tests: software devices, the SDK's own wire, in the real librealsense."""

import contextlib
import time
from typing import NamedTuple

import numpy as np
import pytest

from edge_wam.errors import CameraError
from edge_wam.sense.camera import CameraSpec
from edge_wam.sense.realsense import RealSenseCamera, sdk

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


@contextlib.contextmanager
def opening():
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
