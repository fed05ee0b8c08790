"""Tapes: what a microphone in the simulated room would record, and what was really said when.

A tape is a day at the robot in short: somebody says a sentence, waits two to three seconds, says the next;
noise goes on all the while. The noise is as loud from one end to the other, and who speaks speaks up: each
sentence is brought to the asked ratio over the noise that is there between its first and its last sound, so
that the ratio holds for every sentence and not only on average.

Other tapes (BACKGROUND) have nobody who wants anything: what is obeyed there is a false accept.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam.errors import VoiceError
from edge_wam.sense.grammar import STOP_WORDS, key
from edge_wam.sense.sound import RATE_HZ, SoundArray
from edge_wam.sense.wav import read_wav
from edge_wam.sim import noise, speakers, tasks
from edge_wam.sim.noise import Sound, Talk
from edge_wam.sim.sentences import ANSWERS, EVERYDAY, Said, said
from edge_wam.sim.speakers import MANNERS, Manner, Speech, Voice, stop_word, trimmed

ROOM_RMS = 16.0  # of int16: about -66 dBFS, the microphone's own noise in a quiet room
SPEECH_RMS = 2_300.0  # about -23 dBFS
GAP_S = (2.0, 3.0)
_TALKERS = 6
_NOBODY = 20  # in seeds, where voices have their number
_LOOP_S = 60.0  # of a tape's noise; then it begins again


class Condition(NamedTuple):
    """What a tape is like. snr_db and rt60_s: None for none."""

    name: str
    noise: str = ""
    snr_db: float | None = None
    rt60_s: float | None = None


SNRS_DB = (20.0, 10.0, 5.0)
CONDITIONS = (
    Condition("clean"),
    *(Condition(f"{kind} {db:g} dB", kind, db) for kind in ("servos", "pink", "babble") for db in SNRS_DB),
    *(Condition(f"echo {rt60_s:g} s", rt60_s=rt60_s) for rt60_s in (0.3, 0.6)),
)
_DIRECT_DB = {0.3: 3.0, 0.6: 0.0}  # the direct sound over its echoes: about an arm's length, and twice that
BACKGROUND = ("silence", "servos", "music", "babble", "talk")
# Of each kind, how many sentences a tape has.
PORTIONS = {
    **{"command": 12, "reworded": 1, "paraphrase": 3, "decoy": 3, "near_miss": 4},
    **{"stop": 3, "stop_in": 3},
}


class Utterance(NamedTuple):
    """A sentence on a tape, in seconds of it. stop_end_s: where its STOP word ends (None: unknown)."""

    said: Said
    begin_s: float
    end_s: float
    stop_end_s: float | None


class Tape(NamedTuple):
    """samples (N,) int16 at RATE_HZ, and what is said on it, in order. answers: to a question of the robot's,
    "no" and "yes", some takes of each, with a second before it and the noise all around."""

    samples: SoundArray
    utterances: tuple[Utterance, ...]
    answers: tuple[tuple[SoundArray, ...], ...] = ()


# --- tapes on which somebody speaks to the robot --------------------------------------------


def record(
    speech: Sequence[tuple[Said, Speech]], condition: Condition, talkers: Sequence[Talk], seed: Sequence[int]
) -> Tape:
    """The sentences one after another in a condition; talkers are who babbles."""
    rng = np.random.default_rng([*seed, 1])
    starts, at = [], round(1.0 * RATE_HZ)
    for _, one in speech:
        starts.append(at)
        at += len(one.samples) + round(rng.uniform(*GAP_S) * RATE_HZ)
    other = around(condition, at, talkers, seed)
    response = None
    if condition.rt60_s is not None:
        response = noise.echo(condition.rt60_s, _DIRECT_DB[condition.rt60_s], rng)
    mixed, utterances = other.copy(), []
    for start, (sentence, one) in zip(starts, speech, strict=True):
        sound = one.samples.astype(float)
        if response is not None:
            sound = noise.convolved(sound, response)
        speaking = slice(start + one.begin, start + one.end)
        wanted = SPEECH_RMS
        if condition.snr_db is not None:
            wanted = noise.rms(other[speaking]) * 10 ** (condition.snr_db / 20)
        sound *= wanted / noise.rms(sound[one.begin : one.end])
        part = sound[: at - start]
        mixed[start : start + len(part)] += part
        stop_end_s = None if one.stop_end is None else (start + one.stop_end) / RATE_HZ
        utterances.append(Utterance(sentence, speaking.start / RATE_HZ, speaking.stop / RATE_HZ, stop_end_s))
    return Tape(_int16(mixed), tuple(utterances))


def around(condition: Condition, count: int, talkers: Sequence[Talk], seed: Sequence[int]) -> Sound:
    """(count,) of what there is to hear beside who speaks: the room's own noise, and the condition's."""
    rng = np.random.default_rng([*seed, 2])
    room = rng.standard_normal(count) * ROOM_RMS
    if condition.snr_db is None:
        return room
    made = _make(condition.noise, min(count, round(_LOOP_S * RATE_HZ)), rng, talkers)
    return room + np.resize(made, count) * (SPEECH_RMS * 10 ** (-condition.snr_db / 20))


def _make(kind: str, count: int, rng: np.random.Generator, talkers: Sequence[Talk]) -> Sound:
    if kind == "babble":
        return noise.babble(count, rng, talkers)
    makers = {"servos": noise.servos, "pink": noise.pink, "music": noise.music}
    return makers[kind](count, rng)


def _int16(sound: Sound) -> SoundArray:
    samples: SoundArray = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
    return samples


def spoken(voice: Voice, condition: Condition, take: int, seed: int, small: bool) -> Tape:
    """A voice in a condition. take: which part of everything that is said; small: half a tape."""
    where = [seed, speakers.VOICES.index(voice), CONDITIONS.index(condition), take]
    rng = np.random.default_rng(where)
    every, chosen = said(voice.language, np.random.default_rng([seed, len(voice.language)])), []
    turn = where[1] * 31 + where[2] * 7 + take  # voices and conditions begin at different places
    for kind, portion in PORTIONS.items():
        count = -(-portion // 2) if small else portion
        pool = every[kind]
        chosen += [pool[(turn * count + i) % len(pool)] for i in range(count)]
    order = [chosen[i] for i in rng.permutation(len(chosen))]
    speech = [(one, speakers.say(voice, one.text, MANNERS[int(rng.integers(len(MANNERS)))])) for one in order]
    talkers = _others(voice.language, voice)
    return record(speech, condition, talkers, where)._replace(
        answers=answers(voice, condition, talkers, where)
    )


def stops(voice: Voice, condition: Condition, take: int, seed: int) -> Tape:
    """Every sentence with STOP, by a voice in a condition. take: the number of the manner."""
    where = [seed, speakers.VOICES.index(voice), CONDITIONS.index(condition), take, 4]
    rng = np.random.default_rng(where)
    every = said(voice.language, rng)
    speech = [(one, speakers.say(voice, one.text, MANNERS[take])) for one in every["stop"] + every["stop_in"]]
    return record(
        [speech[i] for i in rng.permutation(len(speech))], condition, _others(voice.language, voice), where
    )


def answers(
    voice: Voice, condition: Condition, talkers: Sequence[Talk], seed: Sequence[int]
) -> tuple[tuple[SoundArray, ...], ...]:
    """A "no" and a "yes" in every manner of a voice, each a short tape."""

    def take(text: str, number: int) -> SoundArray:
        speech = speakers.say(voice, text, MANNERS[number])
        return record([(Said("answer", text), speech)], condition, talkers, [*seed, 3, number]).samples

    return tuple(tuple(take(text, i) for i in range(len(MANNERS))) for text in ANSWERS[voice.language])


def _others(language: str, speaker: Voice | None) -> list[Talk]:
    """Who babbles: other voices of the language, one sentence of everyday talk at a time."""
    there = [voice for voice in speakers.installed(language) if voice != speaker]

    def talk(voice: Voice, rng: np.random.Generator) -> Sound:
        text = EVERYDAY[language][int(rng.integers(len(EVERYDAY[language])))]
        one = speakers.say(voice, text, Manner())
        return one.samples[one.begin : one.end].astype(float)

    talkers: list[Talk] = [functools.partial(talk, voice) for voice in there[-_TALKERS:]]
    return talkers


# --- tapes on which nobody does -------------------------------------------------------------


def background(kind: str, language: str, seconds: float, part: int, seed: int) -> Tape:
    """`seconds` of one of BACKGROUND, as loud as somebody who speaks to the robot (servos: 10 dB less)."""
    rng = np.random.default_rng([seed, _NOBODY, BACKGROUND.index(kind), part])
    count = round(seconds * RATE_HZ)
    sound = rng.standard_normal(count) * ROOM_RMS
    if kind == "talk":
        sound += SPEECH_RMS * noise.monologue(count, rng, _others(language, None), (0.5, 1.5))
    elif kind != "silence":
        loud = SPEECH_RMS * (10**-0.5 if kind == "servos" else 1.0)
        sound += loud * _make(kind, count, rng, _others(language, None))
    return Tape(_int16(sound), ())


# --- recordings of people -------------------------------------------------------------------


class Recording(NamedTuple):
    """A WAV and what is said in it. stop_end_s: where its STOP word ends in the file (None: found, if it is
    the last word)."""

    path: Path
    text: str
    stop_end_s: float | None = None


def recordings(folder: Path) -> list[Recording]:
    """Every WAV of a folder with its text: NAME.wav beside NAME.txt, or lines of a *.tsv: file, text and,
    where it is known, the second at which STOP ends. VoiceError if there is none, or a line is wrong."""
    found = []
    for table in sorted(folder.glob("*.tsv")):
        for number, line in enumerate(table.read_text("utf-8").splitlines(), 1):
            cells = line.split("\t")
            try:
                name, text, end_s = cells if len(cells) != 2 else (*cells, "")
                found.append(Recording(folder / name, text.strip(), float(end_s) if end_s else None))
            except ValueError:
                raise VoiceError(
                    f"{table}:{number}: expected file, text and at most a second with tabs between, "
                    f"found {line!r}"
                ) from None
    named = {one.path for one in found}
    for path in sorted(folder.rglob("*.wav")):
        text_file = path.with_suffix(".txt")
        if path not in named and text_file.is_file():
            found.append(Recording(path, text_file.read_text("utf-8").strip()))
    if not found:
        raise VoiceError(f"{folder}: expected *.wav with a .txt of the same name, or a .tsv; found none")
    return found


def meant(text: str, language: str) -> Said:
    """What a recorded sentence is: a phrase of the suite, one with a STOP word in it, or a near miss."""
    if stop_word(text, language):
        alone = key(text) in map(key, STOP_WORDS[language])
        return Said("stop" if alone else "stop_in", text)
    for command in tasks.commands():
        if key(text) in map(key, command.phrases[language]):
            return Said("command", text, command.id)
    return Said("decoy", text)


def recorded(files: Sequence[Recording], language: str, condition: Condition, part: int, seed: int) -> Tape:
    """Recordings in a condition, judged as voices are. Answers are given by a synthetic voice."""
    speech = []
    for file in files:
        samples = read_wav(file.path)
        found = stop_word(file.text, language)
        stop_end = None
        if found is not None and file.stop_end_s is not None:
            stop_end = round(file.stop_end_s * RATE_HZ)
        elif found is not None and not file.text[found[1] :].strip(" .!?,。！？，"):
            stop_end = len(samples)
        speech.append((meant(file.text, language), trimmed(samples, stop_end)))
    where = [seed, _NOBODY + 1, CONDITIONS.index(condition), part]
    order = np.random.default_rng(where).permutation(len(speech))
    talkers = _others(language, None)
    replies = answers(speakers.installed(language)[0], condition, talkers, where)
    return record([speech[i] for i in order], condition, talkers, where)._replace(answers=replies)
