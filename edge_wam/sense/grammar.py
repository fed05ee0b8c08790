"""What can be said: the phrases of one language, their words in the recogniser's own words, and STOP.

The phrases come as data (the model's manifest). Two things are ours, by language: the words that stop
the arm, and decoys (words that turn a command into none, so that they are heard as themselves instead of
being bent into the nearest phrase).

Pure: no recogniser is imported here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edge_wam.errors import VoiceError, nearest

# Any of these words, anywhere in what was heard, stops the arm: a false stop is cheap.
STOP_WORDS = {"en": ("stop",), "zh": ("停", "停下", "停止", "别动")}


class Around(NamedTuple):
    """What people say with STOP in one breath; after: whole, each said at most once."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


# For recognisers that hear only sentences of their grammar.
AROUND_STOP = {
    "en": Around(
        before=(
            "no",
            "hey",
            "wait",
            "please",
            "robot",
            "okay",
            "now",
            "just",
            "you should",
            "you must",
            "oh",
        ),
        after=(
            *("it", "that", "this", "now", "please", "right now", "right there", "the arm", "the robot"),
            *("moving", "it now", "that now", "moving now", "there", "here"),
        ),
    ),
    "zh": Around(),
}


class Decoys(NamedTuple):
    """What makes a sentence that is no command. A recogniser with nothing but the commands in its grammar
    hears "do not pick up the red cube" as the command.

    before: said before a command, it turns it around; verbs: in place of a phrase's first word; instead:
    in place of each of these words, those; more: said anywhere, it makes two things of one; talk: what people
    say all day.
    """

    before: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    instead: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    more: tuple[str, ...] = ()
    talk: tuple[str, ...] = ()

    def all(self) -> tuple[str, ...]:
        """Every decoy but the talk."""
        return (*self.before, *self.verbs, *(other for _, others in self.instead for other in others))


# Nothing that sounds like a short command: "no", "on" and "hello" were heard in "go home".
_TALK = (
    "the and of to in is it you what how are do not yes at was have this good can please turn me we thing "
    "very some out open close look light"
)

DECOYS = {
    "en": Decoys(
        before=("do not", "don't", "never"),
        verbs=("put down", "drop", "throw", "open", "look at", "let go of", "see"),
        instead=(
            (("red", "green", "blue", "purple"), ("yellow", "orange", "black", "white", "brown", "pink")),
            (("cube", "block"), ("ball", "cup", "bowl", "box", "phone", "plate", "table")),
            (("plate",), ("table", "box", "bowl", "floor", "cube", "block")),
            (("on", "onto"), ("under", "beside", "next to", "behind", "near", "off", "in front of")),
            (("to",), ("off", "from", "behind")),
            (("left", "right"), ("front", "back", "middle", "forward", "table")),
            (("home",), ("on", "away", "to bed")),
        ),
        more=("and", "or", "then", "except"),
        talk=tuple(_TALK.split()),
    ),
    "zh": Decoys(
        before=("不要", "不", "别"),
        verbs=("放下", "推", "打开", "关闭"),
        instead=(
            (("红色", "绿色", "蓝色", "紫色"), ("黄色", "黑色", "白色", "橙色")),
            (("方块",), ("球", "杯子", "盒子")),
        ),
    ),
}

UNKNOWN = "[unk]"  # what stands in the text for sound that is no word of the grammar


class Beside(NamedTuple):
    """What may be said beside the model's own phrases; what a recogniser lacks a word of is left out.

    sayings: other words for the same commands; before, after: polite words that may stand there; talk: about
    commands ("do it again"); against: what turns a sentence around ("not", "who", "under"); replies: to a
    question ("yes"), listened for only then: short words are heard in everything; called: the robot's name.
    """

    sayings: Sequence[str] = ()
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    talk: Sequence[str] = ()
    against: Sequence[str] = ()
    replies: Sequence[str] = ()
    called: Sequence[str] = ()


_NOTHING = Beside()


class Grammar:
    """Phrases of one language that a recogniser can hear. `phrases` are in the recogniser's words.

    `text -> words` is done here once, at start: lower case, and Chinese, which is written without
    spaces, is cut into the fewest words that the recogniser has.
    """

    def __init__(
        self,
        language: str,
        phrases: Sequence[str],
        decoys: Decoys,
        beside: Beside = _NOTHING,
    ) -> None:
        self.language = language
        self.phrases, self.beside = (*phrases, *beside.sayings), beside
        self.decoys, self.stop_words = decoys, STOP_WORDS[language]
        self._commands = frozenset(map(key, self.phrases))
        self._keys = self._commands | frozenset(map(key, beside.talk))
        self._replies = frozenset(map(key, beside.replies))

    @property
    def no_phrases(self) -> tuple[str, ...]:
        """The decoys that are not said in any phrase: beside the phrases they are sentences of their own."""
        said = {word for text in self.phrases for word in text.split()}
        return tuple(
            dict.fromkeys(decoy for decoy in self.decoys.all() if not said.issuperset(decoy.split()))
        )

    def is_phrase(self, text: str, asked: bool = False) -> bool:
        """True if it is exactly one of the phrases, politely or not, or of the talk, or, where something was
        asked, a reply; case and spaces do not matter."""
        said = key(text)
        return self._is_said(said, self._keys) or (asked and said in self._replies)

    def _is_said(self, said: str, keys: frozenset[str]) -> bool:
        before = [said.removeprefix(key(words)) for words in ("", *self.beside.before)]
        after = [rest.removesuffix(key(words)) for words in ("", *self.beside.after) for rest in before]
        return not keys.isdisjoint(after)

    def is_command(self, text: str) -> bool:
        """True if it is exactly one of the phrases, politely or not."""
        return self._is_said(key(text), self._commands)

    def is_stop(self, text: str) -> bool:
        """True if any word of it means STOP."""
        return any(word in self.stop_words for word in text.split())


def make_grammar(
    language: str,
    phrases: Iterable[str],
    knows: Callable[[str], bool],
    vocabulary: Callable[[], Iterable[str]],
    recogniser: str,
    beside: Beside = _NOTHING,
) -> Grammar:
    """The grammar of `phrases`, every word checked against what the recogniser `knows`, and of what is said
    `beside` them, as far as it knows it.

    VoiceError names the first word that it cannot hear, with the nearest one of its `vocabulary` (a
    list of 100,000, made only for that), or the phrase that could never be obeyed because it holds
    a STOP word. A decoy that the recogniser does not know is left out: nobody needs it.
    """
    if language not in STOP_WORDS:
        raise VoiceError(
            f"voice.language: no STOP words for '{language}'{nearest(language, STOP_WORDS)}; "
            f"try one of: {', '.join(STOP_WORDS)}"
        )
    for word in STOP_WORDS[language]:
        if not knows(word):
            raise VoiceError(
                f"{recogniser} does not know the STOP word '{word}'; try: another recogniser or model"
            )
    words = [" ".join(_words(phrase, knows, vocabulary, recogniser)) for phrase in dict.fromkeys(phrases)]
    if not words:
        raise VoiceError(
            f"no phrases in '{language}' to listen for; try: a model with commands.phrases.{language}"
        )
    for text in words:
        if any(word in STOP_WORDS[language] for word in text.split()):
            raise VoiceError(f"phrase '{text}' holds a STOP word and could never be obeyed; try: other words")

    def known(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(text for text in texts if all(map(knows, text.split())))

    before, verbs, instead, more, chatter = DECOYS[language]
    instead = tuple((ours, known(others)) for ours, others in instead)
    decoys = Decoys(known(before), known(verbs), instead, known(more), known(chatter))

    ours = dict.fromkeys(words)
    others = [dict.fromkeys(in_its_words(text, knows) for text in texts) for texts in beside]
    return Grammar(
        language,
        list(ours),
        decoys,
        Beside(*([text for text in texts if text and text not in ours] for texts in others)),
    )


def key(text: str) -> str:
    """Text without case, spaces and punctuation at its ends: what two ways to write a phrase share."""
    return "".join(text.casefold().split()).strip(".,!?。，！？")


def _words(
    phrase: str, knows: Callable[[str], bool], vocabulary: Callable[[], Iterable[str]], recogniser: str
) -> list[str]:
    found: list[str] = []
    for token in phrase.casefold().strip(".,!?。，！？ ").split():
        pieces = [token] if knows(token) else _cut(token, knows) if not token.isascii() else None
        if pieces is None:
            raise VoiceError(
                f"{recogniser} cannot hear '{token}' in '{phrase}': it is not in its vocabulary"
                f"{nearest(token, _close(token, vocabulary()))}; try: say it with words it knows"
            )
        found += pieces
    if not found:
        raise VoiceError("an empty phrase cannot be heard; try: remove it from the model's commands")
    return found


def in_its_words(text: str, knows: Callable[[str], bool]) -> str:
    """A text in the recogniser's words; '' if it lacks one."""
    pieces = [[token] if knows(token) else _cut(token, knows) for token in text.casefold().split()]
    return " ".join(word for piece in pieces for word in piece or ()) if all(pieces) else ""


def _cut(text: str, knows: Callable[[str], bool]) -> list[str] | None:
    """`text` as the fewest words that are known, or None if it cannot be cut."""

    @functools.cache
    def best(start: int) -> tuple[str, ...] | None:
        if start == len(text):
            return ()
        found: tuple[str, ...] | None = None
        for end in range(len(text), start, -1):  # long words first, so that they win among equals
            if knows(text[start:end]) and (rest := best(end)) is not None:
                cut = (text[start:end], *rest)
                if found is None or len(cut) < len(found):
                    found = cut
        return found

    pieces = best(0)
    return None if pieces is None else list(pieces)


def _close(word: str, vocabulary: Iterable[str]) -> list[str]:
    """Words that can be near: `nearest` compares letter by letter and is slow over 100,000."""
    letters = set(word)
    return [
        known
        for known in vocabulary
        if abs(len(known) - len(word)) <= 2 and letters & set(known[:1] + known[-1:])
    ]
