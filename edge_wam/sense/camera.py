"""What every camera promises, what is known about each, and the thread that keeps its newest frame.

Newest in, newest out: nothing queues, a frame that nobody fetched in time is gone. A camera that
stops is not an exception in the control loop but an age: the newest frame simply gets older, and
`CameraThread.fault` says why, in one line, while the thread tries to bring the camera back.
"""

from __future__ import annotations

import atexit
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeGuard

from edge_wam.errors import CalibrationError, CameraError, nearest
from edge_wam.keep import replace_file
from edge_wam.types import JOINTS, Frame

BASE = "base"
_SCHEMA = 1
_LONGEST_DELAY_S = 1.0
_SLICE_S = 0.1  # how long the thread waits at once, and so the longest a stop takes


class CameraSpec(NamedTuple):
    """What a camera is asked for: `name` in the manifest's words, pixels, frames a second, RGB8."""

    name: str
    width: int
    height: int
    fps: int


class Intrinsics(NamedTuple):
    """Pinhole of a camera, in pixels; the centre of the top left pixel is (0, 0)."""

    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float

    def fovy_rad(self, height: int) -> float:
        """The vertical field of view of `height` rows (MuJoCo's fovy, in radians)."""
        return 2 * math.atan(height / (2 * self.fy_px))


class Mount(NamedTuple):
    """Where a camera sits, in the frame of the arm's base (x forward, z up, metres), all joints at zero.

    It is moved by the joint `moved_by` and all joints before it; BASE: by none. The unit quaternion (w, x, y,
    z) turns the camera's axes (x right, y down, z forward in its picture) into the base's. error_px: how far
    the board's corners were from where this pose puts them, root mean square.
    """

    moved_by: str
    position_m: tuple[float, ...]
    quaternion_wxyz: tuple[float, ...]
    error_px: float


class CameraCalibration(NamedTuple):
    """One camera of calibration/<robot>/camera.json: which device it is, what it sees, and, once they have
    been measured, where it is mounted and how much older its pictures are than their stamps say."""

    spec: CameraSpec
    serial: str
    model: str
    intrinsics: Intrinsics
    mount: Mount | None = None
    delay_s: float | None = None


class CameraStale(CameraError):
    """No frame newer than the last one: starved (none arrives) or frozen (the same one arrives).

    age_s is how old the newest frame is (since the start, where there never was one).
    """

    def __init__(self, message: str, age_s: float) -> None:
        super().__init__(message)
        self.age_s = age_s


class Camera(Protocol):
    """A source of colour frames at its spec's size and rate."""

    @property
    def name(self) -> str: ...

    def start(self) -> None:
        """Open the device. CameraError says what was asked for and what is there."""

    def newest(self, timeout_s: float) -> Frame:
        """A frame newer than the last one returned, waiting up to timeout_s; CameraStale if none came."""

    def stop(self) -> None:
        """Let go of the device. Harmless when done twice or without a start."""


def load_calibration(path: Path) -> tuple[CameraCalibration, ...]:
    """Read a camera.json, cameras in the order of the file. CalibrationError if it is not sound."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CalibrationError(
            f"no {path}; try: copy calibration/so101-sim/camera.json as a start"
        ) from error
    except ValueError as error:
        raise CalibrationError(f"{path} is not JSON: {error}") from error
    if (
        not isinstance(tree, dict)
        or tree.get("schema") != _SCHEMA
        or not isinstance(tree.get("cameras"), dict)
    ):
        raise CalibrationError(f'{path}: expected {{"schema": {_SCHEMA}, "cameras": {{name: ...}}}}')
    cameras = tuple(_camera(path, name, entry) for name, entry in tree["cameras"].items())
    serials = [camera.serial for camera in cameras]
    for serial in serials:
        if serials.count(serial) > 1:
            raise CalibrationError(f"{path}: serial '{serial}' stands at more than one camera")
    return cameras


def _camera(path: Path, name: str, entry: object) -> CameraCalibration:
    words, whole = ("serial", "model"), ("width", "height", "fps")
    needed = (*words, *whole, *Intrinsics._fields)
    known = (*needed, "mount", "delay_s")
    if not isinstance(entry, dict):
        raise CalibrationError(f"{path}: camera '{name}' is not a table of {', '.join(needed)}")
    for key in entry:
        if key not in known:
            raise CalibrationError(f"{path}: camera '{name}' has an unknown '{key}'{nearest(key, known)}")
    for key in needed:
        value = entry.get(key)
        if key in words:
            good = isinstance(value, str) and value != ""
        elif key in whole:
            good = type(value) is int and value > 0
        else:
            good = _is_number(value) and value > 0
        if not good:
            wanted = (
                "a word" if key in words else "a whole number above 0" if key in whole else "a number above 0"
            )
            raise CalibrationError(f"{path}: camera '{name}' needs {key}, {wanted}, and has {value!r}")
    delay_s = entry.get("delay_s")
    if delay_s is not None and not (_is_number(delay_s) and abs(delay_s) <= _LONGEST_DELAY_S):
        raise CalibrationError(
            f"{path}: camera '{name}' has delay_s {delay_s!r}, expected seconds, {_LONGEST_DELAY_S} at most"
        )
    return CameraCalibration(
        CameraSpec(name, entry["width"], entry["height"], entry["fps"]),
        entry["serial"],
        entry["model"],
        Intrinsics(*(float(entry[key]) for key in Intrinsics._fields)),
        _mount(f"{path}: camera '{name}'", entry["mount"]) if "mount" in entry else None,
        None if delay_s is None else float(delay_s),
    )


def _mount(where: str, entry: object) -> Mount:
    if not isinstance(entry, dict) or set(entry) != set(Mount._fields):
        raise CalibrationError(f"{where}: expected mount to have {', '.join(Mount._fields)}, found {entry!r}")
    moved_by, error_px = entry["moved_by"], entry["error_px"]
    if moved_by not in (BASE, *JOINTS):
        raise CalibrationError(
            f"{where}: mount.moved_by is {moved_by!r}, expected one of {', '.join((BASE, *JOINTS))}"
        )
    for key, count in (("position_m", 3), ("quaternion_wxyz", 4)):
        numbers = entry[key]
        if not (isinstance(numbers, list) and len(numbers) == count and all(map(_is_number, numbers))):
            raise CalibrationError(f"{where}: mount.{key} is {numbers!r}, expected {count} numbers")
    quaternion = tuple(map(float, entry["quaternion_wxyz"]))
    if not math.isclose(math.hypot(*quaternion), 1.0, abs_tol=1e-3):
        raise CalibrationError(f"{where}: mount.quaternion_wxyz is {quaternion}, expected one of length 1")
    if not (_is_number(error_px) and error_px >= 0):
        raise CalibrationError(f"{where}: mount.error_px is {error_px!r}, expected pixels")
    return Mount(moved_by, tuple(map(float, entry["position_m"])), quaternion, float(error_px))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def save_calibration(path: Path, cameras: Sequence[CameraCalibration]) -> Path | None:
    """Write a camera.json, whole or not at all; what was there is kept beside it. Returns where."""
    entries = {}
    for camera in cameras:
        name, width, height, fps = camera.spec
        entry = {"serial": camera.serial, "model": camera.model, "width": width, "height": height, "fps": fps}
        entry |= camera.intrinsics._asdict()
        if camera.mount is not None:
            entry["mount"] = camera.mount._asdict()
        if camera.delay_s is not None:
            entry["delay_s"] = camera.delay_s
        entries[name] = entry
    return replace_file(path, json.dumps({"schema": _SCHEMA, "cameras": entries}, indent=2) + "\n")


class CameraThread:
    """Keeps the newest frame of one camera, and reopens the camera when it has stopped.

    The first start happens in the caller's thread, so what a person got wrong is raised there;
    later trouble is the frame's age and `fault`.
    """

    def __init__(
        self,
        camera: Camera,
        *,
        stale_s: float = 0.5,
        reopen_s: float = 2.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._camera, self._stale_s, self._reopen_s, self._now_s = camera, stale_s, reopen_s, now_s
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._frame: Frame | None = None
        self._fault: str | None = None
        self._reopened = 0

    @property
    def name(self) -> str:
        return self._camera.name

    @property
    def fault(self) -> str | None:
        """Why there are no new frames, in one line; None while they come."""
        return self._fault

    @property
    def reopened(self) -> int:
        """How often the camera was opened again after it had stopped."""
        return self._reopened

    def start(self) -> None:
        """Open the camera (CameraError) and begin to keep its newest frame."""
        self._camera.start()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)
        self._thread.start()
        # A thread that comes back from the SDK while the interpreter is being taken down aborts the process.
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the thread and let go of the camera. Harmless when done twice."""
        atexit.unregister(self.stop)
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._camera.stop()

    def newest(self) -> Frame | None:
        """The newest frame there is, at once; None before the first. Its t_s tells its age."""
        return self._frame

    def age_s(self) -> float:
        """How long ago the newest frame was exposed; inf before the first."""
        frame = self._frame
        return math.inf if frame is None else self._now_s() - frame.t_s

    def wait(self, after_s: float, timeout_s: float) -> Frame | None:
        """The newest frame once it is exposed after `after_s`; None if that takes longer than timeout_s."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None and self._frame.t_s > after_s, timeout_s)
            frame = self._frame
        return frame if frame is not None and frame.t_s > after_s else None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                frame = self._camera.newest(_SLICE_S)
            except CameraStale as stale:
                if stale.age_s > self._stale_s:
                    self._fault = str(stale)
                if stale.age_s > self._reopen_s:
                    self._reopen()
            except CameraError as error:  # not a pause but an end: a recording that is over, a wrong size
                self._fault = str(error)
                return
            except Exception as error:  # the edge of a thread: whatever it was, it shows as an old frame
                self._fault = f"camera '{self.name}' failed: {type(error).__name__}: {error}"
                self._reopen()
            else:
                with self._changed:
                    self._frame, self._fault = frame, None
                    self._changed.notify_all()

    def _reopen(self) -> None:
        """Try until it opens again or we are told to stop; a cable may be out for as long as it likes."""
        self._camera.stop()
        while not self._stopping.is_set():
            try:
                self._camera.start()
            except CameraError as error:
                self._fault = str(error)
                self._stopping.wait(self._reopen_s)
            else:
                self._reopened += 1
                return


def newest_frames(
    threads: Sequence[CameraThread], after_s: float, timeout_s: float
) -> tuple[Frame, ...] | None:
    """One frame a camera, in their order, all exposed after `after_s`; None if one has none in time."""
    deadline_s = time.monotonic() + timeout_s
    frames = [thread.wait(after_s, max(0.0, deadline_s - time.monotonic())) for thread in threads]
    found = tuple(frame for frame in frames if frame is not None)
    return found if len(found) == len(frames) else None
