"""What is written into the page: understood as what is said is (sense/understand.py), done or asked back.

Nothing is remembered here: the page shows a question, and its yes sends the command's own phrase.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edge_wam.errors import EdgeWamError, VoiceError, nearest
from edge_wam.sense.grammar import STOP_WORDS
from edge_wam.sense.lexicon import LEXICONS
from edge_wam.sense.similar import MiniLM, Proposer, folder, lacking
from edge_wam.sense.understand import Act, Meaning, Understanding
from edge_wam.telemetry import Plan

ALIKE = 0.8  # letters that a misspelt command shares with the right one
PATIENCE_S = 1.5  # the page gives up after three


class Wanted(NamedTuple):
    """What a text asks for: to stop, a command (the model's tokens), or a phrase to be asked about."""

    stop: bool = False
    command: str = ""
    ask: str = ""


class Reader:
    """Reads what was written. From one event loop; what takes long is done in a thread."""

    def __init__(self, say: Callable[[str], object] = print) -> None:
        self._say = say
        self._understand = functools.lru_cache(1)(_understanding)
        self._propose = functools.lru_cache(1)(self._proposer)

    async def read(self, text: str, plan: Plan) -> Wanted:
        """EdgeWamError says why it is no command, and which is nearest."""
        phrases = tuple(plan.phrases.get(tokens, (said,)) for tokens, said in plan.commands.items())
        tokens_of = {texts[0]: tokens for texts, tokens in zip(phrases, plan.commands, strict=True)}
        if is_stop(text, plan.language):
            return Wanted(stop=True)
        known = {_key(said): tokens for said, tokens in tokens_of.items()} | {
            _key(t): t for t in plan.commands
        }
        if (found := known.get(_key(text))) is not None:
            return Wanted(command=found)
        no = f"'{text[:80]}' is no command of this model"
        if plan.language not in LEXICONS:
            raise EdgeWamError(f"{no}{nearest(_key(text), known)}")
        understanding = self._understand(plan.language, phrases)
        meaning = understanding.meaning(text)
        if meaning.act is Act.REFUSE:
            open_to = understanding.not_ruled_out(text)
            if misspelt := difflib.get_close_matches(_key(text), open_to, 1, ALIKE):
                return Wanted(ask=misspelt[0])
            if open_to and not lacking(plan.language):
                with contextlib.suppress(asyncio.TimeoutError):  # the first time it is loaded
                    proposed = asyncio.to_thread(self._proposed, text, plan.language, phrases)
                    meaning = await asyncio.wait_for(proposed, PATIENCE_S)
        if meaning.act is Act.DO:
            return Wanted(command=tokens_of[meaning.phrase])
        if meaning.act is Act.ASK:
            return Wanted(ask=meaning.phrase)
        if understanding.parts(text).against:
            raise EdgeWamError(f"{no}: {meaning.why}")
        raise EdgeWamError(no + (nearest(_key(text), known) or (f": {meaning.why}" if meaning.why else "")))

    def _proposed(self, text: str, language: str, phrases: tuple[tuple[str, ...], ...]) -> Meaning:
        meaning = self._understand(language, phrases).meaning(text)
        propose = self._propose(language, phrases)
        return meaning if propose is None else propose(text, meaning)

    def _proposer(self, language: str, phrases: tuple[tuple[str, ...], ...]) -> Proposer | None:
        try:
            return Proposer(self._understand(language, phrases), phrases, MiniLM(folder()).embed)
        except VoiceError as error:
            self._say(f"nothing is proposed by likeness: {error}")
            return None


def is_stop(text: str, language: str) -> bool:
    """Whether a text holds a word that means STOP."""
    plain = text.casefold()
    words = STOP_WORDS.get(language, ()) + STOP_WORDS["en"]
    return any(word in plain if not word.isascii() else word in _words(plain) for word in words)


def _words(text: str) -> Sequence[str]:
    return "".join(letter if letter.isalnum() else " " for letter in text).split()


def _understanding(language: str, phrases: tuple[tuple[str, ...], ...]) -> Understanding:
    return Understanding(language, phrases)


def _key(text: str) -> str:
    return " ".join(text.lower().split())
