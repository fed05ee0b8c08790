"""Vosk: the recogniser of the robot. Its partial results come early: STOP. Commands are heard by whole
utterances (sense/cut.py), each decoded twice.

Kaldi says how likely a sentence is, given the sound. So an utterance is decoded by a grammar of the commands
and by a wide one, of everything near to them and of talk, and what comes out is weighed (`decide`): a command
that leads every other sentence is done, one that is near to the best is asked about.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from edge_wam.errors import VoiceError
from edge_wam.sense.cut import CutRecogniser, Guess
from edge_wam.sense.grammar import UNKNOWN, Beside, Grammar, make_grammar
from edge_wam.sense.sound import RATE_HZ, Block, SoundArray
from edge_wam.sense.understand import Act, Meaning, Understanding
from edge_wam.sense.wide import HEARD_FOR_NOT, contrasts, nearby
from edge_wam.types import Words

VARIABLE = "EDGE_WAM_VOSK_MODEL"
_NAMES = {"en": "en-us", "zh": "cn"}  # a language as vosk's models are named
_NEEDED = ("am/final.mdl", "conf/model.conf", "graph/HCLr.fst", "graph/Gr.fst")
_STUCK_S = 1.0  # without a change, once STOP was heard: in noise an utterance would not end by itself
_NOTHING = Beside()
_BEST = 12  # sentences of each decoding
# By how much, in log probability, a command that is done leads the next one, and whatever is none; and one
# that is asked about.
_LEAD_DONE = 3.5
_AHEAD_DONE, _BEHIND_ASKED = 2.5, 4.0
_BEHIND_AGAINST = 2.0  # of what turns a sentence around
# Of the best sentence, for each second of sound. In a crowd "回家", which nothing else was near to, had 37, a
# "好的" that answered the question 39, a STOP 36; commands, answers and STOPs at 10 dB have 41 and more, but
# for one STOP in a hundred. Another model counts otherwise, and for English nobody has measured one.
_LIKELY = {"zh": 39.5}
# By how much a command leads itself with another colour in it, or turned around, each as likely beforehand.
# Of Kokoro's commands one in a hundred leads by less, at 10 dB one in eight; its yellow, taken for red, by .8
# at most.
_CONTRAST_LEAD = 3.0
_ABOUT = (Act.AGAIN, Act.OTHER_WAY, Act.DOING)
_MOVES = (Act.DO, Act.YES, Act.AGAIN, Act.OTHER_WAY)
# To a question: short, and heard in everything. A "no" moves nothing.
_BEHIND_REPLY = {Act.YES: 1.0, Act.NO: 3.0}


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


class VoskStop:
    """Vosk listening for STOP, and nothing else. Loads in about 0.3 s, 110 MiB; 0.03 of a core."""

    known_s = 1.5
    judge = None

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
            language, phrases, self.knows, lambda: read_vocabulary(folder), self.name, beside
        )
        self._make = vosk.KaldiRecognizer
        # It may not say "none of these": a short STOP drowns in that (spoken Mandarin: 4 of 12 heard, without
        # it 10 of 12). A false stop is cheap, a missed one is not.
        grammar = self.grammar
        own = self.own()
        sentences = [*own, *grammar.beside.talk, *grammar.stop_words, *grammar.no_phrases]
        # A polite word that is missing is heard as STOP ("请" is near to "停"); before every phrase it would
        # be heard in STOP.
        firsts = {text.split()[0]: text for text in own}.values()
        sentences += [f"{before} {text}" for before in grammar.beside.before for text in firsts]
        self._sentences = sentences
        self._ear = self.ear_for_stop()
        self._fed = self._changed = 0  # samples
        self._partial = ""
        self._stopped = False  # told, in this utterance

    def knows(self, word: str) -> bool:
        """Whether the model has a word."""
        return bool(self._model.vosk_model_find_word(word) >= 0)

    def own(self) -> list[str]:
        """The model's own phrases."""
        others = frozenset(self.grammar.beside.sayings)
        return [text for text in self.grammar.phrases if text not in others]

    def said(self) -> list[str]:
        """Those, without and with a polite word or the robot's name in the same breath."""
        own = self.own()
        return own + [f"{before} {text}" for before in self.grammar.beside.before for text in own]

    def ear(self, sentences: Iterable[str]) -> Any:  # vosk has no types
        """A recogniser of Vosk's for these sentences."""
        return self._make(self._model, RATE_HZ, json.dumps(list(sentences), ensure_ascii=False))

    def ear_for_stop(self) -> Any:
        """A recogniser as its own."""
        return self.ear(self._sentences)

    def hear(self, block: Block) -> list[Words]:
        """Feed a block; the first sign of a STOP, and the end of an utterance in which it was."""
        self._fed += len(block.samples)
        ended = self._ear.AcceptWaveform(block.samples.tobytes())
        text = json.loads(self._ear.Result() if ended else self._ear.PartialResult())[
            "text" if ended else "partial"
        ]
        if text != self._partial:
            self._partial, self._changed = text, self._fed
        found = []
        if self.grammar.is_stop(text) and not self._stopped:
            self._stopped = True
            found.append(Words(text, block.t_s, 0.0, False, self.grammar.language))
        if self._stopped and not ended and self._fed - self._changed >= _STUCK_S * RATE_HZ:
            ended, text = True, json.loads(self._ear.FinalResult())["text"]
        if ended:
            if self._stopped:
                found.append(Words(text, block.t_s, 1.0, True, self.grammar.language))
            self._stopped, self._partial = False, ""
        return found

    def expect_reply(self, asked: bool) -> None:
        """Replies are no STOP."""


class VoskDecoder:
    """What an utterance says, by two grammars. 0.1 of a core while it decodes.

    As a judge of STOP it is the ear for STOP once more, made to say at once what it would say in a while, and
    how well that fits the sound: in a crowd nothing does.
    """

    def __init__(self, stop: VoskStop, understanding: Understanding) -> None:
        """stop: whose model and phrases it shares."""
        self._grammar, self._understanding = stop.grammar, understanding
        self.name = stop.name
        beside = stop.grammar.beside
        commands = [*stop.said(), *beside.sayings, *beside.talk]
        wide = [*commands, *nearby(stop.grammar, stop.own(), stop.knows), *stop.grammar.stop_words]
        self._ears = [
            [_guessing(stop.ear(sentences)), _guessing(stop.ear([*sentences, *beside.replies]))]
            for sentences in (commands, wide)
        ]
        self._stop, self._ear, self._knows = _guessing(stop.ear_for_stop()), stop.ear, stop.knows

    def text(self, sound: SoundArray, asked: bool) -> str:
        """See cut.Decoder."""
        commands, wide = (_best(ears[asked], sound) for ears in self._ears)
        said = decide(commands, wide, self._meaning, self._grammar.is_stop, asked)
        likely = self._likely([*commands, *wide], sound)
        if self._grammar.is_stop(said):
            return said if likely else UNKNOWN
        act = self._meaning(said).act
        if act not in _MOVES:
            return said
        doubted = not likely or (act is not Act.YES and self._may_be_another(said, sound))
        return f"{UNKNOWN} {said}" if doubted else said

    def says_stop(self, sound: SoundArray, heard: bool) -> bool:
        """See doubt.Judge. 0.06 s of a core (AMD EPYC). Where nobody knows how much like the sound a STOP has
        to be, the ear for STOP is believed."""
        if heard and self._grammar.language not in _LIKELY:
            return True
        guesses = _best(self._stop, sound)
        stops = [guess for guess in guesses if self._grammar.is_stop(guess.text)]
        return bool(stops) and (heard or stops[0] is guesses[0]) and self._likely(stops, sound)

    def _may_be_another(self, said: str, sound: SoundArray) -> bool:
        """Whether a sentence is hardly likelier than one that is easily taken for it. Of hundreds of
        sentences with "red" and one with "yellow" a grammar makes a strong belief in red: here each is there
        once. 0.1 s of a core for each place in which they differ."""
        if said.split()[0] in HEARD_FOR_NOT[self._grammar.language]:
            return True
        for others in contrasts(said, self._grammar, self._knows):
            guesses = _best(_guessing(self._ear([said, *others])), sound)
            scores = {guess.text: guess.score for guess in guesses}
            best = max((scores[text] for text in others if text in scores), default=-math.inf)
            if scores.get(said, -math.inf) < best + _CONTRAST_LEAD:
                return True
        return False

    def _likely(self, guesses: Iterable[Guess], sound: SoundArray) -> bool:
        """Whether any of them is much like the sound."""
        least = _LIKELY.get(self._grammar.language, -math.inf) * len(sound) / RATE_HZ
        return max((guess.score for guess in guesses), default=0.0) > least

    def _meaning(self, text: str) -> Meaning:
        """Of a sentence, whether it begins with the robot's name or not: of that the dialogue asks."""
        for word in self._grammar.beside.called:
            text = text.removeprefix(word).strip()
        return self._understanding.meaning(text)


def _guessing(ear: Any) -> Any:
    """The recogniser of Vosk's, made to tell its likeliest sentences."""
    ear.SetMaxAlternatives(_BEST)
    return ear


def _best(ear: Any, sound: SoundArray) -> list[Guess]:
    """(N,) samples -> the likeliest sentences, best first."""
    ear.Reset()
    ear.AcceptWaveform(sound.tobytes())
    found = json.loads(ear.FinalResult())["alternatives"]
    return [Guess(one["text"].strip(), one["confidence"]) for one in found if one["text"].strip()]


def decide(
    commands: Iterable[Guess],
    wide: Sequence[Guess],
    meaning: Callable[[str], Meaning],
    is_stop: Callable[[str], bool],
    asked: bool,
) -> str:
    """What is taken for said: a sentence as it is; [unk] and a command, to be asked about; [unk] and what was
    heard, for no command; '' for nothing. Of the commands' own grammar nothing else counts."""
    if not wide:
        return ""
    if is_stop(wide[0].text):
        return wide[0].text
    best: dict[Meaning, Guess] = {}  # of each thing that can be done
    left_open = none = against = -math.inf
    for guess in (*commands, *wide):
        what = meaning(guess.text)
        if what.act is Act.DO or what.act in _ABOUT or (asked and what.act in _BEHIND_REPLY):
            key = Meaning(what.act, what.phrase)
            best[key] = max(best.get(key, guess), guess, key=lambda one: one.score)
        elif guess in wide and what.act is Act.ASK:
            left_open = max(left_open, guess.score)
        elif guess in wide:
            none = max(none, guess.score)
            against = max(against, guess.score if what.why.startswith("'") else -math.inf)
    unknown = f"{UNKNOWN} {wide[0].text}"
    if not best:
        return unknown
    (what, first), *others = sorted(best.items(), key=lambda one: one[1].score, reverse=True)
    lead = first.score - others[0][1].score if others else math.inf
    if what.act in _BEHIND_REPLY:
        sure = what.act is Act.NO or lead >= _LEAD_DONE
        return first.text if sure and first.score >= none - _BEHIND_REPLY[what.act] else unknown
    if first.score < max(none - _BEHIND_ASKED, against - _BEHIND_AGAINST):
        return unknown
    if lead < _LEAD_DONE or first.score < max(none, left_open) + _AHEAD_DONE:
        return f"{UNKNOWN} {first.text}"
    return first.text


def open_vosk(
    folder: Path,
    language: str,
    phrases: Iterable[str],
    beside: Beside = _NOTHING,
    understanding: Understanding | None = None,
) -> CutRecogniser:
    """The recogniser with this model. understanding: the commands (None: each phrase is one). VoiceError as
    of VoskStop, and if the voice detector is missing."""
    stop = VoskStop(folder, language, phrases, beside)
    known = understanding or Understanding(language, [[phrase] for phrase in phrases])
    return CutRecogniser(VoskDecoder(stop, known), stop)
