"""Who speaks while the STOP spotter is trained: none of the voices that `edge-wam bench voice` measures with.

espeak-ng, in this process, in some ninety voices and as many accents as read English; festival's ked and its
Italian, Czech, Finnish and Catalan voices (Kokoro's: sim/kokoro.py): all tools for making data; nothing of
them is shipped or needed by the robot. Left out: everything in sim/speakers.VOICES, that is all of flite,
festival's kal, and espeak-ng's variants of those names.

    sudo apt install espeak-ng festival festvox-{kdlpc16k,italp16k,itapc16k,ca-ona-hts} \
        festvox-czech-{dita,krb,machac,ph} festvox-suopuhe-{lj,mv}
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import multiprocessing
import subprocess
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from edge_wam.errors import VoiceError
from edge_wam.sense.sound import RATE_HZ
from edge_wam.sense.spotter import LANGUAGES
from edge_wam.sim import speakers
from edge_wam.sim.speakers import Manner, Voice, stop_word
from edge_wam.train.stop_words import Talk, dictionary, with_stop

Sound = NDArray[Any]  # float32

# Variants that the bench speaks with, by language; without a variant it speaks, too.
HELD_OUT = {
    "en": ("", "f2", "f3", "m3"),
    "zh": ("", "f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "m6", "m7"),
}
_VALIDATION = ("Andy", "Alicia", "klatt4", "m5")  # nothing is trained on them either
_STRANGE = ("Demonic", "announcer", "Mr serious", "fast")
_ACCENTS = {
    "en": ("en-us",) * 5
    + ("gmw/en",) * 3
    + ("en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"),
    "zh": ("cmn-latn-pinyin",),
}
# People whose first language is another one: "stop" is a word in most of these.
_FOREIGN = ("de", "nl", "fr-fr", "it", "es", "pl", "pt", "sv", "nb", "da", "ro", "hu", "fi", "tr", "cs", "id")
_WORDS_A_MINUTE = {"en": (105, 235), "zh": (130, 290)}


class Utterance(NamedTuple):
    """samples (N,) float32 at RATE_HZ, from the first sound to the last; stop_end: the sample at which STOP
    has been said (None: it is not)."""

    samples: Sound
    stop_end: int | None


def cut(samples: Sound, stop_end: int | None) -> Utterance:
    """What is silent at both ends cut off. VoiceError if all of it is silent."""
    found = speakers.trimmed(np.rint(samples * 32767).astype(np.int16), stop_end)
    end = None if found.stop_end is None else found.stop_end - found.begin
    return Utterance(samples[found.begin : found.end], end)


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("type", "unique", "position", "length", "ms", "sample")]
    _fields_ += [("user", ctypes.c_void_p), ("id", _Id)]


class Espeak:
    """espeak-ng's library: thousands of sentences a minute. One a process."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise VoiceError("training data needs espeak-ng; try: sudo apt install espeak-ng")
        self._lib = ctypes.CDLL(name)
        self._rate_hz = self._lib.espeak_Initialize(2, 0, None, 1)
        self._sound: list[bytes] = []
        self._phonemes: list[tuple[int, int]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._take)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: int, count: int, events: Any) -> int:
        if samples and count:
            self._sound.append(ctypes.string_at(samples, 2 * count))
        i = 0
        while events[i].type:
            if events[i].type == 7:
                self._phonemes.append((events[i].position, events[i].sample))
            i += 1
        return 0

    def say(
        self, voice: str, text: str, language: str, rate: int, pitch: int = 50, swing: int = 50
    ) -> Utterance:
        """A sentence; VoiceError if there is no such voice, or nothing is heard of it."""
        self._sound.clear()
        self._phonemes.clear()
        if self._lib.espeak_SetVoiceByName(voice.encode()):
            raise VoiceError(f"espeak-ng has no voice {voice}")
        for parameter, value in ((1, rate), (3, pitch), (4, swing)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self._lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, 1, None, None)
        self._lib.espeak_Synchronize()
        raw = np.frombuffer(b"".join(self._sound), np.int16).astype(np.float32) / 32768
        end = None
        if (found := stop_word(text, language)) is not None:
            of_word = [i for i, (at, _) in enumerate(self._phonemes) if found[0] < at <= found[1]]
            if not of_word or of_word[-1] + 1 >= len(self._phonemes):
                raise VoiceError("nobody knows where STOP ends")
            end = round(self._phonemes[of_word[-1] + 1][1] * RATE_HZ / self._rate_hz)
        return cut(soxr.resample(raw, self._rate_hz, RATE_HZ).astype(np.float32), end)


@functools.cache
def variants() -> list[str]:
    """espeak-ng's variants that may be used in training, by file name."""
    told = subprocess.run(
        ["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True
    ).stdout
    files = [line.split("!v/")[1].split("(")[0].strip() for line in told.splitlines() if "!v/" in line]
    return [name for name in files if name not in _STRANGE]


class Voices:
    """A voice for every draw. validation: those kept for choosing thresholds, instead of those trained on."""

    def __init__(self, validation: bool = False) -> None:
        self._espeak = Espeak()
        every = variants()
        self.names = {
            language: [name for name in every if name not in out and (name in _VALIDATION) == validation]
            for language, out in HELD_OUT.items()
        }

    def say(self, text: str, language: str, rng: np.random.Generator) -> Utterance:
        """A sentence in a voice, an accent and a manner drawn by chance. VoiceError: draw again."""
        accent = str(rng.choice(_ACCENTS[language]))
        if language == "en" and rng.random() < 0.12:
            accent = str(rng.choice(_FOREIGN))
        voice = f"{accent}+{rng.choice(self.names[language])}"
        low, high = _WORDS_A_MINUTE[language]
        rate, pitch, swing = rng.integers(low, high), rng.integers(15, 90), rng.integers(20, 90)
        return self._espeak.say(voice, text, language, int(rate), int(pitch), int(swing))


def _batch(validation: bool, language: str, stop: bool, count: int, seed: list[int]) -> list[Utterance]:
    voices, talk, rng = Voices(validation), Talk(), np.random.default_rng(seed)
    found: list[Utterance] = []
    while len(found) < count:
        text = with_stop(language, rng) if stop else talk.sentence(language, rng)
        with contextlib.suppress(VoiceError):
            found.append(voices.say(text, language, rng))
    return found


def sentences(validation: bool, language: str, stop: bool, count: int, seed: list[int]) -> list[Utterance]:
    """`count` sentences of stop_words.py. Each hundred in a process of their own: now and then espeak-ng 1.51
    does not survive some hundred changes of its voice."""
    found: list[Utterance] = []
    fork, turn = multiprocessing.get_context("fork"), 0
    variants(), dictionary()  # once, for all of them
    while len(found) < count:
        with ProcessPoolExecutor(1, fork) as pool:
            given = (
                validation,
                language,
                stop,
                min(100, count - len(found)),
                [*seed, LANGUAGES.index(language), stop, turn],
            )
            with contextlib.suppress(BrokenProcessPool):
                found += pool.submit(_batch, *given).result()
        turn += 1
    return found


# --- voices with a person behind them: few sentences, said once and kept ---------------------


def ked(text: str, rng: np.random.Generator) -> Utterance:
    """festival's ked_diphone."""
    voice = Voice("festival-ked", "en", "festival", "ked_diphone")
    found = speakers.say(voice, text, Manner(float(rng.choice([0.85, 1.0, 1.2]))))
    return cut(found.samples.astype(np.float32) / 32768, found.stop_end)


# People who read English as if it were theirs: Italian, Czech, Finnish and Catalan voices of festival.
ABROAD = (
    *("lp_diphone", "pc_diphone", "czech_dita", "czech_krb", "czech_machac", "czech_ph"),
    *("suo_fi_lj_diphone", "hy_fi_mv_diphone", "upc_ca_ona_hts"),
)


def abroad(voice: str, text: str, rng: np.random.Generator) -> Utterance:
    """A voice of ABROAD; STOP only as the last word, and half of the time with the vowel of "father"."""
    spelt = text.replace("stop", "stap") if rng.random() < 0.5 else text
    manner = Manner(float(rng.choice([0.75, 0.9, 1.0, 1.2, 1.4])))
    found = speakers.say(Voice(f"festival-{voice}", "en", "festival", voice), spelt, manner)
    sound = found.samples[found.begin : found.end].astype(np.float32) / 32768
    return cut(sound, len(sound) if stop_word(text, "en") else None)
