"""whisper as a second ear: what it makes of an utterance is weighed against everything it could have been.

    sound --+-- the recogniser of before: STOP, at once, and nothing else
            +-- ends of utterances (Silero's detector) -- whisper, beside -- done, asked about, or refused

Whisper writes what it likes, in noise nonsense. But it can also be asked how likely a sentence is, given the
sound. So the commands near to what it wrote, and what it wrote itself, are weighed (`decide`): a command that
leads all others by far, and is not much less likely than what was written freely, is done; one that is less
likely than that is asked about; what turns a sentence around in what was written forbids both.
"""

from __future__ import annotations

import difflib
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.sense.ends import FRAME_BYTES, FRAME_S, Ends, silero
from edge_wam.sense.grammar import AROUND_STOP, DECOYS, UNKNOWN, Grammar
from edge_wam.sense.lexicon import LEXICONS
from edge_wam.sense.sound import RATE_HZ, Block, SoundArray
from edge_wam.sense.understand import Act, Meaning, Understanding
from edge_wam.sense.whisper_model import Guesses, Whisper, find_model
from edge_wam.types import Words

# By how much, in log probability, a command leads the next one; and how far it may be behind what was written
# freely. Right commands of four voices, in quiet and at 10 dB, lead by 6 and more, wrong ones by less than 4.
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
_LEAD_IN = 10  # frames before the first one that is a voice: consonants
_KEPT = 2 * _LEAD_IN  # those, and what the end-pointer takes to notice speech
_FIRST_WORD_S = 0.3  # about how long it takes
_BACKLOG = 2  # utterances that wait: more is talk
_EXAMPLES = 4
_ABOUT = (Act.YES, Act.NO, Act.AGAIN, Act.OTHER_WAY, Act.DOING)


class Listening(Protocol):
    """What hears STOP meanwhile: see voice.Recogniser."""

    name: str
    grammar: Grammar

    def hear(self, block: Block) -> list[Words]: ...
    def expect_reply(self, asked: bool) -> None: ...


class _Decoded(NamedTuple):
    """What whisper is to hear: its result, when the first word and the speech were over, and from when on it
    is known."""

    text: Future[str]
    since_s: float
    end_s: float
    due_s: float


class WhisperRecogniser:
    """Commands by whisper, STOP by another recogniser. 0.7 s of a core an utterance, on a thread of its own.

    in_time_of_sound: for sound that is played faster than it was spoken: decode at once, and tell as much
    later, in the time of the sound, as it took. beside_s: seconds of CPU that it has taken so.
    """

    def __init__(self, folder: Path, stop: Listening, understanding: Understanding) -> None:
        """VoiceError if a package or the model is missing."""
        self.grammar, self._stop, self._understanding = stop.grammar, stop, understanding
        self.name = f"whisper tiny.en, and {stop.name} for STOP"
        phrases = understanding.phrases()
        self._phrases = phrases
        self._whisper = Whisper(folder, _vocabulary(stop.grammar.language, phrases), _examples(phrases))
        self._ends = Ends(silero(), knows_voices=True)
        self._recent: list[bytes] = []  # frames
        self._waiting = self._said = b""
        self._frames = 0
        self._told = self._asked = self._stopped = False
        self._pool = ThreadPoolExecutor(1, "whisper")
        self._decoding: deque[_Decoded] = deque()
        self.in_time_of_sound, self.beside_s = False, 0.0

    def hear(self, block: Block) -> list[Words]:
        """Feed a block; STOP, and what became of utterances before."""
        found = self._heard_stop(block)
        self._waiting += block.samples.tobytes()
        while len(self._waiting) >= FRAME_BYTES:
            frame, self._waiting = self._waiting[:FRAME_BYTES], self._waiting[FRAME_BYTES:]
            self._frames += 1
            self._recent = [*self._recent[-_KEPT:], frame]
            was_speech = self._ends.in_speech
            speech = self._ends.process(frame)
            if speech is None:
                continue
            if not was_speech:
                count = len(speech) // FRAME_BYTES
                self._said, self._stopped = b"".join(self._recent[:-count][-_LEAD_IN:]), self._told
            self._said += speech
            if not self._ends.in_speech:
                t_s = block.t_s - len(self._waiting) / (2 * RATE_HZ)
                begin_s = t_s - self._frames * FRAME_S  # of all sound that was fed
                self._decode(begin_s + self._ends.begin_s, begin_s + self._ends.end_s, block.t_s)
        while self._decoding and block.t_s >= self._decoding[0].due_s and self._decoding[0].text.done():
            done = self._decoding.popleft()
            text = done.text.result()
            if text:
                confidence = 0.0 if text.startswith(UNKNOWN) else 1.0
                words = Words(text, done.end_s, confidence, True, self.grammar.language, done.since_s)
                found.append(words)
        return found

    def expect_reply(self, asked: bool) -> None:
        """Weigh replies to a question too, or not any more."""
        self._asked = asked

    def _heard_stop(self, block: Block) -> list[Words]:
        """Of what the other recogniser hears: STOP, and the end of an utterance in which it was."""
        found = []
        for words in self._stop.hear(block):
            stop = self.grammar.is_stop(words.text)
            if stop:
                self._stopped = True
                self._decoding.clear()  # said before STOP, and not to be done after it
            if stop or (words.final and self._told):
                found.append(words)
            self._told = stop and not words.final
        return found

    def _decode(self, begin_s: float, end_s: float, now_s: float) -> None:
        sound = np.frombuffer(self._said, np.int16)
        stopped, self._stopped = self._stopped, self._told
        if stopped or len(self._decoding) >= _BACKLOG:
            return  # STOP was told; and nothing else in that utterance is to be done
        since_s = min(begin_s + _FIRST_WORD_S, end_s)
        if not self.in_time_of_sound:
            text = self._pool.submit(self._text, sound, self._asked)
            self._decoding.append(_Decoded(text, since_s, end_s, now_s))
            return
        began_s, text = time.process_time(), Future[str]()
        text.set_result(self._text(sound, self._asked))
        took_s = time.process_time() - began_s
        self.beside_s += took_s
        self._decoding.append(_Decoded(text, since_s, end_s, now_s + took_s))

    def _text(self, sound: SoundArray, asked: bool) -> str:
        guesses = self._whisper.hear(sound, lambda text: self._near(text, asked))
        return decide(guesses, self._meaning, self.grammar.is_stop)

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


def open_whisper(setting: str, stop: Listening, understanding: Understanding) -> WhisperRecogniser:
    """The recogniser with the model of the setting ('': see find_model). VoiceError if there is none, or it
    hears another language."""
    language = stop.grammar.language
    if language != "en":
        raise VoiceError(
            f"whisper: its model hears 'en' only, voice.language is '{language}'; try: voice.engine = 'auto'"
        )
    return WhisperRecogniser(find_model(setting), stop, understanding)


def decide(guesses: Guesses, meaning: Callable[[str], Meaning], is_stop: Callable[[str], bool]) -> str:
    """What is taken for said: a sentence as it is; [unk] and a command, to be asked about; [unk] and what was
    heard, for no command; '' for nothing. STOP is what was heard freely with such a word."""
    if is_stop(guesses.free):
        return guesses.free
    best: dict[Meaning, tuple[float, str]] = {}
    none = -np.inf
    for text, score in guesses.every:
        what = meaning(text)
        if what.act is Act.DO or what.act in _ABOUT:
            key = Meaning(what.act, what.phrase)
            best[key] = max(best.get(key, (-np.inf, "")), (score, text))
        else:
            none = max(none, score)
    unknown = f"{UNKNOWN} {guesses.free}".strip()
    if not best:
        return unknown
    (score, text), *others = sorted(best.values(), reverse=True)
    lead = score - others[0][0] if others else np.inf
    turned = not _TURNS.isdisjoint(guesses.free.split()) and text != guesses.free
    if lead < _LEAD or score < none - (_BEHIND_TURNED if turned else _BEHIND_ASKED):
        return unknown
    more = len(guesses.free.split()) - len(text.split())
    if score < none - _BEHIND_DONE or score < _LIKELY or more > _MORE_WORDS:
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
