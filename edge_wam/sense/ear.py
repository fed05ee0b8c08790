"""The process that PortAudio runs in: from the sound card into a pipe, and nothing else.

    python -m edge_wam.sense.ear PIPE DEVICE      # started by sense/microphone.py

PortAudio has a process of its own because it can only be trusted while its device is there: once one was
pulled out, closing it may never return (PortAudio 19.6 and JACK: LOG.md; ALSA: its issue 1037), and its list
of devices is made once. A process can be killed, and the next one has a new list.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.sense import devices
from edge_wam.sense.pieces import PIECE_S, Failed, Opened, Piece, encode, write_all
from edge_wam.sense.sound import RATE_HZ

_KEPT_S = 3.0  # of sound that the reader of the pipe may be behind
_LOOK_S = 0.2
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Ring:
    """Pieces between PortAudio's thread, which only copies, and ours. All memory is there beforehand.

    One writer, one reader; what finds no room is dropped and counted.
    """

    def __init__(self, count: int, frames: int, rate_hz: int) -> None:
        self._sound = np.zeros((count, frames), np.float32)
        self._t_s = np.zeros(count)
        self._slots = [row.data.cast("B") for row in self._sound]
        self._rate_hz, self._written, self._taken = rate_hz, 0, 0
        self._news = threading.Event()
        self.dropped = self.overflows = 0

    def put(self, data: Any, frames: int, when: Any, status: Any) -> None:
        """PortAudio's callback: copy, stamp, go. Any: PortAudio's C structures have no types."""
        now_s = time.monotonic()
        if status.input_overflow:
            self.overflows += 1
        if self._written - self._taken == len(self._slots):
            self.dropped += 1
            return
        slot = self._written % len(self._slots)
        self._slots[slot][:] = data
        # How long ago the last sample was taken, by the stream's own clock; some drivers leave it at zero.
        age_s = when.currentTime - when.inputBufferAdcTime - frames / self._rate_hz
        self._t_s[slot] = now_s - (age_s if 0.0 <= age_s < 1.0 else 0.0)
        self._written += 1
        self._news.set()

    def take(self, timeout_s: float) -> Iterator[Piece]:
        """What there is after at most `timeout_s`. A piece is valid until the next one is asked for."""
        self._news.wait(timeout_s)
        self._news.clear()
        while self._taken < self._written:
            slot = self._taken % len(self._slots)
            yield Piece(self._sound[slot], float(self._t_s[slot]), self.dropped, self.overflows)
            self._taken += 1


def listen(sounddevice: Any, device: str) -> tuple[Any, Ring, Opened]:
    """Open and start the device: its stream, the ring that it fills, and what it is.

    At RATE_HZ if it can do that, else at the rate it prefers. One channel, the first: PortAudio takes it out
    of however many the device has (pa_linux_alsa.c, numHostChannels). Not the mean: that is half as loud when
    only one input is used, and combs or cancels when two hear the same; arrays put their processed channel
    first.
    """
    found = devices.choose(sounddevice, device)
    refusals = []
    for rate_hz in dict.fromkeys((RATE_HZ, found.rate_hz)):
        frames = round(PIECE_S * rate_hz)
        ring = Ring(round(_KEPT_S / PIECE_S), frames, rate_hz)
        try:
            stream = sounddevice.RawInputStream(
                samplerate=rate_hz,
                blocksize=frames,
                channels=1,
                dtype="float32",
                device=found.number,
                callback=ring.put,
            )
        except sounddevice.PortAudioError as error:
            refusals.append(f"at {rate_hz} Hz: {str(error).strip().splitlines()[0]}")
            continue
        stream.start()
        return stream, ring, Opened(found.name, rate_hz)
    raise VoiceError(
        f"voice.device: cannot open microphone '{found.name}' ({'; '.join(refusals)}); does another program "
        "hold it? try: fuser -v /dev/snd/*"
    )


def portaudio() -> Any:
    """The sounddevice package. VoiceError says what to install."""
    try:
        import sounddevice
    except ImportError as error:
        raise VoiceError(
            "the microphone needs the sounddevice package; try: pip install 'edge-wam[voice]'"
        ) from error
    except OSError as error:
        raise VoiceError("the microphone needs PortAudio; try: sudo apt install libportaudio2") from error
    return sounddevice


def run(pipe: int, device: str) -> None:
    """Sound into the pipe until nobody reads it or the device is gone; then the reason."""
    try:
        stream, ring, opened = listen(portaudio(), device)
        write_all(pipe, encode(opened))
        while True:
            for piece in ring.take(_LOOK_S):
                write_all(pipe, encode(piece))
            if not stream.active:
                raise VoiceError(f"'{opened.name}' has stopped by itself; was it unplugged?")
    except BrokenPipeError:
        return
    except VoiceError as error:
        reason = str(error)
    except Exception as error:  # the edge of a process: its words go to whoever reads the pipe
        reason = f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError):
        write_all(pipe, encode(Failed(reason)))


def main() -> None:
    # Whoever reads the pipe decides when this ends, and it ends with them, even in the middle of PortAudio.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    run(int(sys.argv[1]), sys.argv[2])
    os._exit(0)  # an ordinary exit closes PortAudio, and that may hang


if __name__ == "__main__":
    main()
