"""What training may hear: the suite's commands as words, token ids and slots.

Everything that becomes text for training comes through here, so here stands the promise that no pair and
no phrasing that evaluation asks for is ever among it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_wam.errors import EdgeWamError
from edge_wam.sim import tasks
from edge_wam.sim.scene import COLOURS
from edge_wam.train.reader import Slots

COLOUR_NAMES = tuple(COLOURS)
CUBES = ("", *COLOUR_NAMES)  # what the object slot says, by index; places are tasks.PLACES
assert (*tasks.PLACES[:3], *COLOUR_NAMES) == ("", "left", "right", *tasks.PLACES[3:])


_NAMES = frozenset((*COLOUR_NAMES, *tasks.PLACES))


@cache
def _ids() -> dict[str, int]:
    return {word: index for index, word in enumerate(tasks.vocabulary())}


def encode(phrases: list[tuple[str, ...]]) -> Tensor:
    """Phrases as words -> token ids (n, W), 0 = padding."""
    tokens = np.zeros((len(phrases), tasks.WORDS), np.int64)
    for row, words in zip(tokens, phrases, strict=True):
        row[: len(words)] = [_ids()[word] for word in words]
    return torch.from_numpy(tokens)


def slot_indices(command: tasks.Command) -> tuple[int, int, int]:
    """Verb, object and place of a command, as indices."""
    return (
        tasks.VERBS.index(command.verb),
        CUBES.index(command.colour),
        tasks.PLACES.index(command.place),
    )


def one_hot(verb: NDArray[np.int64], cube: NDArray[np.int64], place: NDArray[np.int64]) -> Slots:
    """Indices (B,) of the three slots -> certain probabilities."""
    sizes = (len(tasks.VERBS), len(CUBES), len(tasks.PLACES))
    return Slots(
        *(torch.eye(size)[torch.from_numpy(i)] for size, i in zip(sizes, (verb, cube, place), strict=True))
    )


@cache
def held_out() -> frozenset[str]:
    """Every phrasing that training never hears."""
    return frozenset(phrase for c in tasks.commands() for phrase in tasks.held_out_phrases(c))


def training_index(command_ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Ids (e,) -> indices of tasks.training_commands(). EdgeWamError if one may not be trained on."""
    known = {c.id: index for index, c in enumerate(tasks.training_commands())}
    if strange := sorted({str(name) for name in command_ids} - known.keys()):
        raise EdgeWamError(
            f"demonstrations of {', '.join(strange)}: not a command that suite {tasks.SUITE} trains on "
            f"(its held-out pairs are for evaluation only); try: delete these shards"
        )
    return np.array([known[str(name)] for name in command_ids], np.int64)


class Phrases:
    """What may be said for each training command; draws one at random."""

    def __init__(self) -> None:
        spoken = [tasks.training_phrases(c) for c in tasks.training_commands()]
        assert not held_out() & {phrase for phrases in spoken for phrase in phrases}
        self._tokens = encode([tuple(p.split()) for phrases in spoken for p in phrases]).numpy()
        self._count = np.array([len(phrases) for phrases in spoken])
        self._first = np.cumsum(self._count) - self._count

    def draw(self, command: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Indices of training commands (B,) -> token ids (B, W), a phrase of each."""
        which = (rng.random(len(command)) * self._count[command]).astype(np.int64)
        return torch.from_numpy(self._tokens[self._first[command] + which])


class Sentences:
    """Text for the reader: training phrases, with words that mean nothing put in and left out."""

    def __init__(self) -> None:
        commands = tasks.training_commands()
        self._pairs = [
            (tuple(p.split()), slot_indices(c)) for c in commands for p in tasks.training_phrases(c)
        ]
        self.fillers = self._find_fillers()

    def _find_fillers(self) -> tuple[str, ...]:
        """Words that can be left out of some phrase: what remains is a phrase of the same command."""
        said = set(self._pairs)
        found = {
            words[at]
            for words, slots in self._pairs
            for at in range(len(words))
            if ((*words[:at], *words[at + 1 :]), slots) in said
        }
        return tuple(sorted(found))

    def batch(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Token ids (B, W) and slot indices (B, 3)."""
        chosen = [self._pairs[int(index)] for index in rng.integers(len(self._pairs), size=count)]
        return encode([self._vary(words, rng) for words, _ in chosen]), torch.tensor([s for _, s in chosen])

    def _vary(self, words: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
        varied = [word for word in words if word not in self.fillers or rng.random() < 0.7]
        if rng.random() < 0.5 and (spare := [at for at, word in enumerate(varied) if word not in _NAMES]):
            del varied[int(rng.choice(spare))]
        for _ in range(int(rng.integers(3))):
            varied.insert(int(rng.integers(len(varied) + 1)), str(rng.choice(self.fillers)))
        # A filler can turn what may be heard into what may not.
        if len(varied) > tasks.WORDS or " ".join(varied) in held_out():
            return words
        return tuple(varied)


def examination(which: str) -> tuple[Tensor, Tensor]:
    """Token ids (n, W) and slot indices (n, 3) of a group that says how well is read: `training` phrases,
    `held_out_phrasing` of every command, and all phrases of every `held_out_pair`."""
    chosen: list[tuple[str, tasks.Command]] = []
    for c in tasks.commands():
        strange = (c.verb, c.colour) in tasks.HELD_OUT_PAIRS
        if which == "held_out_phrasing":
            chosen += [(phrase, c) for phrase in tasks.held_out_phrases(c)]
        elif strange == (which == "held_out_pair"):
            chosen += [(phrase, c) for phrase in tasks.training_phrases(c)]
    return encode([tuple(p.split()) for p, _ in chosen]), torch.tensor([slot_indices(c) for _, c in chosen])


def is_read(logits: list[Tensor], slots: Tensor) -> Tensor:
    """(n,): every slot says what it should."""
    return torch.stack([part.argmax(1) == slots[:, i] for i, part in enumerate(logits)]).all(0)
