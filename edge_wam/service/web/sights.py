"""Frames as JPEG, and the imagined future beside what then happened.

A dream imagined from the frame of t0_s says what each camera will see at t0_s + ahead_s. It is kept until the
cameras have seen that; then both are shown, and compared as the model sees the world, on the pixels that
moved: the squared error of the imagined frame over that of 'nothing changes'. Below 1 it knew something.
"""

from __future__ import annotations

import base64
import io
from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.telemetry import Plan
from edge_wam.think.features import UNIT_LEVELS, shrink
from edge_wam.types import ImageArray

QUALITY = 80
TOLERANCE_S = 0.06  # a frame this near to the moment is of the moment: they come every 1/15 s
MOVED_LEVELS = 0.15 * UNIT_LEVELS  # a pixel that changed by so much has moved; as film/imagination.py has it
_SQUARES = 24  # a second and a half
_DREAMS = 16
_ERRORS = 50  # some ten seconds of dreams


def jpeg(image: ImageArray) -> str:
    """An RGB image (H, W, 3) as JPEG, in base64."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=QUALITY)
    return base64.b64encode(out.getvalue()).decode()


class Square(NamedTuple):
    """The square of a frame that the model sees (S, S, 3)."""

    t_s: float
    image: ImageArray


class Dream(NamedTuple):
    """Imagined frames (C, F, P, P, 3), imagined from the frames of t0_s."""

    t0_s: float
    images: ImageArray


class Imagination:
    """One robot's dreams, and what came true of them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._squares = [deque[Square](maxlen=_SQUARES) for _ in plan.cameras]
        self._dreams: deque[Dream] = deque(maxlen=_DREAMS)
        self._errors: deque[tuple[float, float]] = deque(maxlen=_ERRORS)

    def see(self, camera: int, t_s: float, image: ImageArray) -> None:
        """A frame of a camera, by number; in the order of time."""
        height, width = image.shape[:2]
        side = self._plan.crops_px[camera] if self._plan.crops_px else min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        self._squares[camera].append(Square(t_s, image[top : top + side, left : left + side].copy()))

    def imagine(self, t0_s: float, images: ImageArray) -> None:
        """A dream of the policy's."""
        self._dreams.append(Dream(t0_s, images))

    def come_true(self) -> dict[str, Any] | None:
        """The newest dream whose last moment every camera has seen, once, as JSON has it: for each camera the
        imagined frames and the real ones (JPEG), and the error ratio of the last (None: nothing moved)."""
        seen_s = min((squares[-1].t_s if squares else -np.inf) for squares in self._squares)
        due = [dream for dream in self._dreams if dream.t0_s + self._plan.ahead_s[-1] <= seen_s]
        if not due:
            return None
        while self._dreams and self._dreams[0].t0_s <= due[-1].t0_s:
            self._dreams.popleft()
        return self._compared(due[-1])

    def _compared(self, dream: Dream) -> dict[str, Any] | None:
        cameras, wrong, unchanged = [], 0.0, 0.0
        for number, (name, _, _) in enumerate(self._plan.cameras):
            before = self._at(number, dream.t0_s)
            then = [self._at(number, dream.t0_s + ahead_s) for ahead_s in self._plan.ahead_s]
            if before is None or any(frame is None for frame in then):
                return None
            real = [frame for frame in then if frame is not None]
            px = dream.images.shape[-2]
            for imagined, frame in zip(dream.images[number], real, strict=True):
                a, b, c = (_levels(image, px) for image in (imagined, frame, before))
                moved = np.abs(b - c).max(-1) > MOVED_LEVELS
                wrong += float(np.square(a - b)[moved].sum())
                unchanged += float(np.square(c - b)[moved].sum())
            told = {
                "camera": name,
                "imagined": [jpeg(image) for image in dream.images[number]],
                "real": [jpeg(image) for image in real],
            }
            cameras.append(told)
        self._errors.append((wrong, unchanged))  # one alone is noise where little moved
        wrong, unchanged = (sum(errors) for errors in zip(*self._errors, strict=True))
        ratio = wrong / unchanged if unchanged else None
        return {"cameras": cameras, "ahead_s": list(self._plan.ahead_s), "ratio": ratio}

    def _at(self, camera: int, t_s: float) -> ImageArray | None:
        """The frame nearest to a moment, if it is near."""
        found = min(self._squares[camera], key=lambda square: abs(square.t_s - t_s), default=None)
        return None if found is None or abs(found.t_s - t_s) > TOLERANCE_S else found.image


def _levels(image: ImageArray, px: int) -> NDArray[np.float64]:
    """An image (S, S, 3) as the model has it, (px, px, 3)."""
    box_px = image.shape[0] // px
    return shrink(image, px * box_px, box_px).astype(np.float64)
