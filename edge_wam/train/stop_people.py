"""Sentences in voices that take their time (Kokoro, Piper, festival's), said once and kept.

python -m edge_wam.train.stop_people --out runs/stop/people     # goes on where it was ended
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge_wam.errors import VoiceError
from edge_wam.train import stop_voices
from edge_wam.train.stop_voices import Utterance
from edge_wam.train.stop_words import Talk, with_stop

Say = Callable[[str, str, np.random.Generator], Utterance]

# who, language, sentences with STOP, sentences without
_WANTED = (
    *(("kokoro", "en", 36, 24), ("kokoro", "zh", 42, 30)),
    *(("ked", "en", 40, 20), ("piper", "en", 110, 90)),
    *((voice, "en", 30, 30) for voice in stop_voices.ABROAD),
)


def _open(who: str) -> Say:
    if who == "ked":
        return lambda text, language, rng: stop_voices.ked(text, rng)
    if who in stop_voices.ABROAD:
        return lambda text, language, rng: stop_voices.abroad(who, text, rng)
    if who == "piper":
        piper = stop_voices.Piper()
        return lambda text, language, rng: piper.say(text, rng)
    return stop_voices.Kokoro().say


def make(folder: Path, seed: int) -> None:
    """Everything that is not there yet. A package that is missing is said, and left out."""
    folder.mkdir(parents=True, exist_ok=True)
    talk = Talk()
    for who, language, stops, others in _WANTED:
        try:
            say = _open(who)
        except ImportError as error:
            print(f"left out: {who} ({error}); see stop_voices.py")
            continue
        both = [
            (i, i % 2 == 0 if i < 2 * min(stops, others) else stops > others) for i in range(stops + others)
        ]
        for i, stop in tqdm(both, desc=f"{who} {language}", unit="sentence"):
            path = folder / f"{who}-{language}-{i:03d}.npz"
            if path.exists():
                continue
            rng = np.random.default_rng([seed, sum(map(ord, who + language)), i])
            # All but ked tell no times: there STOP is the last word.
            text = with_stop(language, rng, last=who != "ked") if stop else talk.sentence(language, rng)
            try:
                one = say(text, language, rng)
            except VoiceError:
                continue
            part = path.with_suffix(".part.npz")
            end = -1 if one.stop_end is None else one.stop_end
            np.savez(part, samples=np.rint(one.samples * 32767).astype(np.int16), stop_end=end, text=text)
            os.replace(part, path)


def load(folder: Path, language: str, who: Collection[str] = ()) -> Iterator[Utterance]:
    """All that was kept of a language, or what some of them said."""
    for path in sorted(folder.glob(f"*-{language}-???.npz")):
        if who and path.name.rsplit("-", 2)[0] not in who:
            continue
        with np.load(path) as kept:
            end = int(kept["stop_end"])
            yield Utterance(kept["samples"].astype(np.float32) / 32768, None if end < 0 else end)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/stop/people"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make(args.out, args.seed)


if __name__ == "__main__":
    main()
