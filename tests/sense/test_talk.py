"""From the ear to the control process: only an order leaves, as a command's own phrase."""

from __future__ import annotations

import pytest
from talker import LEFT, RED, Person

from edge_wam.sense.dialogue import ANSWER_S, Sign
from edge_wam.sense.listener import Spoken
from edge_wam.sense.voice import Talk
from edge_wam.types import Words


class Ear:
    def __init__(self):
        self.expected = []

    def expect_reply(self, asked):
        self.expected.append(asked)


class Box:
    def __init__(self):
        self.put_in, self.why = [], []

    def put(self, words, *, stop, said="", why=""):
        self.put_in.append((words.text, stop))
        self.why.append(why)


class Loud:
    """A robot that speaks from 10 to 12 s."""

    def __init__(self):
        self.answers = []

    def audible(self, t_s):
        return 10.0 <= t_s <= 12.0

    def answer(self, reply):
        self.answers.append(reply.sign)


@pytest.fixture
def talk():
    parts = Ear(), Person().dialogue, Loud(), Box()
    said = []
    made = Talk(*parts, said.append)
    made.parts, made.said = parts, said

    def hear(text, t_s=1.0, stop=False, final=True):
        made.hear(Spoken(Words(text, t_s, 1.0, final, "en"), stop))
        return parts[3].put_in

    made.says = hear
    return made


def test_only_an_order_reaches_the_control_process_as_a_phrase(talk):
    talk.says("grab the red block")
    talk.says("throw the red cube to the left")
    talk.says("do not go home")
    assert talk.says("yes")[0] == (RED, False)
    posted = [text for text, _ in talk.parts[3].put_in]
    assert posted[1:] == ["[unk] throw the red cube to the left", "[unk] do not go home", "[unk] yes"]


def test_a_stop_that_was_denied_is_written_down_and_nothing_else(talk):
    talk.says("throw the red cube to the left")
    assert talk.says("[unk] stop", final=False)[-1] == ("[unk] stop", False)
    assert "STOP" in talk.parts[3].why[-1]
    assert len(talk.parts[2].answers) == 1
    assert talk.says("yes")[-1] == (LEFT, False)  # the question stands


def test_what_was_answered_is_written_down_with_why(talk):
    talk.says("throw the red cube to the left")
    talk.says("go home")
    assert talk.parts[3].why == [f'not understood: throw; "Did you mean: {LEFT}?"', "understood"]


def test_a_question_opens_the_ear_for_its_answer_and_closes_it(talk):
    talk.says("throw the red cube to the left")
    talk.says("yes", 2.0)
    assert talk.parts[0].expected == [True, False]
    talk.says("throw the red cube to the left", 3.0)
    talk.says("[unk]", 3.0 + ANSWER_S + 1.0)
    assert talk.parts[0].expected == [True, False, True, False]
    assert talk.said[0] == (
        f'voice: "throw the red cube to the left": not understood: throw; "Did you mean: {LEFT}?"'
    )


def test_the_robot_does_not_obey_itself_but_stop_is_heard_in_its_words(talk):
    talk.says(RED, 11.0)
    assert talk.parts[3].put_in == [(f"[unk] {RED}", False)]
    assert talk.parts[3].why == ["the robot itself was speaking"]
    assert talk.parts[2].answers == [Sign.NONE]
    talk.says("stop", 11.5, stop=True, final=False)
    assert talk.parts[3].put_in[1:] == [("stop", True)]


def test_a_stop_goes_on_as_it_was_heard_and_ends_the_question(talk):
    talk.says("throw the red cube to the left")
    talk.says("stop", 2.0, stop=True, final=False)
    talk.says("stop", 2.5, stop=True)
    assert talk.says("yes", 3.0)[1:] == [("stop", True), ("stop", True), ("[unk] yes", False)]
    assert talk.parts[0].expected == [True, False]
