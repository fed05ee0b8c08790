"""Plays a tape into JACK until its input ends: `python player.py RATE`. A line when it begins, and then, of
every cycle, when it was handed over and the number of its first sample, counted for ever.

The left channel is the tape, the right another sound, as loud. Whoever opens the device "player" hears both.
"""

import os
import sys
import time

import numpy as np

SECONDS = 6


def tape(rate_hz, seed=0):
    """(SECONDS * rate_hz,) float32: chirps over faint noise, so that every sample knows its place."""
    t_s = np.arange(SECONDS * rate_hz) / rate_hz
    chirps = 0.4 * np.sin(2 * np.pi * (200.0 * t_s + 1500.0 * (t_s % 1.0) ** 2))
    sound = chirps + np.random.default_rng(seed).normal(0.0, 0.02, len(t_s))
    # What int16 can hold, so that sound in can equal sound out to the last bit.
    return (np.rint(np.clip(sound, -0.99, 0.99) * 32768) / 32768).astype(np.float32)


def main():
    import sounddevice

    rate_hz, played, cycles = int(sys.argv[1]), 0, []
    both = np.stack([tape(rate_hz), tape(rate_hz, seed=1)], axis=1)

    def play(out, frames, when, status):
        nonlocal played
        cycles.append((time.monotonic(), played))
        out[:] = both.take(range(played, played + frames), axis=0, mode="wrap")
        played += frames

    with sounddevice.OutputStream(rate_hz, 0, "system", 2, "float32", callback=play):
        print("playing", flush=True)
        sys.stdin.read()
        print("\n".join(f"{t_s} {first}" for t_s, first in cycles), flush=True)
        os._exit(0)  # PortAudio may not let go of a server that was late


if __name__ == "__main__":
    main()
