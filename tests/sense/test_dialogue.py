"""The talk: what was understood is done, asked back or refused."""

from __future__ import annotations

import pytest
from talker import COMMANDS, LEFT, RED, Person

from edge_wam.sense.dialogue import ANSWER_S, TEXTS, Reply, Sign
from edge_wam.sense.grammar import STOP_WORDS
from edge_wam.sense.understand import Act, Meaning, Understanding


def test_a_command_is_done_and_a_likely_one_asked_about():
    person = Person()
    assert person.says("grab the red block") == Reply(RED, why="understood", sign=Sign.DONE)
    asked = person.says("throw the red cube to the left")
    assert asked == Reply("", f"Did you mean: {LEFT}?", "not understood: throw", Sign.ASK)
    assert person.says("yes") == Reply(LEFT, why="yes", sign=Sign.DONE)
    assert person.says("yes") == Reply(why="nothing was asked")  # once


def test_no_and_silence_and_another_command_end_a_question():
    person = Person()
    person.says("throw the red cube to the left")
    assert person.says("no").sign is Sign.NO
    assert not person.says("yes").order
    person.says("throw the red cube to the left")
    assert not person.says("yes", after_s=ANSWER_S + 0.01).order
    person.says("throw the red cube to the left")
    assert person.says("yes", after_s=ANSWER_S).order == LEFT
    person.says("throw the red cube to the left")
    assert person.says("go home").order == "go home"
    assert not person.says("yes").order
    person.says("throw the red cube to the left")
    person.says("what a lovely day")
    assert not person.says("yes").order


def test_stop_ends_a_question():
    person = Person()
    person.says("throw the red cube to the left")
    assert person.dialogue.asked(person.now_s) == LEFT
    person.dialogue.stopped()
    assert not person.dialogue.asked(person.now_s)
    assert not person.says("yes").order


def test_what_was_not_heard_clearly_is_asked_about_never_done():
    person = Person()
    asked = person.says(f"[unk] {RED}")
    assert (asked.order, asked.sign, asked.why) == ("", Sign.ASK, "not heard clearly")
    assert not person.says("[unk] yes").order  # nor is that an answer
    assert person.says("yes").order == RED
    assert person.says("[unk] the weather is nice") == Reply(why="not heard clearly, and no command")
    assert person.says("[unk]") == Reply(why="no words")
    assert person.says(f"[unk] do not {RED}").sign is Sign.NONE  # talk is not answered


def test_near_misses_are_refused_aloud():
    reply = Person().says("do not pick up the red cube")
    assert reply == Reply("", "I did not understand.", "'not': not", Sign.NO)


def test_again_and_the_other_way():
    person = Person()
    assert person.says("again").why == "nothing was done before"
    person.says(LEFT)
    assert person.says("do it again").order == LEFT
    assert person.says("the other way").order == "push the red cube to the right"
    assert person.says("the other way").order == LEFT
    person.says(RED)
    assert person.says("the other way").say == "There is nothing to repeat."


def test_what_are_you_doing():
    assert Person().says("what are you doing").say == "Nothing, I am waiting."
    assert Person(doing=lambda: RED).says("what are you doing").say == f"I was told to {RED}."


def test_asked_always_or_never():
    careful = Person(confirm="always")
    assert careful.says(RED) == Reply("", f"Did you mean: {RED}?", "asked first", Sign.ASK)
    assert careful.says("yes").order == RED
    assert not careful.says("again").order  # asked first, too
    brisk = Person(confirm="never")
    assert brisk.says(RED).order == RED
    assert brisk.says("throw the red cube to the left").sign is Sign.NO
    assert not brisk.says("yes").order
    with pytest.raises(ValueError, match="found 'sometimes'"):
        Person(confirm="sometimes")


def test_with_a_name_it_listens_to_its_name():
    person = Person(wake="Robot")
    assert person.says(RED) == Reply(why="without 'robot'")
    assert person.says(f"robot {RED}").order == RED
    assert person.says("go home") == Reply(why="without 'robot'")
    assert person.says("robot") == Reply(say="Yes?", why="called", sign=Sign.ASK)
    assert person.says("go home").order == "go home"
    assert not person.says(RED).order
    person.says("robot")
    assert not person.says(RED, after_s=ANSWER_S + 0.01).order
    assert person.says(f"robots {RED}") == Reply(why="without 'robot'")
    person.says("robot throw the red cube to the left")
    assert person.says("yes").order == LEFT  # an answer needs no name


def test_a_name_and_then_something_that_is_no_word_is_a_call():
    person = Person("zh", wake="机器人")
    assert person.says("机器人 [unk]").why == "called"
    assert person.says("拿起红色方块").order == "拿起红色方块"


def test_a_hole_in_the_middle_of_a_sentence_is_no_certainty():
    for text in ("pick up [unk] the red cube", "pick up the red cube [unk]"):
        person = Person()
        assert person.says(text).sign is Sign.ASK
        assert not person.says("yes [unk]").order
        assert person.says("yes").order == RED


# --- push-to-talk -------------------------------------------------------------------------------


class Pusher(Person):
    """Who holds the button, or does not."""

    def __init__(self, *language, **settings):
        self.holds = True
        super().__init__(*language, held=lambda words: self.holds, **settings)

    def says(self, text, after_s=1.0, holds=True):
        self.holds = holds
        return super().says(text, after_s)


NOT_HELD = Reply(why="the button was not held")


def test_only_what_is_said_while_the_button_is_held_is_done_or_answered():
    person = Pusher()
    for text in (
        RED,
        "throw the red cube to the left",
        "what are you doing",
        f"do not {RED}",
        "yes",
        "again",
    ):
        assert person.says(text, holds=False) == NOT_HELD
    assert person.says(RED).order == RED
    assert person.says("again", holds=False) == NOT_HELD
    assert person.says("again").order == RED


def test_a_question_is_answered_without_the_button_for_as_long_as_it_stands():
    person = Pusher()
    person.says("throw the red cube to the left")
    assert person.says("go home", holds=False) == NOT_HELD  # no answer, and the question stands
    assert person.says("[unk] yes", holds=False) == NOT_HELD
    assert person.says("yes", holds=False).order == LEFT
    person.says("throw the red cube to the left")
    assert person.says("no", holds=False).sign is Sign.NO
    assert person.says("yes", holds=False) == NOT_HELD
    person.says("throw the red cube to the left")
    assert person.says("yes", ANSWER_S + 0.1, holds=False) == NOT_HELD


def test_who_holds_the_button_need_not_say_the_name_and_the_name_opens_nothing_without_it():
    person = Pusher(wake="robot")
    assert person.says(RED).order == RED
    assert person.says(f"robot {RED}").order == RED
    assert person.says(f"robot {RED}", holds=False) == NOT_HELD
    assert person.says("robot", holds=False) == NOT_HELD
    assert person.says("robot").why == "called"
    assert person.says(RED, holds=False) == NOT_HELD


# --- proposals ----------------------------------------------------------------------------------


def near(text, meaning):
    """As sense/similar.py, but by one word."""
    return Meaning(Act.ASK, RED, "near") if meaning.act is Act.REFUSE and "gimme" in text else meaning


def test_what_is_proposed_is_asked_and_done_after_a_yes_alone():
    person = Person(propose=near)
    asked = Reply("", f"Did you mean: {RED}?", "near", Sign.ASK)
    assert person.says("gimme the red one there") == asked
    assert person.says("go home").order == "go home"
    assert person.says("gimme the red one there") == asked
    assert person.says("yes").order == RED
    assert Person(propose=near, confirm="never").says("gimme the red one there").sign is Sign.NO


def test_talk_in_the_room_is_not_proposed_to_unless_the_robot_was_called_or_its_button_held():
    unclear = "[unk] gimme the red one there"
    assert Person(propose=near).says(unclear) == Reply(why="not heard clearly, and no command")
    called = Person(propose=near, wake="robot")
    assert called.says(unclear) == Reply(why="without 'robot'")
    assert called.says("[unk] robot gimme the red one there").sign is Sign.ASK
    assert Pusher(propose=near).says(unclear).sign is Sign.ASK
    assert Pusher(propose=near).says(unclear, holds=False) == NOT_HELD


def test_in_mandarin():
    person = Person("zh")
    assert person.says("帮我拿起红色的方块").order == "拿起红色方块"
    assert person.says("不要拿起红色方块").say == "我没有听懂。"
    assert person.says("红色方块左边").say == "您是说把红色方块推到左边吗?"
    assert person.says("是的").order == "把红色方块推到左边"


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_no_answer_could_stop_the_arm_or_start_it(language):
    """The robot hears itself; what it says must mean nothing."""
    understanding = Understanding(language, [command.phrases[language] for command in COMMANDS])
    for text in TEXTS[language]:
        for phrase in ("", *(command.phrases[language][0] for command in COMMANDS)):
            said = text.format(phrase)
            words = said.casefold() if language == "zh" else said.casefold().split()
            assert not any(word in words for word in STOP_WORDS[language])
            if "{}" not in text:
                assert not understanding.meaning(said).phrase
