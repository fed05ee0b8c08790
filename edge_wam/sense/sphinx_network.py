"""The grammar of sphinx_engine.py as transitions between states: the phrases, and what rivals them.

    start --- the phrases and STOP, exactly ----------------> end
      |          |  |  one slip: a decoy in place of a word,   ^
      |          v  v  a word left out, an end too soon        |
      |       the phrases once more, after a slip -------------|
      \\--- talk --- talk --- talk --- ... (a chain) ------------/

A slip costs what it costs, however long the sentence: one wrong word in nine is heard as one in five is.
What takes a lower road is no phrase, and says so; "do not pick up the red cube" and "pick up the yellow
cube" are heard as themselves. Talk is a chain, not a loop: a loop over n words makes n * n transitions
here, and thirty times the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edge_wam.sense.grammar import AROUND_STOP, Grammar

_SLIP = 1e-20  # what a slip costs: less hears fewer commands wrongly, and misses more
_SLIP_AGAIN = 1e-8  # and the next: it is no command any more
_TAIL_WORD, _TAIL_WORDS = 1e-2, 8  # "... and then to the right"
_TALK_START, _TALK_WORD, _TALK_WORDS = 1e-23, 1e-8, 10  # talk: to begin with, for each word, and how many
_POLITE = 1e-3  # a polite word more
_ABOUT = 1e-18  # talk about commands ("do it again", "yes"): rarer than they are, and near to other talk
_STOP_BEFORE, _STOP_AFTER = 1e-8, 1e-6  # a word before STOP ("no no stop"), words after it ("stop it")
_STOP_BEFORE_WORDS = 3
_STOP_WITHIN = 1e-20  # STOP within a command or in the middle of talk
Arc = tuple[int, int, float] | tuple[int, int, float, str]


def network(grammar: Grammar, replies: Iterable[str] = (), slip: float = _SLIP) -> list[Arc]:
    """The grammar, and replies, as transitions (from, to, probability[, word]) of a network that runs from 0
    to 1. slip: what the first slip costs."""
    table = smallest((*grammar.phrases, *grammar.stop_words))
    start, count = len(table) - 1, len(table)
    net = _Network(2 + 2 * count)  # state s of the table: s + 2 in the exact part, s + slipped after a slip
    exact, slipped = 2, 2 + count
    net.arc(0, start + exact, 1.0)
    for text in dict.fromkeys((*grammar.decoys.before, *grammar.beside.against)):
        net.words(start + exact, start + slipped, slip, text)
    tail = _tail(net, table) if grammar.decoys.more else 1
    stopped = _stops(net, grammar)
    for text in grammar.beside.before:
        net.words(0, start + exact, _POLITE, text)
    for state, leads in enumerate(table):
        for part in (exact, slipped):
            for word, to in leads.items():
                net.arc(state + part, to + part if word else 1, 1.0, word)
            for text in grammar.beside.after if "" in leads else ():
                net.words(state + part, 1, _POLITE, text)
            for word in grammar.stop_words if state != start else ():
                net.arc(state + part, stopped, _STOP_WITHIN, word)
            if state != start and "" not in leads:
                net.arc(state + part, 1, slip)  # an end too soon
            cost = slip if part == exact else _SLIP_AGAIN
            for text in grammar.decoys.more if part == exact else ():
                net.words(state + part, tail, cost, text)
            for to, others in _slips(leads, grammar, state == start).items():
                net.arc(state + part, to + slipped, cost)  # a word left out
                for other in others:
                    net.words(state + part, to + slipped, cost, other)
    for text in (*grammar.beside.talk, *replies):
        net.words(0, 1, _ABOUT, text)
    state = net.new()
    net.arc(0, state, _TALK_START)
    for _ in range(_TALK_WORDS if grammar.decoys.talk else 0):
        before, state = state, net.new()
        for word in grammar.decoys.talk:
            net.arc(before, state, _TALK_WORD, word)
        for word in grammar.stop_words:
            net.arc(before, stopped, _STOP_WITHIN, word)
        net.arc(state, 1, 1.0)
    return net.arcs


def _stops(net: _Network, grammar: Grammar) -> int:
    """STOP with what is said in one breath with it; returns where that goes on after the word itself."""
    before, after = AROUND_STOP[grammar.language]
    stopped = net.new()
    net.arc(stopped, 1, 1.0)
    for text in after:
        net.words(stopped, 1, _STOP_AFTER, text)
    state = 0
    for _ in range(_STOP_BEFORE_WORDS):
        last, state = state, net.new()
        for text in before:
            net.words(last, state, _STOP_BEFORE, text)
        for word in grammar.stop_words:
            net.arc(state, stopped, 1.0, word)
    for word in grammar.stop_words:
        net.arc(0, stopped, 1.0, word)
    return stopped


def _tail(net: _Network, table: list[dict[str, int]]) -> int:
    """Once it is two things ("... and then to the right"), the second may be any words of the first; returns
    where that begins."""
    said = sorted({word for leads in table for word in leads if word})
    first = state = net.new()
    for _ in range(_TAIL_WORDS):
        before, state = state, net.new()
        net.arc(before, 1, 1.0)
        for word in said:
            net.arc(before, state, _TAIL_WORD, word)
    net.arc(state, 1, 1.0)
    return first


class _Network:
    """Transitions under way, and how many states there are."""

    def __init__(self, states: int) -> None:
        self.arcs: list[Arc] = []
        self._states = states

    def new(self) -> int:
        self._states += 1
        return self._states - 1

    def arc(self, start: int, end: int, probability: float, word: str = "") -> None:
        self.arcs.append((start, end, probability, word) if word else (start, end, probability))

    def words(self, start: int, end: int, probability: float, text: str) -> None:
        """A way of several words."""
        *first, last = text.split()
        for word in first:
            between = self.new()
            self.arc(start, between, probability, word)
            start, probability = between, 1.0
        self.arc(start, end, probability, last)


def _slips(leads: dict[str, int], grammar: Grammar, first: bool) -> dict[int, list[str]]:
    """Decoys for the words that lead on from a state, by where those lead. first: it is the start."""
    slips: dict[int, list[str]] = {}
    for word, to in leads.items():
        others = grammar.decoys.verbs if first and word not in grammar.stop_words else ()
        for ours, theirs in grammar.decoys.instead:
            others += theirs if word in ours else ()
        if others:
            known = slips.setdefault(to, [])
            known += [other for other in others if other not in leads and other not in known]
    return slips


def smallest(sentences: Iterable[str]) -> list[dict[str, int]]:
    """The smallest network of exactly these sentences: for each state where its words lead, "" (to -1)
    where a sentence may end. Begins in the last one.

    A tree of the words, whose branches that go on alike are one.
    """
    tree: dict[str, Any] = {}
    for sentence in sentences:
        branch = tree
        for word in sentence.split():
            branch = branch.setdefault(word, {})
        branch[""] = None
    table: list[dict[str, int]] = []
    seen: dict[tuple[tuple[str, int], ...], int] = {}

    def number(branch: dict[str, Any]) -> int:
        leads = {word: -1 if rest is None else number(rest) for word, rest in branch.items()}
        key = tuple(sorted(leads.items()))
        if key not in seen:
            seen[key] = len(table)
            table.append(leads)
        return seen[key]

    number(tree)
    return table
