"""What the STOP spotter is taught with: sentences with STOP in them, and sentences without.

None of it is what `edge-wam bench voice` says: its STOP sentences, near misses, paraphrases and everyday talk
(sim/sentences.py) are left for judging. The commands are the robot's own and are in both.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_wam.sim import tasks
from edge_wam.sim.sentences import _STOPS_IN
from edge_wam.sim.speakers import stop_word

_BEFORE = {
    "en": "please|no|hey|wait|robot|okay|now|just|you must|oh|whoa|i said|quick|listen|right|arm|"
    "that is enough|careful|watch out|not there|no no no|hold on|will you|can you|i want you to|"
    "come on|enough|good|thanks",
    "zh": "快|请|马上|等等|不要|好了|机器人|立刻|你|喂|先|赶紧|哎|够了|现在|不行|小心|给我|可以|手臂|行了|"
    "听我说",
}
_WORD = {
    "en": "stop",
    "zh": "停|停|停下|停下|停下来|停止|停止|停住|停一下|别动|别动|别动了|停停",
}
_AFTER = {
    "en": "the robot|it|that|this|at once|immediately|right away|here|there|now|moving|please|stop|the arm|"
    "what you are doing|and wait|everything|pushing|for a moment|or it will break",
    "zh": "吧|啊|机器人|手臂|运动|工作|快点|谢谢|好吗|等一下",
}
# What sounds like STOP, or has a part of it.
_LIKE = {
    "en": "stock top step stomp spot shop store start tap star drop stuff stump stoop steep stack stick "
    "stamp stout staff stalk stark storm story stone still steal stall stand state stay stage stair "
    "stove stool student study style strap strip stripe strop stroke straw street string strong struck "
    "crop chop cop hop mop pop prop swap slop slope scope scoop soap soup sob sop sup sip sap step-up "
    "tops topping shopping dropped hopper copper proper spotted sport spark star-up top-up tap-it tot "
    "taught talk tock stocky job rob knob blob slot shot got hot not what watch wash was cost lost "
    "toss boss bus dust must just stuck shut cup up pup desktop laptop rooftop tiptop workshop bishop "
    "gossip system sister stomach it's last first off east fast optics custom toppings set sit stays "
    "best option most of this tough stood stew stooge stash stat stub stud sty sting stint stitch cups "
    "cub cap cape",
    # None that is said exactly as 停 (庭, 亭, 婷): nobody could tell them apart.
    "zh": "听 厅 挺 客厅 餐厅 听见 听说 好听 听懂 挺好 挺大 艇 游艇 顶 定 丁 钉 订 叮 "
    "一定 决定 屋顶 山顶 肯定 固定 疼 腾 藤 头疼 通 同 铜 痛 桶 天 田 甜 填 今天 "
    "每天 别的 别人 别说 别走 别吃 别去 别看 区别 特别 分别 告别 别墅 冻 东 懂 动 洞 "
    "冬天 运动 动物 活动 动作 自动 感动 电动 移动 变动 被动 主动 不懂 东西 房东 听下去 "
    "铃声 平静 明白 名字 应该 请进 清楚 情况 进行 星星 性别 铁 贴 踢 提 题 体 替 "
    "问题 下午 下雨 下雪 一下 下来 低下 脚下 纸 指 直 只 之 支 知 汽油 听众 听力 "
    "挺身 零 另 灵 您 宁 拧 京 景 镜 冰 病 饼 并 平 瓶 屏 苹果 丁香",
}
_MORE = {
    "en": (
        "hello how is it going",
        "where did you put the keys",
        "i will be there at nine",
        "there is a big tree in front of the house",
        "tomorrow we travel to the mountains",
        "please bring me the black pen",
        "he told me a long story about his uncle",
        "she starts work early every day",
        "we bought a new lamp for the living room",
        "what is your name",
        "these apples taste very sweet",
        "the phone rang twice and then it was quiet",
        "my father repairs old radios",
        "open the door and come in",
        "let me have a look at the map",
        "they played football until it was dark",
        "give him the small screwdriver",
        "it was the best film of the year",
        "do not forget to lock the door",
        "the library is next to the station",
        "put it on top of the cupboard",
        "step back a little bit please",
        "he had to start all over again",
        "stay here and wait for me",
        "the shopping list is on the table",
        "first of all we need some tape",
        "turn the volume up",
        "that spot is too dark",
        "the stock is almost sold out",
        "she taught history for thirty years",
        "can you drop me off at the corner",
        "the storm was over in the morning",
        "my steps are loud on the stairs",
        "a stack of papers fell down",
        "still water runs deep",
        "wait for the light to turn green",
        "it is just around the corner",
        "what a lot of stuff you have",
        "the boss is not in his office",
        "there must be some dust in it",
        "got it thank you",
        "the best part comes last",
        "both teams lost a lot of games",
        "stand up straight and smile",
    ),
    "zh": (
        "你好最近怎么样",
        "我明天早上九点到",
        "请把笔借给我用一下",
        "他给我讲了一个很长的故事",
        "这些苹果很甜",
        "电话响了两次",
        "我爸爸会修收音机",
        "请开门让我进来",
        "他们踢足球一直到天黑",
        "这是今年最好的电影",
        "别忘了锁门",
        "车站旁边有一个图书馆",
        "把它放在柜子上面",
        "请往后一点",
        "从头再来一次",
        "在这里等我",
        "第一件事情是买胶带",
        "声音开大一点",
        "那个地方太暗了",
        "她教了三十年历史",
        "暴风雨早上就过去了",
        "楼梯上有脚步的声音",
        "等绿灯亮了再走",
        "就在前面不远的地方",
        "你的东西真多",
        "老板不在办公室",
        "客厅里有很多人在听音乐",
        "我听说他家的院子挺大的",
        "今天天气挺好我们去山顶吧",
        "别的人都去运动了",
        "冬天的时候洞里很冷",
        "这个动物园里的动物特别多",
        "我一定要把这个问题弄懂",
        "你听懂了没有",
        "他决定明年去北京",
        "请订一张去南京的票",
        "孩子们喜欢听故事",
        "名字写在书的下面",
        "下午一起去喝茶",
        "这种布料很轻",
        "我头疼想早点睡觉",
        "同学们都在外面活动",
        "谢谢你们的帮助",
        "这个电影不太好看",
        "一二三四五六七八九十",
        "星期六下午我要去医院",
    ),
}
_NUMBERS = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen twenty thirty fifty "
    "sixty hundred thousand",
    "zh": "零 一 二 三 四 五 六 七 八 九 十 百 千 万",
}
_COMMON = {
    "en": "the of and a to in is you that it he was for on are as with his they at be this have from or one "
    "had by word but not what all were we when your can said there use an each which she do how their "
    "if will up other about out many then them these so some her would make like him into time has "
    "look two more write go see",
    # Frequent characters, read one by one and in twos: all sounds of the language in some order.
    "zh": "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作"
    "里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从"
    "想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头"
    "文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提"
    "立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务"
    "做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像"
    "难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导"
    "争运",
}


def _parts(command: Sequence[str], language: str, rng: np.random.Generator) -> str:
    """The beginning of a command."""
    text = str(rng.choice(np.array(command)))
    if language == "zh":
        return text[: int(rng.integers(1, len(text)))]
    words = text.split()
    return " ".join(words[: int(rng.integers(1, len(words)))])


def with_stop(language: str, rng: np.random.Generator, last: bool = False) -> str:
    """A sentence with STOP in it, none of those of the bench; last: as its last word."""
    commands = tasks.commands()
    while True:
        before = after = ""
        draw = rng.random()
        if draw < 0.35:
            before = str(rng.choice(_BEFORE[language].split("|")))
        elif draw < 0.55:
            before = _parts(commands[int(rng.integers(len(commands)))].phrases[language], language, rng)
        if not last and rng.random() < 0.4:
            after = str(rng.choice(_AFTER[language].split("|")))
        word = str(rng.choice(_WORD[language].split("|")))
        if last and language == "zh":
            word = str(rng.choice(["停", "停下", "停止", "别动"]))
        text = ("" if language == "zh" else " ").join(part for part in (before, word, after) if part)
        if text not in _STOPS_IN[language]:
            return text


@functools.cache
def dictionary() -> tuple[list[str], list[str]]:
    """English words that a recogniser's dictionary has, without those with STOP in them: all, and those that
    share sounds with it. Empty without pocketsphinx."""
    try:
        import pocketsphinx
    except ImportError:
        return [], []
    path = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
    every, like = [], []
    for line in path.read_text("utf-8").splitlines():
        word, _, sounds = line.partition(" ")
        if not re.fullmatch(r"[a-z]{2,}", word) or re.search(r"S T (AA|AO|AH) P", sounds):
            continue
        every.append(word)
        if re.search(r"(T|S) (AA|AO|AH) (P|B|K|T)|S T A[AOEH]|(AA|AO) P|S P AA T", sounds):
            like.append(word)
    return every, like


class Talk:
    """Sentences without STOP."""

    def __init__(self) -> None:
        self._every, self._like = dictionary()

    def sentence(self, language: str, rng: np.random.Generator) -> str:
        """One."""
        while True:
            text = self._draw(language, rng)
            if stop_word(text, language) is None:
                return text

    def _draw(self, language: str, rng: np.random.Generator) -> str:
        gap = "" if language == "zh" else " "
        like = _LIKE[language].split()
        kind = rng.random()
        if kind < 0.15:
            commands = tasks.commands()
            return str(rng.choice(np.array(commands[int(rng.integers(len(commands)))].phrases[language])))
        if kind < 0.35:
            return str(rng.choice(np.array(_MORE[language])))
        if kind < 0.4:
            return gap.join(rng.choice(_NUMBERS[language].split(), int(rng.integers(1, 5))))
        if kind < 0.6:  # what sounds like it, alone or in twos
            return ("，" if language == "zh" else " ").join(rng.choice(like, int(rng.integers(1, 3))))
        count = int(rng.integers(1, 7))
        if language == "zh":
            common = list(_COMMON["zh"])
            words = ["".join(rng.choice(common, int(rng.integers(1, 4)))) for _ in range(count)]
        else:
            pools = [_COMMON["en"].split(), self._every or like, self._like or like]
            words = [str(rng.choice(pools[i])) for i in rng.choice(3, count, p=[0.4, 0.35, 0.25])]
        if rng.random() < 0.4:
            words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(like)))
        return gap.join(words)
