"""Observation -> action chunk and imagined frames, with the model's own features.

The noise follows from the picture: the same observation always gives the same chunk, and the next one
another sample. One noise for all of an episode was far worse (LOG.md): what it makes of one observation it
makes of the next, so an arm that came to rest beside the goal stayed there.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from typing import Protocol

import numpy as np

from edge_wam.manifest import Manifest
from edge_wam.think.engine import Actions, Engine
from edge_wam.think.features import FUTURES, IMAGINED_PX, Features, Float32
from edge_wam.types import ActionChunk, FloatArray, ImageArray, Observation


class Policy(Protocol):
    """What turns an observation into targets (K, J) in radians, row i due i * dt_s after the frame."""

    def infer(self, observation: Observation, committed_rad: FloatArray) -> FloatArray: ...

    @property
    def progress(self) -> tuple[float, float]:
        """How far the task of the last observation is, and the chance that it is done; NaN: not told."""


def features_of(manifest: Manifest) -> Features:
    """The features of a model, as its manifest has them."""
    return Features(
        manifest.normalisation,
        manifest.vocabulary,
        manifest.words,
        tuple(view.crop_px for view in manifest.cameras),
        tuple(view.box_px for view in manifest.cameras),
    )


class WamPolicy:
    """The World Action Model as a Policy. `imagine` shows what the last chunk is expected to bring."""

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        steps: int = 0,
        noise_std: float | None = None,
        seed: int = 0,
    ) -> None:
        """steps 0 and noise_std None: as the manifest says."""
        self._features, self._engine = features_of(manifest), engine
        self._steps = steps or manifest.steps
        self._noise_std = np.float32(manifest.noise_std if noise_std is None else noise_std)
        self._seed, rng = seed, np.random.default_rng(seed)
        shape = (len(manifest.cameras), FUTURES, 3, IMAGINED_PX, IMAGINED_PX)
        self._shape = (manifest.rows, len(manifest.joints))
        self._video_noise = rng.standard_normal(shape, dtype=np.float32)
        self._rows = manifest.rows
        self._last: Actions | None = None
        self._progress = math.nan, math.nan
        # Row K/2 and row K: what training called the future (train/data.py).
        self.ahead_s = tuple(manifest.dt_s * manifest.rows * part / FUTURES for part in range(1, FUTURES + 1))

    def infer(self, observation: Observation, committed_rad: FloatArray) -> FloatArray:
        """Targets (K, J); committed_rad (d, J), d < K, are the rows already decided and come back
        unchanged."""
        features = self._features
        position = observation.position_rad
        images = features.images([frame.image for frame in observation.frames])
        context = self._engine.context(
            images,
            features.tokens(observation.command),
            features.state(position, observation.sent_rad),
        )
        if context.progress is not None:
            self._progress = float(context.progress[0]), float(context.progress[1])
        committed: Float32 | None = None
        if len(committed_rad):
            whole = np.full((self._rows, len(position)), np.nan)
            whole[: len(committed_rad)] = committed_rad
            committed = features.rows(whole, position)
        self._last = self._engine.act(context, self._noise(images), self._steps, committed)
        return features.targets(self._last.rows, position)

    @property
    def progress(self) -> tuple[float, float]:
        """How far the task of the last observation is, and the chance that it is done; NaN: not told."""
        return self._progress

    def _noise(self, images: ImageArray) -> Float32:
        rng = np.random.default_rng((self._seed, zlib.crc32(images.tobytes())))
        noise: Float32 = self._noise_std * rng.standard_normal(self._shape, dtype=np.float32)
        return noise

    def imagine(self) -> ImageArray | None:
        """Frames (C, F, 48, 48, 3) at `ahead_s` after the last observation, if there was one."""
        return None if self._last is None else self._engine.imagine(self._last, self._video_noise)


class Delay:
    """How long from exposure until a chunk is there: the 99th percentile of a sliding window (never of all
    time: one hiccup at start must not slow the arm for ever)."""

    def __init__(self, first_s: float, window: int = 50) -> None:
        self._seen_s: deque[float] = deque([first_s], maxlen=window)

    def note(self, delay_s: float) -> None:
        self._seen_s.append(delay_s)

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self._seen_s, 99))


def committed_rows(
    previous: ActionChunk | None, epoch: int, t0_s: float, dt_s: float, delay_s: float, most: int
) -> FloatArray:
    """Rows (d, J) of the chunk in force at t0 + i dt, for as long as the new chunk cannot be there yet.

    None are committed after a change of command, or where the old chunk does not reach.
    """
    if previous is None or previous.epoch != epoch or t0_s < previous.t0_s:
        return np.zeros((0, 0 if previous is None else previous.target_rad.shape[1]))
    count = min(most, math.ceil(delay_s / dt_s) + 1)
    at = (t0_s - previous.t0_s) / previous.dt_s + np.arange(count) * dt_s / previous.dt_s
    at = at[at <= len(previous.target_rad) - 1]
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, len(previous.target_rad) - 1)
    part = (at - before)[:, None]
    rows: FloatArray = previous.target_rad[before] * (1 - part) + previous.target_rad[after] * part
    return rows
