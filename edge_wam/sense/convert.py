"""From a device's pieces to the recogniser's blocks: 16 kHz, int16, without seams, at the right time."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from edge_wam.sense.pieces import Wave
from edge_wam.sense.sound import BLOCK_SAMPLES, RATE_HZ, Block
from edge_wam.sense.wav import to_int16

# How much longer than nominal a device's second may last. Crystals of sound cards are within 200 ppm.
_SLOWEST = 1.0 + 1e-3
_JUMP_S = 0.2  # no driver is late by so much and catches up; sound is missing


class Steady:
    """When a piece was heard, from when it came: late pieces are moved to where the earlier put them.

    A piece may come late (several at once, through PulseAudio; behind another thread), never early, and
    samples are evenly spaced. So the earliest one of the recent past sets the time of those after it.
    """

    def __init__(self) -> None:
        self._last_s = math.inf

    def time_s(self, came_s: float, duration_s: float) -> float:
        """`came_s`, or what the pieces before say of one that lasts `duration_s`, if that is earlier."""
        due_s = self._last_s + duration_s * _SLOWEST
        self._last_s = came_s if came_s - due_s > _JUMP_S else min(came_s, due_s)
        return self._last_s


class ToBlocks:
    """Pieces of one device, in order -> blocks of BLOCK_SAMPLES at RATE_HZ.

    soxr's output sample n belongs to input sample n * rate_hz / RATE_HZ, however long it kept it back (6 to
    41 ms at 44.1 and 48 kHz, LOG.md). So a block's time is that of the input sample under its last one: by
    the stamp of the piece that one came in, and the delay needs no mention.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._resampler: Any = None  # soxr.ResampleStream, a package without types
        if rate_hz != RATE_HZ:
            import soxr

            self._resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32", quality="HQ")
        self._steady = Steady()
        self._taken = self._given = 0  # samples in, samples out
        self._stamps: deque[tuple[int, float]] = deque()  # a piece's last sample: its number, its time
        self._pending: list[Wave] = []

    def add(self, samples: Wave, t_s: float) -> list[Block]:
        """Feed a piece, shape (N,), whose last sample came at `t_s`; the blocks that are whole now."""
        self._taken += len(samples)
        self._stamps.append((self._taken - 1, self._steady.time_s(t_s, len(samples) / self._rate_hz)))
        self._pending.append(samples if self._resampler is None else self._resampler.resample_chunk(samples))
        waiting = np.concatenate(self._pending)
        whole = len(waiting) // BLOCK_SAMPLES * BLOCK_SAMPLES
        self._pending = [waiting[whole:]]
        return [
            Block(to_int16(waiting[start : start + BLOCK_SAMPLES]), self._next_time_s())
            for start in range(0, whole, BLOCK_SAMPLES)
        ]

    def gap(self) -> None:
        """Sound is missing before the next piece. The two ends are joined: a click costs a recogniser less
        than the tenth of a second that a resampler needs to begin anew. Only the times do not go on."""
        self._steady = Steady()

    def _next_time_s(self) -> float:
        """When the last sample of the next block was heard."""
        self._given += BLOCK_SAMPLES
        under = (self._given - 1) * self._rate_hz / RATE_HZ
        while len(self._stamps) > 1 and self._stamps[0][0] < math.floor(under):
            self._stamps.popleft()
        number, t_s = self._stamps[0]
        return t_s - (number - under) / self._rate_hz
