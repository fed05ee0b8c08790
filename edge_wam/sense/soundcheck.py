"""Is that sound? What a microphone gives when it is muted, unplugged or too loud, told from a room."""

from __future__ import annotations

import math

import numpy as np

from edge_wam.sense.pieces import Wave
from edge_wam.sense.sound import SoundArray

# No live microphone gives the same number for so long: its own noise moves the last bit. A stale USB
# handle does, and so does a switch that mutes.
FLAT_S = 5.0
# Full scale for this share of so many seconds: a clap is shorter, speech that is cut off is longer.
CLIPPED_SHARE, CLIPPED_WINDOW_S = 0.005, 5.0
_FULL_SCALE = 32767 / 32768  # the largest positive int16
# Less than that is no quiet room but a capture level at zero: 16 bits end at -101 dBFS (one bit's noise), and
# rooms are heard at -70 to -40.
FAINT_DBFS = -85.0


class Soundcheck:
    """Watches the pieces of one device at `rate_hz`."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._flat = self._seen = self._full = 0  # samples
        self._level = math.nan
        self.clipped = False  # once true, always true

    @property
    def flat_s(self) -> float:
        """For how long every sample has been the same number."""
        return self._flat / self._rate_hz

    def hear(self, samples: Wave) -> None:
        """The next piece, shape (N,), full scale 1."""
        low, high = float(samples.min()), float(samples.max())
        self._flat = 0 if low != high else len(samples) + (self._flat if high == self._level else 0)
        self._level = high
        if self._seen >= CLIPPED_WINDOW_S * self._rate_hz:
            self._seen = self._full = 0
        self._seen += len(samples)
        self._full += int(np.count_nonzero((samples >= _FULL_SCALE) | (samples <= -_FULL_SCALE)))
        if self._full >= CLIPPED_SHARE * CLIPPED_WINDOW_S * self._rate_hz:
            self.clipped = True


def level_dbfs(samples: SoundArray) -> float:
    """How loud it is: 0 for a square wave of full scale, about -50 for a room, -inf for no sound at all."""
    rms = float(np.std(samples.astype(np.float64)))  # a constant is no sound
    return 20.0 * math.log10(rms / 32768.0) if rms > 0.0 else -math.inf


def trouble(samples: SoundArray) -> str:
    """What is wrong with a second or two of sound, shape (N,), and what to try; '' if nothing is."""
    level = level_dbfs(samples)
    if level == -math.inf:
        return "gives nothing but silence; muted? try: its switch, alsamixer (capture, space)"
    if level < FAINT_DBFS:
        return f"is hardly heard ({level:.0f} dBFS); try: alsamixer (F4, capture level up)"
    if np.mean(np.abs(samples.astype(np.int32)) >= 32767) >= CLIPPED_SHARE:
        return f"is too loud ({level:.0f} dBFS, cut off); try: alsamixer (F4, capture level down)"
    return ""
