"""How old a camera's pictures are: a joint moves in a known pattern, the pictures change as it does.

How much a picture differs from the one before is, for a small motion, proportional to how far the joint went
between the two exposures. So for every lag that is possible the joint's own positions say how much each pair
of pictures should differ, and the lag at which that correlates best with how much they do is the camera's
delay: what has to be taken off a frame's time to have the time at which it was true. The same is done with
what the joint was sent and what it measured; that is the servo's delay. Pure arithmetic: no clock, no device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_wam.errors import CalibrationError
from edge_wam.types import FloatArray, ImageArray

AMPLITUDE_RAD = 0.10
DURATION_S, PARTS = 12.0, 6
_WAVES = ((0.6, 0.53), (0.3, 1.27), (0.2, 2.11))  # share, Hz; no two alike, so only one lag fits
_RAMP_S = 1.0
_BLOCK_PX = 8
LOWEST_S, HIGHEST_S, _STEP_S = -0.05, 0.50, 0.002
LEAST_CORRELATION = 0.8
MOST_ERROR_S = 0.008


class Lag(NamedTuple):
    """delay_s and its standard error, from the lags of all PARTS parts but the one that is farthest off; how
    well those correlate (1)."""

    delay_s: float
    error_s: float
    correlation: float


class Track(NamedTuple):
    """Values (N,) and the times when they were true (N,), seconds, growing."""

    t_s: FloatArray
    value: FloatArray


def pattern_rad(t_s: float) -> float:
    """How far the joint is to be from where it began, t_s after it began; 0 before, and DURATION_S after."""
    if not 0 <= t_s <= DURATION_S:
        return 0.0
    ramp = min(1.0, t_s / _RAMP_S, (DURATION_S - t_s) / _RAMP_S)
    waves = sum(share * math.sin(2 * math.pi * rate_hz * t_s) for share, rate_hz in _WAVES)
    return AMPLITUDE_RAD * (0.5 - 0.5 * math.cos(math.pi * ramp)) * waves


def coarse(image: ImageArray) -> FloatArray:
    """A picture (H, W, 3) in blocks of 8 x 8 pixels, gray: small motions change it in proportion."""
    height, width = (side // _BLOCK_PX * _BLOCK_PX for side in image.shape[:2])
    gray = image[:height, :width].mean(axis=2)
    blocks: FloatArray = gray.reshape(height // _BLOCK_PX, _BLOCK_PX, width // _BLOCK_PX, _BLOCK_PX).mean(
        axis=(1, 3)
    )
    return blocks


def changes(pictures: Sequence[FloatArray]) -> FloatArray:
    """How much each picture but the first differs from the one before: root mean square, (N - 1,)."""
    return np.array([math.sqrt(float(((b - a) ** 2).mean())) for a, b in itertools.pairwise(pictures)])


def camera_lag(joint: Track, seen_s: FloatArray, changed: FloatArray) -> Lag:
    """The delay of a camera whose pictures, stamped seen_s (N,), changed by `changed` (N - 1,) each."""

    def expected(lag_s: float) -> FloatArray:
        return np.abs(np.diff(np.interp(seen_s - lag_s, *joint)))

    return _lag(expected, changed, "the camera does not see it move: try: more light, or --joint")


def servo_lag(sent: Track, measured: Track) -> Lag:
    """How long after it was sent a position is measured."""

    def expected(lag_s: float) -> FloatArray:
        return np.interp(measured.t_s - lag_s, *sent)

    return _lag(expected, measured.value, "the joint does not follow; try: scripts/calibrate.py verify")


def _lag(expected: object, seen: FloatArray, trouble: str) -> Lag:
    assert callable(expected)
    lags_s = np.arange(LOWEST_S, HIGHEST_S, _STEP_S)
    table = np.array([expected(lag_s) for lag_s in lags_s])
    _, correlation = _peak(lags_s, table, seen)
    if correlation < LEAST_CORRELATION:
        raise CalibrationError(f"{trouble} (correlation {correlation:.2f}, expected {LEAST_CORRELATION})")
    parts = np.array_split(np.arange(len(seen)), PARTS)
    parts_s = np.array([_peak(lags_s, table[:, part], seen[part])[0] for part in parts])
    # One of them may be disturbed: the computer stalls, somebody walks past.
    worst = int(np.abs(parts_s - np.median(parts_s)).argmax())
    error_s = float(np.std(np.delete(parts_s, worst), ddof=1)) / math.sqrt(PARTS - 1)
    if error_s > MOST_ERROR_S:
        told = ", ".join(f"{1e3 * one:.0f}" for one in parts_s)
        raise CalibrationError(
            f"the delay is not the same throughout ({told} ms); try: nothing else moving in the picture, "
            f"another program off the camera"
        )
    kept = np.concatenate(parts[:worst] + parts[worst + 1 :])
    delay_s, correlation = _peak(lags_s, table[:, kept], seen[kept])
    return Lag(delay_s, error_s, correlation)


def _peak(lags_s: FloatArray, table: FloatArray, seen: FloatArray) -> tuple[float, float]:
    """Where the rows of `table` (L, N) correlate best with `seen` (N,), between the rows; and how well."""
    a, b = table - table.mean(axis=1, keepdims=True), seen - seen.mean()
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum())
    score = np.divide(a @ b, scale, out=np.zeros(len(lags_s)), where=scale > 0)
    best = int(score.argmax())
    if not 0 < best < len(lags_s) - 1:
        return float(lags_s[best]), float(score[best])
    left, middle, right = score[best - 1 : best + 2]
    bend = left - 2 * middle + right
    shift = 0.0 if bend == 0 else 0.5 * (left - right) / bend
    return float(lags_s[best] + shift * _STEP_S), float(middle)
