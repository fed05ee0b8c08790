"""What a model imagined, held against what its cameras then showed in the same episode.

The judge is the camera at the moment that was imagined; the yardstick is "nothing changes": the frame of
t0 taken as the prediction. Only pixels that moved count (train/flow.imagination_error's definition).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_wam.manifest import CameraView
from edge_wam.sim.scene import FRAME_RATE_HZ
from edge_wam.sim.score import Imagined
from edge_wam.think.features import UNIT_GREY, UNIT_LEVELS, Float32, shrink
from edge_wam.types import ImageArray

MOVING_UNITS = 0.15  # a pixel moved where a channel changed by more: ten grey levels of 256
_SOON_S = 0.5 / FRAME_RATE_HZ


class Glimpse(NamedTuple):
    """The furthest frames of one thought, (C, P, P, 3) uint8 each, and how many pixels moved."""

    present: ImageArray
    imagined: ImageArray
    real: ImageArray
    moved: int


class _Expected(NamedTuple):
    due_s: float
    future: int
    imagined: ImageArray
    present: Float32


class Foresight:
    """One episode's imagined frames and what became of them. Frames of C cameras, F horizons."""

    def __init__(self, views: Sequence[CameraView], ahead_s: Sequence[float]) -> None:
        self._views, self._ahead_s = tuple(views), tuple(ahead_s)
        self._expected: list[_Expected] = []
        self._sums = [Imagined(round(s, 4), 0.0, 0.0, 0, 0) for s in self._ahead_s]
        self.glimpse: Glimpse | None = None  # the thought after which most has moved

    def imagine(self, t0_s: float, frames: Sequence[ImageArray], imagined: ImageArray) -> None:
        """From full frames (H, W, 3), one a camera, came imagined (C, F, P, P, 3)."""
        present = self._seen(frames, imagined.shape[2])
        for future, ahead_s in enumerate(self._ahead_s):
            self._expected.append(_Expected(t0_s + ahead_s, future, imagined[:, future], present))

    def due(self, t_s: float) -> bool:
        """Whether a frame exposed at t_s is one that was imagined."""
        return any(abs(t_s - one.due_s) <= _SOON_S for one in self._expected)

    def compare(self, t_s: float, frames: Sequence[ImageArray]) -> None:
        """What the cameras show at t_s: full frames (H, W, 3)."""
        now = [one for one in self._expected if abs(t_s - one.due_s) <= _SOON_S]
        self._expected = [one for one in self._expected if one.due_s > t_s + _SOON_S]
        for one in now:
            self._judge(one, self._seen(frames, one.imagined.shape[1]))

    @property
    def sums(self) -> tuple[Imagined, ...]:
        """The errors so far, for each horizon that was reached."""
        return tuple(one for one in self._sums if one.frames)

    def _judge(self, one: _Expected, real: Float32) -> None:
        guess = (one.imagined.astype(np.float32) - UNIT_GREY) / UNIT_LEVELS
        moved = np.abs(real - one.present).max(-1) > MOVING_UNITS
        before = self._sums[one.future]
        self._sums[one.future] = Imagined(
            before.ahead_s,
            before.imagined + float(np.square(guess - real)[moved].sum()),
            before.still + float(np.square(one.present - real)[moved].sum()),
            before.moving + 3 * int(moved.sum()),
            before.frames + len(real),
        )
        count = int(moved.sum())
        last = one.future == len(self._ahead_s) - 1
        if last and (self.glimpse is None or count > self.glimpse.moved):
            self.glimpse = Glimpse(_levels(one.present), one.imagined.copy(), _levels(real), count)

    def _seen(self, frames: Sequence[ImageArray], size_px: int) -> Float32:
        """What the model sees, as large as it imagines: (C, P, P, 3), unit scale."""
        seen = []
        for view, frame in zip(self._views, frames, strict=True):
            square = shrink(frame, view.crop_px, view.box_px).astype(np.float32)
            box = len(square) // size_px
            seen.append(square.reshape(size_px, box, size_px, box, 3).mean((1, 3)))
        units: Float32 = (np.stack(seen) - np.float32(UNIT_GREY)) / np.float32(UNIT_LEVELS)
        return units


def _levels(units: Float32) -> ImageArray:
    levels: ImageArray = np.clip(units * UNIT_LEVELS + UNIT_GREY + 0.5, 0, 255).astype(np.uint8)
    return levels
