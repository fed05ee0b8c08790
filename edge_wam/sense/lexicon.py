"""Words about tasks, by language: which mean the same, which say nothing, and which turn a sentence around.

Data for sense/understand.py. The tasks themselves come with the model (its manifest); nothing here adds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Lexicon(NamedTuple):
    """What the words of a language do.

    same: a word or several -> the one that stands for all of its meaning; verbs, colours: of those, what
    is done, and what describes the thing named next; on: what marks the next thing as the place; empty: may
    be said or left out; refuse: a sentence with one of these is no order, or not one for this robot; asks: a
    sentence that begins with one of these is a question; before, after: polite words that a recogniser
    listens for around a command; turned: and those before it that make it none (not short ones, which are
    heard in everything); rare: understood where they come, but not listened for; spaced: words are written
    apart; others: what is done, but not by this robot: nothing is proposed instead.
    """

    same: Mapping[str, str]
    verbs: frozenset[str]
    colours: frozenset[str]
    on: frozenset[str]
    empty: frozenset[str]
    refuse: Mapping[str, str]
    asks: frozenset[str]
    yes: frozenset[str]
    no: frozenset[str]
    before: tuple[str, ...]
    after: tuple[str, ...]
    turned: tuple[str, ...]
    rare: frozenset[str]
    again: frozenset[str]
    other_way: frozenset[str]
    doing: frozenset[str]
    spaced: bool = True
    others: frozenset[str] = frozenset()


def _same(groups: Mapping[str, str]) -> dict[str, str]:
    """word -> its group, from "word, several words, word" a group."""
    return {text.strip(): name for name, texts in groups.items() for text in texts.split(",")}


def _refuse(groups: Mapping[str, str]) -> dict[str, str]:
    return {text.strip(): why for why, texts in groups.items() for text in texts.split(",")}


def _set(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(","))


_ENGLISH = Lexicon(
    same=_same(
        {
            "pick": "pick, grab, take, lift, get, fetch, raise, grasp, pick up, lift up",
            "push": "push, shove, slide, nudge, move",
            "put": "put, place, set, lay, drop",
            "point": "point, show, indicate, where, show me where",
            "go": "go, return",
            "cube": "cube, cubes, block, blocks, one, brick",
            "plate": "plate, plates, dish",
            "left": "left, left side, left hand side",
            "right": "right, right side, right hand side",
            "home": "home, home position, start position, rest position",
            "on": "on, onto, upon, on top of",
        }
    ),
    verbs=_set("pick, push, put, point, go"),
    colours=_set("red, green, blue, purple, yellow, orange, black, white, brown, pink, grey, gray"),
    on=_set("on"),
    empty=_set(
        "please, the, a, an, can you, could you, would you, will you, robot, hey, okay, now, just, me, for, "
        "i want, i want you, i would like, i would like you, i'd like, i'd like you, up, over, to, at, "
        "towards, is, back, your, my, and lift it, and pick it up"
    ),
    refuse=_refuse(
        {
            "not": "not, no, never, don't, didn't, doesn't, won't, wouldn't, shouldn't, can't, cannot, "
            "without, except, unless, but, neither, nor, nothing, none, instead",
            "a question": "did you, do you, have you, are you, who, what, why, how, did, does, was, were, "
            "has, have, had, which, whose, should i, shall i, do i, do we, can i, may i",
            "talk": "he, she, they, we, her, him, them, his, myself, himself, i will, i'll, i am, i'm, i "
            "was, said, told, say, says, yesterday, tomorrow, later",
            "more than one thing": "and, or, then, also, both, all, everything, every, each, after, "
            "before, while, until, when, if, once, twice",
            "another place": "under, below, beside, behind, between, next to, near, off, in front of, "
            "inside, into, in, down, away, forward, backward, from",
        }
    ),
    asks=_set("is, are, do, does, am, will it, would it"),
    yes=_set("yes, yeah, yep, yes please, sure, correct, right, exactly, do it, okay, ok"),
    no=_set("no, nope, no thanks, wrong, cancel, never mind, forget it"),
    before=("please", "now"),  # not "could you": "did you" is heard as that
    after=("please", "now"),
    turned=(
        *("who", "what happens if you", "why did you", "how do i", "did you", "do you", "have you"),
        *("should i", "shall i", "i will", "i didn't say", "before you", "you should not", "he told her to"),
    ),
    rare=_set(
        "one, cubes, blocks, plates, brick, dish, upon, left hand side, right hand side, get, set, lay, "
        "where, show me where, show, indicate"
    ),
    again=_set("again, once more, do it again, do that again, repeat, one more time"),
    other_way=_set("other way, the other way, the other side"),
    doing=_set("what are you doing, what do you do, what is your task, status"),
    others=_set(
        "lower, release, let, throw, toss, hurl, kick, hit, smash, break, crush, squeeze, bite, eat, cut, "
        "wash, clean, paint, open, close, turn, flip, rotate, spin, roll, look, see, watch, find, count, "
        "name, tell, describe, explain, hide, cover, leave, stay, wait, buy, sell, steal, hate, like, "
        "love, saw, took, picked, pushed, moved, putting, taking, pull, pulled, stack, unstack, swap"
    ),
)

_CHINESE = Lexicon(
    same=_same(
        {
            "拿": "拿, 拿起, 拿起来, 抓, 抓起, 抓起来, 举起, 举起来, 取, 捡起, 捡起来",
            "推": "推, 推到, 移, 移到, 移动到, 推向",
            "放": "放, 放到, 放在, 摆, 摆到, 摆在",
            "指": "指, 指向, 指一下, 在哪里, 在哪儿, 在哪",
            "回家": "回家, 回到原位, 回原位, 归位",
            "方块": "方块, 积木, 块",
            "盘子": "盘子, 盘",
            "左边": "左边, 左侧, 左, 左面",
            "右边": "右边, 右侧, 右, 右面",
            "红色": "红色, 红",
            "绿色": "绿色, 绿",
            "蓝色": "蓝色, 蓝",
            "紫色": "紫色, 紫",
        }
    ),
    verbs=_set("拿, 推, 放, 指, 回家"),
    colours=_set("红色, 绿色, 蓝色, 紫色, 黄色, 黑色, 白色, 橙色"),
    on=_set("放"),  # what comes after it is the place
    empty=_set(
        "请, 把, 将, 帮我, 给我, 机器人, 现在, 的, 上, 上面, 向, 往, 到, 一下, 那个, 这个, 你, 来, 可以, 吗"
    ),
    refuse=_refuse(
        {
            "not": "不, 不要, 别, 没, 没有, 勿, 未, 不能, 不可以, 不想, 除了, 除非",
            "a question": "谁, 什么, 为什么, 怎么, 是不是, 有没有, 多少, 吧",
            "talk": "他, 她, 它们, 我们, 我, 说, 昨天, 明天, 了",
            "more than one thing": "和, 或, 或者, 然后, 再, 都, 所有, 之前, 之后, 如果, 就, 先, 还有",
            "another place": "下, 下面, 旁边, 后面, 前面, 之间, 里, 里面, 桌子",
        }
    ),
    asks=_set("是"),
    yes=_set("是, 是的, 对, 对的, 好, 好的, 可以, 没错"),
    no=_set("不, 不是, 不对, 不要, 取消, 算了"),
    before=("请", "帮我"),
    after=(),
    turned=(),
    rare=_set("块, 盘, 左, 右, 红, 绿, 蓝, 紫, 取, 移, 放, 摆, 指, 推, 拿, 抓, 左面, 右面"),
    again=_set("再来一次, 再一次, 再做一次, 重复"),
    other_way=_set("反方向, 另一边, 反过来"),
    doing=_set("你在做什么, 你在干什么, 你在干嘛"),
    spaced=False,
)

LEXICONS = {"en": _ENGLISH, "zh": _CHINESE}
