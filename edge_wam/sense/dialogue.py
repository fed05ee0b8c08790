"""The talk between a person and the robot: what was understood is done, asked back, or refused.

    heard "throw the red cube to the left"   said "Did you mean: push the red cube to the left?"
    heard "yes"                              done  push the red cube to the left

What leaves here for the control process is always a command's own phrase, whole and exact: what a person said
to get there stays here. STOP does not pass through here at all; that it was said ends a question.

Pure but for the clock that its caller hands in.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import NamedTuple

from edge_wam.sense.grammar import UNKNOWN
from edge_wam.sense.understand import Act, Meaning, Understanding
from edge_wam.types import Words

ANSWER_S = 8.0  # how long a question waits for its answer, and how long the robot listens once called
CONFIRM = ("unsure", "always", "never")


class Sign(enum.Enum):
    """What a short sound tells."""

    NONE = ""
    DONE = "done"
    ASK = "ask"
    NO = "no"


class Reply(NamedTuple):
    """What follows from a sentence. order: the command's phrase that is to be done ('' none); say: what the
    robot answers ('' nothing); why: what is written down of it, in English."""

    order: str = ""
    say: str = ""
    why: str = ""
    sign: Sign = Sign.NONE


class _Texts(NamedTuple):
    ask: str
    doing: str
    idle: str
    dropped: str
    nothing: str
    refused: str
    listening: str


TEXTS = {
    "en": _Texts(
        "Did you mean: {}?",
        "I was told to {}.",
        "Nothing, I am waiting.",
        "All right.",
        "There is nothing to repeat.",
        "I did not understand.",
        "Yes?",
    ),
    "zh": _Texts(
        "您是说{}吗?", "我在{}。", "我在等待。", "好的。", "没有可以重复的。", "我没有听懂。", "在。"
    ),
}


class Dialogue:
    """One person, one robot. confirm: `unsure` asks where something was left open, `always` before anything
    moves, `never` refuses instead of asking. wake: the word that a sentence must begin with ('' none); said
    alone, or after an answer, it holds for the next sentence too. doing: the phrase of what the robot does
    ('' nothing). held: whether a button was held for a sentence; without it only a question is answered, for
    as long as it stands, and who holds it need not say the name. propose: what may make a question of a
    refusal (sense/similar.py); of what was not heard clearly only where the robot was called, or its button
    held. woken: when an ear of its own (sense/waker.py) heard the wake word last; then that calls, not what
    the recogniser took for the word."""

    def __init__(
        self,
        understanding: Understanding,
        language: str,
        confirm: str = "unsure",
        wake: str = "",
        doing: Callable[[], str] | None = None,
        held: Callable[[Words], bool] | None = None,
        propose: Callable[[str, Meaning], Meaning] | None = None,
        woken: Callable[[], float] | None = None,
    ) -> None:
        if confirm not in CONFIRM:
            raise ValueError(f"confirm: expected one of {', '.join(CONFIRM)}, found '{confirm}'")
        self._understanding, self._texts = understanding, TEXTS[language]
        self._confirm, self._wake = confirm, wake.casefold().strip()
        self._doing, self._held, self._propose, self._woken = doing, held, propose, woken
        self._woken_s = -math.inf  # the call that has been taken
        self._asked = self._last = ""
        self._until_s = 0.0  # the question stands, and the robot listens without its name

    def stopped(self) -> None:
        """STOP was heard: whatever was asked is off, and who called before it has to call again."""
        self._take_call()
        self._asked, self._until_s = "", 0.0

    def asked(self, now_s: float) -> str:
        """The phrase about which a question stands ('' none does)."""
        return self._asked if now_s <= self._until_s else ""

    def hear(self, words: Words) -> Reply:
        """A final result that is no STOP. What the recogniser is not sure of is asked about, never done."""
        sure = UNKNOWN not in words.text  # in its middle neither: a "not" may have been there
        text, now_s = " ".join(words.text.replace(UNKNOWN, " ").split()), words.t_s
        self._take_call()
        asked = self.asked(now_s)
        if not text:
            return Reply(why="no words")
        pressed = self._held is not None and self._held(words)
        answers = asked and sure and self._understanding.meaning(text).act in (Act.YES, Act.NO)
        if self._held is not None and not (pressed or answers):
            return Reply(why="the button was not held")
        spoken_to = pressed
        if self._wake:
            named, text = self._called(text)
            called = named and (self._woken is None or pressed or now_s <= self._until_s)
            if called and not text:
                self._listen(now_s)
                return Reply(say=self._texts.listening, why="called", sign=Sign.ASK)
            spoken_to = called or pressed or now_s <= self._until_s
            if not spoken_to:
                return Reply(why=f"without '{self._wake}'")
        meaning = self._understanding.meaning(text)
        if self._propose is not None and (sure or spoken_to):
            meaning = self._propose(text, meaning)
        if not sure and meaning.act not in (Act.DO, Act.ASK):
            return Reply(why="not heard clearly, and no command")  # talk in the room: no answer either
        self._asked = ""
        if meaning.act is Act.YES:
            return self._do(asked, "yes") if asked else Reply(why="nothing was asked")
        if meaning.act is Act.NO:
            self._until_s = 0.0
            return Reply("", self._texts.dropped, "no", Sign.NO) if asked else Reply(why="nothing was asked")
        if meaning.act is Act.DOING:
            doing = self._doing() if self._doing is not None else ""
            return Reply(say=self._texts.doing.format(doing) if doing else self._texts.idle, why="was asked")
        if meaning.act in (Act.AGAIN, Act.OTHER_WAY):
            meaning = self._as_before(meaning.act)
        if meaning.act is Act.REFUSE:
            say = self._texts.nothing if meaning.why == _NOTHING_BEFORE else self._texts.refused
            return Reply("", say, meaning.why, Sign.NO)
        why = meaning.why or ("asked first" if sure else "not heard clearly")
        if meaning.act is Act.DO and sure and self._confirm != "always":
            return self._do(meaning.phrase, "understood")
        if self._confirm == "never":
            return Reply("", self._texts.refused, why, Sign.NO)
        self._asked, self._until_s = meaning.phrase, now_s + ANSWER_S
        return Reply("", self._texts.ask.format(meaning.phrase), why, Sign.ASK)

    def _take_call(self) -> None:
        """The ear for the wake word may have heard it since."""
        if self._woken is not None and (woken_s := self._woken()) > self._woken_s:
            self._woken_s = woken_s
            self._listen(woken_s)

    def _listen(self, now_s: float) -> None:
        """The robot was called. A question that nobody answered in time is not asked again by that."""
        self._asked, self._until_s = self.asked(now_s), now_s + ANSWER_S

    def _as_before(self, act: Act) -> Meaning:
        phrase = self._last
        if phrase and act is Act.OTHER_WAY:
            phrase = self._understanding.opposite(phrase) or ""
        return Meaning(Act.DO, phrase) if phrase else Meaning(Act.REFUSE, why=_NOTHING_BEFORE)

    def _do(self, phrase: str, why: str) -> Reply:
        self._last, self._until_s = phrase, 0.0
        return Reply(phrase, why=why, sign=Sign.DONE)

    def _called(self, text: str) -> tuple[bool, str]:
        """Whether the robot was called, and the rest."""
        plain = text.casefold()
        if not plain.startswith(self._wake):
            return False, text
        rest = text[len(self._wake) :]
        apart = not rest or not (rest[0].isascii() and rest[0].isalnum())
        return (True, rest.strip(" ,.!?，。")) if apart else (False, text)


_NOTHING_BEFORE = "nothing was done before"
