"""Sound as the recogniser wants it: mono, 16 kHz, 16 bit, in blocks that know when they were heard."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
BLOCK_SAMPLES = 960  # 60 ms: two frames of the end-pointer, and STOP waits for no more than that
BLOCK_S = BLOCK_SAMPLES / RATE_HZ

SoundArray = NDArray[np.int16]


class Block(NamedTuple):
    """A piece of sound. samples has shape (N,), int16; the last of them was heard at `t_s`."""

    samples: SoundArray
    t_s: float


class SoundSource(Protocol):
    """A microphone, real or simulated."""

    def start(self) -> None:
        """Open it. VoiceError if that is impossible."""

    def read(self, timeout_s: float) -> Block | None:
        """The next block, or None if none came in `timeout_s`. VoiceError once it has failed."""

    def stop(self) -> None:
        """Close it. Harmless when done twice."""
