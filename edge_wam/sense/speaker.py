"""The robot's own voice: a sound for every outcome, a spoken sentence where that is wanted.

Speech is made by espeak-ng, a program of its own (licence: the GPL; nothing of it is linked). What plays
is remembered, so that the robot does not take its own words for somebody's. Answers never keep the ear
waiting: they are made and played in a thread, and one that cannot be is said once and left out.
"""

from __future__ import annotations

import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.sense.dialogue import Reply, Sign
from edge_wam.sense.sound import RATE_HZ, SoundArray
from edge_wam.sense.wav import read_wav

ANSWERS = ("off", "sounds", "speech")
ECHO_S = 0.4  # the room's echo, the sound card's buffer, and the recogniser's idea of when a word ended
# espeak-ng's voice and words a minute, by language. Plain "cmn" spells Chinese out in English sounds
# (1.51); its bass voice is heard half the time, "+f2" always.
_VOICES = {"en": ("en-us", 150), "zh": ("cmn-latn-pinyin+f2", 210)}
_TONES_HZ = {Sign.DONE: (880.0,), Sign.ASK: (660.0, 880.0), Sign.NO: (660.0, 440.0)}
_TONE_S, _FADE_S, _LEVEL = 0.09, 0.01, 0.2


def speak(text: str, language: str, voice: str = "") -> SoundArray:
    """`text` spoken by espeak-ng, (N,) int16. VoiceError if espeak-ng is missing or has no such voice."""
    if shutil.which("espeak-ng") is None:
        raise VoiceError("speech needs espeak-ng; try: sudo apt install espeak-ng")
    usual, words_a_minute = _VOICES.get(language, (language, 150))
    voice = voice or usual
    with tempfile.TemporaryDirectory(prefix="edge-wam-") as folder:
        path = Path(folder) / "said.wav"
        command = ["espeak-ng", "-v", voice, "-s", str(words_a_minute), "-b", "1", "-w", str(path), "--stdin"]
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
        if done.returncode or not path.is_file():
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise VoiceError(
                f"espeak-ng cannot speak with voice '{voice}': {said[-1] if said else 'no reason given'}"
            )
        return read_wav(path)


def earcon(sign: Sign) -> SoundArray:
    """A short sound, (N,) int16: one tone for done, rising for a question, falling for no."""
    t_s = np.arange(round(_TONE_S * RATE_HZ)) / RATE_HZ
    fade = np.minimum(1.0, np.minimum(t_s, _TONE_S - t_s) / _FADE_S)
    tones = [fade * np.sin(2 * np.pi * hz * t_s) for hz in _TONES_HZ.get(sign, ())]
    sound: SoundArray = np.rint(32767 * _LEVEL * np.concatenate([*tones, np.zeros(0)])).astype(np.int16)
    return sound


def play(sound: SoundArray) -> None:
    """Play (N,) int16 at RATE_HZ on the default output, and wait. VoiceError says what is missing."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise VoiceError(f"answers need sounddevice and PortAudio ({error})") from error
    try:
        sounddevice.play(sound, RATE_HZ, blocking=True)
    except sounddevice.PortAudioError as error:
        raise VoiceError(f"no loudspeaker ({error})") from error


class Speaker:
    """Answers, one after another, in a thread. answers: off, sounds, or speech (with the sounds)."""

    def __init__(
        self,
        answers: str,
        language: str,
        say: Callable[[str], None],
        play: Callable[[SoundArray], None] = play,
        speak: Callable[[str, str], SoundArray] = speak,
    ) -> None:
        if answers not in ANSWERS:
            raise ValueError(f"answers: expected one of {', '.join(ANSWERS)}, found '{answers}'")
        self._answers, self._language, self._say = answers, language, say
        self._play, self._speak = play, speak
        self._waiting: queue.Queue[Reply | None] = queue.Queue(4)
        self._audible: deque[tuple[float, float]] = deque(maxlen=16)  # since when, until when
        self._complained: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)
        if answers != "off":
            self._thread.start()

    def answer(self, reply: Reply) -> None:
        """Sooner or later; never waits. One that does not fit any more is left out."""
        if self._answers != "off" and (reply.say or reply.sign is not Sign.NONE) and not self._waiting.full():
            self._waiting.put(reply)

    def audible(self, t_s: float) -> bool:
        """Whether the robot itself could be heard at t_s (monotonic), its echo included."""
        return any(begin_s <= t_s <= end_s + ECHO_S for begin_s, end_s in tuple(self._audible))

    def close(self) -> None:
        """Say no more; what is being said is cut off with the process."""
        self._answers = "off"
        if self._thread.is_alive():
            self._waiting.put(None)

    def _run(self) -> None:
        while (reply := self._waiting.get()) is not None:
            try:
                sound = earcon(reply.sign)
                if reply.say and self._answers == "speech":
                    sound = np.concatenate([sound, self._speak(reply.say, self._language)])
                self._aloud(sound)
            except VoiceError as error:
                self._once(str(error))

    def _aloud(self, sound: SoundArray) -> None:
        begin_s = time.monotonic()
        # Until its end is known, as long as it is: a recogniser that is quick may ask in between.
        self._audible.append((begin_s, begin_s + len(sound) / RATE_HZ))
        try:
            self._play(sound)
        finally:
            self._audible.append((begin_s, time.monotonic()))

    def _once(self, text: str) -> None:
        if text not in self._complained:
            self._complained.add(text)
            self._say(f"voice: {text}; answers are only written")
