"""Of what a recogniser takes for STOP, what another ear finds possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge_wam.sense.doubt import Judge
from edge_wam.sense.grammar import UNKNOWN, Grammar
from edge_wam.sense.sound import Block
from edge_wam.types import Words

_SURE_S = 0.4  # how much longer the other ear may take to be sure


class Recogniser(Protocol):
    """Turns blocks of sound into words. name: for people. known_s: how long after a STOP it may come to know
    of it. judge: who knows whether something was a STOP, if it has one."""

    name: str
    grammar: Grammar
    known_s: float

    @property
    def judge(self) -> Judge | None: ...

    def hear(self, block: Block) -> list[Words]: ...
    def expect_reply(self, asked: bool) -> None:
        """Listen for replies to a question as well (or not any more); not within an utterance."""
        ...


class Agreed:
    """A recogniser's words, and whether they are a STOP.

    An utterance with a STOP that is impossible is neither STOP nor a command. But the other ear may take
    longer to be sure: a partial STOP is kept for so long, unless the recogniser thinks better of it, and told
    once it is possible.

    possible: whether some words can have a STOP in them; whoever has another ear sets it.
    """

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self._kept: Words | None = None
        self._told = self._doubted = False  # a STOP, in this utterance
        self.possible: Callable[[Words], bool] = lambda words: True

    def hear(self, block: Block) -> list[tuple[Words, bool]]:
        """Feed a block; its words, oldest first."""
        found = []
        for words in self.recogniser.hear(block):
            self._kept, stop = None, self.recogniser.grammar.is_stop(words.text)
            if stop and not self._told and not self.possible(words):
                stop, self._doubted, self._kept = False, True, words
            self._told |= stop
            if words.final:
                if self._doubted and not self._told:
                    words = words._replace(text=f"{UNKNOWN} {words.text}", confidence=0.0)
                self._told, self._doubted, self._kept = False, False, None
            found.append((words, stop))
        if self._kept is not None:
            if block.t_s > self._kept.t_s + _SURE_S:
                self._kept = None
            elif self.possible(self._kept):
                found.append((self._kept, True))
                self._told, self._kept = True, None
        return found
