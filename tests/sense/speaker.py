"""Speaks into JACK until its input ends: `python speaker.py RATE`. A line when it begins; then, for each WAV
(of that rate) named on a line of its input, the monotonic time at which its first sample was handed over.

Between the sentences there is a quiet room: a microphone that gives zeros is a dead one.
"""

import collections
import os
import sys
import time
from pathlib import Path

import numpy as np

from edge_wam.sense.wav import read_wav

ROOM_RMS = 3 / 32768


def main():
    import sounddevice

    waiting, said, room = collections.deque(), np.zeros(0, np.float32), np.random.default_rng(0)

    def play(out, frames, when, status):
        nonlocal said
        if not len(said) and waiting:
            said = waiting.popleft()
            print(time.monotonic(), flush=True)
        part, said = said[:frames], said[frames:]
        out[:] = room.normal(0.0, ROOM_RMS, (frames, 1))
        out[: len(part), 0] += part

    with sounddevice.OutputStream(int(sys.argv[1]), 0, "system", 1, "float32", callback=play):
        print("ready", flush=True)
        for line in sys.stdin:
            waiting.append(read_wav(Path(line.strip())).astype(np.float32) / 32768)
        os._exit(0)  # PortAudio may not let go of a server that was late


if __name__ == "__main__":
    main()
