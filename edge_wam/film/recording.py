"""A recording folder, read back: what was seen, what was imagined, what the joints did, what was said.

    sight.npz   frame_t_s (n,), front (n, H, W, 3), wrist (n, S, S, 3) uint8; imagined_t0_s (m,),
                imagined (m, C, F, P, P, 3) uint8 in the order front, wrist; ahead_s (F,);
                chunk_t0_s, chunk_ready_s (k,)
    ticks.npz   t_s (N,), sent_rad, measured_rad, wish_rad (N, J), wish NaN where the arm held
    run.json    command, heard, events, outcome, success, done_s, figures, joints

All times are seconds of one monotonic clock. What is not there (a camera, the imagination, the
ticks) is an empty array, and whoever uses the recording leaves that part out; a folder without any
frame of the front camera, or one that contradicts itself, is a `RecordingError`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError
from edge_wam.types import FloatArray, ImageArray

CAMERAS = ("front", "wrist")  # the order of `imagined`


class RecordingError(EdgeWamError):
    """A recording folder is missing, unfinished or contradicts itself."""


class Heard(NamedTuple):
    """Words the recogniser understood, and the command they stand for (None: none)."""

    t_s: float
    text: str
    command: str | None


class Happened(NamedTuple):
    """Something the robot did or noticed, in one line."""

    t_s: float
    text: str


class Sight(NamedTuple):
    """Frames, imagined frames and chunks; shapes in the module's docstring, zero long where absent."""

    frame_t_s: FloatArray
    front: ImageArray
    wrist: ImageArray
    imagined_t0_s: FloatArray
    imagined: ImageArray
    ahead_s: FloatArray
    chunk_t0_s: FloatArray
    chunk_ready_s: FloatArray

    def camera(self, name: str) -> ImageArray:
        """All frames of 'front' or 'wrist'."""
        return self.front if name == CAMERAS[0] else self.wrist

    def at(self, t_s: float) -> int:
        """The number of the newest frame at t_s (the first one before that)."""
        return max(0, int(np.searchsorted(self.frame_t_s, t_s, side="right")) - 1)

    def nearest(self, t_s: float) -> int | None:
        """The number of the frame exposed at t_s, give or take three quarters of a frame period; or None."""
        index = int(np.abs(self.frame_t_s - t_s).argmin())
        period_s = float(np.median(np.diff(self.frame_t_s))) if len(self.frame_t_s) > 1 else 0.0
        return index if abs(self.frame_t_s[index] - t_s) <= max(0.75 * period_s, 0.02) else None


class Ticks(NamedTuple):
    """What the control loop sent and measured, (N,) and (N, J)."""

    t_s: FloatArray
    sent_rad: FloatArray
    measured_rad: FloatArray


class Recording(NamedTuple):
    """Everything a film needs. done_s: when the command had been carried out; None: never."""

    sight: Sight
    ticks: Ticks
    command: str
    heard: tuple[Heard, ...]
    events: tuple[Happened, ...]
    outcome: str
    success: bool
    done_s: float | None
    figures: tuple[tuple[str, float], ...]
    joints: tuple[str, ...]

    @property
    def start_s(self) -> float:
        return float(self.sight.frame_t_s[0])

    @property
    def end_s(self) -> float:
        return float(self.sight.frame_t_s[-1])


def read(folder: Path) -> Recording:
    """A recording folder. Raises RecordingError."""
    sight = _sight(folder)
    run = _run(folder / "run.json")
    try:
        recording = Recording(
            sight=sight,
            ticks=_ticks(folder, len(run["joints"])),
            command=str(run["command"]),
            heard=tuple(Heard(float(h["t_s"]), str(h["text"]), h["command"]) for h in run["heard"]),
            events=tuple(Happened(float(e["t_s"]), str(e["text"])) for e in run["events"]),
            outcome=str(run["outcome"]),
            success=bool(run["success"]),
            done_s=None if run["done_s"] is None else float(run["done_s"]),
            figures=tuple((str(name), float(value)) for name, value in run["figures"].items()),
            joints=tuple(map(str, run["joints"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(
            f"{folder / 'run.json'}: expected command, heard, events, outcome, success, done_s, figures and "
            f"joints; found a fault at {error}; try: record again"
        ) from error
    return recording


def _sight(folder: Path) -> Sight:
    path = folder / "sight.npz"
    arrays = _arrays(path)
    frame_t_s = _numbers(arrays, "frame_t_s")
    count = len(frame_t_s)
    if count == 0 or "front" not in arrays:
        raise RecordingError(
            f"{path}: expected at least one frame of the front camera, found none; "
            f"did the policy start? try: record again"
        )
    imagined_t0_s, ahead_s = _numbers(arrays, "imagined_t0_s"), _numbers(arrays, "ahead_s")
    sight = Sight(
        frame_t_s=frame_t_s,
        front=arrays["front"],
        wrist=arrays.get("wrist", np.zeros((0, 0, 0, 3), np.uint8)),
        imagined_t0_s=imagined_t0_s,
        imagined=arrays.get("imagined", np.zeros((0, 0, 0, 0, 0, 3), np.uint8)),
        ahead_s=ahead_s,
        chunk_t0_s=_numbers(arrays, "chunk_t0_s"),
        chunk_ready_s=_numbers(arrays, "chunk_ready_s"),
    )
    _agree(path, "front", sight.front, (count, None, None, 3))
    if len(sight.wrist):
        _agree(path, "wrist", sight.wrist, (count, None, None, 3))
    _agree(path, "chunk_ready_s", sight.chunk_ready_s, (len(sight.chunk_t0_s),))
    if len(sight.imagined):
        _agree(path, "imagined", sight.imagined, (len(imagined_t0_s), None, len(ahead_s), None, None, 3))
    if sight.imagined.size and sight.imagined.shape[3] != sight.imagined.shape[4]:
        raise RecordingError(f"{path}: imagined: expected square frames, found {sight.imagined.shape[3:5]}")
    for name in ("front", "wrist", "imagined"):
        if getattr(sight, name).dtype != np.uint8:
            raise RecordingError(f"{path}: {name}: expected uint8, found {getattr(sight, name).dtype}")
    for name in ("frame_t_s", "imagined_t0_s"):
        if not (np.diff(getattr(sight, name)) >= 0).all():
            raise RecordingError(f"{path}: {name}: expected times in order, found one that goes back")
    return sight


def _ticks(folder: Path, joints: int) -> Ticks:
    """The control loop's arrays, or none of them where it left none."""
    path = folder / "ticks.npz"
    arrays = _arrays(path) if path.exists() else {}
    ticks = Ticks(*(_numbers(arrays, name) for name in Ticks._fields))
    if not len(ticks.t_s):
        return Ticks(np.zeros(0), np.zeros((0, joints)), np.zeros((0, joints)))
    for name in ("sent_rad", "measured_rad"):
        _agree(path, name, getattr(ticks, name), (len(ticks.t_s), joints))
    return ticks


def _run(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordingError(f"{path}: expected the run's story, found no file; try: record again") from error
    except ValueError as error:
        raise RecordingError(f"{path}: expected JSON, found {error}; try: record again") from error


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: expected a recording, found no file; try: record again") from error
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise RecordingError(f"{path}: expected arrays, found {error}; try: record again") from error


def _numbers(arrays: Mapping[str, NDArray[Any]], name: str) -> FloatArray:
    return np.asarray(arrays.get(name, ()), np.float64)


def _agree(path: Path, name: str, array: NDArray[Any], shape: tuple[int | None, ...]) -> None:
    """Raises where the array's shape is another; None fits every length."""
    fits = array.ndim == len(shape) and all(w in (None, n) for w, n in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise RecordingError(f"{path}: {name}: expected shape ({wanted}), found {array.shape}")
