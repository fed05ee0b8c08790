"""Commands by whole utterances, beside an ear for STOP.

    sound --+-- the ear for STOP, at once, and nothing else
            +-- ends of utterances (Silero's detector) -- what was said, on a thread -- a sentence

A recogniser that hears sound as it comes has to guess where an utterance ends, and in noise none ends at all.
What is cut out first can be decoded several times, and weighed.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np

from edge_wam.sense.agreed import Agreed, Recogniser
from edge_wam.sense.doubt import Judge
from edge_wam.sense.ends import FRAME_BYTES, FRAME_S, Ends, silero
from edge_wam.sense.grammar import UNKNOWN
from edge_wam.sense.later import Later, Rests
from edge_wam.sense.sound import RATE_HZ, Block, SoundArray
from edge_wam.types import Words

_LEAD_IN = 10  # frames before the first one that is a voice: consonants
_KEPT = 2 * _LEAD_IN  # those, and what the end-pointer takes to notice speech
_FIRST_WORD_S = 0.3  # about how long it takes
_SENTENCE_GAP_S = 0.8
_LONGEST_BYTES = round(2 * 5.0 * RATE_HZ)  # of a sentence's beginning


class Guess(NamedTuple):
    """A sentence, lower case without punctuation, and its log probability, given the sound."""

    text: str
    score: float


class Decoder(Judge, Protocol):
    """What an utterance says; and whether there was a STOP. `name` is for people."""

    name: str

    def text(self, sound: SoundArray, asked: bool) -> str:
        """(N,) samples; asked: a question stands, and replies to it count. '' for nothing; [unk] before what
        is not sure, or no sentence for the robot."""
        ...


class _Cut(NamedTuple):
    """An utterance: from when to when it was said (in the time of the sound fed), and when the first word and
    the speech were over; the sound, and how many frames were fed until it was cut out."""

    span_s: tuple[float, float]
    since_s: float
    end_s: float
    said: bytes
    frames: int


class CutRecogniser:
    """Commands by a decoder, on a thread of its own, STOP by another recogniser.

    stop: what the other hears; whoever has a third ear says which STOPs are possible. later: what is being
    decoded.
    """

    def __init__(self, decoder: Decoder, stop: Recogniser) -> None:
        """VoiceError if the voice detector is missing."""
        self.grammar, self.known_s, self.stop = stop.grammar, stop.known_s, Agreed(stop)
        self.judge = decoder
        self.later: Later[_Cut, str] = Later(decoder.text)
        other = "" if decoder.name == stop.name else f", and {stop.name} for STOP"
        self.name = decoder.name + other
        self._ends = Ends(silero(), knows_voices=True)
        self._recent: list[bytes] = []  # frames
        self._waiting = self._said = b""
        self._frames = 0
        self._begin_s = 0.0  # of the utterance, in the time of the sound fed
        self._told = self._asked = self._stopped = False
        self._rests = Rests(_SENTENCE_GAP_S)

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
                self._begin(len(speech) // FRAME_BYTES)
            self._said += speech
            if not self._ends.in_speech:
                t_s = block.t_s - len(self._waiting) / (2 * RATE_HZ)
                self._decode(t_s - self._frames * FRAME_S, block.t_s)
        every = [self._words(*one) for one in self.later.done(block.t_s)]
        return found + [words for words in every if words.text]

    def expect_reply(self, asked: bool) -> None:
        """Weigh replies to a question too, or not any more."""
        self._asked = asked

    def _words(self, cut: _Cut, text: str) -> Words:
        said, (begin_s, end_s) = text.removeprefix(UNKNOWN).strip(), cut.span_s
        if text and self._rests.has(begin_s) and not self.grammar.is_stop(text):
            text = f"{UNKNOWN} {said}"
        if text.startswith(UNKNOWN) and said not in self.grammar.beside.called:
            self._rests.after(end_s)
        confidence = 0.0 if text.startswith(UNKNOWN) else 1.0
        return Words(text, cut.end_s, confidence, True, self.grammar.language, cut.since_s)

    def _heard_stop(self, block: Block) -> list[Words]:
        """Of what the other recogniser hears: STOP, and the end of an utterance in which it was."""
        found = []
        for words, stop in self.stop.hear(block):
            if stop:
                self._stopped = True
                self.later.clear()  # said before STOP, and not to be done after it
            if stop or (words.final and self._told):
                found.append(words)
            self._told = (self._told or stop) and not words.final
        return found

    def _begin(self, count: int) -> None:
        """An utterance has begun, `count` frames ago. Where the one before has just ended and nobody was told
        yet what it was, both are one sentence: "pick up the red cube ... or the blue cube"."""
        self._stopped, silent, before = self._told, self._recent[:-count], self._beginning()
        if before is None:
            self._begin_s = self._ends.begin_s
            self._said = b"".join(silent[-_LEAD_IN:])
        else:
            self.later.take_back()
            self._begin_s = before.span_s[0]
            pause = self._frames - count - before.frames
            self._said = before.said + b"".join(silent[max(0, len(silent) - pause) :])

    def _beginning(self) -> _Cut | None:
        """What was taken for an utterance, and is the beginning of the one that has begun."""
        cut = self.later.last()
        if cut is None or self._asked or len(cut.said) > _LONGEST_BYTES:
            return None  # a reply stands alone, and who talks for so long talks to somebody else
        return cut if self._ends.begin_s - cut.span_s[1] < _SENTENCE_GAP_S else None

    def _decode(self, fed_since_s: float, now_s: float) -> None:
        span_s = (self._begin_s, self._ends.end_s)
        stopped, self._stopped = self._stopped, self._told
        if stopped:
            return  # nothing else in that utterance is to be done
        end_s = fed_since_s + span_s[1]
        since_s = min(fed_since_s + span_s[0] + _FIRST_WORD_S, end_s)
        sound = np.frombuffer(self._said, np.int16)
        cut = _Cut(span_s, since_s, end_s, self._said, self._frames)
        # Who decodes fast must not obey what is only the beginning of a sentence.
        told_s = -math.inf if self._asked else end_s + _SENTENCE_GAP_S
        if not self.later.put(cut, now_s, sound, self._asked, not_before_s=told_s):
            self._rests.after(span_s[1])
