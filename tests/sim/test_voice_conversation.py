"""The counting, with a recogniser whose words are written by hand, and a person who answers it."""

import itertools

import numpy as np
import pytest

from edge_wam.sense.dialogue import Dialogue
from edge_wam.sense.grammar import make_grammar
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ
from edge_wam.sense.understand import Understanding
from edge_wam.sim.conversation import Quiet, converse, hush, judge
from edge_wam.sim.corpus import Tape, Utterance
from edge_wam.sim.sentences import Said
from edge_wam.types import Words

COMMANDS = {"pick up the red cube": "pick_red", "pick up the blue cube": "pick_blue"}
RED, BLUE = COMMANDS
ASK_RED, ASK_BLUE = "hurl the red cube", "hurl the blue cube"
YES, NO = np.full(RATE_HZ, 2, np.int16), np.full(RATE_HZ, 1, np.int16)
WANT_RED, WANT_BLUE = Said("command", RED, "pick_red"), Said("command", BLUE, "pick_blue")
STOP, DECOY = Said("stop", "stop"), Said("decoy", "not red")


class HandMade:
    """Hears a line at the first block that ends after its time; and in an answer of YES or NO what it says
    (or, hard of hearing, `no_is`), at its last block."""

    name, known_s, judge = "by hand", 1.5, None

    def __init__(self, *lines, no_is="no"):
        known = {"stop", *" ".join(COMMANDS).split()}
        self.grammar = make_grammar("en", list(COMMANDS), known.__contains__, lambda: known, "by hand")
        self._lines, self._no_is, self._answer = list(lines), no_is, 0
        self.expected = []

    def hear(self, block):
        found = []
        if self._answer and not block.samples[0]:
            text = {1: self._no_is, 2: "yes"}[self._answer]
            found.append(Words(text, block.t_s - BLOCK_S, 1.0, True, "en"))
            self._lines = [(t_s + 1.02, *rest) for t_s, *rest in self._lines]
        self._answer = int(block.samples[0])
        while self._lines and self._lines[0][0] <= block.t_s + 1e-9:
            t_s, text, final = self._lines.pop(0)
            found.append(Words(text, t_s, 1.0, final, "en"))
        return found

    def expect_reply(self, asked):
        self.expected.append(asked)


def tape(*sentences):
    """Each lasts one second and begins every five; STOP ends half a second into it."""
    utterances = tuple(
        Utterance(one, 5.0 * i, 5.0 * i + 1, 5.0 * i + 0.5 if one.kind == "stop" else None)
        for i, one in enumerate(sentences)
    )
    return Tape(np.zeros(5 * len(sentences) * RATE_HZ, np.int16), utterances, ((NO,), (YES,)))


def obey(words):
    return COMMANDS.get(words.text)


def heard(sentences, *lines, clock_s=lambda: 0.0, answered=True, **hearing):
    dialogue = Dialogue(Understanding("en", [(phrase,) for phrase in COMMANDS]), "en")
    played = tape(*sentences) if answered else tape(*sentences)._replace(answers=())
    return converse(played, HandMade(*lines, **hearing), dialogue, obey, clock_s)


def outcomes(sentences, *lines, **settings):
    return judge(heard(sentences, *lines, **settings), obey, "it", "clean", "somebody")


def test_news_is_out_when_its_block_is_and_the_machine_is_done():
    clock = itertools.count()  # a block takes a "second" of a machine that is far too slow
    found = heard((WANT_RED,), (0.06, "stop", False), (0.12, RED, True), clock_s=lambda: next(clock))
    assert [one.out_s for one in found.told] == pytest.approx([BLOCK_S + 1, BLOCK_S + 2])  # the second queued
    assert [(one.words.text, one.stop) for one in found.told] == [("stop", True), (RED, True)]
    assert found.cpu_s == found.seconds // BLOCK_S == int(5 / BLOCK_S)
    assert heard((WANT_RED,), (0.10, RED, True)).told[0].out_s == pytest.approx(2 * BLOCK_S)


def test_a_command_is_right_wrong_or_refused():
    right, wrong, refused = outcomes((WANT_RED,) * 3, (1.5, RED, True), (6.0, BLUE, True), (11.0, "", True))
    assert (right.right, right.wrong, right.asked, right.heard) == (True, False, False, RED)
    assert right.late_s == pytest.approx(0.5)
    assert (wrong.right, wrong.wrong, wrong.late_s) == (False, True, None)
    assert (refused.right, refused.wrong, refused.heard) == (False, False, "")


def test_news_belongs_to_the_sentence_that_its_words_ended_in():
    first, second = outcomes((WANT_RED, WANT_BLUE), (4.98, RED, True), (5.1, BLUE, True))
    assert first.right
    assert second.right
    (first,) = outcomes((WANT_RED,), (-0.5, BLUE, True))
    assert first.wrong  # before anybody spoke


def test_doing_it_and_something_else_is_wrong():
    (one,) = outcomes((WANT_RED,), (1.5, RED, True), (2.5, BLUE, True))
    assert (one.right, one.wrong) == (False, True)


def test_a_question_is_answered_truthfully_by_voice():
    yes, no = outcomes((WANT_RED, WANT_RED), (1.5, ASK_RED, True), (6.5, ASK_BLUE, True))
    assert (yes.right, yes.wrong, yes.asked, yes.heard) == (True, False, True, f"{ASK_RED} | yes")
    assert (no.right, no.wrong, no.asked, no.heard) == (False, False, True, f"{ASK_BLUE} | no")
    assert yes.late_s is None


def test_a_no_that_is_heard_as_yes_is_a_wrong_deed():
    command, decoy = outcomes((WANT_RED, DECOY), (1.5, ASK_BLUE, True), (6.5, ASK_RED, True), no_is="yes")
    assert (command.right, command.wrong) == (False, True)
    assert decoy.wrong


def test_only_one_question_a_sentence_is_answered_and_two_are_too_many():
    (one,) = outcomes((WANT_RED,), (1.5, ASK_BLUE, True), (3.0, ASK_RED, True))
    assert (one.right, one.asked, one.heard) == (False, True, f"{ASK_BLUE} | no | {ASK_RED}")
    (one,) = outcomes((WANT_RED,), (1.5, ASK_BLUE, True), (3.0, ASK_RED, True), (3.5, RED, True))
    assert (one.right, one.wrong) == (False, False)


def test_nobody_answers_while_they_speak_nor_before_they_said_anything():
    (one,) = outcomes((WANT_RED,), (0.5, ASK_RED, True), (0.9, RED, True))
    assert one.heard == f"{ASK_RED} | {RED}"
    silent = tape(WANT_RED)._replace(utterances=(Utterance(WANT_RED, 4.9, 5.0, None),))
    dialogue = Dialogue(Understanding("en", [(phrase,) for phrase in COMMANDS]), "en")
    found = converse(silent, HandMade((1.0, ASK_RED, True)), dialogue, obey, lambda: 0.0)
    assert [text for _, text in found.heard] == [ASK_RED]


def test_what_comes_after_an_answer_comes_later():
    found = heard((WANT_RED, STOP), (1.5, ASK_RED, True), (5.75, "stop", False))
    answer_s = -(-len(YES) // BLOCK_SAMPLES) * BLOCK_S
    assert found.utterances[0] == Utterance(WANT_RED, 0.0, 1.0, None)
    assert found.utterances[1].begin_s == pytest.approx(5.0 + answer_s)
    assert found.utterances[1].stop_end_s == pytest.approx(5.5 + answer_s)
    assert found.seconds == pytest.approx(10.0 + answer_s, abs=BLOCK_S)
    _, stop = judge(found, obey, "it", "clean", "somebody")
    assert stop.stop_late_s == pytest.approx(0.25, abs=BLOCK_S)


def test_without_answers_a_question_is_left_open():
    (one,) = outcomes((WANT_RED,), (1.5, ASK_RED, True), answered=False)
    assert (one.right, one.wrong, one.asked) == (False, False, True)


def test_the_recogniser_is_told_to_expect_a_reply():
    ear = HandMade((1.5, ASK_RED, True))
    dialogue = Dialogue(Understanding("en", [(phrase,) for phrase in COMMANDS]), "en")
    converse(tape(WANT_RED), ear, dialogue, obey, lambda: 0.0)
    assert ear.expected == [True, False]


def test_stop_is_late_by_the_time_from_its_end_to_the_first_news():
    in_time, early, missed = outcomes(
        (STOP,) * 3,
        (0.75, "stop", False),
        (1.5, "stop", True),
        (5.4, "stop", False),
        (6.0, "stop", True),
        (11.0, BLUE, True),
    )
    assert in_time.stopped
    assert in_time.stop_late_s == pytest.approx(0.25, abs=BLOCK_S)
    assert early.stop_late_s == pytest.approx(-0.1, abs=BLOCK_S)
    assert (missed.stopped, missed.stop_late_s, missed.wrong) == (False, None, True)


def test_a_command_that_is_taken_for_stop_is_not_done():
    (one,) = outcomes((WANT_RED,), (1.2, "stop", False), (1.5, RED, True))
    assert (one.right, one.wrong, one.stopped) == (False, False, True)
    (one,) = outcomes((WANT_RED,), (1.2, "stop", False), (1.5, "stop", True), (2.0, RED, True))
    assert (one.right, one.wrong, one.stopped) == (False, False, True)


def test_partial_results_move_nothing():
    (one,) = outcomes((DECOY,), (1.2, RED, False))
    assert not one.wrong


def test_in_the_background_a_stop_counts_once_an_utterance_and_a_question_moves_nothing():
    lines = [
        *((1.0, "stop", False), (1.5, "stop", True), (2.0, "stop", False), (9.0, "stop", True)),
        *((9.5, "stop", True), (11.0, RED, True), (12.0, ASK_RED, True), (13.0, RED, False)),
    ]
    quiet = Tape(np.zeros(15 * RATE_HZ, np.int16), ())
    dialogue = Dialogue(Understanding("en", [(phrase,) for phrase in COMMANDS]), "en")
    found = converse(quiet, HandMade(*lines), dialogue, obey, lambda: 0.0)
    assert hush(found, obey, "it", "babble") == Quiet("it", "babble", 15.0, ("pick_red",), 1, 3)
