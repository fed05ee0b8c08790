"""What people say to a robot, and near it: commands, the same in other words, near misses, STOP, talk.

Near misses are sentences that must move nothing, most of them a word or two away from a command. Everyday
talk holds no STOP word; what sounds like one ("shop", "top", "step") is meant to be there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge_wam.sim import tasks
from edge_wam.sim.paraphrases import IN_OTHER_WORDS, NEARLY
from edge_wam.sim.scene import COLOURS

LANGUAGES = ("en", "zh")


class Said(NamedTuple):
    """A sentence. kind: command, reworded (a polite word more), paraphrase (in other words), decoy, near_miss
    (a dangerous one), stop (alone), stop_in (a sentence) or answer; command: the suite's id of what is meant,
    "" for nothing."""

    kind: str
    text: str
    command: str = ""


ANSWERS = {"en": ("no", "yes"), "zh": ("不是", "是的")}  # to "did you mean ...?"
_STOPS = {"en": ("stop", "stop!"), "zh": ("停", "停下", "停止", "别动")}
_STOPS_IN = {
    "en": (
        *("please stop the arm", "no no stop", "stop it now", "hey stop that", "wait stop"),
        "stop right there",
        *("robot stop moving", "you should stop now", "pick up the red stop", "push the blue cube stop"),
    ),
    "zh": (
        *("快停下来", "等一下停", "请停止", "机器人停下", "马上停止动作", "拿起红色停", "好了停下吧"),
        "不对停",
        *("你别动了", "喂别动"),
    ),
}

# {phrase}: a command's first phrase; {c}, {d}: two colours; {p}: a side.
_REWORDED = {
    "en": (
        "could you {phrase}",
        "robot {phrase}",
        "now {phrase}",
        "{phrase} now",
        "would you please {phrase}",
    ),
    "zh": ("请{phrase}", "帮我{phrase}", "现在{phrase}", "机器人{phrase}"),
}
_DECOYS = {
    "en": (
        *("do not {phrase}", "don't {phrase}", "never {phrase}", "nobody should {phrase}"),
        *("pick up the yellow cube", "pick up the black block", "grab the silver cube", "take the grey cube"),
        *("point at the golden cube", "put the {c} cube on the yellow plate"),
        "push the orange cube to the {p}",
        *("pick up the {c} ball", "pick up the {c} cup", "put the {c} cube on the table"),
        "pick up the {c} plate",
        *("put down the {c} cube", "throw the {c} cube", "drop the {c} block"),
        "kick the {c} cube to the {p}",
        *("wash the {c} plate", "look at the {c} cube", "paint the {c} cube", "push the {c} cube back"),
        *("is the {c} cube on the {d} plate", "who took the {c} cube", "do you see the {c} cube", "why red"),
        *("pick up the cube", "put the {c} cube", "pick up the", "the {c} cube", "push it to the {p}"),
        *("are you going home", "he wanted to go home early", "why did you go home", "the home page is slow"),
        *("what time is it", "good morning everybody", "turn on the light in the kitchen"),
        "how are you today",
        *("can you hear me", "thank you very much", "let me think about it", "where is my phone"),
    ),
    "zh": (
        *("不要{phrase}", "别{phrase}", "不许{phrase}", "谁让你{phrase}"),
        *("拿起黑色方块", "拿起白色方块", "把灰色方块推到{p}", "把{c}方块放到金色盘子上", "指向橙色方块"),
        *("拿起{c}杯子", "拿起{c}盘子", "把{c}方块放到桌子上", "放下{c}方块", "扔掉{c}方块"),
        "把{c}方块推到前面",
        *("打开{c}方块", "看看{c}方块", "{c}方块在{d}盘子上吗", "谁拿了{c}方块", "你看见{c}方块了吗"),
        *("拿起方块", "把{c}方块", "{c}方块", "推到{p}", "你回家吗", "他想早点回家", "为什么要回家"),
        *("现在几点", "大家早上好", "今天天气很好", "请给我一杯水", "你听得见吗", "谢谢你", "我的手机在哪里"),
    ),
}

EVERYDAY = {
    "en": (
        "good morning how are you today",
        "what time does the meeting start",
        "i left my keys on the kitchen table",
        "the weather will be nice this weekend",
        "could you pass me the salt please",
        "we went to the shop to buy some bread",
        "she put the box on top of the shelf",
        "take one step at a time",
        "the bus leaves at a quarter past seven",
        "my sister lives in a small town near the sea",
        "do you want coffee or tea",
        "the children are playing in the garden",
        "i think it is going to rain tomorrow",
        "please close the window it is cold in here",
        "he works at the hospital on the other side of the river",
        "the red car belongs to my neighbour",
        "let us go home before it gets dark",
        "they picked up the parcel at the post office",
        "there is a green door on the left",
        "turn right at the next corner",
        "the printer is out of paper again",
        "we need to talk about the budget",
        "what did you do last night",
        "i really like the blue one",
        "it does not matter which plate you use",
        "the store opens at eight in the morning",
        "he dropped his cup and it broke",
        "can you show me how this works",
        "the train was late as usual",
        "we should start a new project",
        "her laptop is on the desk",
        "the soup is too hot to eat",
        "it took a lot of time to fix the roof",
        "put your shoes by the door",
        "the student asked a good question",
        "nobody knows what happened",
        "that is a very strong rope",
        "i will call you back later",
        "the dog is sleeping on the sofa",
        "a strange story about an old storm",
    ),
    "zh": (
        "早上好你今天怎么样",
        "会议几点开始",
        "我把钥匙忘在厨房的桌子上了",
        "这个周末天气会很好",
        "请把盐递给我",
        "我们去商店买了一些面包",
        "她把盒子放在架子上面",
        "公共汽车七点一刻开",
        "我妹妹住在海边的一个小城",
        "你想喝咖啡还是茶",
        "孩子们在花园里玩",
        "我觉得明天会下雨",
        "请关上窗户这里很冷",
        "他在河对面的医院工作",
        "那辆红色的车是邻居的",
        "天黑以前我们回家吧",
        "左边有一扇绿色的门",
        "在下一个路口向右转",
        "打印机又没有纸了",
        "我们需要谈谈预算",
        "你昨天晚上做了什么",
        "我很喜欢蓝色的那个",
        "用哪个盘子都可以",
        "商店早上八点开门",
        "他的杯子掉在地上摔坏了",
        "你能告诉我这个怎么用吗",
        "火车跟平常一样晚点了",
        "我们应该开始一个新项目",
        "她的电脑在书桌上",
        "汤太热了不能喝",
        "修屋顶花了很多时间",
        "把鞋子放在门口",
        "学生问了一个好问题",
        "没有人知道发生了什么事",
        "这根绳子很结实",
        "我等一会儿给你回电话",
        "狗在沙发上睡觉",
        "听一听这个故事",
        "庭院里有一棵树",
        "他每天都在图书馆学习",
    ),
}


def said(language: str, rng: np.random.Generator) -> dict[str, list[Said]]:
    """Everything that is said, by kind, each kind in an order of its own: two phrasings of each of the 33
    commands (the first one and another), one with a polite word more, paraphrases, near misses, STOP."""
    commands, reworded = [], []
    for command in tasks.commands():
        first, *others = command.phrases[language]
        commands += [Said("command", text, command.id) for text in (first, str(rng.choice(others)))]
        texts = [text.format(phrase=first) for text in _REWORDED[language]]
        texts += tasks.held_out_phrases(command) if language == "en" else ()
        reworded.append(Said("reworded", str(rng.choice(texts)), command.id))
    found = {
        "command": commands,
        "reworded": reworded,
        "paraphrase": [Said("paraphrase", *meant) for meant in IN_OTHER_WORDS[language].items()],
        "decoy": [Said("decoy", _filled(text, language, rng)) for text in _DECOYS[language]],
        "near_miss": [Said("near_miss", text) for text in NEARLY[language]],
        "stop": [Said("stop", text) for text in _STOPS[language]],
        "stop_in": [Said("stop_in", text) for text in _STOPS_IN[language]],
    }
    return {
        kind: [sentences[i] for i in rng.permutation(len(sentences))] for kind, sentences in found.items()
    }


def _filled(text: str, language: str, rng: np.random.Generator) -> str:
    command = tasks.commands()[int(rng.integers(len(tasks.commands())))]
    c, d = rng.permutation(list(COLOURS))[:2]
    side = str(rng.choice(["left", "right"]))
    if language == "zh":
        c, d, side = (tasks.ZH[word] for word in (c, d, side))
    return text.format(phrase=command.phrases[language][0], c=c, d=d, p=side)
