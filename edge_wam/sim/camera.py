"""The simulated cameras: our renders, through the real librealsense, into the same `RealSenseCamera`.

A `SoftwareCameras` holds librealsense software devices in a context of their own; whoever opens
`source(name)` gets a live rs.pipeline over them. A push goes through the SDK in the caller's thread,
so the frame can be fetched as soon as `push` returns: `push` then `newest` is the synchronous mode
of evaluation, at any speed, and the exposure times are those of whatever clock the simulation has.

In real time the robot is a process of its own: it puts its renders into a `FrameOutlet` (shared
memory, newest wins), and a `FrameFeeder` in the policy's process pushes them as they arrive.

The trick that makes a pipeline see a software device: librealsense's context keeps only a weak
pointer to what was added, and the device list dies with the devices-changed event that brought it.
So the event's list is kept. (Without: "No device connected", after 15 s.)
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from edge_wam.errors import CameraError
from edge_wam.mailbox import Mailbox, RecordType
from edge_wam.sense.camera import CameraCalibration, CameraSpec
from edge_wam.sense.realsense import Simulated, sdk
from edge_wam.types import Frame, ImageArray

_POLL_S = 0.002  # how late a frame may be noticed; half of that on average, 3 % of a 30 Hz period


class SoftwareCameras:
    """The cameras of a calibration/<robot>/camera.json as software devices. One thread pushes, any fetch."""

    def __init__(self, cameras: Sequence[CameraCalibration]) -> None:
        rs = sdk()
        self._rs = rs
        self._context = rs.context()
        self._kept: list[Any] = []  # see the module's docstring
        kept = self._kept  # the callback must not hold self: the context outlives us in the SDK's threads
        self._context.set_devices_changed_callback(lambda event: kept.append(event.get_new_devices()))
        self._cameras = {camera.spec.name: _SoftwareCamera(rs, self._context, camera) for camera in cameras}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._cameras)

    def source(self, name: str) -> Simulated:
        """What a RealSenseCamera opens."""
        return Simulated(self._cameras[name].serial, self._context)

    def push(self, name: str, image: ImageArray, t_s: float) -> None:
        """Deliver one frame (H, W, 3), exposed at t_s: it can be fetched once this returns.

        Nobody need be listening. ValueError if the image is not of the camera's size.
        """
        self._cameras[name].push(image, t_s)


class _SoftwareCamera:
    """One software device with one colour sensor."""

    def __init__(self, rs: Any, context: Any, camera: CameraCalibration) -> None:
        self.serial = camera.serial
        self._spec, self._rs, self._number = camera.spec, rs, 0
        self._device = rs.software_device()
        self._device.register_info(rs.camera_info.name, camera.model)
        self._device.register_info(rs.camera_info.serial_number, camera.serial)
        self._sensor = self._device.add_sensor("RGB Camera")
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid = rs.stream.color, 0, 0
        stream.width, stream.height, stream.fps = camera.spec.width, camera.spec.height, camera.spec.fps
        stream.bpp, stream.fmt = 3, rs.format.rgb8
        lens = rs.intrinsics()
        lens.width, lens.height = camera.spec.width, camera.spec.height
        lens.fx, lens.fy, lens.ppx, lens.ppy = camera.intrinsics
        lens.model, lens.coeffs = rs.distortion.none, [0.0] * 5
        stream.intrinsics = lens
        self._profile = self._sensor.add_video_stream(stream, True).as_video_stream_profile()
        self._device.add_to(context)

    def push(self, image: ImageArray, t_s: float) -> None:
        expected = (self._spec.height, self._spec.width, 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise ValueError(
                f"camera '{self._spec.name}' takes uint8 {expected}, not {image.dtype} {image.shape}"
            )
        frame = self._rs.software_video_frame()
        frame.pixels = np.ascontiguousarray(image)  # the SDK copies it here
        frame.stride, frame.bpp = self._spec.width * 3, 3
        frame.timestamp, frame.domain = t_s * 1e3, self._rs.timestamp_domain.hardware_clock
        frame.frame_number, frame.profile = self._number, self._profile
        self._number += 1
        self._sensor.on_video_frame(frame)


class FrameOutlet:
    """The simulated robot's side of the shared memory: one mailbox a camera, `<prefix>.<camera>`."""

    def __init__(self, prefix: str, specs: Sequence[CameraSpec]) -> None:
        self._boxes = {spec.name: _mailbox(f"{prefix}.{spec.name}", _record_type(spec)) for spec in specs}
        self._records = {spec.name: np.zeros(1, _record_type(spec)) for spec in specs}

    def put(self, name: str, image: ImageArray, t_s: float) -> None:
        """Make this render (H, W, 3), exposed at t_s, the camera's newest. ValueError on a wrong size."""
        record = self._records[name]
        if image.shape != record["image"].shape[1:]:  # numpy would stretch a smaller one without a word
            raise ValueError(f"camera '{name}' takes {record['image'].shape[1:]}, not {image.shape}")
        record["image"][0] = image
        record["sequence"][0] += 1
        self._boxes[name].put(record[0], t_s)

    def close(self) -> None:
        """Detach and remove the names; who still reads keeps the last frame. Harmless when done twice."""
        for box in self._boxes.values():
            box.close()
            box.unlink()

    def __enter__(self) -> FrameOutlet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FrameInlet:
    """The policy's side: takes each camera's newest frame, once."""

    def __init__(self, prefix: str, specs: Sequence[CameraSpec], timeout_s: float = 0.0) -> None:
        """Attach; waits up to timeout_s for the robot to make its mailboxes. CameraError if it does not."""
        deadline_s = time.monotonic() + timeout_s
        self._boxes: dict[str, Mailbox] = {}
        for spec in specs:
            while spec.name not in self._boxes:
                try:
                    self._boxes[spec.name] = Mailbox.open(f"{prefix}.{spec.name}", _record_type(spec))
                except FileNotFoundError as error:
                    if time.monotonic() >= deadline_s:
                        self.close()
                        raise CameraError(
                            f"camera '{spec.name}': nobody puts frames into '{prefix}.{spec.name}'; "
                            f"try: start the simulated robot first"
                        ) from error
                    time.sleep(0.02)
                except TypeError as error:
                    self.close()
                    raise CameraError(
                        f"camera '{spec.name}': the simulated robot does not render "
                        f"{spec.width}x{spec.height}; try: give both the same camera.json"
                    ) from error

    def take(self, name: str) -> Frame | None:
        """The camera's newest frame if it was not taken yet. Never waits."""
        letter = self._boxes[name].take()
        if letter is None:
            return None
        return Frame(name, letter.record["image"], letter.t_s, int(letter.record["sequence"]))

    def close(self) -> None:
        """Detach. Harmless when done twice."""
        for box in self._boxes.values():
            box.close()


class FrameFeeder:
    """The thread that moves frames from the inlet to the software devices as they arrive."""

    def __init__(
        self,
        inlet: FrameInlet,
        cameras: SoftwareCameras,
        *,
        wait: Callable[[threading.Event], object] = lambda stopping: stopping.wait(_POLL_S),
    ) -> None:
        self._inlet, self._cameras, self._wait = inlet, cameras, wait
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pushed = 0

    @property
    def pushed(self) -> int:
        """How many frames went through."""
        return self._pushed

    def start(self) -> None:
        """Begin to feed. Open the cameras before or after: what nobody listens to is dropped."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="frame feeder", daemon=True)
        self._thread.start()
        atexit.register(self.stop)  # as in CameraThread

    def stop(self) -> None:
        """End the thread. Harmless when done twice."""
        atexit.unregister(self.stop)
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def feed(self) -> int:
        """Push what has arrived since last time; returns how many frames that were."""
        fed = 0
        for name in self._cameras.names:
            frame = self._inlet.take(name)
            if frame is not None:
                self._cameras.push(name, frame.image, frame.t_s)
                fed += 1
        self._pushed += fed
        return fed

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.feed()
            self._wait(self._stopping)


def _mailbox(name: str, dtype: RecordType) -> Mailbox:
    """A new mailbox, or the one that a robot left which was killed: whoever reads it goes on."""
    try:
        return Mailbox.open(name, dtype)
    except (FileNotFoundError, TypeError):
        return Mailbox.create(name, dtype)


def _record_type(spec: CameraSpec) -> RecordType:
    return np.dtype([("sequence", np.uint64), ("image", np.uint8, (spec.height, spec.width, 3))])
