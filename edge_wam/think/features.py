"""The one place where observations become tensors and tensors become chunks, for training and running alike.

Everything here is numpy and pure. A model never sees an angle that did not pass through `Features`,
so training and the robot cannot drift apart; the numbers come from the model's manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import ManifestError, nearest
from edge_wam.types import FloatArray, ImageArray

Float32 = NDArray[np.float32]


def shrink(image: ImageArray, crop_px: int, box_px: int) -> ImageArray:
    """The centred crop_px square of a frame (..., H, W, 3), averaged over box_px x box_px pixels.

    Whole-pixel boxes, so that a training render of the square alone and a camera's full frame give
    the same numbers. Result: (..., crop_px / box_px, crop_px / box_px, 3) uint8.
    """
    height, width = image.shape[-3:-1]
    top, left = (height - crop_px) // 2, (width - crop_px) // 2
    square = image[..., top : top + crop_px, left : left + crop_px, :]
    # Whole rows first, which lie in one piece, then columns, in the smallest numbers that hold a box: half
    # the time of a pass a pixel of the box (LOG.md).
    count = box_px * box_px
    rows = square[..., ::box_px, :, :].astype(np.min_scalar_type(255 * count + count // 2))
    for row in range(1, box_px):
        rows += square[..., row::box_px, :, :]
    total = rows[..., ::box_px, :].copy()
    for column in range(1, box_px):
        total += rows[..., column::box_px, :]
    small: ImageArray = ((total + count // 2) // count).astype(np.uint8)
    return small


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Scales of the model's inputs and outputs. position_* have shape (J,), action_std_rad (K, J)."""

    position_mean_rad: FloatArray
    position_std_rad: FloatArray
    action_std_rad: FloatArray


# What trainer, engine and film agree on about imagined frames: their size, how many there are (halfway
# through the chunk and at its end), and the model's scale of grey: level = unit * UNIT_LEVELS + UNIT_GREY.
IMAGINED_PX, FUTURES = 48, 2
UNIT_GREY, UNIT_LEVELS = 127.5, 64.0


def pixels(frames: Float32) -> ImageArray:
    """Frames (..., 3, S, S) in unit scale -> (..., S, S, 3) uint8."""
    grey = np.clip(frames * UNIT_LEVELS + UNIT_GREY, 0, 255)
    return np.ascontiguousarray(np.moveaxis(grey, -3, -1)).astype(np.uint8)


LAG_STD_RAD = 0.05  # a servo under way is about this far behind its target


@dataclass(frozen=True, slots=True)
class Features:
    """Observation -> tensors, tensors -> targets."""

    normalisation: Normalisation
    vocabulary: tuple[str, ...]
    words: int
    crop_px: tuple[int, ...]
    box_px: tuple[int, ...]

    def images(self, frames: Sequence[ImageArray]) -> ImageArray:
        """One frame (H, W, 3) a camera, manifest order -> (C, S, S, 3) uint8."""
        pairs = zip(frames, self.crop_px, self.box_px, strict=True)
        return np.stack([shrink(image, crop, box) for image, crop, box in pairs])

    def tokens(self, command: str) -> NDArray[np.int64]:
        """A command in the manifest's words -> (words,) token ids, 0 = padding. Raises ManifestError."""
        parts = command.split()
        if len(parts) > self.words:
            raise ManifestError(f"command '{command}' has {len(parts)} words; the model takes {self.words}")
        ids = np.zeros(self.words, np.int64)
        for index, word in enumerate(parts):
            if word not in self.vocabulary:
                close = nearest(word, self.vocabulary)
                raise ManifestError(f"command '{command}': the model does not know the word '{word}'{close}")
            ids[index] = self.vocabulary.index(word)
        return ids

    def state(self, position_rad: FloatArray, sent_rad: FloatArray) -> Float32:
        """Where the arm is and how far it lags its last target: (..., J) twice -> (..., 2 J)."""
        norm = self.normalisation
        where = (position_rad - norm.position_mean_rad) / norm.position_std_rad
        lag = np.clip((sent_rad - position_rad) / LAG_STD_RAD, -8, 8)
        return np.concatenate([where, lag], axis=-1).astype(np.float32)

    def rows(self, target_rad: FloatArray, position_rad: FloatArray) -> Float32:
        """Targets (..., K, J) -> the model's rows: relative to the measured pose (..., J), in standard
        deviations."""
        relative = target_rad - position_rad[..., None, :]
        return (relative / self.normalisation.action_std_rad).astype(np.float32)

    def targets(self, rows: Float32, position_rad: FloatArray) -> FloatArray:
        """The inverse of `rows`: the model's answer (..., K, J) -> targets in radians."""
        relative: FloatArray = rows.astype(np.float64) * self.normalisation.action_std_rad
        return relative + position_rad[..., None, :]
