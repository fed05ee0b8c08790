"""A microphone on a stage: silence, and a sentence whenever the demo gives the cue; or it is unplugged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_wam.clock import MonotonicClock
from edge_wam.errors import VoiceError
from edge_wam.mailbox import Mailbox, RecordType
from edge_wam.sense.sound import Block
from edge_wam.sense.wav import read_wav
from edge_wam.sim.microphone import SimMicrophone

CUE: RecordType = np.dtype([("wav", "S512"), ("unplugged", np.bool_)])


class CuedMicrophone:
    """A SoundSource that plays the WAV named in its CUE mailbox, each time it is told."""

    def __init__(self, mailbox: str) -> None:
        self._cues = Mailbox.open(mailbox, CUE)
        self._clock = MonotonicClock()
        self._playing = SimMicrophone(np.zeros(0, np.int16), self._clock)
        self._unplugged = False

    def start(self) -> None:
        """Listen from now on: what was said before, to a microphone that is gone, is not said again."""
        before = self._cues.take()
        if before is not None and before.record["unplugged"]:
            raise VoiceError("there is no microphone; is it plugged in?")
        self._playing.start()

    def read(self, timeout_s: float) -> Block | None:
        """The next block at its time; a cue begins a new sound."""
        if (letter := self._cues.take()) is not None:
            self._unplugged = bool(letter.record["unplugged"])
            if name := bytes(letter.record["wav"]).decode():
                self._playing = SimMicrophone(read_wav(Path(name)), self._clock, silence_s=0.2)
                self._playing.start()
        if self._unplugged:
            self._clock.sleep_until(self._clock.now_s() + timeout_s)
            return None
        return self._playing.read(timeout_s)

    def stop(self) -> None:
        self._cues.close()
