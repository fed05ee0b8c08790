"""What is done to a clip each time it is drawn: another throat, tempo, telephone; holes; a floor of noise.

What is trained long on the same clips learns who speaks in them (LOG.md, 2026-11-29).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_wam.sense.spotter import BANDS

Array = NDArray[Any]


def warped(frames: Array, end: int, rng: np.random.Generator) -> Array:
    """(FRAMES, BANDS) of one clip in another throat, tempo (around `end`), blur, telephone, slope."""
    bands, f = np.arange(BANDS), frames
    if rng.random() < 0.4:
        f = _along(f.T, bands * rng.uniform(0.82, 1.2) + rng.uniform(-1, 1)).T
    if rng.random() < 0.4:
        pace, centre = rng.uniform(0.75, 1.3), end if end >= 0 else len(f) // 2
        f = _along(f, centre + (np.arange(len(f)) - centre) * pace)
    if rng.random() < 0.2:
        blur, whole = 0.8 * rng.uniform(0, 0.35), f
        f = whole.copy()
        f[:, 1:-1] = whole[:, 1:-1] * (1 - 2 * blur) + blur * (whole[:, :-2] + whole[:, 2:])
    if rng.random() < 0.2:
        f = f.copy()
        f[:, int(rng.integers(26, 38)) :] *= rng.uniform(0, 0.3)
    if rng.random() < 0.3:
        slope = np.interp(bands, np.linspace(0, BANDS - 1, 5), rng.uniform(-0.35, 0.35, 5))
        f = np.maximum(f, 0) ** rng.uniform(0.75, 1.3) * np.exp(slope)
    return f.astype(np.float32)


def _along(rows: Array, where: Array) -> Array:
    """Rows between rows."""
    where = np.clip(where, 0, len(rows) - 1)
    low = np.minimum(where.astype(int), len(rows) - 2)
    share = (where - low)[:, None]
    return rows[low] * (1 - share) + rows[low + 1] * share


def masked(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Clips without some bands or frames (SpecAugment: Park et al. 2019), and with a floor of noise: what
    espeak-ng leaves perfectly silent within a word is not so in voices of people."""
    for one in frames:
        for _ in range(int(rng.integers(0, 2))):
            at = int(rng.integers(0, BANDS - 8))
            one[:, at : at + int(rng.integers(1, 9))] = 0
        if rng.random() < 0.1:
            at = int(rng.integers(0, len(one) - 8))
            one[at : at + int(rng.integers(1, 6))] = 0
        one *= float(rng.uniform(0.8, 1.2))
    floor = torch.from_numpy(rng.uniform(0, 0.15, (len(frames), 1, 1)).astype(np.float32))
    return frames + floor * torch.randn(frames.shape).abs()
