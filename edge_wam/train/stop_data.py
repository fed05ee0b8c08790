"""Clips for the STOP spotter: sentences of stop_voices.py and stop_words.py in rooms and noises, as features.

    python -m edge_wam.train.stop_data --shards 12 --first 0 --every 2   # goes on where it was ended

A clip is 2 s of what a microphone hears: a sentence, perhaps another before or after it, an echo, noise at
4 to 30 dB, a microphone's colour and gain. Noises are those of the simulated room (sim/noise.py), with other
seeds than the bench's, and more kinds that it has not: motors of another make, every colour, knocks, tones.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_wam.sense.sound import RATE_HZ
from edge_wam.sense.spotter import BANDS, HOP, LANGUAGES, WINDOW, Features
from edge_wam.sim import noise
from edge_wam.train import stop_people
from edge_wam.train.stop_voices import ABROAD, Sound, Utterance, sentences

FRAMES = 200
SAMPLES = FRAMES * HOP + WINDOW - HOP
CLIPS = 2_500  # a shard
_FRESH = 1_200  # sentences a shard by espeak-ng, new ones
# Who speaks, how often: STOPs, other sentences. Kokoro's are nearest to people; prompts are people.
_SHARES = {"espeak": (1.0, 1.0), "kokoro": (4.0, 3.0), "festival": (2.0, 0.6), "prompts": (0.0, 2.0)}
_CHOOSERS = {"espeak": (1.0, 1.0), "kokorochoose": (2.0, 2.0), "prompts": (0.0, 1.0)}
_NOISE_S = 12.0
_POSITIVE, _SPEECH = 0.45, 0.87  # of clips: those with STOP; those with any sentence

Whole = NDArray[Any]


# --- noises ---------------------------------------------------------------------------------


def coloured(count: int, rng: np.random.Generator) -> Whole:
    """Noise of some colour, with some peaks, swelling or steady."""
    spectrum = np.fft.rfft(rng.standard_normal(1 << (count - 1).bit_length()))
    hz = np.maximum(np.fft.rfftfreq(2 * len(spectrum) - 2, 1 / RATE_HZ), 30.0)
    gain = hz ** rng.uniform(-1.0, 0.5)
    for _ in range(rng.integers(0, 4)):
        at, wide = np.exp(rng.uniform(np.log(100), np.log(7_000))), rng.uniform(0.02, 0.5)
        gain *= 1 + rng.uniform(1, 12) * np.exp(-((np.log(hz / at) / wide) ** 2))
    sound = np.fft.irfft(spectrum * gain)[:count]
    if rng.random() < 0.5:
        slow = np.sin(2 * np.pi * rng.uniform(0.3, 15) * np.arange(count) / RATE_HZ + rng.uniform(0, 6))
        sound *= 1 + rng.uniform(0.2, 0.95) * slow
    return noise.level(sound)


def motors(count: int, rng: np.random.Generator) -> Whole:
    """Some motors, fans and gears whose speed wanders, jumps or stands still."""
    total = 0.3 * coloured(count, rng)
    for _ in range(rng.integers(1, 5)):
        knots = np.exp(rng.uniform(np.log(40), np.log(900))) * rng.uniform(
            0.4, 1.6, int(count / RATE_HZ * 3) + 2
        )
        knots = knots * (rng.random(len(knots)) < rng.uniform(0.4, 1.0))
        speed = np.interp(np.linspace(0, len(knots) - 1, count), np.arange(len(knots)), knots)
        phase = 2 * np.pi * np.cumsum(speed) / RATE_HZ
        for order in rng.integers(1, 30, int(rng.integers(2, 9))):
            heard = (speed * order < 0.45 * RATE_HZ) & (speed > 5)
            total += rng.uniform(0.1, 1) * heard * np.sin(order * phase + rng.uniform(0, 6)) / np.sqrt(order)
    return noise.level(total)


def knocks(count: int, rng: np.random.Generator) -> Whole:
    """Knocks, clicks, clatter and beeps."""
    total = 0.02 * coloured(count, rng)
    for _ in range(int(rng.integers(1, 4) * count / RATE_HZ)):
        length = int(rng.uniform(0.005, 0.3) * RATE_HZ)
        fade = np.exp(-np.arange(length) * rng.uniform(2, 8) / length)
        burst = coloured(max(length, 64), rng)[:length]
        if rng.random() < 0.4:
            burst = np.sin(2 * np.pi * rng.uniform(200, 4_000) * np.arange(length) / RATE_HZ)
        at = int(rng.integers(0, max(1, count - length)))
        total[at : at + length] += rng.uniform(0.2, 1) * burst[: count - at] * fade[: count - at]
    return noise.level(total)


def _babble(count: int, rng: np.random.Generator, talk: list[Utterance]) -> Whole:
    talkers = [lambda r: talk[int(r.integers(len(talk)))].samples.astype(float)] * int(rng.integers(2, 8))
    return noise.babble(count, rng, talkers)


# --- one clip -------------------------------------------------------------------------------


def _warped(one: Utterance, rng: np.random.Generator) -> Utterance:
    """Longer or shorter, lower or higher: another throat."""
    factor = rng.uniform(0.87, 1.16)
    count = int(len(one.samples) * factor)
    x = np.linspace(0, len(one.samples) - 1, count)
    samples = np.interp(x, np.arange(len(one.samples)), one.samples).astype(np.float32)
    return Utterance(samples, None if one.stop_end is None else int(one.stop_end * factor))


def _put(track: Whole, sound: Sound, at: int) -> None:
    begin, end = max(at, 0), min(at + len(sound), len(track))
    if begin < end:
        track[begin:end] += sound[begin - at : end - at]


def _filtered(sound: Whole, rng: np.random.Generator) -> Whole:
    """By a microphone: a tilt, a hump, perhaps without highs or lows."""
    spectrum = np.fft.rfft(sound, 1 << (len(sound) - 1).bit_length())
    hz = np.maximum(np.fft.rfftfreq(2 * len(spectrum) - 2, 1 / RATE_HZ), 30.0)
    gain = (hz / 1_000) ** rng.uniform(-0.5, 0.5)
    gain *= 1 + rng.uniform(-0.6, 2) * np.exp(-((np.log(hz / np.exp(rng.uniform(5.5, 8.7))) / 0.5) ** 2))
    if rng.random() < 0.3:
        gain /= np.sqrt(1 + (hz / rng.uniform(2_800, 7_000)) ** 8)
    if rng.random() < 0.3:
        gain /= np.sqrt(1 + (rng.uniform(60, 350) / hz) ** 6)
    found: Whole = np.fft.irfft(spectrum * gain)[: len(sound)]
    return found


Bank = dict[str, list[Utterance]]  # by who speaks
Shares = dict[str, tuple[float, float]]


def bank(people: Path, language: str, stop: bool, validation: bool, seed: list[int]) -> Bank:
    """All that is said in a language, with STOP or without. Every seventh prompt is kept for validation."""
    found: Bank = {"espeak": sentences(validation, language, stop, _FRESH // 4, seed)}
    for who in ("kokorochoose",) if validation else ("kokoro", "ked", *ABROAD):
        for one in stop_people.load(people, who, language):
            if (one.stop_end is not None) == stop:
                found.setdefault(who if who.startswith("kokoro") else "festival", []).append(one)
    if not stop:
        prompts = stop_people.load(people, "prompts", "all")
        found["prompts"] = [one for i, one in enumerate(prompts) if (i % 7 == 0) == validation]
    return {who: some for who, some in found.items() if some}


class Studio:
    """Sentences and noises enough for a shard, and clips made of them."""

    def __init__(self, seed: list[int], validation: bool, people: Path) -> None:
        """validation: in voices kept for that."""
        self._rng = rng = np.random.default_rng(seed)
        count = int(_NOISE_S * RATE_HZ)
        self._shares = _CHOOSERS if validation else _SHARES
        self.banks = {
            (language, stop): bank(people, language, stop, validation, seed)
            for language in LANGUAGES
            for stop in (False, True)
        }
        every = [
            one for language in LANGUAGES for some in self.banks[language, False].values() for one in some
        ]
        made: list[Whole] = [noise.servos(count, rng) for _ in range(4)]
        made += [noise.pink(count, rng) for _ in range(2)]
        made += [coloured(count, rng) for _ in range(5)]
        made += [motors(count, rng) for _ in range(5)]
        made += [_babble(count, rng, every) for _ in range(8)]
        made += [noise.music(count, rng) for _ in range(3)]
        made += [knocks(count, rng) for _ in range(3)]
        self._noises: list[Whole] = [one.astype(np.float32) for one in made]

    def clip(self) -> tuple[Whole, int, int]:
        """(SAMPLES,) of full scale 1, the language's number, and the sample at which STOP ends (-1: none)."""
        rng, draw = self._rng, self._rng.random()
        number = int(rng.integers(len(LANGUAGES)))
        language, end = LANGUAGES[number], -1
        track: Whole = np.zeros(SAMPLES, np.float32)
        begin, after = 0, SAMPLES
        if draw < _SPEECH:
            one = _warped(self._draw(language, stop=draw < _POSITIVE), rng)
            if one.stop_end is not None:
                end = int(rng.uniform(0.75, 1.8) * RATE_HZ)
                begin = end - one.stop_end
            else:
                begin = int(rng.uniform(-0.6, 1.2) * RATE_HZ)
            after = begin + len(one.samples)
            _put(track, one.samples / (noise.rms(one.samples) + 1e-9), begin)
            if rng.random() < 0.4:
                other = _warped(self._draw(language, stop=False), rng).samples
                other = other / (noise.rms(other) + 1e-9) * 10 ** rng.uniform(-0.5, 0.2)
                gap = int(rng.uniform(0.1, 0.6) * RATE_HZ)
                _put(track, other, begin - gap - len(other) if rng.random() < 0.6 else after + gap)
            if rng.random() < 0.35:
                response = noise.echo(rng.uniform(0.1, 0.7), rng.uniform(-1, 8), rng)
                track = noise.convolved(track, response)[:SAMPLES]
        speaking = slice(max(begin, 0), min(after, SAMPLES))
        track += self._around(rng, noise.rms(track[speaking]) or 1.0, speaking, quiet=draw < _SPEECH)
        if rng.random() < 0.5:
            track = _filtered(track, rng)
        track *= 10 ** (rng.uniform(-48, -14) / 20) / (noise.rms(track[speaking]) or 1.0)
        track += 10 ** (rng.uniform(-90, -60) / 20) * rng.standard_normal(SAMPLES, np.float32)
        return np.clip(track, -1, 1), number, end

    def _draw(self, language: str, stop: bool) -> Utterance:
        return drawn(self.banks[language, stop], self._shares, stop, self._rng)

    def _around(self, rng: np.random.Generator, loud: float, where: slice, quiet: bool) -> Whole:
        """What else is heard, 4 to 30 dB below `loud` within `where`; none in a quarter of `quiet` clips."""
        total: Whole = np.zeros(SAMPLES, np.float32)
        if quiet and rng.random() < 0.25:
            return total
        for _ in range(1 if rng.random() < 0.75 else 2):
            source = self._noises[int(rng.integers(len(self._noises)))]
            at = int(rng.integers(0, len(source) - SAMPLES))
            total += noise.level(source[at : at + SAMPLES]) * rng.uniform(0.3, 1)
        level = noise.rms(total[where]) or 1.0
        wanted = loud * 10 ** (-rng.uniform(4, 30 if rng.random() < 0.5 else 14) / 20)
        return total * (wanted / level)


def drawn(some: Bank, shares: Shares, stop: bool, rng: np.random.Generator) -> Utterance:
    """One sentence: who says it by their shares, and one of theirs."""
    names = sorted(some)
    weights = np.array([shares[name][0 if stop else 1] for name in names])
    of = some[names[int(rng.choice(len(names), p=weights / weights.sum()))]]
    return of[int(rng.integers(len(of)))]


BACKGROUNDS = ("talk", "babble", "motors", "music")


def stream(studio: Studio, kind: str, language: str, seconds: float, seed: int) -> NDArray[np.int16]:
    """A long piece in which nobody says STOP, as loud as somebody near; for counting what is heard there."""
    rng, count = np.random.default_rng([seed, BACKGROUNDS.index(kind)]), int(seconds * RATE_HZ)
    talk = studio.banks[language, False]
    talkers: list[noise.Talk] = [lambda r: drawn(talk, _CHOOSERS, False, r).samples.astype(float)]
    if kind == "talk":
        sound = noise.monologue(count, rng, talkers, (0.4, 1.5))
    else:
        makers = {
            "babble": lambda n, r: noise.babble(n, r, talkers * 6),
            "motors": motors,
            "music": noise.music,
        }
        piece = 60 * RATE_HZ
        sound = np.concatenate([makers[kind](piece, rng) for _ in range(-(-count // piece))])[:count]
    return np.clip(2_300 * sound + rng.normal(0, 16, count), -32768, 32767).astype(np.int16)


def shard(seed: list[int], people: Path, validation: bool, clips: int) -> dict[str, Any]:
    """features (N, FRAMES, BANDS) float16, language (N,), end (N,) in frames, -1 for none."""
    studio = Studio(seed, validation, people)
    features = np.empty((clips, FRAMES, BANDS), np.float16)
    languages, ends = np.empty(clips, np.int8), np.empty(clips, np.int16)
    for i in tqdm(range(clips), desc="shard", unit="clip", leave=False):
        sound, languages[i], end = studio.clip()
        features[i] = Features().hear(np.rint(sound * 32767).astype(np.int16))
        # The frame whose middle is at the end of the word.
        ends[i] = -1 if end < 0 else round((end - WINDOW / 2) / HOP)
    return {"features": features, "language": languages, "end": ends}


def make(folder: Path, people: Path, shards: int, seed: int, first: int = 0, every: int = 1) -> None:
    """Shards that are not there yet, every `every`-th; and one more, in voices kept for validation."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in [-1, *range(shards)][first::every]:
        path = folder / f"shard-{number:03d}.npz"
        if path.exists():
            continue
        made = shard([seed, number + 1_000], people, number < 0, CLIPS)
        part = path.with_suffix(".part.npz")
        np.savez(part, **made)
        os.replace(part, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/stop/data"))
    parser.add_argument("--people", type=Path, default=Path("runs/stop/people"))
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--every", type=int, default=1)
    args = parser.parse_args()
    make(args.out, args.people, args.shards, args.seed, args.first, args.every)


if __name__ == "__main__":
    main()
