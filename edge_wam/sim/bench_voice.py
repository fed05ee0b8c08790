"""`edge-wam bench voice`: how well the robot hears, in numbers: every recogniser, language, condition.

Voices, rooms and noises are made (sim/speakers.py, noise.py, corpus.py) and fed to the very Listener of the
voice process, block by block, each block at its own time but as fast as the machine can. When news is out is
the block's time plus what the machine needed for it, blocks queueing behind a slow one as they would on the
robot; the time is that of the thread's CPU, so that neighbours do not count.

The one number that matters most is how often the arm does something that nobody asked for.
"""

from __future__ import annotations

import bisect
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam import manifest as manifests
from edge_wam.errors import VoiceError
from edge_wam.robot import meaning
from edge_wam.sense.dialogue import Dialogue
from edge_wam.sense.sound import BLOCK_SAMPLES, RATE_HZ, Block
from edge_wam.sense.understand import Understanding
from edge_wam.sense.voice import Listener, open_recogniser
from edge_wam.sense.vosk_engine import find_model
from edge_wam.sim import corpus, score_voice, speakers
from edge_wam.sim.corpus import BACKGROUND, CONDITIONS, Condition, Recording, Tape, Utterance
from edge_wam.sim.speakers import Voice
from edge_wam.types import Words

BACKGROUND_S = {"silence": 600.0, "servos": 600.0, "music": 600.0, "babble": 3600.0, "talk": 1800.0}
QUICK_S = 30.0  # of each background, with --quick
_PART_S = 300.0  # of a background in one piece
_CLEAN_TAKES = 3
_RECORDINGS_A_TAPE = 40
_QUICK_VOICES, _QUICK_CONDITIONS = 3, ("clean", "servos 10 dB")
_YES = {"en": "yes", "zh": "是"}


class Entrant(NamedTuple):
    """A recogniser for a language."""

    engine: str
    language: str

    @property
    def name(self) -> str:
        return f"{self.engine} {self.language}"


class Meant(NamedTuple):
    """What the robot makes of a sentence: a command (its id), done at once or asked for first."""

    command: str
    ask: bool = False


Understand = Callable[[Words], Meant | None]


def understanding(model: Path, language: str) -> Understand:
    """What the robot makes of words that were heard, as in its voice process and then in its control process.

    To learn what it asks about, it is told yes; whether that is the person's answer is for the judge to say.
    """
    manifest = manifests.load(model)
    commands = [command.phrases[language] for command in manifest.commands]
    dialogue, command_of = Dialogue(Understanding(language, commands), language), meaning(manifest)
    ids = {command.tokens: command.id for command in manifest.commands}

    def understand(words: Words) -> Meant | None:
        reply = dialogue.hear(words)
        asks = not reply.order and dialogue.waits(words.t_s)
        if asks:
            reply = dialogue.hear(words._replace(text=_YES[language]))
        tokens = command_of(words._replace(text=reply.order)) if reply.order else None
        return None if tokens is None else Meant(ids[tokens], asks)

    return understand


# --- listening ------------------------------------------------------------------------------


class Told(NamedTuple):
    """News of the Listener, and when it was out, in seconds of the tape."""

    out_s: float
    words: Words
    stop: bool


class Outcome(NamedTuple):
    """What came of a sentence. right: what was meant was done, and nothing else; wrong: something was done
    that was not meant; asked: the robot asked, and a truthful answer decided; stopped: the arm was stopped.
    stop_late_s: from the end of the STOP word until its news was out; late_s: from the end of the speech
    until the words of a command were; None where there is none."""

    entrant: str
    condition: str
    voice: str
    kind: str
    text: str
    heard: str
    right: bool
    wrong: bool
    asked: bool
    stopped: bool
    stop_late_s: float | None
    late_s: float | None


class Quiet(NamedTuple):
    """A tape on which nobody wants anything: what was obeyed, how often the robot asked, how often the arm
    was stopped."""

    entrant: str
    kind: str
    seconds: float
    obeyed: tuple[str, ...]
    asks: int
    stops: int


class Listened(NamedTuple):
    """What a tape brought. cpu_s: of listening alone."""

    entrant: str
    outcomes: tuple[Outcome, ...]
    quiet: Quiet | None
    seconds: float
    cpu_s: float


def play(
    tape: Tape, listener: Listener, clock_s: Callable[[], float] = time.thread_time
) -> tuple[list[Told], float]:
    """The tape block by block; the news, and the CPU seconds that listening took."""
    told, done_s, cpu_s = [], 0.0, 0.0
    for first in range(0, len(tape.samples) - BLOCK_SAMPLES + 1, BLOCK_SAMPLES):
        block = Block(tape.samples[first : first + BLOCK_SAMPLES], (first + BLOCK_SAMPLES) / RATE_HZ)
        began_s = clock_s()
        news = listener.hear(block)
        took_s = clock_s() - began_s
        cpu_s += took_s
        done_s = max(done_s, block.t_s) + took_s
        told += [Told(done_s, words, stop) for words, stop in news]
    return told, cpu_s


def judge(
    tape: Tape, told: Sequence[Told], understand: Understand, entrant: str, condition: str, voice: str
) -> tuple[Outcome, ...]:
    """What came of every sentence. News belongs to the sentence that was begun last when its words ended."""
    begins = [one.begin_s for one in tape.utterances]
    news: list[list[Told]] = [[] for _ in begins]
    for one in told:
        index = bisect.bisect_right(begins, one.words.t_s) - 1
        news[max(0, index)].append(one)  # before the first sentence: a wrong thing done is one all the same
    return tuple(
        _outcome(utterance, mine, understand, entrant, condition, voice)
        for utterance, mine in zip(tape.utterances, news, strict=True)
    )


def _outcome(
    utterance: Utterance,
    told: Sequence[Told],
    understand: Understand,
    entrant: str,
    condition: str,
    voice: str,
) -> Outcome:
    kind, text, command = utterance.said
    stops = [one for one in told if one.stop]
    done: list[str] = []
    asked, late_s = False, None
    for one in told:
        if one.stop or not one.words.final:
            continue
        meant = understand(one.words)
        if meant is None or (meant.ask and asked):  # one question, no more
            continue
        if meant.ask:
            asked = True
            if meant.command != command:  # "no"
                continue
        done.append(meant.command)
        late_s = one.out_s - utterance.end_s
    right = bool(done) and set(done) == {command} and not stops
    stop_late_s = None
    if stops and utterance.stop_end_s is not None:
        stop_late_s = stops[0].out_s - utterance.stop_end_s
    heard = " | ".join(one.words.text for one in told if one.words.final)
    wrong = any(one != command for one in done)
    return Outcome(
        *(entrant, condition, voice, kind, text, heard, right, wrong, asked, bool(stops)),
        stop_late_s,
        late_s if right else None,
    )


def hush(told: Sequence[Told], understand: Understand, entrant: str, kind: str, seconds: float) -> Quiet:
    """What came of a tape on which nobody wants anything. A question moves nothing. STOPs of one utterance
    (the partial result and the final one) are one."""
    obeyed, asks, stops, stopped = [], 0, 0, False
    for one in told:
        if one.stop:
            stops += not (one.words.final and stopped)
            stopped = not one.words.final
        elif one.words.final and (meant := understand(one.words)) is not None:
            asks += meant.ask
            obeyed += [] if meant.ask else [meant.command]
    return Quiet(entrant, kind, seconds, tuple(obeyed), asks, stops)


# --- all of it ------------------------------------------------------------------------------


class Job(NamedTuple):
    """What a worker process needs."""

    model: str
    vosk_model: str
    seed: int
    quick: bool


class Task(NamedTuple):
    """A tape for an entrant: a voice (its number) in a condition, recordings in one, or a background."""

    entrant: Entrant
    voice: int | None
    condition: Condition | None
    background: str
    part: int
    seconds: float
    recordings: tuple[Recording, ...]


def entrants(vosk_model: str, only: Sequence[str]) -> tuple[list[Entrant], list[str]]:
    """Every recogniser that this machine has, by language; and what is left out, and why."""
    found, left_out = [], []
    for engine, language in (("pocketsphinx", "en"), ("vosk", "en"), ("vosk", "zh")):
        one = Entrant(engine, language)
        if only and not any(word in one.name for word in only):
            continue
        if engine == "vosk" and find_model(language, vosk_model) is None:
            left_out.append(f"{one.name}: no model; try: edge-wam fetch-voice {language}")
        elif not speakers.installed(language):
            left_out.append(f"{one.name}: nobody speaks it; try: sudo apt install espeak-ng flite")
        else:
            found.append(one)
    if not found:
        raise VoiceError("no recogniser to measure" + "".join(f"; {line}" for line in left_out))
    return found, left_out


def tasks(
    those: Iterable[Entrant], seed: int, quick: bool, people: Sequence[Recording] = (), language: str = "en"
) -> list[Task]:
    """Every tape, in an order that mixes entrants, voices and conditions."""
    found = []
    for entrant in those:
        voices = list(speakers.installed(entrant.language))
        for voice in voices[:: -(-len(voices) // _QUICK_VOICES)] if quick else voices:
            for condition in CONDITIONS:
                if quick and condition.name not in _QUICK_CONDITIONS:
                    continue
                takes = _CLEAN_TAKES if condition.name == "clean" and not quick else 1
                place = speakers.VOICES.index(voice)
                found += [Task(entrant, place, condition, "", take, 0.0, ()) for take in range(takes)]
        if entrant.language == language and people:
            for condition in CONDITIONS:
                for part, first in enumerate(range(0, len(people), _RECORDINGS_A_TAPE)):
                    some = tuple(people[first : first + _RECORDINGS_A_TAPE])
                    found.append(Task(entrant, None, condition, "", part, 0.0, some))
        for kind in BACKGROUND:
            seconds = QUICK_S if quick else BACKGROUND_S[kind]
            for part in range(-(-int(seconds) // int(_PART_S))):
                found.append(Task(entrant, None, None, kind, part, min(seconds, _PART_S), ()))
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[i] for i in order]


def listen(job: Job, task: Task) -> Listened:
    """Make a tape, listen to it with a recogniser that has heard nothing before, and judge."""
    entrant, condition, who = task.entrant, task.condition, "people"
    language = entrant.language
    if condition is None:
        tape = corpus.background(task.background, language, task.seconds, task.part, job.seed)
    elif task.voice is not None:
        voice: Voice = speakers.VOICES[task.voice]
        tape, who = corpus.spoken(voice, condition, task.part, job.seed, job.quick), voice.name
    else:
        tape = corpus.recorded(task.recordings, language, condition, task.part, job.seed)
    manifest = manifests.load(Path(job.model))
    beside = Understanding(language, [command.phrases[language] for command in manifest.commands]).beside()
    phrases = manifest.phrases(language)
    listener = Listener(open_recogniser(entrant.engine, language, phrases, job.vosk_model, beside))
    understand = understanding(Path(job.model), language)
    told, cpu_s = play(tape, listener)
    seconds = len(tape.samples) / RATE_HZ
    if condition is None:
        quiet = hush(told, understand, entrant.name, task.background, seconds)
        return Listened(entrant.name, (), quiet, seconds, cpu_s)
    outcomes = judge(tape, told, understand, entrant.name, condition.name, who)
    return Listened(entrant.name, outcomes, None, seconds, cpu_s)


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
) -> int:
    """The command."""
    files = corpus.recordings(people) if people is not None else []
    those, left_out = entrants(vosk_model, only)
    for line in left_out:
        print(f"left out: {line}")
    todo = tasks(those, seed, quick, files, language)
    heard = list(run(Job(str(model), vosk_model, seed, quick), todo, workers))
    found = score_voice.figures(heard)
    print(score_voice.table(found))
    if picture is not None:
        score_voice.plot(found, picture)
    print(json.dumps({"seed": seed, "quick": quick, "entrants": found}, ensure_ascii=False))
    return 0
