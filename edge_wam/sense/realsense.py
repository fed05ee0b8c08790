"""RealSense colour: a device by serial number, a recording or the simulation, all through rs.pipeline.

The stream is colour, RGB8, at the spec's size and rate or not at all. pyrealsense2's pipeline keeps
one frame and replaces it, so a slow reader gets the newest. `exposure.py` says how the stamps of each
kind of source become monotonic time; where the camera tells it (metadata `sensor_timestamp`, which is
`frame_timestamp` minus half the exposure), the time is the middle of the exposure, otherwise when
the readout began.
"""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from edge_wam.errors import CameraError
from edge_wam.sense.camera import CameraSpec, CameraStale, Intrinsics
from edge_wam.sense.exposure import ExposureClock, StampClock
from edge_wam.types import FloatArray, Frame, ImageArray

# Any below stands for pyrealsense2's objects: the package ships no types that say what may be absent.

_PLAYED_S = 0.05  # how often to ask whether a recording is over: the SDK does not wake a waiting reader
_STILL_S = 2.0  # a sensor's noise changes the picture every time; two seconds without is not a picture


class Device(NamedTuple):
    """A RealSense that is plugged in. `context` is an rs.context to look in, None for the USB bus."""

    serial: str
    context: Any = None


class Recording(NamedTuple):
    """A .db3 (or an old .bag) written by librealsense.

    In real time, its frames come at the pace they were recorded and are dated now. Otherwise they
    come as fast as they are fetched, none is lost, and each keeps the time in its recording.
    """

    path: Path
    real_time: bool = True


class Simulated(NamedTuple):
    """A software device of the simulation, in its context; stamped with our own clock."""

    serial: str
    context: Any


Source = Device | Recording | Simulated


def sdk() -> ModuleType:
    """Import pyrealsense2, or CameraError saying what to install.

    Its wheel needs the system's libusb even where no camera is; the wheel of `libusb-package` brings
    one along, and once that is loaded the linker takes it for the system's.
    """
    try:
        import pyrealsense2 as rs
    except ImportError as error:
        if "libusb" not in str(error):
            raise CameraError(
                f"pyrealsense2 cannot be imported ({error}); try: pip install pyrealsense2 "
                f"(for aarch64 there is one for Python 3.10 and 3.12; this is {platform.python_version()})"
            ) from error
        try:
            import ctypes

            import libusb_package

            ctypes.CDLL(str(libusb_package.get_library_path()))
            import pyrealsense2 as rs
        except (ImportError, OSError) as missing:
            raise CameraError(
                "librealsense needs libusb-1.0, which is not here; "
                "try: sudo apt install libusb-1.0-0, or pip install libusb-package"
            ) from missing
    return rs  # type: ignore[no-any-return]


class RealSenseCamera:
    """One colour stream. `record_to` also writes it to a .db3, which a `Recording` plays.

    now_s is the clock that the frames' ages are told by; the simulation injects its own. Waiting is
    in real time always: the SDK knows no other. delay_s: how much older the pictures are than their stamps
    say (camera.json, service/delay.py); it is taken off every frame's time.
    """

    def __init__(
        self,
        spec: CameraSpec,
        source: Source,
        *,
        record_to: Path | None = None,
        now_s: Callable[[], float] = time.monotonic,
        delay_s: float = 0.0,
    ) -> None:
        self.spec, self.source = spec, source
        self._record_to, self._now_s, self._delay_s = record_to, now_s, delay_s
        self._still_s = (
            _STILL_S if isinstance(source, Device) else math.inf
        )  # a still simulation is a still picture
        self._pipeline: Any = None
        self._profile: Any = None
        self._context: Any = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def intrinsics(self) -> Intrinsics:
        """What the started device says about its lens at this size."""
        found = self._lens()
        return Intrinsics(found.fx, found.fy, found.ppx, found.ppy)

    def rays(self, points_px: FloatArray) -> FloatArray:
        """x / z and y / z (N, 2) of what the started device sees at these pixels (N, 2), its lens's
        distortion taken out."""
        lens, rs = self._lens(), sdk()
        deprojected = [rs.rs2_deproject_pixel_to_point(lens, [x, y], 1.0) for x, y in points_px.tolist()]
        return np.array(deprojected, np.float64)[:, :2]

    def _lens(self) -> Any:
        return self._profile.get_stream(sdk().stream.color).as_video_stream_profile().get_intrinsics()

    def start(self) -> None:
        """Open the stream. CameraError: not there, not at this size or rate, in use, not a recording."""
        if self._pipeline is not None:
            raise RuntimeError(f"camera '{self.name}' is started already")
        rs = sdk()
        config = rs.config()
        if isinstance(self.source, Recording):
            self._context = rs.context()
            self._what = str(self.source.path)
            if not self.source.path.is_file():
                raise CameraError(f"camera '{self.name}': there is no recording {self.source.path}")
            try:
                device = self._context.load_device(str(self.source.path))
            except RuntimeError as error:
                raise CameraError(
                    f"camera '{self.name}': {self.source.path} is no recording ({_line(error)})"
                ) from error
            self._check_profiles(rs, device)
            config.enable_device_from_file(str(self.source.path), repeat_playback=False)
        else:
            self._context = self.source.context or rs.context()
            device = self._find(rs, self.source.serial)
            self._what = _describe(rs, device)
            self._check_profiles(rs, device)
            config.enable_device(self.source.serial)
        del device  # or the pipeline's own handle on the same recording finds it open
        spec = self.spec
        config.enable_stream(rs.stream.color, spec.width, spec.height, rs.format.rgb8, spec.fps)
        if self._record_to is not None:
            if self._record_to.suffix != ".db3" or self._record_to.exists():
                raise CameraError(
                    f"camera '{self.name}': can only record to a new .db3 file, not {self._record_to}"
                )
            config.enable_record_to_file(str(self._record_to))
        pipeline = rs.pipeline(self._context)
        try:
            self._playback = self._settle(rs, config.resolve(rs.pipeline_wrapper(pipeline)).get_device())
            self._profile = pipeline.start(config)
        except RuntimeError as error:
            raise CameraError(
                f"camera '{self.name}' ({self._what}) does not start: {_line(error)}; "
                f"try: close other programs that use it, or plug it in again"
            ) from error
        self._rs, self._pipeline = rs, pipeline
        self._exposure = ExposureClock()
        self._started_s, self._changed_s = self._now_s(), math.inf
        self._last: Frame | None = None
        self._last_stamp_ms, self._last_number = -math.inf, -1
        self._count = 0

    def stop(self) -> None:
        """Close the stream, and the recording with it. Harmless when done twice."""
        pipeline, self._pipeline, self._profile, self._playback = self._pipeline, None, None, None
        if pipeline is not None:
            with contextlib.suppress(RuntimeError):  # the device went away first
                pipeline.stop()
        self._context = None

    def age_s(self) -> float:
        """How long ago the newest frame was exposed; since the start, where there never was one."""
        return self._now_s() - (self._started_s if self._last is None else self._last.t_s)

    def newest(self, timeout_s: float) -> Frame:
        """A frame newer than the last one returned; waits up to timeout_s of real time.

        CameraStale: none arrived (starved), the same one arrived again and again, or a real camera's
        picture stands still (frozen); its age_s says how long. CameraError: a recording is over, or
        a frame has the wrong shape.
        """
        if self._pipeline is None:
            raise RuntimeError(f"camera '{self.name}' is not started")
        deadline_s = time.monotonic() + timeout_s
        repeated = 0
        while True:
            left_s = max(0.0, deadline_s - time.monotonic())
            over = (
                self._playback is not None
                and self._playback.current_status() == self._rs.playback_status.stopped
            )
            wait_s = left_s if self._playback is None else min(left_s, _PLAYED_S)
            arrived, frames = self._pipeline.try_wait_for_frames(math.ceil(wait_s * 1e3))
            if not arrived:
                if over:
                    end = f"the recording is over after {self._count} frames"
                    raise CameraError(f"camera '{self.name}' ({self._what}): {end}")
                if wait_s < left_s:
                    continue
                raise self._stale(timeout_s, repeated)
            colour = frames.get_color_frame()
            if colour and self._is_new(colour):
                return self._accept(colour)
            repeated += 1

    def _is_new(self, colour: Any) -> bool:
        """A later stamp; or an earlier one with a later number (a wall clock set back, a simulation begun
        anew), or an earlier one by far (the camera's counter wrapped, the camera restarted)."""
        stamp_ms, number = colour.get_timestamp(), colour.get_frame_number()
        back_ms = self._last_stamp_ms - stamp_ms
        if back_ms >= 0 and not (back_ms > 0 and (number > self._last_number or back_ms > 1e3)):
            return False
        self._last_stamp_ms, self._last_number = stamp_ms, number
        return True

    def _accept(self, colour: Any) -> Frame:
        arrival_s = self._now_s()
        # A copy, since the buffer belongs to a pool of the SDK's that must not run dry.
        image: ImageArray = np.array(np.asanyarray(colour.get_data()), dtype=np.uint8)
        spec = self.spec
        if image.shape != (spec.height, spec.width, 3):
            raise CameraError(
                f"camera '{self.name}' ({self._what}) sent a frame of shape {image.shape}, "
                f"expected {(spec.height, spec.width, 3)}"
            )
        image.setflags(write=False)
        t_s = self._exposure.exposure_s(colour.get_timestamp(), self._stamp_clock(colour), arrival_s)
        t_s -= self._half_exposure_s(colour) + self._delay_s
        frame = Frame(self.name, image, t_s, colour.get_frame_number())
        if self._last is None or not _same_picture(self._last.image, image):
            self._changed_s = t_s
        self._last = frame
        self._count += 1
        still_s = t_s - self._changed_s
        if still_s > self._still_s:
            raise CameraStale(
                f"camera '{self.name}' ({self._what}) is frozen: the picture has not changed "
                f"for {still_s:.2f} s; try: uncover the lens, or plug the camera in again",
                still_s,
            )
        return frame

    def _stamp_clock(self, colour: Any) -> StampClock:
        if isinstance(self.source, Simulated):
            return StampClock.OURS
        if isinstance(self.source, Recording):
            # Played live, the stamps of the past are a counter of unknown origin.
            return StampClock.COUNTER if self.source.real_time else StampClock.OURS
        hardware = colour.get_frame_timestamp_domain() == self._rs.timestamp_domain.hardware_clock
        return StampClock.COUNTER if hardware else StampClock.WALL

    def _half_exposure_s(self, colour: Any) -> float:
        readout, middle = (
            self._rs.frame_metadata_value.frame_timestamp,
            self._rs.frame_metadata_value.sensor_timestamp,
        )
        if not (colour.supports_frame_metadata(readout) and colour.supports_frame_metadata(middle)):
            return 0.0
        half_s = (colour.get_frame_metadata(readout) - colour.get_frame_metadata(middle)) / 1e6
        return half_s if 0.0 <= half_s <= 1.0 / self.spec.fps else 0.0  # a wrap between the two, or nonsense

    def _stale(self, timeout_s: float, repeated: int) -> CameraStale:
        age_s, asked = self.age_s(), f"waited {timeout_s:.2f} s"
        who = f"camera '{self.name}' ({self._what})"
        if repeated:
            return CameraStale(
                f"{who} is frozen: the same frame came again ({repeated} times), {age_s:.2f} s old "
                f"({asked}); try: plug the camera in again",
                age_s,
            )
        found = "no frame since the start" if self._count == 0 else "no frame after the last one"
        gone = "" if self._is_listed() else "; it is no longer connected"
        return CameraStale(f"{who} is starved: {found}, {age_s:.2f} s ({asked}){gone}", age_s)

    def _is_listed(self) -> bool:
        if isinstance(self.source, Recording):
            return True
        return self.source.serial in [
            _info(self._rs, device, "serial_number") for device in self._context.query_devices()
        ]

    def _find(self, rs: ModuleType, serial: str) -> Any:
        devices = list(self._context.query_devices())
        for device in devices:
            if _info(rs, device, "serial_number") == serial:
                return device
        # Asked before the pipeline is, because that waits 15 s for a device to be plugged in.
        found = ", ".join(_describe(rs, device) for device in devices) or "no RealSense at all"
        raise CameraError(
            f"camera '{self.name}': no RealSense with serial '{serial}'; found {found}; "
            f"try: plug it in, or put the right serial into calibration/<robot>/camera.json"
        )

    def _check_profiles(self, rs: ModuleType, device: Any) -> None:
        spec = self.spec
        wanted = (spec.width, spec.height)
        rates = _sizes(rs, device)
        if spec.fps in rates.get(wanted, ()):
            return
        near = sorted(rates, key=lambda size: abs(size[0] - wanted[0]) + abs(size[1] - wanted[1]))
        offers = [f"{w}x{h} at {', '.join(map(str, sorted(rates[w, h])))} Hz" for w, h in near[:4]]
        if len(near) > 4:
            offers.append(f"{len(near) - 4} sizes more")
        raise CameraError(
            f"camera '{self.name}' ({self._what}) has no {spec.width}x{spec.height} RGB8 at {spec.fps} Hz; "
            f"it has {'; '.join(offers) or 'no RGB8 at all'}"
        )

    def _settle(self, rs: ModuleType, device: Any) -> Any:
        """Options before the first frame. Returns the playback handle of a recording, else None."""
        if isinstance(self.source, Recording):
            playback = device.as_playback()
            playback.set_real_time(self.source.real_time)
            return playback
        if isinstance(self.source, Device):
            for sensor in device.query_sensors():
                # The rate before the brightness: in the dark, auto exposure would halve the frame rate.
                for option, value in (
                    (rs.option.auto_exposure_priority, 0.0),
                    (rs.option.global_time_enabled, 1.0),
                ):
                    if sensor.supports(option) and not sensor.is_option_read_only(option):
                        sensor.set_option(option, value)
        return None


class Plugged(NamedTuple):
    """A camera that is there: its words for itself, and the rates of each size (width, height) in RGB8."""

    serial: str
    model: str
    rates: dict[tuple[int, int], set[int]]


def plugged(context: Any = None) -> list[Plugged]:
    """Every RealSense in a context, by default on the USB bus."""
    rs = sdk()
    return [
        Plugged(
            _info(rs, device, "serial_number"),
            _info(rs, device, "name").removeprefix("Intel RealSense "),
            _sizes(rs, device),
        )
        for device in (context or rs.context()).query_devices()
    ]


def _sizes(rs: ModuleType, device: Any) -> dict[tuple[int, int], set[int]]:
    rates: dict[tuple[int, int], set[int]] = {}
    for sensor in device.query_sensors():
        for profile in sensor.get_stream_profiles():
            if profile.stream_type() == rs.stream.color and profile.format() == rs.format.rgb8:
                video = profile.as_video_stream_profile()
                rates.setdefault((video.width(), video.height()), set()).add(profile.fps())
    return rates


def _same_picture(one: ImageArray, other: ImageArray) -> bool:
    return bool(np.array_equal(one[::16, ::16], other[::16, ::16]) and np.array_equal(one, other))


def _info(rs: ModuleType, device: Any, what: str) -> str:
    key = getattr(rs.camera_info, what)
    return str(device.get_info(key)) if device.supports(key) else ""


def _describe(rs: ModuleType, device: Any) -> str:
    usb = _info(rs, device, "usb_type_descriptor")
    slow = f", on USB {usb}" if usb.startswith("2") else ""  # where most sizes and rates are missing
    name = _info(rs, device, "name").removeprefix("Intel RealSense ")
    return f"{name} {_info(rs, device, 'serial_number')}{slow}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
