"""whisper as a second ear (sense/cut.py): what it makes of an utterance is weighed against everything it
could have been.

Whisper writes what it likes, in noise nonsense. But it can also be asked how likely a sentence is, given the
sound. So the commands near to what it wrote, and what it wrote itself, are weighed (`decide`): a command that
leads all others by far, and is not much less likely than what was written freely, is done; one that is less
likely than that is asked about; what turns a sentence around in what was written forbids both.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.sense.agreed import Recogniser
from edge_wam.sense.cut import CutRecogniser
from edge_wam.sense.grammar import AROUND_STOP, DECOYS, UNKNOWN, Grammar
from edge_wam.sense.lexicon import LEXICONS
from edge_wam.sense.sound import SoundArray
from edge_wam.sense.understand import Act, Meaning, Understanding
from edge_wam.sense.whisper_model import Guesses, Whisper, find_model

# By how much, in log probability, a command leads the next one, and, to be done, what turns it around
# ("under" for "onto"); and how far it may be behind what was written freely. Right commands of four voices,
# in quiet and at 10 dB, lead the next one by 6 and more, wrong ones by less than 4.
_LEAD = 4.0
_BEHIND_DONE, _BEHIND_ASKED = 2.0, 12.0
_LIKELY = -6.0  # of the command itself, to be done
_MORE_WORDS = 1  # that were written beyond the command's: the rest is no part of it
_BEHIND_TURNED = -6.0  # where that turns a sentence around, only one that is much likelier is asked about
# Not every word that the understanding refuses: "but" is written for "put", "which" and "behind" for noise.
_TURNS = frozenset(
    (
        *("not", "no", "never", "don't", "didn't", "cannot", "can't", "without", "except", "if"),
        *("who", "why", "how", "what", "did", "does", "should"),
    )
)
_NEAR = 3  # commands to weigh, near to each sentence that was written
_EXAMPLES = 4
# How likely it is that nobody speaks: above it a STOP that was read is none. In babble one is read now and
# then, and none of those was held for speech (.55 and more); of STOPs up to 10 dB nearly all (.02 to .5).
_SILENCE = 0.5
# And above this no command is even asked about: of 23 that whisper made of a crowd 22 were (.62 and more), of
# 48 in a crowd 5 dB softer than they none (.59). Of replies it was not measured.
_NOBODY = 0.6
_ABOUT = (Act.YES, Act.NO, Act.AGAIN, Act.OTHER_WAY, Act.DOING)


class WhisperDecoder:
    """What an utterance says, by whisper, 0.7 s of a core an utterance; and whether there was a STOP."""

    def __init__(self, folder: Path, grammar: Grammar, understanding: Understanding) -> None:
        """VoiceError if a package or the model is missing."""
        self.grammar, self._understanding = grammar, understanding
        self.name = "whisper tiny.en"
        phrases = understanding.phrases()
        self._phrases = phrases
        self._whisper = Whisper(folder, _vocabulary(grammar.language, phrases), _examples(phrases))

    def text(self, sound: SoundArray, asked: bool) -> str:
        """See cut.Decoder."""
        guesses = self._whisper.hear(sound, lambda text: self._near(text, asked))
        return decide(guesses, self._meaning, self.grammar.is_stop)

    def says_stop(self, sound: SoundArray, heard: bool) -> bool:
        """See doubt.Judge. 0.09 s of a core (AMD EPYC)."""
        texts, silence = self._whisper.glimpse(sound)
        count = sum(map(self.grammar.is_stop, texts))
        return count > 0 if heard else silence < _SILENCE and count > len(texts) / 2

    def _near(self, text: str, asked: bool) -> list[str]:
        beside = self.grammar.beside
        polite = next((f"{word} " for word in beside.before if text.startswith(f"{word} ")), "")
        near = nearest_of(text.removeprefix(polite), self._phrases)
        return [*(polite + phrase for phrase in near), *(beside.replies if asked else ())]

    def _meaning(self, text: str) -> Meaning:
        """Of a sentence, whether it begins with the robot's name or not: of that the dialogue asks."""
        for word in self.grammar.beside.before:
            text = text.removeprefix(f"{word} ")
        return self._understanding.meaning(text)


def open_whisper(setting: str, stop: Recogniser, understanding: Understanding) -> CutRecogniser:
    """The recogniser with the model of the setting ('': see find_model). VoiceError if there is none, or it
    hears another language."""
    language = stop.grammar.language
    if language != "en":
        raise VoiceError(
            f"whisper: its model hears 'en' only, voice.language is '{language}'; try: voice.engine = 'auto'"
        )
    return CutRecogniser(WhisperDecoder(find_model(setting), stop.grammar, understanding), stop)


def decide(guesses: Guesses, meaning: Callable[[str], Meaning], is_stop: Callable[[str], bool]) -> str:
    """What is taken for said: a sentence as it is; [unk] and a command, to be asked about; [unk] and what was
    heard, for no command; '' for nothing. STOP is what was heard freely with such a word, if one spoke."""
    if is_stop(guesses.free):
        return guesses.free if guesses.silence < _SILENCE else ""
    best: dict[Meaning, tuple[float, str]] = {}
    none = against = -np.inf
    for text, score in guesses.every:
        what = meaning(text)
        if what.act is Act.DO or what.act in _ABOUT:
            key = Meaning(what.act, what.phrase)
            best[key] = max(best.get(key, (-np.inf, "")), (score, text))
        else:
            none = max(none, score)
            if what.why.startswith("'") and not what.why.startswith("'but'"):  # that is written for "put"
                against = max(against, score)
    unknown = f"{UNKNOWN} {guesses.free}".strip()
    if not best:
        return unknown
    (score, text), *others = sorted(best.values(), reverse=True)
    lead = score - others[0][0] if others else np.inf
    moves = meaning(text).act is Act.DO
    if moves and guesses.silence > _NOBODY:
        return unknown
    turned = not _TURNS.isdisjoint(guesses.free.split()) and text != guesses.free
    if lead < _LEAD or score < none - (_BEHIND_TURNED if turned else _BEHIND_ASKED):
        return unknown
    more = len(guesses.free.split()) - len(text.split())
    ahead = against + _LEAD if moves else -np.inf
    if score < max(none - _BEHIND_DONE, ahead, _LIKELY) or more > _MORE_WORDS:
        return f"{UNKNOWN} {text}"
    return text


def nearest_of(text: str, phrases: Iterable[str]) -> list[str]:
    """The phrases that are written most like a text."""
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(text)

    def likeness(phrase: str) -> float:
        matcher.set_seq1(phrase)
        return matcher.ratio()

    return sorted(phrases, key=likeness, reverse=True)[:_NEAR]


def _examples(phrases: list[str]) -> list[str]:
    """A few commands that differ: what leads whisper."""
    step = max(1, len(phrases) // _EXAMPLES)
    return [*phrases[::step][:_EXAMPLES], phrases[-1]]


def _vocabulary(language: str, phrases: Iterable[str]) -> set[str]:
    """Every word that a sentence to a robot has, and everyday ones that are heard as themselves then."""
    words, decoys, around = LEXICONS[language], DECOYS[language], AROUND_STOP[language]
    texts = [
        *phrases,
        *(*words.same, *words.colours, *words.empty, *words.refuse, *words.asks),
        *(*words.yes, *words.no, *words.again, *words.other_way, *words.doing),
        *(*decoys.all(), *decoys.talk, *around.before, *around.after, "stop"),
    ]
    return {word for text in texts for word in text.split()}
