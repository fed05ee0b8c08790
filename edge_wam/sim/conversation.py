"""A tape played to the robot's own ear, dialogue and all, with a person in it who answers what it asks.

The parts are those of the voice process (sense/voice.py), put together as there; only the microphone, the
mailbox and the loudspeaker are ours. What is asked about a sentence is answered once, truthfully, by the
voice that said it: the answer is let into the tape where nobody speaks, and everything after it comes later.
So a "no" that is heard as "yes" counts as what it is.

Then it is judged: what came of every sentence, by the commands that reached the control process.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from edge_wam.sense.agreed import Recogniser
from edge_wam.sense.cut import CutRecogniser
from edge_wam.sense.dialogue import Dialogue, Reply, Sign
from edge_wam.sense.later import Later
from edge_wam.sense.listener import Listener
from edge_wam.sense.sound import BLOCK_SAMPLES, RATE_HZ, Block
from edge_wam.sense.sphinx_engine import SphinxRecogniser
from edge_wam.sense.spotter import Spotter
from edge_wam.sense.voice import Talk
from edge_wam.sim.corpus import Tape, Utterance
from edge_wam.types import Words

# The command (its id) that words mean to the control process; None: they mean nothing to it.
Obey = Callable[[Words], str | None]


class Told(NamedTuple):
    """What reached the control process, and when it was out, in seconds of what was heard."""

    out_s: float
    words: Words
    stop: bool


class Question(NamedTuple):
    """The robot asked whether `command` (its id) is meant, about words that ended at t_s."""

    t_s: float
    command: str | None


class Conversation(NamedTuple):
    """utterances: the tape's, at the times at which they were heard. heard: what the recogniser made of them,
    (t_s, text). cpu_s: of listening alone; seconds: of sound, answers included."""

    utterances: tuple[Utterance, ...]
    told: tuple[Told, ...]
    questions: tuple[Question, ...]
    heard: tuple[tuple[float, str], ...]
    seconds: float
    cpu_s: float


class Outcome(NamedTuple):
    """What came of a sentence. right: what was meant was done, after at most one question, and nothing else;
    wrong: something was done that was not meant; asked: the robot asked; stopped: the arm was stopped.
    stop_late_s: from the end of the STOP word until its news was out; late_s: from the end of the speech
    until a command was out that was done without a question; None where there is none."""

    entrant: str
    condition: str
    voice: str
    kind: str
    text: str
    heard: str
    right: bool
    wrong: bool
    asked: bool
    stopped: bool
    stop_late_s: float | None
    late_s: float | None


class Quiet(NamedTuple):
    """A tape on which nobody wants anything: what was obeyed, how often the robot asked, how often the arm
    was stopped."""

    entrant: str
    kind: str
    seconds: float
    obeyed: tuple[str, ...]
    asks: int
    stops: int


def converse(
    tape: Tape,
    recogniser: Recogniser,
    dialogue: Dialogue,
    obey: Obey,
    clock_s: Callable[[], float] = time.thread_time,
    spotter: Spotter | None = None,
) -> Conversation:
    """The tape block by block, each at its own time but as fast as the machine can. What works beside tells
    in the time of the sound, too.

    When news is out is the block's time plus what the machine needed for it (clock_s), blocks queueing behind
    a slow one as they would on the robot.
    """
    room = _Room(tape, dialogue, obey, recogniser.grammar.language)
    talk = Talk(recogniser, dialogue, room, room, lambda line: None)
    listener = Listener(recogniser, spotter)
    beside = list(_beside(recogniser)) + ([listener.doubt.later] if listener.doubt else [])
    for later in beside:
        later.in_time_of_sound = True
    done_s, cpu_s = 0.0, 0.0
    heard: list[tuple[float, str]] = []
    while (block := room.block()) is not None:
        began_s = clock_s()
        news = listener.hear(block)
        took_s = clock_s() - began_s
        cpu_s += took_s
        done_s = room.now_s = max(done_s, block.t_s) + took_s
        heard += [(words.t_s, words.text) for words, _ in news if words.final]
        for one in news:
            talk.hear(one)
    seconds = room.fed / RATE_HZ
    cpu_s += sum(later.beside_s for later in beside)
    return Conversation(
        room.utterances(), tuple(room.told), tuple(room.questions), tuple(heard), seconds, cpu_s
    )


def _beside(recogniser: Recogniser) -> Iterator[Later[Any, Any]]:
    """What it, and its ear for STOP, understand beside."""
    if isinstance(recogniser, CutRecogniser):
        yield recogniser.later
        yield from _beside(recogniser.stop.recogniser)
    elif isinstance(recogniser, SphinxRecogniser):
        yield recogniser.later


class _Room:
    """The air, the mailbox and the loudspeaker of a robot on a tape, and who speaks there."""

    def __init__(self, tape: Tape, dialogue: Dialogue, obey: Obey, language: str) -> None:
        self._tape, self._dialogue, self._obey, self._language = tape, dialogue, obey, language
        self._at = 0  # in the tape, samples
        self._answer = np.zeros(0, np.int16)
        self._inserted: list[tuple[int, int]] = []  # where in the tape, how many samples
        self._answered = -1  # the last sentence about which a question was answered
        self.fed = 0  # samples
        self.now_s = 0.0  # when news is out
        self.told: list[Told] = []
        self.questions: list[Question] = []

    def block(self) -> Block | None:
        """The next block; None at the end of the tape. An answer goes first, where nobody is speaking."""
        self._begin_answer()
        if len(self._answer):
            samples, self._answer = self._answer[:BLOCK_SAMPLES], self._answer[BLOCK_SAMPLES:]
        else:
            samples = self._tape.samples[self._at : self._at + BLOCK_SAMPLES]
            self._at += BLOCK_SAMPLES
        if len(samples) < BLOCK_SAMPLES:
            return None
        self.fed += BLOCK_SAMPLES
        return Block(samples, self.fed / RATE_HZ)

    def _begin_answer(self) -> None:
        index = self._sentence()
        phrase = self._dialogue.asked(self.fed / RATE_HZ)
        if not phrase or index == self._answered or not self._tape.answers:
            return
        meant = self._tape.utterances[index]
        if self._at / RATE_HZ < meant.end_s:  # who speaks does not answer, nor who has yet to speak
            return
        self._answered = index
        yes = self._command(phrase) == meant.said.command
        takes = self._tape.answers[yes]
        sound = takes[index % len(takes)]
        self._answer = np.resize(sound, -(-len(sound) // BLOCK_SAMPLES) * BLOCK_SAMPLES)
        self._inserted.append((self._at, len(self._answer)))

    def _sentence(self) -> int:
        """The number of the sentence that was begun last; -1 before the first one."""
        begins = [one.begin_s for one in self._tape.utterances]
        return bisect.bisect_right(begins, self._at / RATE_HZ) - 1

    def utterances(self) -> tuple[Utterance, ...]:
        return tuple(self._later(one) for one in self._tape.utterances)

    def _later(self, one: Utterance) -> Utterance:
        by_s = sum(count for at, count in self._inserted if at / RATE_HZ <= one.begin_s) / RATE_HZ
        stop_end_s = None if one.stop_end_s is None else one.stop_end_s + by_s
        return Utterance(one.said, one.begin_s + by_s, one.end_s + by_s, stop_end_s)

    def _command(self, phrase: str) -> str | None:
        return self._obey(Words(phrase, 0.0, 1.0, True, self._language))

    # The mailbox and the loudspeaker of Talk.

    def put(self, words: Words, *, stop: bool, said: str = "", why: str = "") -> None:
        self.told.append(Told(self.now_s, words, stop))

    def audible(self, t_s: float) -> bool:
        del t_s  # The robot's own voice is not on the tape.
        return False

    def answer(self, reply: Reply) -> None:
        t_s = self.told[-1].words.t_s
        phrase = self._dialogue.asked(t_s)
        if reply.sign is Sign.ASK and phrase:
            self.questions.append(Question(t_s, self._command(phrase)))


# --- judging --------------------------------------------------------------------------------


def judge(found: Conversation, obey: Obey, entrant: str, condition: str, voice: str) -> tuple[Outcome, ...]:
    """What came of every sentence. News belongs to the sentence that was begun last when its words ended."""
    begins = [one.begin_s for one in found.utterances]

    def index(t_s: float) -> int:
        return max(
            0, bisect.bisect_right(begins, t_s) - 1
        )  # before the first: a wrong deed is one all the same

    told: list[list[Told]] = [[] for _ in begins]
    for one in found.told:
        told[index(one.words.t_s)].append(one)
    asks = [index(question.t_s) for question in found.questions]
    texts = [[text for t_s, text in found.heard if index(t_s) == i] for i in range(len(begins))]
    return tuple(
        Outcome(
            *(entrant, condition, voice, utterance.said.kind, utterance.said.text, " | ".join(texts[i])),
            *_deeds(utterance, told[i], asks.count(i), obey),
        )
        for i, utterance in enumerate(found.utterances)
    )


def _deeds(
    utterance: Utterance, told: Sequence[Told], asks: int, obey: Obey
) -> tuple[bool, bool, bool, bool, float | None, float | None]:
    """right, wrong, asked, stopped, stop_late_s, late_s: see Outcome."""
    wanted = utterance.said.command
    stops = [one for one in told if one.stop]
    orders = [one for one in told if not one.stop and one.words.final]
    done = [(one, command) for one in orders if (command := obey(one.words)) is not None]
    right = bool(done) and all(command == wanted for _, command in done) and not stops and asks <= 1
    wrong = any(command != wanted for _, command in done)
    stop_late_s = None
    if stops and utterance.stop_end_s is not None:
        stop_late_s = stops[0].out_s - utterance.stop_end_s
    late_s = done[0][0].out_s - utterance.end_s if right and not asks else None
    return right, wrong, asks > 0, bool(stops), stop_late_s, late_s


def hush(found: Conversation, obey: Obey, entrant: str, kind: str) -> Quiet:
    """What came of a tape on which nobody wants anything. A question moves nothing. STOPs of one utterance
    (the partial result and the final one) are one."""
    obeyed, stops, stopped = [], 0, False
    for one in found.told:
        if one.stop:
            stops += not (one.words.final and stopped)
            stopped = not one.words.final
        elif one.words.final and (command := obey(one.words)) is not None:
            obeyed.append(command)
    return Quiet(entrant, kind, found.seconds, tuple(obeyed), len(found.questions), stops)
