"""A microphone without one: sound at the pace of real time.

What it gives is what a microphone in a quiet room would: a moment of silence, the sentence, then
silence for as long as somebody listens. The silence is not digital zero but faint noise, because
end-pointers and recognisers are made for rooms.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_wam.clock import Clock
from edge_wam.config import VoiceConfig
from edge_wam.errors import VoiceError
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ, Block, SoundArray
from edge_wam.sense.vosk_engine import find_model

# English by flite's slt, Mandarin by Kokoro's zf_xiaobei (sim/kokoro.py): espeak-ng's red is nearly yellow.
SAMPLES = Path(__file__).parent / "samples"
_ROOM_RMS = 16.0  # of int16: about -66 dBFS, a quiet room


def sample(language: str, command_id: str) -> Path:
    """The WAV that ships for a command, e.g. ('en', 'pick_red'). VoiceError names those that exist."""
    path = SAMPLES / f"{language}_{command_id}.wav"
    if not path.is_file():
        names = ", ".join(sorted(found.stem for found in SAMPLES.glob("*.wav")))
        raise VoiceError(f"no sample of '{command_id}' in '{language}'; found: {names}; try: --say or --wav")
    return path


def for_samples(voice: VoiceConfig) -> VoiceConfig:
    """The settings, and 'auto' without whisper, which is sure of people and asks about flite's voice."""
    known = voice.language != "en" or find_model(voice.language, voice.vosk_model) is not None
    return voice if voice.engine != "auto" or known else replace(voice, engine="pocketsphinx")


class SimMicrophone:
    """A SoundSource that plays `sound`, (N,) int16, after `silence_s`, and then goes on with silence.

    Each block comes at its own time of `clock`, none before, none skipped: a recogniser that falls
    behind gets the rest as fast as it can take it, as from a sound card's buffer.
    """

    def __init__(self, sound: SoundArray, clock: Clock, silence_s: float = 0.5) -> None:
        self._sound = np.concatenate([np.zeros(round(silence_s * RATE_HZ), np.int16), sound])
        self._clock = clock
        self._noise = np.random.default_rng(0)
        self._start_s = clock.now_s()
        self._count = 0

    @property
    def spoken(self) -> bool:
        """True once the last sample of the sound was given."""
        return self._count * BLOCK_SAMPLES >= len(self._sound)

    def start(self) -> None:
        """The room's clock starts: sound given before was heard by nobody."""
        self._start_s, self._count = self._clock.now_s(), 0

    def read(self, timeout_s: float) -> Block | None:
        """The next block, when it is due; None if that is more than `timeout_s` away."""
        due_s = self._start_s + (self._count + 1) * BLOCK_S
        limit_s = self._clock.now_s() + timeout_s
        self._clock.sleep_until(min(due_s, limit_s))
        if due_s > limit_s:
            return None
        part = self._sound[self._count * BLOCK_SAMPLES :][:BLOCK_SAMPLES]
        self._count += 1
        mixed = self._noise.normal(0.0, _ROOM_RMS, BLOCK_SAMPLES)
        mixed[: len(part)] += part
        return Block(np.clip(np.rint(mixed), -32768, 32767).astype(np.int16), due_s)

    def stop(self) -> None:
        """Nothing to close."""
