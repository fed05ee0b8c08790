"""A STOP in doubt: who knows words is asked for what has just been said, as long as the doubt lasts.

The spotter is sure of most STOPs by itself, and tells them at once. What it only holds for likely, and what
takes everything for one of its few words, was many a false stop. So those wait for a judge: one that needs a
tenth of a second and knows more. (Such cascades: Gruenstein et al. 2017, "A cascade architecture for keyword
spotting on mobile devices".)
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from edge_wam.sense.later import Later
from edge_wam.sense.sound import RATE_HZ, Block, SoundArray

_SAID_SAMPLES = round(1.6 * RATE_HZ)  # what is looked at
_LOOKS_S = 0.35  # for so long, one look after another: the word may not be over yet
_NEXT_S = 0.7  # from one doubt to the next
_PATIENCE_S = 0.6  # for the first look, where two ears took it for STOP


class Judge(Protocol):
    """Who says whether there was a STOP. It knows more than the recogniser beside it, whose STOPs have to
    wait for it, too."""

    def says_stop(self, sound: SoundArray, heard: bool) -> bool:
        """(N,) samples, at most 1.6 s, the word at their end or about to end. heard: two ears took it for one
        already, so it only has to be one that may be. Called on another thread."""
        ...


class Doubt:
    """The sound of the last moments, and a judge who looks at it, on a thread. later: the looks; denied_s:
    when the judge last denied what two ears had taken for STOP."""

    def __init__(self, judge: Judge) -> None:
        self.later: Later[float, bool] = Later(judge.says_stop)
        self._sound: SoundArray = np.zeros(0, np.int16)
        self._t_s = self._asked_s = self.denied_s = -math.inf
        self._looking = self._answered = self._heard = False

    def ask(self, heard: bool = False) -> None:
        """A STOP may just have been said. heard: two ears took it for one; then nobody waits for a judge who
        does not answer."""
        if self._t_s > self._asked_s + _NEXT_S:
            self._asked_s, self._answered, self._heard = self._t_s, False, heard
            self._look()
        if self.denied_s < self._asked_s:  # once for each doubt
            self._heard |= heard

    def hear(self, block: Block) -> bool:
        """Feed a block; whether by now a STOP is beyond doubt."""
        self._t_s = block.t_s
        self._sound = np.concatenate([self._sound, block.samples])[-_SAID_SAMPLES:]
        found = self.later.done(block.t_s)
        self._looking &= not found
        self._answered |= any(asked_s == self._asked_s for asked_s, _ in found)
        since_s = block.t_s - self._asked_s
        if any(stop for _, stop in found) or (self._heard and not self._answered and since_s > _PATIENCE_S):
            self._asked_s, self._heard = block.t_s - _LOOKS_S, False  # no more looks at this one
            return True
        if since_s < (_LOOKS_S if self._answered else _PATIENCE_S):
            self._look()
        elif self._heard and not self._looking:
            self._heard, self.denied_s = False, block.t_s
        return False

    def _look(self) -> None:
        if not self._looking:
            self._looking = self.later.put(self._asked_s, self._t_s, self._sound, self._heard)
