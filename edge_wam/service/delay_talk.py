"""calibrate delay: moves a joint, sees it move, writes how old the camera's pictures are into camera.json."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam.act.calibration import Calibration
from edge_wam.act.families import FAMILIES
from edge_wam.errors import CalibrationError, CameraError, EdgeWamError
from edge_wam.sense.camera import BASE, CameraCalibration, save_calibration
from edge_wam.sense.realsense import RealSenseCamera
from edge_wam.service.delay import (
    AMPLITUDE_RAD,
    DURATION_S,
    HIGHEST_S,
    Lag,
    Track,
    camera_lag,
    changes,
    coarse,
    pattern_rad,
    servo_lag,
)
from edge_wam.service.eeprom import opened
from edge_wam.service.eyes import known_cameras, opened_eyes
from edge_wam.service.terminal import Terminal, sure
from edge_wam.types import JOINTS, FloatArray

_TICK_S = 0.01
_WARM_S = 0.5


class Measured(NamedTuple):
    """camera: from a position to the stamp of the frame that shows it; servo: from a goal to its position."""

    camera: Lag
    servo: Lag


def calibrate_delay(terminal: Terminal, words: argparse.Namespace, port: str) -> Measured:
    """The whole conversation; returns what was measured."""
    path = words.out.with_name("camera.json")
    cameras = known_cameras(path)
    known = {camera.spec.name: camera for camera in cameras}
    if words.name not in known:
        raise CalibrationError(
            f"no camera '{words.name}' in {path} (there is {', '.join(known) or 'none'}); "
            f"try: scripts/calibrate.py camera first"
        )
    camera = known[words.name]
    # What a camera on the gripper sees of the others is everything at once, and a bare table not at all.
    carried = camera.mount is not None and camera.mount.moved_by != BASE
    joint = words.joint or ("gripper" if carried else "shoulder_pan")
    if not sure(
        terminal,
        f"{joint} will move to and fro for {DURATION_S:.0f} s. Is there room, and nobody in the picture?",
    ):
        raise EdgeWamError("nothing was moved")
    found = _measure(camera, words, port, JOINTS.index(joint))
    terminal.say(
        f"the servo follows {_ms(found.servo)} after it was told; '{words.name}' shows it "
        f"{_ms(found.camera)} after it was so (correlation {found.camera.correlation:.2f}); together "
        f"{1e3 * (found.servo.delay_s + found.camera.delay_s):.0f} ms"
    )
    if not sure(terminal, f"Write the camera's delay to {path}?"):
        raise EdgeWamError("nothing was written")
    made = camera._replace(delay_s=round(found.camera.delay_s, 4))
    save_calibration(path, [made if one is camera else one for one in cameras])
    terminal.say(f"written: {path}")
    return found


def _ms(lag: Lag) -> str:
    return f"{1e3 * lag.delay_s:.1f} ± {1e3 * lag.error_s:.1f} ms"


def _measure(camera: CameraCalibration, words: argparse.Namespace, port: str, index: int) -> Measured:
    calibration = Calibration.load(Path(words.out), words.servos)
    with (
        opened_eyes(words.simulated) as eyes,
        opened(port, words.servos, calibration.ids, words.baud) as bus,
    ):
        arm = FAMILIES[words.servos].arm(bus, calibration)
        arm.connect()
        eye = RealSenseCamera(camera.spec, eyes.source(camera.serial))
        eye.start()
        try:
            with Watcher(eye) as watcher:
                sent, measured = wave(arm, index)
        finally:
            eye.stop()
    seen_s, pictures = watcher.seen()
    return Measured(camera_lag(measured, seen_s, changes(pictures)), servo_lag(sent, measured))


def wave(
    arm: Any,
    index: int,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Track, Track]:
    """Move one joint by the pattern and let go; (what was sent, what was measured), both in radians."""
    sent: list[tuple[float, float]] = []
    measured: list[tuple[float, float]] = []
    low_rad, high_rad = arm.calibration.low_rad[index], arm.calibration.high_rad[index]
    try:
        start_rad: FloatArray = arm.start()
        # Away from a stop that is near.
        middle_rad = np.clip(start_rad[index], low_rad + 1.2 * AMPLITUDE_RAD, high_rad - 1.2 * AMPLITUDE_RAD)
        began_s = now_s()
        # A moment of rest before and after: the camera's side is to have seen all of it.
        while (t_s := now_s() - began_s - 2 * _WARM_S) < DURATION_S + HIGHEST_S:
            share = min(1.0, (t_s + 2 * _WARM_S) / _WARM_S)
            target = start_rad.copy()
            target[index] += share * (middle_rad - start_rad[index]) + pattern_rad(t_s)
            reached = arm.act(target)
            sent.append((now_s(), float(reached[index])))
            joints = arm.sense()
            if joints.fresh[index]:
                measured.append((joints.t_s, float(joints.position_rad[index])))
            sleep(max(0.0, _TICK_S - (now_s() - sent[-1][0])))
    finally:
        arm.release()
    return _track(sent), _track(measured)


def _track(pairs: list[tuple[float, float]]) -> Track:
    t_s, value = np.array(pairs).T
    return Track(t_s, value)


class Watcher:
    """A thread that keeps every frame of a started camera, made coarse, with its time; it ends with the
    block, before the camera is stopped under it."""

    def __init__(self, eye: RealSenseCamera) -> None:
        self._eye, self._stopping = eye, threading.Event()
        self._seen: list[tuple[float, FloatArray]] = []
        self._trouble: CameraError | None = None
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def seen(self) -> tuple[FloatArray, list[FloatArray]]:
        """(times (N,), pictures) of what was seen. CameraError if the camera stopped on the way."""
        if self._trouble is not None:
            raise self._trouble
        return np.array([t_s for t_s, _ in self._seen]), [picture for _, picture in self._seen]

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                frame = self._eye.newest(1.0)
            except CameraError as error:
                self._trouble = error
                return
            self._seen.append((frame.t_s, coarse(frame.image)))
