"""calibrate camera: a conversation that ends in camera.json.

Size and lens come from the device. Its place comes from the board: for a camera that stands still the board's
own place must be known, touched with the fingertip or stated; for one on the arm the board may lie anywhere
and the arm is moved to several poses by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_wam.act.calibration import Calibration
from edge_wam.act.families import FAMILIES
from edge_wam.act.floor import Geometry, load_geometry
from edge_wam.act.kinematics import carried, fingertip_m
from edge_wam.errors import CalibrationError, CameraError, EdgeWamError
from edge_wam.sense.camera import BASE, CameraCalibration, Mount, save_calibration
from edge_wam.sense.realsense import RealSenseCamera
from edge_wam.service.board import CORNERS, Board
from edge_wam.service.camera_pose import (
    LEAST_POSES,
    Touched,
    View,
    flat,
    hand_eye,
    inverse,
    mount_of,
    touched,
    view,
)
from edge_wam.service.eeprom import limp, opened
from edge_wam.service.eyes import choose, known_cameras, largest, opened_eyes, spec_of
from edge_wam.service.finding import choose_port
from edge_wam.service.terminal import Table, Terminal, sure
from edge_wam.types import JOINTS, FloatArray

PICTURES = 10  # whose corners are averaged: a sensor's noise moves each by a tenth of a pixel
_FRAME_S, _WARM_FRAMES = 5.0, 15  # until the exposure has settled
_STILL_RAD = 0.01


def calibrate_camera(terminal: Terminal, words: argparse.Namespace) -> CameraCalibration:
    """The whole conversation; returns what was written."""
    path = words.out.with_name("camera.json")
    former = known_cameras(path)
    board = Board(words.square_mm / 1e3)
    with opened_eyes(words.simulated) as eyes:
        device = choose(terminal, eyes, words.serial)
        asked = spec_of(words.name, words.size)
        with _started(RealSenseCamera(asked, eyes.source(device.serial))) as camera:
            lens = camera.intrinsics
        terminal.say(
            f"{device.model} {device.serial}: {words.size}, focal length {lens.fx_px:.1f} x {lens.fy_px:.1f}"
        )
        with _started(
            RealSenseCamera(largest(device, asked), eyes.source(device.serial)), _WARM_FRAMES
        ) as camera:
            if words.moved_by == BASE:
                mount = _fixed(terminal, words, camera, board)
            else:
                mount = _carried(terminal, words, camera, board)
    made = CameraCalibration(asked, device.serial, device.model, lens, mount, _delay_s(former, device.serial))
    where = ", ".join(f"{1e3 * part:+.0f}" for part in mount.position_m)
    terminal.say(
        f"'{words.name}' is at {where} mm (x, y, z from {mount.moved_by}), {mount.error_px:.2f} px off"
    )
    if not sure(terminal, f"Write this to {path}?"):
        raise EdgeWamError("nothing was written")
    others = [one for one in former if one.spec.name != words.name and one.serial != device.serial]
    before = save_calibration(path, [*others, made])
    terminal.say(f"written: {path}" + (f" (what was there is now {before})" if before else ""))
    return made


def _delay_s(former: tuple[CameraCalibration, ...], serial: str) -> float | None:
    """What was measured of this very camera."""
    return next((one.delay_s for one in former if one.serial == serial), None)


@contextlib.contextmanager
def _started(camera: RealSenseCamera, warm_frames: int = 0) -> Iterator[RealSenseCamera]:
    camera.start()
    try:
        for _ in range(warm_frames):
            camera.newest(_FRAME_S)
        yield camera
    finally:
        camera.stop()


def look(camera: RealSenseCamera, board: Board) -> View:
    """Where the board is, from PICTURES pictures of it."""
    seen: dict[int, list[FloatArray]] = {}
    for _ in range(PICTURES):
        found = board.find(camera.newest(_FRAME_S).image)
        for corner, place in zip(found.ids.tolist(), found.corners_px, strict=True):
            seen.setdefault(corner, []).append(place)
    steady = {corner: places for corner, places in seen.items() if 2 * len(places) > PICTURES}
    ids = sorted(steady)
    corners_px = np.array([np.median(steady[corner], axis=0) for corner in ids])
    return view(board.points_m(ids), camera.rays(corners_px), camera.intrinsics.fx_px)


def _look_again(terminal: Terminal, camera: RealSenseCamera, board: Board) -> View:
    """As look, until it succeeds or the person gives up."""
    while True:
        try:
            return look(camera, board)
        except (CameraError, CalibrationError) as error:
            terminal.say(f"not yet: {error}")
            if not sure(terminal, "Look again?"):
                raise EdgeWamError("nothing was written: the board was not seen") from error


# --- a camera that stands still -------------------------------------------------------------


def _fixed(terminal: Terminal, words: argparse.Namespace, camera: RealSenseCamera, board: Board) -> Mount:
    height_m = words.height_mm / 1e3
    if words.board_at:
        base_from_board = _stated(words.board_at, height_m)
    else:
        terminal.say(
            "Lay the board flat where the camera sees all of it and the arm reaches its four corners."
        )
        with _limp_arm(terminal, words) as (arm, geometry):
            tips = [_touch(terminal, arm, geometry, name) for name in CORNERS]
        place: Touched = touched(board.touched_m, np.array(tips), height_m)
        base_from_board = place.base_from_board
        terminal.say(f"touched to {1e3 * float(place.off_m.mean()):.1f} mm")
    terminal.ask("Move the arm away, so that the camera sees the whole board; then press ENTER.")
    seen = _look_again(terminal, camera, board)
    return mount_of(base_from_board @ inverse(seen.camera_from_board), BASE, seen.error_px)


def _stated(text: str, height_m: float) -> FloatArray:
    try:
        x_mm, y_mm, yaw_deg = map(float, text.split(","))
    except ValueError:
        raise EdgeWamError(f"expected --board-at X,Y,YAW in mm and degrees, found '{text}'") from None
    return flat(x_mm / 1e3, y_mm / 1e3, math.radians(yaw_deg), height_m)


@contextlib.contextmanager
def _limp_arm(terminal: Terminal, words: argparse.Namespace) -> Iterator[tuple[Any, Geometry]]:
    """The calibrated arm, torque off, and what its folder says of its shape."""
    folder = Path(words.out).parent
    if (geometry := load_geometry(folder)) is None:
        raise CalibrationError(
            f"no geometry.toml in {folder}; try: copy calibration/so101-sim/geometry.toml, or --board-at"
        )
    calibration = Calibration.load(words.out, words.servos)
    port = choose_port(terminal, words.port)
    with opened(port, words.servos, calibration.ids, words.baud) as bus:
        arm = FAMILIES[words.servos].arm(bus, calibration)
        arm.connect()
        terminal.say("the arm will be limp: hold it")
        if not sure(terminal, "Is somebody holding it?"):
            raise EdgeWamError("nothing was changed: hold the arm, then start again")
        limp(bus, words.servos)
        yield arm, geometry


def _touch(terminal: Terminal, arm: Any, geometry: Geometry, name: str) -> FloatArray:
    """Where the fingertip is as it touches a corner."""

    def sample() -> Table:
        tip_mm = 1e3 * fingertip_m(geometry, arm.sense().position_rad)
        return Table(("fingertip", "x mm", "y mm", "z mm"), [("now", *(f"{part:.0f}" for part in tip_mm))])

    terminal.watch(
        f"Put the tip of the fixed jaw on corner {name} and hold it there; then press ENTER.", sample
    )
    return fingertip_m(geometry, _still(arm))


def _still(arm: Any) -> FloatArray:
    """The joints (J,), the mean of some looks at them; CalibrationError if they are not held still."""
    looks = [joints.position_rad for _ in range(10) if (joints := arm.sense()).fresh.all()]
    if not looks:
        raise CalibrationError("the servos do not answer all together; try: edge-wam doctor")
    if np.ptp(looks, axis=0).max() > _STILL_RAD:
        raise CalibrationError("the arm moved meanwhile; try: again, and hold it still")
    middle: FloatArray = np.mean(looks, axis=0)
    return middle


# --- a camera on the arm --------------------------------------------------------------------


def _carried(terminal: Terminal, words: argparse.Namespace, camera: RealSenseCamera, board: Board) -> Mount:
    joints = JOINTS.index(words.moved_by) + 1
    links: list[FloatArray] = []
    views: list[View] = []
    terminal.say(
        f"Lay the board down and leave it there. From {LEAST_POSES} poses or more the camera is to see it: "
        f"near and far, from all sides, bent and rolled."
    )
    with _limp_arm(terminal, words) as (arm, geometry):
        while True:
            last = (
                f", or 'done' ({len(views)} so far)"
                if len(views) >= LEAST_POSES
                else f" ({len(views)} so far)"
            )
            answer = terminal.ask(f"Hold the arm so that the camera sees the board; then ENTER{last}.")
            if answer.lower() == "done":
                break
            try:
                before_rad = _still(arm)
                seen = look(camera, board)
                if np.abs(_still(arm) - before_rad).max() > _STILL_RAD:
                    raise CalibrationError("the arm moved meanwhile; try: again, and hold it still")
            except (CameraError, CalibrationError) as error:
                terminal.say(f"not this one: {error}")
                continue
            links.append(carried(geometry, before_rad, joints))
            views.append(seen)
    found = hand_eye(links, [one.camera_from_board for one in views])
    terminal.say(
        f"the board was at one place to {1e3 * found.scatter_m:.1f} mm and "
        f"{math.degrees(found.scatter_rad):.1f} degrees in all {len(views)} poses"
    )
    error_px = float(np.sqrt(np.mean([one.error_px**2 for one in views])))
    return mount_of(found.zero_from_camera, words.moved_by, error_px)
