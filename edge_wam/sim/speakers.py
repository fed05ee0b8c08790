"""Who speaks in the simulated room: text-to-speech voices, each telling where the word STOP ends.

espeak-ng is asked through its library (its program tells no times): phoneme events carry the sample at which
each begins (speak_lib.h, espeak_EVENT). flite prints its segments' ends (-psdur), festival saves them
(utt.save.segs), Kokoro tells how long each phoneme takes. What is silent at a segment's end is not the word.

What was said once is kept in the user's cache folder, under a name made of everything it depends on.
"""

from __future__ import annotations

import ctypes.util
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.sense.grammar import STOP_WORDS
from edge_wam.sense.sound import RATE_HZ, SoundArray
from edge_wam.sense.wav import read_wav
from edge_wam.sim import kokoro
from edge_wam.sim.kokoro import JUDGE, voices_folder

VERSION = 1  # of what is kept: more where the same request would give other sound
_FRAME = RATE_HZ // 100  # 10 ms
_SILENT = 10 ** (-35 / 20)  # below the loudest frame: not speech
_TIMEOUT_S = 60.0


class Voice(NamedTuple):
    """A voice. program: espeak, flite, festival or kokoro; argument: what that program calls it."""

    name: str
    language: str
    program: str
    argument: str


class Manner(NamedTuple):
    """How it is said: times the voice's usual speed and pitch (flite's rms, festival and Kokoro keep their
    pitch)."""

    speed: float = 1.0
    pitch: float = 1.0


# What a voice is heard with: a few, so that what was said once is said again.
MANNERS = (Manner(), Manner(0.85, 0.9), Manner(1.15, 1.12))


class Speech(NamedTuple):
    """A sentence. samples (N,) int16 at RATE_HZ; the speech is samples[begin:end], and the first STOP word
    in it ends before sample stop_end (None: there is none, or nobody knows)."""

    samples: SoundArray
    begin: int
    end: int
    stop_end: int | None


VOICES = (
    *(Voice(f"flite-{name}", "en", "flite", name) for name in ("slt", "rms", "awb", "kal")),
    Voice("festival-kal", "en", "festival", "kal_diphone"),
    Voice("espeak-us", "en", "espeak", "en-us"),
    Voice("espeak-us-f2", "en", "espeak", "en-us+f2"),
    Voice("espeak-gb", "en", "espeak", "gmw/en"),
    Voice("espeak-gb-f3", "en", "espeak", "gmw/en+f3"),
    Voice("espeak-scotland", "en", "espeak", "gmw/en-GB-scotland+m3"),
    *(
        Voice(f"mandarin-{variant}", "zh", "espeak", f"cmn-latn-pinyin+{variant}")
        for variant in ("f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "m6", "m7")
    ),
    *(
        Voice(f"kokoro-{name}", language, "kokoro", name)
        for language, names in JUDGE.items()
        for name in names
    ),
)
_WORDS_A_MINUTE = {"en": 150, "zh": 200}
_STOP_SEGMENTS = ("s", "t", "aa", "p")  # of flite's and festival's English


def installed(language: str) -> tuple[Voice, ...]:
    """The voices of a language that this machine has."""
    there = {
        "espeak": ctypes.util.find_library("espeak-ng") is not None,
        "flite": shutil.which("flite") is not None,
        "festival": shutil.which("festival") is not None,
        "kokoro": voices_folder() is not None,
    }
    return tuple(voice for voice in VOICES if voice.language == language and there[voice.program])


def cache_folder() -> Path:
    """Where speech is kept: $XDG_CACHE_HOME/edge-wam/speech. It may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "edge-wam" / "speech"


def say(voice: Voice, text: str, manner: Manner) -> Speech:
    """`text` in this voice and manner, from the cache where it is there. VoiceError if it cannot be said."""
    request = json.dumps([VERSION, *voice, text, *manner], ensure_ascii=False)
    path = cache_folder() / f"{hashlib.sha256(request.encode()).hexdigest()[:24]}.npz"
    try:
        with np.load(path) as kept:
            samples, ends = kept["samples"], kept["stop_end"]
    except (OSError, ValueError, KeyError):
        with tempfile.TemporaryDirectory(prefix="edge-wam-") as folder:
            samples, found = _PROGRAMS[voice.program](voice, text, manner, Path(folder))
        ends = np.array([] if found is None else [found])
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
            np.savez(file, samples=samples, stop_end=ends)
        os.replace(file.name, path)
    return trimmed(samples, round(float(ends[0]) * RATE_HZ) if len(ends) else None)


def trimmed(samples: SoundArray, stop_end: int | None) -> Speech:
    """Where in (N,) samples the speech is, and where the STOP word whose last segment ends at `stop_end`
    stops to be heard. VoiceError if all is silent."""
    loud = _loud(samples)
    if not len(loud):
        raise VoiceError("expected speech, found silence; try: listen to the recording")
    begin, end = int(loud[0]) * _FRAME, min(int(loud[-1] + 1) * _FRAME, len(samples))
    if stop_end is not None:
        before = loud[loud * _FRAME < stop_end]
        stop_end = min(stop_end, int(before[-1] + 1) * _FRAME) if len(before) else stop_end
    return Speech(samples, begin, end, stop_end)


def _loud(samples: SoundArray) -> np.ndarray:
    """The numbers of the 10 ms frames that are no silence."""
    whole = np.zeros(-(-len(samples) // _FRAME) * _FRAME)
    whole[: len(samples)] = samples
    rms = np.sqrt((whole.reshape(-1, _FRAME) ** 2).mean(axis=1))
    found: np.ndarray = np.flatnonzero(rms > max(_SILENT * rms.max(initial=0.0), 1.0))
    return found


def stop_word(text: str, language: str) -> tuple[int, int] | None:
    """Where in `text` the first STOP word stands, the longest there: [first, after last)."""
    words = sorted(STOP_WORDS[language], key=len, reverse=True)
    found = [(text.find(word), -len(word)) for word in words if word in text.casefold()]
    return (min(found)[0], min(found)[0] - min(found)[1]) if found else None


# --- the programs: each gives samples, and the second at which the STOP word's last segment e

_Said = tuple[SoundArray, float | None]

# A process for each sentence: how espeak-ng says one depends on those before it.
_ESPEAK = """
import ctypes, ctypes.util, json, sys
class Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("string", ctypes.c_char * 8)]
class Event(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("type", "unique", "position", "length", "ms", "sample")]
    _fields_ += [("user", ctypes.c_void_p), ("id", Id)]
voice, rate, pitch, path, text = sys.argv[1:]
lib = ctypes.CDLL(ctypes.util.find_library("espeak-ng"))
rate_hz = lib.espeak_Initialize(2, 0, None, 1)  # AUDIO_OUTPUT_SYNCHRONOUS, PHONEME_EVENTS
ctypes.CDLL(None).srand(1)
sound, phonemes = [], []
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(Event))
def take(samples, count, events):
    if samples and count:
        sound.append(ctypes.string_at(samples, 2 * count))
    while events[0].type:
        if events[0].type == 7:
            phonemes.append((events[0].position, events[0].sample))
        events = ctypes.cast(ctypes.addressof(events[0]) + ctypes.sizeof(Event), ctypes.POINTER(Event))
    return 0
lib.espeak_SetSynthCallback(take)
if lib.espeak_SetVoiceByName(voice.encode()):
    sys.exit(f"no voice {voice}")
lib.espeak_SetParameter(1, int(rate), 0)
lib.espeak_SetParameter(3, int(pitch), 0)
data = text.encode()
lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, 1, None, None)
lib.espeak_Synchronize()
open(path, "wb").write(b"".join(sound))
print(json.dumps([rate_hz, phonemes]))
"""


def _espeak(voice: Voice, text: str, manner: Manner, folder: Path) -> _Said:
    raw, wav = folder / "said.raw", folder / "said.wav"
    rate = round(_WORDS_A_MINUTE[voice.language] * manner.speed)
    pitch = round(np.clip(50 * manner.pitch, 0, 99))  # 0 to 99, 50 the voice's own
    told = _run(voice, [sys.executable, "-c", _ESPEAK, voice.argument, str(rate), str(pitch), str(raw), text])
    rate_hz, phonemes = json.loads(told)
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(raw.read_bytes())
    end_s = None
    if (found := stop_word(text, voice.language)) is not None:
        of_word = [i for i, (position, _) in enumerate(phonemes) if found[0] < position <= found[1]]
        if of_word and of_word[-1] + 1 < len(phonemes):  # positions count from 1
            end_s = phonemes[of_word[-1] + 1][1] / rate_hz
    return read_wav(wav), end_s


def _flite(voice: Voice, text: str, manner: Manner, folder: Path) -> _Said:
    wav = folder / "said.wav"
    command = ["flite", "-voice", voice.argument, "-psdur", "--setf", f"duration_stretch={1 / manner.speed}"]
    if manner.pitch != 1.0:
        command += ["--setf", f"int_f0_target_mean={_FLITE_HZ[voice.argument] * manner.pitch}"]
    told = _run(voice, [*command, "-t", text, "-o", str(wav)])
    pairs = [item.rsplit(":", 1) for item in told.split() if ":" in item]
    segments = [(name, float(end)) for name, end in pairs]
    return read_wav(wav), _stop_segment(segments) if stop_word(text, voice.language) else None


_FLITE_HZ = {"slt": 170.0, "rms": 100.0, "awb": 130.0, "kal": 100.0}


def _festival(voice: Voice, text: str, manner: Manner, folder: Path) -> _Said:
    wav, segs, script = folder / "said.wav", folder / "said.segs", folder / "say.scm"
    quoted = text.replace("\\", "").replace('"', "")
    script.write_text(
        f"(voice_{voice.argument})\n(Parameter.set 'Duration_Stretch {1 / manner.speed})\n"
        f'(set! utt (Utterance Text "{quoted}"))\n(utt.synth utt)\n'
        f'(utt.save.wave utt "{wav}")\n(utt.save.segs utt "{segs}")\n'
    )
    _run(voice, ["festival", "-b", str(script)])
    lines = [line.split() for line in segs.read_text().splitlines()]
    segments = [(line[2], float(line[0])) for line in lines if len(line) == 3]
    return read_wav(wav), _stop_segment(segments) if stop_word(text, voice.language) else None


def _stop_segment(segments: Sequence[tuple[str, float]]) -> float | None:
    names, size = [name for name, _ in segments], len(_STOP_SEGMENTS)
    for first in range(len(names) - size + 1):
        if tuple(names[first : first + size]) == _STOP_SEGMENTS:
            return segments[first + size - 1][1]
    return None


def _run(voice: Voice, command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise VoiceError(
            f"{voice.program} cannot speak as {voice.name}: {lines[-1] if lines else 'no reason'}"
        )
    return done.stdout


def _kokoro(voice: Voice, text: str, manner: Manner, folder: Path) -> _Said:
    del folder
    one = kokoro.opened().say(
        text, voice.language, {voice.argument: 1.0}, manner.speed, stop_word(text, voice.language)
    )
    samples: SoundArray = np.rint(one.samples * 32767).astype(np.int16)
    return samples, None if one.stop_end is None else one.stop_end / RATE_HZ


_PROGRAMS = {"espeak": _espeak, "flite": _flite, "festival": _festival, "kokoro": _kokoro}
