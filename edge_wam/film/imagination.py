"""What was imagined beside what came: pairs of frames, and the error of the one against the other.

An imagined frame was made from the frame exposed at t0 and is about the moment t0 + ahead. Its
judge is the real frame of that moment, cut and shrunk to the same square the model sees. The
yardstick is 'nothing changes': the frame of t0 taken as the prediction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge_wam.film.recording import CAMERAS, Recording, Sight
from edge_wam.think.features import UNIT_LEVELS
from edge_wam.types import FloatArray, ImageArray

# As in the trainer's own figure: a pixel moves where a channel changes by more than 0.15 of the
# model's unit, and a unit is 64 of 255 levels; below that are shading and the camera's noise.
MOVING_UNITS = 0.15
CROP_OF_HEIGHT = 192 / 240  # the square of a whole frame that the model sees


class CameraImagination(NamedTuple):
    """Mean squared error on moving pixels, in the model's units (64 of 255 levels) squared.

    imagined: of the imagined frames; unchanged: of 'nothing changes'; both NaN where nothing moved.
    pairs: imagined frames that had a real frame of their time; moving: the share of their pixels
    that moved.
    """

    camera: str
    imagined: float
    unchanged: float
    pairs: int
    moving: float

    @property
    def ratio(self) -> float:
        """Below 1 is better than 'nothing changes'. NaN where nothing moved."""
        return self.imagined / self.unchanged if self.unchanged > 0 else float("nan")


class ImaginationError(NamedTuple):
    """Every camera that was imagined, and all their moving pixels together."""

    cameras: tuple[CameraImagination, ...]
    together: CameraImagination

    def __str__(self) -> str:
        if not self.together.pairs:
            return "nothing was imagined"
        parts = ", ".join(f"{c.camera} {c.ratio:.2f}x" for c in self.cameras)
        return f"imagined error {self.together.ratio:.2f}x of 'nothing changes' on moving pixels ({parts})"


class _Sums(NamedTuple):
    imagined: float = 0.0
    unchanged: float = 0.0
    moving: float = 0
    pixels: float = 0
    pairs: float = 0

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(*(a + b for a, b in zip(self, other, strict=True)))

    def mean(self, camera: str) -> CameraImagination:
        values = self.moving * 3 or float("nan")
        share = self.moving / self.pixels if self.pixels else 0.0
        return CameraImagination(
            camera, self.imagined / values, self.unchanged / values, int(self.pairs), share
        )


def imagination_error(recording: Recording) -> ImaginationError:
    """How wrong the imagined frames were, over every horizon, and how wrong 'nothing changes' was."""
    sight, cameras, together = recording.sight, [], _Sums()
    for number, name in imagined_cameras(sight):
        sums = _Sums()
        for k, t0_s in enumerate(sight.imagined_t0_s):
            for future, ahead_s in enumerate(sight.ahead_s):
                now, then = sight.nearest(t0_s), sight.nearest(t0_s + ahead_s)
                if now is not None and then is not None:
                    frames = sight.camera(name)
                    sums = sums.plus(_compare(sight.imagined[k, number, future], frames[now], frames[then]))
        cameras.append(sums.mean(name))
        together = together.plus(sums)
    return ImaginationError(tuple(cameras), together.mean("all"))


def imagined_cameras(sight: Sight) -> list[tuple[int, str]]:
    """Number and name of the cameras that were both seen and imagined."""
    if not sight.imagined.size:
        return []
    there = [(number, name) for number, name in enumerate(CAMERAS) if len(sight.camera(name))]
    return [(number, name) for number, name in there if number < sight.imagined.shape[1]]


class Pair(NamedTuple):
    """An imagination and the frame of the moment that its furthest frame is about, by number."""

    imagined: int
    frame: int


def come_true(sight: Sight, t_s: float) -> Pair | None:
    """The newest pair whose moment is not after t_s; None before there is one."""
    if not sight.imagined.size:
        return None
    due_s = sight.imagined_t0_s + sight.ahead_s.max()
    for index in reversed(range(int(np.searchsorted(due_s, t_s, side="right")))):
        if (frame := sight.nearest(due_s[index])) is not None:
            return Pair(index, frame)
    return None


def square(image: ImageArray) -> ImageArray:
    """The square the model sees of a frame (H, W, 3); a square frame is that already."""
    height, width = image.shape[:2]
    if height == width:
        return image
    side = min(round(height * CROP_OF_HEIGHT), width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def shrunk(image: ImageArray, size_px: int) -> ImageArray:
    """The model's square of a frame (H, W, 3), averaged down to (size_px, size_px, 3)."""
    from PIL import Image

    small = Image.fromarray(square(image)).resize((size_px, size_px), Image.Resampling.BOX)
    return np.asarray(small)


def _compare(imagined: ImageArray, now: ImageArray, then: ImageArray) -> _Sums:
    """Summed squared errors of one imagined frame (P, P, 3) on the pixels that moved from `now` to `then`."""
    size_px = imagined.shape[0]
    real, before, guess = _units(shrunk(then, size_px)), _units(shrunk(now, size_px)), _units(imagined)
    moved = np.abs(real - before).max(-1) > MOVING_UNITS
    return _Sums(
        imagined=float(np.square(guess - real)[moved].sum()),
        unchanged=float(np.square(before - real)[moved].sum()),
        moving=int(moved.sum()),
        pixels=moved.size,
        pairs=1,
    )


def _units(image: ImageArray) -> FloatArray:
    return np.asarray(image / UNIT_LEVELS, np.float64)
