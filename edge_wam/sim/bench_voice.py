"""`edge-wam bench voice`: how well the robot hears, in numbers: every recogniser, language, condition.

Voices, rooms and noises are made (sim/speakers.py, noise.py, corpus.py) and heard, understood and asked back
as in the voice process (sim/conversation.py). Time is that of the sound and of the thread's CPU, so that
neighbours do not count.

The one number that matters most is how often the arm does something that nobody asked for.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam import manifest as manifests
from edge_wam.errors import VoiceError
from edge_wam.sense.agreed import Recogniser
from edge_wam.sense.dialogue import Dialogue
from edge_wam.sense.grammar import Grammar, make_grammar
from edge_wam.sense.sound import Block
from edge_wam.sense.understand import Understanding
from edge_wam.sense.voice import open_recogniser, open_spotter
from edge_wam.sense.vosk_engine import find_model
from edge_wam.sim import corpus, score_voice, speakers
from edge_wam.sim.conversation import Outcome, Quiet, converse, hush, judge
from edge_wam.sim.corpus import BACKGROUND, CONDITIONS, Condition, Recording
from edge_wam.sim.speakers import Voice
from edge_wam.types import Words

BACKGROUND_S = {"silence": 600.0, "servos": 600.0, "music": 600.0, "babble": 3600.0, "talk": 1800.0}
QUICK_S = 30.0  # of each background, with --quick
_PART_S = 300.0  # of a background in one piece
_CLEAN_TAKES = len(speakers.MANNERS)
_RECORDINGS_A_TAPE = 40
_QUICK_VOICES, _QUICK_CONDITIONS = 4, ("clean", "servos 10 dB")


class Entrant(NamedTuple):
    """A recogniser for a language, beside the STOP spotter if that is used; `spotter` is that one alone."""

    engine: str
    language: str

    @property
    def name(self) -> str:
        return f"{self.engine} {self.language}"


class Listened(NamedTuple):
    """What a tape brought. cpu_s: of listening alone."""

    entrant: str
    outcomes: tuple[Outcome, ...]
    quiet: Quiet | None
    seconds: float
    cpu_s: float


# --- all of it ------------------------------------------------------------------------------


class Job(NamedTuple):
    """What a worker process needs. spotter: the folder of its model ('' none); stops: nothing is said but
    STOP."""

    model: str
    vosk_model: str
    seed: int
    quick: bool
    spotter: str = ""
    stops: bool = False


class Task(NamedTuple):
    """A tape for an entrant: a voice (its number) in a condition, recordings in one, or a background."""

    entrant: Entrant
    voice: int | None
    condition: Condition | None
    background: str
    part: int
    seconds: float
    recordings: tuple[Recording, ...]


_ALONE = "spotter"
_ENTRANTS = (
    *(Entrant("pocketsphinx", "en"), Entrant("whisper", "en"), Entrant("vosk", "en"), Entrant("vosk", "zh")),
    *(Entrant(_ALONE, "en"), Entrant(_ALONE, "zh")),
)


def chosen(only: Sequence[str], names: Sequence[str]) -> list[str]:
    """Of some names those that hold a word of `only`; all of them if none does."""
    return [name for name in names if any(word in name for word in only)] or list(names)


def entrants(vosk_model: str, only: Sequence[str], spotter: bool = False) -> tuple[list[Entrant], list[str]]:
    """Every recogniser that this machine has, by language, and the spotter if it is used; and what is left
    out, and why."""
    found, left_out = [], []
    names = chosen(only, [one.name for one in _ENTRANTS])
    for one in _ENTRANTS:
        engine, language = one
        if one.name not in names or (engine == _ALONE and not spotter):
            continue
        if engine == "vosk" and find_model(language, vosk_model) is None:
            left_out.append(f"{one.name}: no model; try: edge-wam fetch-voice {language}")
        elif engine == "whisper" and importlib.util.find_spec("faster_whisper") is None:
            left_out.append(f"{one.name}: not installed; try: pip install 'edge-wam[whisper]'")
        elif not speakers.installed(language):
            left_out.append(f"{one.name}: nobody speaks it; try: sudo apt install espeak-ng flite")
        else:
            found.append(one)
    if not found:
        raise VoiceError("no recogniser to measure" + "".join(f"; {line}" for line in left_out))
    return found, left_out


def tasks(
    those: Iterable[Entrant],
    seed: int,
    quick: bool,
    people: Sequence[Recording] = (),
    language: str = "en",
    only: Sequence[str] = (),
    stops: bool = False,
) -> list[Task]:
    """Every tape, in an order that mixes entrants, voices and conditions; of conditions, voices and
    backgrounds those that hold a word of `only`, where any does."""
    found = []
    there = chosen(only, [condition.name for condition in CONDITIONS])
    conditions = [one for one in CONDITIONS if one.name in there]
    if quick:
        conditions = [one for one in conditions if one.name in _QUICK_CONDITIONS]
    for entrant in those:
        installed = speakers.installed(entrant.language)
        names = chosen(only, [voice.name for voice in installed])
        voices = [voice for voice in installed if voice.name in names]
        for voice in voices[:: -(-len(voices) // _QUICK_VOICES)] if quick else voices:
            for condition in conditions:
                takes = _CLEAN_TAKES if (condition.name == "clean" or stops) and not quick else 1
                place = speakers.VOICES.index(voice)
                found += [Task(entrant, place, condition, "", take, 0.0, ()) for take in range(takes)]
        if entrant.language == language and people:
            for condition in conditions:
                for part, first in enumerate(range(0, len(people), _RECORDINGS_A_TAPE)):
                    some = tuple(people[first : first + _RECORDINGS_A_TAPE])
                    found.append(Task(entrant, None, condition, "", part, 0.0, some))
        for kind in chosen(only, BACKGROUND):
            seconds = QUICK_S if quick else BACKGROUND_S[kind]
            for part in range(-(-int(seconds) // int(_PART_S))):
                found.append(Task(entrant, None, None, kind, part, min(seconds, _PART_S), ()))
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[i] for i in order]


class Deaf:
    """A recogniser that hears nothing: beside it the spotter is alone."""

    known_s = 0.0
    judge = None

    def __init__(self, language: str, phrases: Sequence[str]) -> None:
        self.name = "nobody"
        self.grammar: Grammar = make_grammar(language, phrases, lambda word: True, list, self.name)

    def hear(self, block: Block) -> list[Words]:
        del block
        return []

    def expect_reply(self, asked: bool) -> None:
        del asked


def listen(job: Job, task: Task) -> Listened:
    """Make a tape, listen to it with a recogniser that has heard nothing before, and judge."""
    entrant, condition, who = task.entrant, task.condition, "people"
    language = entrant.language
    if condition is None:
        tape = corpus.background(task.background, language, task.seconds, task.part, job.seed)
    elif task.voice is not None:
        voice: Voice = speakers.VOICES[task.voice]
        who = voice.name
        if job.stops:
            tape = corpus.stops(voice, condition, task.part, job.seed)
        else:
            tape = corpus.spoken(voice, condition, task.part, job.seed, job.quick)
    else:
        tape = corpus.recorded(task.recordings, language, condition, task.part, job.seed)
    manifest = manifests.load(Path(job.model))

    def obey(words: Words) -> str | None:
        command = manifest.command_of(words.text, words.language)
        return None if command is None else command.id

    understanding = Understanding(language, [command.phrases[language] for command in manifest.commands])
    recogniser: Recogniser = Deaf(language, manifest.phrases(language))
    if entrant.engine != _ALONE:
        recogniser = open_recogniser(
            *(entrant.engine, language, manifest.phrases(language), job.vosk_model, understanding.beside()),
            understanding=understanding,
        )
    spotter = open_spotter(job.spotter, language, print, recogniser.judge is not None)
    found = converse(tape, recogniser, Dialogue(understanding, language), obey, spotter=spotter)
    if condition is None:
        quiet = hush(found, obey, entrant.name, task.background)
        return Listened(entrant.name, (), quiet, found.seconds, found.cpu_s)
    outcomes = judge(found, obey, entrant.name, condition.name, who)
    return Listened(entrant.name, outcomes, None, found.seconds, found.cpu_s)


def run(job: Job, todo: Sequence[Task], workers: int, progress: bool = True) -> Iterator[Listened]:
    """Every tape, on `workers` processes (0: one a core); as they come."""
    from tqdm import tqdm

    count = min(workers or os.cpu_count() or 1, len(todo))
    spawn = multiprocessing.get_context("spawn")
    bar = tqdm(total=len(todo), desc="voice", unit="tape", disable=not progress)
    with ProcessPoolExecutor(count, spawn) as pool, bar:
        for future in as_completed([pool.submit(listen, job, task) for task in todo]):
            yield future.result()
            bar.update()


def main(
    model: Path,
    vosk_model: str,
    seed: int = 0,
    quick: bool = False,
    workers: int = 0,
    only: Sequence[str] = (),
    people: Path | None = None,
    language: str = "en",
    picture: Path | None = None,
    spotter: str = "",
    stops: bool = False,
) -> int:
    """The command."""
    files = corpus.recordings(people) if people is not None else []
    those, left_out = entrants(vosk_model, only, bool(spotter))
    for line in left_out:
        print(f"left out: {line}")
    todo = tasks(those, seed, quick, files, language, only, stops)
    heard = list(run(Job(str(model), vosk_model, seed, quick, spotter, stops), todo, workers))
    found = score_voice.figures(heard)
    print(score_voice.table(found))
    if picture is not None:
        score_voice.plot(found, picture)
    print(
        json.dumps(
            {"seed": seed, "quick": quick, "spotter": bool(spotter), "entrants": found}, ensure_ascii=False
        )
    )
    return 0
