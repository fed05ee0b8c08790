"""Every ear at once: what of all that they hear is news, and what of it is a STOP."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from edge_wam.sense.agreed import Agreed, Recogniser
from edge_wam.sense.cut import CutRecogniser
from edge_wam.sense.doubt import Doubt
from edge_wam.sense.grammar import UNKNOWN
from edge_wam.sense.sound import Block
from edge_wam.sense.spotter import Spotter
from edge_wam.sense.waker import Waker
from edge_wam.types import Words

_ONE_STOP_S = 1.0  # what two ears hear within it is one STOP, and no sentence that ends in it is obeyed


class Spoken(NamedTuple):
    """What was heard and whether it means STOP. What is neither final nor STOP is one that two ears heard and
    the judge did not, with [unk] before it."""

    words: Words
    stop: bool


class Listener:
    """A recogniser, and what of its results is news: final ones, and the first sign of a STOP.

    A partial STOP is told at once, and it stays: what that utterance ends as is told as STOP too,
    whatever words it is then thought to be. Who said stop does not want the arm to move. The same holds for
    what the spotter hears; it knows no utterances, so its STOP covers what ends within a second of it. What
    the waker hears is news to whoever asks it.

    In people's talk a recogniser that knows few words hears many a STOP. So where there is a spotter it has a
    say in that, too (agreed.py). Where there is somebody besides who knows words, STOPs of which the spotter
    is not sure wait for a tenth of a second, for that one (doubt.py).

    doubt: that, if there is a spotter and a judge.
    """

    def __init__(
        self, recogniser: Recogniser, spotter: Spotter | None = None, waker: Waker | None = None
    ) -> None:
        self._recogniser, self._spotter, self._waker = recogniser, spotter, waker
        self._words = Agreed(recogniser)
        self._stopped = False  # STOP was heard in this utterance
        self._heard_s = self._spotted_s = -math.inf  # STOP, by the one ear and by the other
        self.doubt: Doubt | None = None
        if spotter is not None:
            self._words.possible = functools.partial(_possible, spotter, recogniser.known_s)
            judge = recogniser.judge
            if judge is not None:
                self.doubt = Doubt(judge)
            if isinstance(recogniser, CutRecogniser):  # it drops what was said before a STOP, at once
                recogniser.stop.possible = self._beyond_doubt

    def hear(self, block: Block) -> list[Spoken]:
        """Feed a block; the news, oldest first."""
        news = []
        if self._waker is not None:
            self._waker.hear(block)
        if self._spots(block):
            self._spotted_s = block.t_s
            if block.t_s > self._heard_s + _ONE_STOP_S:
                news.append(Spoken(self._stop(block.t_s), True))
        for words, stop in self._words.hear(block):
            if words.final:
                stop = stop or self._stopped or words.t_s < self._spotted_s + _ONE_STOP_S
                news.append(Spoken(words, stop))
                self._heard_s = max(self._heard_s, words.t_s) if stop else self._heard_s
                self._stopped = False
            elif stop and not self._stopped:
                self._stopped, self._heard_s = True, block.t_s
                if block.t_s > self._spotted_s + _ONE_STOP_S:
                    news.append(Spoken(words, True))
        if self.doubt is not None and self.doubt.denied_s == block.t_s:
            words = self._stop(block.t_s)
            news.append(Spoken(words._replace(text=f"{UNKNOWN} {words.text}"), False))
        return news

    def _stop(self, t_s: float) -> Words:
        """What stands for a STOP that no recogniser put into words."""
        grammar = self._recogniser.grammar
        return Words(grammar.stop_words[0], t_s, 0.0, False, grammar.language)

    def _spots(self, block: Block) -> bool:
        """Whether there was a STOP, by the spotter, or by the judge after a doubt."""
        if self._spotter is None:
            return False
        found = self._spotter.hear(block)
        if self.doubt is not None:
            found |= self.doubt.hear(block)
            told = found or block.t_s <= self._spotted_s + _ONE_STOP_S
            if self._spotter.likely_s >= block.t_s and not told:
                self.doubt.ask()
        return found

    def _beyond_doubt(self, words: Words) -> bool:
        """Whether a STOP of the recogniser's has been one for the spotter or the judge, too. The judge is
        asked if it is possible."""
        if self._spotted_s > _begin_s(words) - self._recogniser.known_s:
            return True
        if self.doubt is not None and self._words.possible(words):
            self.doubt.ask(heard=True)
        return False


def _possible(spotter: Spotter, known_s: float, words: Words) -> bool:
    """Whether the spotter could have heard a STOP in these words, if they are told at most so late."""
    return spotter.possible_s > _begin_s(words) - known_s


def _begin_s(words: Words) -> float:
    return words.t_s if math.isnan(words.since_s) else words.since_s
