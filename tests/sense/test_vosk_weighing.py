"""What Vosk makes of an utterance: the sentences it could be, weighed against each other. No model needed."""

import pytest

from edge_wam.sense.cut import Guess
from edge_wam.sense.grammar import STOP_WORDS, make_grammar
from edge_wam.sense.understand import Understanding
from edge_wam.sense.vosk_engine import decide
from edge_wam.sense.wide import nearby
from edge_wam.sim import tasks

UNDERSTANDING = Understanding("zh", [command.phrases["zh"] for command in tasks.commands()])
RED, BLUE, YELLOW = "拿起 红色 方块", "拿起 蓝色 方块", "拿起 黄色 方块"


def decided(wide, commands=(), asked=False):
    """Both: (text, score) pairs, the likeliest first."""
    guesses = [[Guess(*pair) for pair in pairs] for pairs in (commands, wide)]
    return decide(
        *guesses,
        UNDERSTANDING.meaning,
        lambda text: not set(STOP_WORDS["zh"]).isdisjoint(text.split()),
        asked,
    )


def test_a_command_far_ahead_of_everything_is_done():
    assert decided([(RED, 100.0), (YELLOW, 97.4), (BLUE, 96.4)]) == RED


def test_other_words_for_one_command_do_not_compete():
    assert decided([("抓起 红色 方块", 100.0), (RED, 99.9)]) == "抓起 红色 方块"


@pytest.mark.parametrize(
    "wide",
    [
        [(RED, 100.0), (BLUE, 96.6)],  # another command
        [(RED, 100.0), (YELLOW, 97.6)],  # no command
        [(YELLOW, 100.0), (RED, 96.1)],
        [(RED, 100.0), (f"{RED} 呀", 97.6)],  # something is left open
        [(RED, 100.0), (BLUE, 100.0)],
        [("不要 拿起 红色 方块", 100.0), (RED, 98.1)],  # in noise words come that nobody said
    ],
)
def test_a_command_that_is_near_to_the_best_is_asked_about(wide):
    assert decided(wide) == f"[unk] {RED}"


@pytest.mark.parametrize(
    "wide",
    [
        [(YELLOW, 100.0), (RED, 95.9)],
        [("不要 拿起 红色 方块", 100.0), (RED, 97.9)],
        [("今天 天气", 50.0)],
        [("红色 方块", 50.0)],
    ],
)
def test_what_is_no_command_is_refused_as_it_was_heard(wide):
    assert decided(wide) == f"[unk] {wide[0][0]}"


def test_a_command_that_only_its_own_grammar_heard_counts_with_its_score():
    assert decided([(YELLOW, 100.0)], [(RED, 97.0)]) == f"[unk] {RED}"
    assert decided([(YELLOW, 100.0)], [(RED, 95.0)]) == f"[unk] {YELLOW}"


def test_of_the_commands_grammar_what_is_none_does_not_count():
    assert decided([(RED, 100.0)], [("拿起 放到 方块", 101.0), (RED, 100.0)]) == RED


def test_stop_is_stop_whatever_else_it_could_be():
    assert decided([("停", 20.0), (RED, 19.9)]) == "停"


def test_nothing_is_nothing():
    assert decided([]) == ""


def test_yes_counts_only_where_something_was_asked_and_if_it_is_clear():
    yes, no = ("是 的", 50.0), ("不是", 46.0)
    assert decided([yes, no], asked=True) == "是 的"
    assert decided([yes, no]) == "[unk] 是 的"
    assert decided([yes, ("不是", 47.0)], asked=True) == "[unk] 是 的"
    assert decided([("了", 50.9), yes], asked=True) == "是 的"
    assert decided([("了", 51.1), yes], asked=True) == "[unk] 了"


def test_no_needs_less():
    assert decided([("不许", 52.9), ("不是", 50.0), ("是 的", 49.5)], asked=True) == "不是"
    assert decided([("不许", 53.1), ("不是", 50.0)], asked=True) == "[unk] 不许"


# --- what else may have been said -------------------------------------------------------------


def near(language, phrases, *lacking):
    def knows(word):
        return word not in lacking and (language == "en" or len(word) <= 2)

    grammar = make_grammar(language, phrases, knows, list, "a recogniser")
    return nearby(grammar, grammar.phrases, knows)


def test_each_word_of_a_command_is_changed_alone():
    found = near("zh", ["把 红色 方块 放到 蓝色 盘子 上"])
    assert "把 黄色 方块 放到 蓝色 盘子 上" in found
    assert "把 红色 方块 放到 蓝色 盘子 下面" in found
    assert "把 红色 杯子 放到 蓝色 盘子 上" in found
    assert "把 红色 方块 放到 蓝色 桌子 上" in found
    assert not [text for text in found if "黄色" in text and "桌子" in text and " " in text]


def test_what_turns_a_command_around_comes_before_it_and_what_makes_it_two_after():
    found = near("zh", ["回家"])
    assert {"不要 回家", "谁 回家", "如果 回家", "回家 吗", "回家 或者"} <= set(found)


def test_every_word_about_tasks_may_come_alone_and_talk_too():
    found = near("zh", ["回家"])
    assert {"方块", "不是", "为什 么", "你"} & set(found) >= {"方块", "不是", "你"}
    assert "的" in found


def test_a_word_that_the_recogniser_lacks_is_left_out():
    found = near("zh", ["拿 红色 方块"], "黄色", "黄", "色")
    assert "拿 黑色 方块" not in near("zh", ["拿 红色 方块"], "黑色", "黑")
    assert not [text for text in found if "黄" in text]


def test_no_phrase_is_among_them():
    found = near("zh", ["拿 红色 方块", "拿 红色 盘子"])
    assert "拿 红色 盘子" not in found
    assert "拿 红色 杯子" in found


def test_english_has_its_decoys():
    found = near("en", ["pick up the red cube"])
    assert {"do not pick up the red cube", "pick up the yellow cube", "drop up the red cube"} <= set(found)
