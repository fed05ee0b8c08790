"""What a sentence asks for: one of the model's commands, a question back, or nothing.

    "could you grab the red block"      -> pick up the red cube: do it
    "throw the red cube to the left"    -> did you mean: push the red cube to the left?
    "do not pick up the red cube"       -> nothing, for it says "not"

Likeness is no proof: "do not pick up the red cube" is nearly "pick up the red cube", and with two colours
swapped a sentence is nearer to the wrong command than most paraphrases are to the right one. So a sentence is
taken apart: what is to be done, to which things, and where to, each thing with the words that describe it.
What is done at once must agree in all of that with exactly one command, hold no word that is not understood,
and none that turns it around. Where words are left over, or the verb is missing, and one command remains, it
is asked for. Everything else is refused, with the reason.

Pure; the phrases come with the model, the words from sense/lexicon.py.
"""

from __future__ import annotations

import enum
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from edge_wam.errors import VoiceError, nearest
from edge_wam.sense.grammar import Beside
from edge_wam.sense.lexicon import LEXICONS, Lexicon

SPARE_WORDS = 2  # words that are not understood, beside a command that is asked for: more is talk
_PUNCTUATION = str.maketrans(dict.fromkeys('.,!?;:。，！？；：、"“”', " "))
_APOSTROPHES = str.maketrans({"’": "'", "‘": "'"})


class Act(enum.Enum):
    """What is to follow: DO a command, ASK whether it is meant, or neither; or it is about the talk."""

    DO = "do"
    ASK = "ask"
    REFUSE = "refuse"
    YES = "yes"
    NO = "no"
    AGAIN = "again"
    OTHER_WAY = "other way"
    DOING = "what are you doing"


class Meaning(NamedTuple):
    """phrase: the command's first phrase, for DO and ASK; why: of ASK and REFUSE, in English, for the
    journal."""

    act: Act
    phrase: str = ""
    why: str = ""


class Parts(NamedTuple):
    """A sentence taken apart. verbs: what is to be done; things: each a tuple of "on" where it is the place,
    its colours and its name; strange: words that are not understood; against: the first reason to refuse."""

    verbs: frozenset[str]
    things: frozenset[tuple[str, ...]]
    strange: tuple[str, ...]
    against: str


class Understanding:
    """The commands of a model in one language."""

    def __init__(self, language: str, commands: Iterable[Sequence[str]]) -> None:
        """commands: the phrases of each, the canonical one first. VoiceError for a language without words."""
        if language not in LEXICONS:
            raise VoiceError(
                f"voice.language: no words to understand '{language}'{nearest(language, tuple(LEXICONS))}; "
                f"try one of: {', '.join(LEXICONS)}"
            )
        self._words = LEXICONS[language]
        self._commands = {phrases[0]: tuple(phrases) for phrases in commands}
        self._exact = {self._key(text): name for name, texts in self._commands.items() for text in texts}
        own = {token for text in self._exact for token in text.split()} if self._words.spaced else set()
        self._known = _longest_first(self._words, own)
        # What a command needs: the things it names, with any of the verbs it is said with.
        self._needs: dict[str, set[tuple[frozenset[str], frozenset[tuple[str, ...]]]]] = {}
        for name, texts in self._commands.items():
            parts = [self.parts(text) for text in texts]
            self._needs[name] = {(part.verbs, part.things) for part in parts if not part.strange}

    def meaning(self, text: str) -> Meaning:
        """What a whole sentence asks for."""
        said = self._key(text)
        for act, texts in (
            (Act.YES, self._words.yes),
            (Act.NO, self._words.no),
            (Act.AGAIN, self._words.again),
            (Act.OTHER_WAY, self._words.other_way),
            (Act.DOING, self._words.doing),
        ):
            if said in map(self._key, texts):
                return Meaning(act)
        if said in self._exact:
            return Meaning(Act.DO, self._exact[said])
        parts = self.parts(text)
        if parts.against:
            return Meaning(Act.REFUSE, why=parts.against)
        same = [name for name, needs in self._needs.items() if (parts.verbs, parts.things) in needs]
        if len(same) == 1 and not parts.strange:
            return Meaning(Act.DO, same[0])
        near = same or [name for name in self._needs if self._lacks_only_a_verb(name, parts)]
        strange = ", ".join(parts.strange)
        if len(near) == 1 and len(parts.strange) <= SPARE_WORDS:
            why = f"not understood: {strange}" if strange else "what is to be done was not said"
            return Meaning(Act.ASK, near[0], why)
        if strange:
            return Meaning(Act.REFUSE, why=f"not understood: {strange}")
        return Meaning(Act.REFUSE, why="could be several commands" if near else "no such command")

    def not_ruled_out(self, text: str) -> list[str]:
        """The commands that a sentence does not speak against: it has no word that turns it around or does
        something else, names their colours and sides in their places, no other thing, and no other verb. None
        of them need be meant."""
        parts = self.parts(text)
        if parts.against or not self._words.others.isdisjoint(self._tokens(text)):
            return []
        places = self._places(text)
        return [
            name
            for name, needs in self._needs.items()
            if places == self._places(name)
            and any(
                (parts.verbs <= verbs if parts.verbs else True)
                and all(thing in things for thing in parts.things if thing[-1])
                for verbs, things in needs
            )
        ]

    def _places(self, text: str) -> frozenset[tuple[bool, str]]:
        """The colours and sides that are named, each with whether it is of the place where something goes."""
        words, place, found = self._words, False, set()
        for token in self._tokens(text):
            name = words.same.get(token, token)
            if name in words.on:
                place = True
            elif name in words.colours:
                found.add((place, name))
            elif name in _SIDES:
                found.add((False, name))
            elif token not in words.empty:  # a thing, or a word for one: the place has been named
                place = False
        return frozenset(found)

    def phrases(self) -> list[str]:
        """Every phrase of every command."""
        return [text for texts in self._commands.values() for text in texts]

    def beside(self, wake: str = "") -> Beside:
        """What else a recogniser is to listen for: every phrase in other words, and the talk about it. Of the
        talk single short words are left out, where words are written apart: they are heard in everything."""
        words = self._words
        talk = sorted(words.again | words.other_way | words.doing)
        if words.spaced:
            talk = [text for text in talk if " " in text]
        called = [wake.casefold()] if wake else []
        return Beside(
            self._sayings(),
            [*words.before, *called],
            words.after,
            [*talk, *called],
            words.turned,
            sorted(words.yes | words.no),
            called,
        )

    def _sayings(self) -> list[str]:
        """Phrases with other words for what is done and for the things, that mean the same command."""
        joint, found = " " if self._words.spaced else "", dict[str, None]()
        for name, texts in self._commands.items():
            verbs = self.parts(name).verbs
            for text in texts:
                tokens = [token for token in self._tokens(text) if token not in self._words.after]
                choices = [self._alike(token, verbs) for token in tokens]
                for said in map(joint.join, itertools.product(*choices)):
                    if said not in found and self.meaning(said) == Meaning(Act.DO, name):
                        found[said] = None
        return list(found)

    def _alike(self, token: str, verbs: frozenset[str]) -> list[str]:
        """Words to say for one, itself first; not for a colour, nor a verb that is borrowed ("move home")."""
        words, name = self._words, self._words.same.get(token)
        if name is None or name in words.colours or (name in words.verbs and name not in verbs):
            return [token]
        others = [word for word, other in words.same.items() if other == name and word not in words.rare]
        return list(dict.fromkeys([token, *others]))

    def opposite(self, phrase: str) -> str | None:
        """The command that is this one the other way: the same verb and things, but for one side."""
        ours = self.parts(phrase)
        for name in self._commands:
            theirs = self.parts(name)
            apart = ours.things ^ theirs.things
            if ours.verbs == theirs.verbs and len(apart) == 2 and all(thing[-1] in _SIDES for thing in apart):
                return name
        return None

    def parts(self, text: str) -> Parts:
        """A sentence taken apart."""
        words, verbs, strange, against = self._words, set(), [], ""
        things: set[tuple[str, ...]] = set()
        described: list[str] = []
        place = False
        tokens = self._tokens(text)
        for token in tokens:
            if token in words.refuse:
                against = against or f"'{token}': {words.refuse[token]}"
                continue
            name = words.same.get(token, token)
            if name in words.on:
                place = True
            if name in words.verbs:
                verbs.add(name)
            elif name in words.colours:
                described.append(name)
            elif name in words.on or token in words.empty:
                continue
            elif name in words.same.values():
                things.add((*(["on"] if place else []), *described, name))
                described, place = [], False
            else:
                strange.append(token)
                described = []  # of a thing that is not known: not of the next one
        if tokens and tokens[0] in words.asks:
            against = against or f"'{tokens[0]}': a question"
        if described:  # "the red" what?
            things.add((*(["on"] if place else []), *described, ""))
        return Parts(frozenset(verbs), frozenset(things), tuple(strange), against)

    def _lacks_only_a_verb(self, name: str, parts: Parts) -> bool:
        return (
            bool(parts.things)
            and not parts.verbs
            and any(things == parts.things for _, things in self._needs[name])
        )

    def _key(self, text: str) -> str:
        return " ".join(_plain(text).split()) if self._words.spaced else "".join(_plain(text).split())

    def _tokens(self, text: str) -> list[str]:
        """The sentence in the longest words that are known; what lies between is words of its own."""
        return _cut(_plain(text), self._known, self._words.spaced)


_SIDES = frozenset({"left", "right", "左边", "右边"})


def _plain(text: str) -> str:
    return text.casefold().translate(_APOSTROPHES).translate(_PUNCTUATION).replace("where's", "where is")


def _longest_first(words: Lexicon, own: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Everything that is a word, each as the units it is made of (words, or characters), longest first."""
    every = {*words.same, *words.colours, *words.empty, *words.refuse, *words.asks, *own}
    units = {tuple(text.split()) if words.spaced else tuple(text) for text in every}
    return tuple(sorted(units, key=lambda unit: (-len(unit), unit)))


def _cut(text: str, known: Sequence[tuple[str, ...]], spaced: bool) -> list[str]:
    units = text.split() if spaced else list("".join(text.split()))
    joint, found, at = " " if spaced else "", [], 0
    by_first = _by_first(tuple(known))
    while at < len(units):
        for word in by_first.get(units[at], ()):
            if tuple(units[at : at + len(word)]) == word:
                break
        else:
            word = (units[at],)
        found.append(joint.join(word))
        at += len(word)
    return found


@functools.lru_cache(8)
def _by_first(known: tuple[tuple[str, ...], ...]) -> Mapping[str, list[tuple[str, ...]]]:
    table: dict[str, list[tuple[str, ...]]] = {}
    for word in known:
        table.setdefault(word[0], []).append(word)
    return table
