"""Vosk: the recogniser of the robot. Its grammar can say "none of these"; partial results come early."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

from edge_wam.errors import VoiceError
from edge_wam.sense.grammar import UNKNOWN, Beside, Grammar, make_grammar
from edge_wam.sense.sound import RATE_HZ, Block
from edge_wam.types import Words

VARIABLE = "EDGE_WAM_VOSK_MODEL"
_NAMES = {"en": "en-us", "zh": "cn"}  # a language as vosk's models are named
_NEEDED = ("am/final.mdl", "conf/model.conf", "graph/HCLr.fst", "graph/Gr.fst")
# From the end of talk that was rejected to the first partial result of another sentence: a pause of
# 0.8 s and the 0.5 to 0.8 s by which that result lags.
_SENTENCE_GAP_S = 1.6
_STUCK_S = 1.0  # without a change: [unk] swallows silence, and such an utterance would not end by itself
_NOTHING = Beside()
# Of every word. In three voices right commands carry .74 and more, .62 in a little noise; a plate of a colour
# that is none was taken for a blue one with up to .55. No proof: with a grammar it is 1.0 too easily.
_CONFIDENT = 0.6


class _Word(TypedDict):
    conf: float
    end: float


class _Result(TypedDict, total=False):
    """A final result, as vosk writes it in JSON."""

    text: str
    result: list[_Word]


def cache_folder() -> Path:
    """Where models that were fetched for us live: $XDG_CACHE_HOME/edge-wam/vosk."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "edge-wam" / "vosk"


def usual_places() -> tuple[Path, ...]:
    """Folders in which a folder named vosk-model-* is looked for, in order."""
    return (
        cache_folder(),
        Path.home() / ".cache" / "vosk",
        Path("/usr/share/vosk"),
        Path("/usr/local/share/vosk"),
    )


def find_model(language: str, setting: str = "", environment: str | None = None) -> Path | None:
    """The model folder for `language`: the setting, else $EDGE_WAM_VOSK_MODEL, else the usual places.

    None if there is none in the usual places. VoiceError if one that was named is unusable: who
    names a model wants that one.
    """
    named = environment if environment is not None else os.environ.get(VARIABLE, "")
    for source, text in (("voice.vosk_model", setting), (f"${VARIABLE}", named)):
        if text:
            _check(Path(text).expanduser(), source)
            return Path(text).expanduser()
    tag = _NAMES.get(language, language)
    for place in usual_places():
        for folder in sorted(place.glob(f"vosk-model-small-{tag}-*")):
            if all((folder / needed).is_file() for needed in _NEEDED):
                return folder
    return None


def _check(folder: Path, source: str) -> None:
    if not folder.is_dir():
        raise VoiceError(f"{source}: no Vosk model folder at {folder}; try: edge-wam fetch-voice")
    missing = [needed for needed in _NEEDED if not (folder / needed).is_file()]
    if missing:  # big models have graph/HCLG.fst instead, and ignore a grammar without a word
        raise VoiceError(
            f"{source}: expected a small Vosk model, found no {missing[0]} in {folder}; "
            "try: edge-wam fetch-voice"
        )


def read_vocabulary(folder: Path) -> list[str]:
    """The words of a model, from the symbol table inside graph/Gr.fst.

    Vosk can be asked for a word but not for its words. OpenFst's SymbolTable::Write: magic
    (int32 0x7EB2FB74), name (int32 length, bytes), next key and count (int64), then the count of
    (int32 length, bytes, int64 key). [] if the table is not there.
    """
    data = (folder / "graph" / "Gr.fst").read_bytes()
    at = data.find(struct.pack("<i", 0x7EB2FB74))
    if at < 0:
        return []
    (length,) = struct.unpack_from("<i", data, at + 4)
    (count,) = struct.unpack_from("<q", data, at + 16 + length)
    at += 24 + length
    words = []
    for _ in range(count):
        (length,) = struct.unpack_from("<i", data, at)
        words.append(data[at + 4 : at + 4 + length].decode("utf-8", "replace"))
        at += 12 + length
    return words


class VoskRecogniser:
    """Vosk with a grammar. Loads in about 0.3 s, 110 MiB; 0.03 of a core while listening."""

    def __init__(
        self,
        folder: Path,
        language: str,
        phrases: Iterable[str],
        beside: Beside = _NOTHING,
    ) -> None:
        """VoiceError if the model is unusable or a word of `phrases` is not in it."""
        try:
            import vosk
        except ImportError as error:
            raise VoiceError(
                "voice.engine 'vosk' needs the vosk package; try: pip install 'edge-wam[voice]'"
            ) from error
        _check(folder, "vosk")
        vosk.SetLogLevel(-1)
        try:
            self._model = vosk.Model(model_path=str(folder))  # by path: by name it downloads and may exit
        except Exception as error:  # vosk raises nothing narrower
            raise VoiceError(f"vosk cannot load {folder}; is it whole? try: edge-wam fetch-voice") from error
        self.name = f"Vosk with {folder.name}"
        self.grammar: Grammar = make_grammar(
            language,
            phrases,
            lambda word: self._model.vosk_model_find_word(word) >= 0,
            lambda: read_vocabulary(folder),
            self.name,
            beside,
        )
        grammar = self.grammar
        # Without the other sayings: with them Vosk hears a colour that was not said, and misses more.
        others = frozenset(grammar.beside.sayings)
        own = [text for text in grammar.phrases if text not in others]
        own += [f"{name} {text}" for name in grammar.beside.called for text in own]  # in one breath
        sentences = [*own, *grammar.beside.talk, *grammar.stop_words, *grammar.no_phrases]

        def ear(heard: str) -> Any:  # vosk has no types
            return vosk.KaldiRecognizer(self._model, RATE_HZ, heard)

        self._is_asked = False
        self._usual = json.dumps([*sentences, UNKNOWN], ensure_ascii=False)
        self._asked = json.dumps([*sentences, *grammar.beside.replies, UNKNOWN], ensure_ascii=False)

        # Two ears. The one for commands may say "none of these", and a short STOP drowns in that
        # (spoken Mandarin: 4 of 12 heard). The one for STOP may not (10 of 12), and is asked for
        # nothing else: a false stop is cheap, a missed one is not.
        self._commands = ear(self._usual)
        self._stop = ear(json.dumps(sentences, ensure_ascii=False))
        self._commands.SetWords(True)
        self._fed = 0  # samples
        # What the ear for commands makes of the utterance, since which sample, and since which anything.
        self._partial, self._changed, self._began = "", 0, 0
        self._stopped = False  # told, in this utterance
        self._rejected_end_s = -math.inf  # in the time of the samples fed

    def hear(self, block: Block) -> list[Words]:
        """Feed a block; what it brought to light: nothing, the first sign of a STOP, a final result."""
        self._fed += len(block.samples)
        data = block.samples.tobytes()
        found: list[Words] = []
        ended = self._stop.AcceptWaveform(data)
        text = json.loads(self._stop.Result() if ended else self._stop.PartialResult())[
            "text" if ended else "partial"
        ]
        if self.grammar.is_stop(text) and not self._stopped:
            self._stopped = True
            found.append(Words(text, block.t_s, 0.0, False, self.grammar.language))
        if (result := self._ended(data)) is not None:
            words = self._final(result, block.t_s)
            found += [words] if words.text else []
        if ended:
            self._stopped = False
        return found

    def expect_reply(self, asked: bool) -> None:
        """Listen for replies to a question too, or not any more; not within an utterance."""
        self._is_asked = asked
        self._commands.SetGrammar(self._asked if asked else self._usual)
        self._partial = ""

    def _ended(self, data: bytes) -> _Result | None:
        """Feed the ear for commands; what it heard, once the utterance is over."""
        result: _Result
        if self._commands.AcceptWaveform(data):
            result = json.loads(self._commands.Result())
        else:
            partial = json.loads(self._commands.PartialResult())["partial"]
            if partial != self._partial:
                self._began = self._began if self._partial else self._fed
                self._partial, self._changed = partial, self._fed
            if not partial or self._fed - self._changed < _STUCK_S * RATE_HZ:
                return None
            result = json.loads(self._commands.FinalResult())
        self._partial = ""
        return result

    def _final(self, result: _Result, t_s: float) -> Words:
        text = result.get("text", "")
        spoken = result.get("result", [])
        if not spoken:
            return Words(text, t_s, 0.0, True, self.grammar.language)
        confidence = min(word["conf"] for word in spoken)
        # After a pause the rest of a sentence looks like a sentence: "don't ... pick up the red cube".
        # (Not by the start of its first word: vosk stretches that back to the last end.)
        continued = self._began / RATE_HZ < self._rejected_end_s + _SENTENCE_GAP_S
        end_s = spoken[-1]["end"]
        if not self.grammar.is_stop(text) and (confidence < _CONFIDENT or continued):
            text = f"{UNKNOWN} {text}"
        if not self.grammar.is_phrase(text, self._is_asked):
            self._rejected_end_s = end_s
        # vosk counts from the first sample it was fed; what it stretches back is the start of the first word
        t_s -= self._fed / RATE_HZ - end_s
        since_s = t_s - (end_s - spoken[0]["end"])
        return Words(text, t_s, confidence, True, self.grammar.language, since_s)
