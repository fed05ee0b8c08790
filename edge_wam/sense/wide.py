"""What else may have been said: sentences near to the commands, and words of talk, for a recogniser that
hears only what is in its grammar.

Vosk makes pairs of neighbouring words out of a grammar: each slip needs one sentence, and every word may
follow every other one, at a price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from edge_wam.sense.grammar import DECOYS, Decoys, Grammar, in_its_words
from edge_wam.sense.lexicon import LEXICONS

_COLOURS = ("红色", "绿色", "蓝色", "紫色")
_OTHER_COLOURS = ("黄色", "黑色", "白色", "橙色", "灰色", "粉色", "棕色", "金色", "银色")
_OTHER_THINGS = ("球", "杯子", "盒子", "桌子", "椅子", "瓶子", "书", "手机", "门", "东西")
# Usual characters, for talk.
_TALK = (
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么之都好看起"
    "发当没成只如事把还用第样道想作种开美总从无情己面最女但现前些所同日手又行意动方期它头经长儿回位分爱老因很给名法间斯知世什两次"
    "使身者被高已亲其进此话常与活正感见明问力理尔点文几定本公特做外孩相西果走将月十实向声车全信重三机工物气每并别真打太新比才便夫"
    "再书部水像眼等体却加电主界门利海受听表德少克代员许先口由死安写性马光白或住难望教命花结乐色"
)

# Beside the decoys of the grammar: those are sentences for the ear for STOP too, which more would not help.
_NEAR = {
    "en": Decoys(),
    "zh": Decoys(
        before=(
            *("不许", "请不要", "不能", "不想", "谁", "为什么", "怎么", "是不是", "如果", "你", "我", "他"),
            *("我们", "我想", "昨天", "刚才", "可以"),
        ),
        verbs=("扔掉", "扔", "看看", "踢", "洗"),
        instead=(
            (_COLOURS, _OTHER_COLOURS),
            (("方块",), (*_OTHER_THINGS, "盘子")),
            (("盘子",), _OTHER_THINGS),
            (("左边", "右边"), ("前面", "后面", "中间", "旁边", "上面", "下面")),
            (("上",), ("下", "旁边", "里", "里面", "下面", "后面", "前面")),
        ),
        more=("吗", "了", "和", "或者", "就", "再", "然后"),
        talk=tuple(_TALK),
    ),
}


# What turns a command around at its beginning, and what stands after the verb then ("谁拿起了": who took).
_TURNED: dict[str, tuple[str, ...]] = {
    "en": (),  # nobody has measured it
    "zh": ("不要", "不", "别", "不许", "请不要", "不能", "不想", "谁", "为什么", "怎么", "是不是", "如果"),
}
_ENDED: dict[str, tuple[tuple[str, ...], ...]] = {"en": ((),), "zh": ((), ("了",))}
# In noise "别" (do not) is heard as this.
HEARD_FOR_NOT = {"en": frozenset[str](), "zh": frozenset({"你"})}


def nearby(grammar: Grammar, phrases: Iterable[str], knows: Callable[[str], bool]) -> list[str]:
    """Sentences that are none of the phrases, in the words that a recogniser knows. phrases: in those too."""
    language = grammar.language
    both = [DECOYS[language], _NEAR[language]]

    def known(texts: Iterable[str]) -> list[str]:
        return [text for text in (in_its_words(text, knows) for text in texts) if text]

    before = known(text for decoys in both for text in decoys.before)
    verbs = known(text for decoys in both for text in decoys.verbs)
    more = known(text for decoys in both for text in decoys.more)
    instead = [(ours, known(others)) for decoys in both for ours, others in decoys.instead]
    found: dict[str, None] = {}
    for phrase in phrases:
        said = phrase.split()
        found |= dict.fromkeys(" ".join(words) for words in _changed(said, verbs, instead))
        found |= dict.fromkeys(f"{text} {phrase}" for text in before)
        found |= dict.fromkeys(f"{phrase} {text}" for text in more)
    words = LEXICONS[language]
    alone = [
        *(*words.same, *words.colours, *words.empty, *words.refuse, *words.asks, *words.yes, *words.no),
        *(text for decoys in both for text in (*decoys.all(), *decoys.more, *decoys.talk)),
    ]
    found |= dict.fromkeys(known(alone))
    return [text for text in found if not grammar.is_phrase(text)]


def contrasts(said: str, grammar: Grammar, knows: Callable[[str], bool]) -> Iterator[list[str]]:
    """What is easily taken for a command, in groups that each differ from it in one place: for each colour in
    it every other one, and what turns it around at its beginning. said: in the recogniser's words, with
    spaces."""
    language, words = grammar.language, said.split()
    colours = LEXICONS[language].colours.union(
        other
        for decoys in (DECOYS[language], _NEAR[language])
        for ours, others in decoys.instead
        if not LEXICONS[language].colours.isdisjoint(ours)
        for other in others
    )
    for at, word in enumerate(words):
        if word in colours:
            others = sorted(other for other in colours if other != word and knows(other))
            yield [" ".join([*words[:at], other, *words[at + 1 :]]) for other in others]
    for polite in grammar.beside.before:
        said = said.removeprefix(f"{polite} ")
    first, *rest = said.split()
    turned = [text for text in (in_its_words(text, knows) for text in _TURNED[language]) if text]
    if turned:
        yield [" ".join([text, first, *ended, *rest]) for text in turned for ended in _ENDED[language]]


def _changed(
    said: list[str], verbs: list[str], instead: list[tuple[tuple[str, ...], list[str]]]
) -> Iterator[list[str]]:
    """A sentence with one word of it changed."""
    for verb in verbs:
        yield [verb, *said[1:]]
    for at, word in enumerate(said):
        for ours, others in instead:
            for other in others if word in ours else ():
                yield [*said[:at], other, *said[at + 1 :]]
