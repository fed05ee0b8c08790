"""Sentences in voices that take their time (Kokoro's, festival's), and of people, kept for stop_data.py.

    python -m edge_wam.train.stop_people kokoro --first 0 --every 2   # one of two processes
    python -m edge_wam.train.stop_people festival
    python -m edge_wam.train.stop_people prompts --sounds DIR         # people, none of whom says STOP

Goes on where it was ended. Prompts: the files of Debian's asterisk-core-sounds-{en,es,fr,it,ru}-g722, 2,831
prompts by five people (CC BY-SA 3.0: used to learn from, nothing of them is shipped).
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge_wam.errors import VoiceError
from edge_wam.sense.sound import RATE_HZ
from edge_wam.sim import kokoro, tasks
from edge_wam.sim.speakers import stop_word
from edge_wam.train import stop_voices
from edge_wam.train.stop_voices import Utterance, cut
from edge_wam.train.stop_words import Talk, with_stop

SEED = 7
SENTENCES = 12_000  # Kokoro's, of which one in eight is for choosing
_COMMANDS = 90_000  # from here on all but STOPs are commands: "盘子上" is like 停 in some voices
_LONGEST = {"en": 26, "zh": 8}  # characters; of longer ones a fifth is said
_PIECE_S = 4.0  # of a prompt


def _keep(path: Path, one: Utterance) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    end = -1 if one.stop_end is None else one.stop_end
    np.savez(part, samples=np.rint(np.clip(one.samples, -1, 1) * 32767).astype(np.int16), stop_end=end)
    os.replace(part, path)


def say_kokoro(folder: Path, first: int, every: int) -> None:
    """Every `every`-th sentence from `first` on, in voices that may be trained on ("kokoro") and in those
    that choose ("kokorochoose")."""
    them, talk, commands = kokoro.opened(), Talk(), tasks.commands()
    for i in tqdm(range(first, SENTENCES, every), desc="kokoro", unit="sentence"):
        chooses = (i // 4) % 8 == 0
        language = ("en", "zh")[(i // 2) % 2]
        stop = i % 2 == 0 and (chooses or (i // 4) % 5 > 0)
        path = folder / f"{'kokorochoose' if chooses else 'kokoro'}-{language}-{i:05d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([SEED, i])
        if i >= _COMMANDS and not stop:
            command = commands[int(rng.integers(len(commands)))]
            text = str(rng.choice(np.array(command.phrases[language])))
        else:
            text = with_stop(language, rng) if stop else talk.sentence(language, rng)
            if len(text) > _LONGEST[language] and rng.random() < 0.8:
                continue
        speed, mark = float(rng.uniform(0.75, 1.45)), stop_word(text, language)
        if chooses:
            voice, manner = {str(rng.choice(kokoro.CHOOSE[language])): 1.0}, None
        else:  # of three in five one's throat, another's way of saying it
            voice = them.drawn(language, rng)
            manner = them.drawn(language, rng) if rng.random() < 0.6 else None
        try:
            said = them.say(text, language, voice, speed, mark, manner)
            _keep(path, cut(said.samples, said.stop_end))
        except VoiceError:
            continue


def say_festival(folder: Path) -> None:
    """ked, and the voices of stop_voices.ABROAD."""
    who: dict[str, Callable[[str, np.random.Generator], Utterance]] = {"ked": stop_voices.ked}
    for voice in stop_voices.ABROAD:
        who[voice] = lambda text, rng, voice=voice: stop_voices.abroad(voice, text, rng)  # type: ignore[misc]
    talk = Talk()
    for name, say in who.items():
        for i in tqdm(range(60), desc=name, unit="sentence"):
            path = folder / f"{name}-en-{i:05d}.npz"
            if path.exists():
                continue
            rng = np.random.default_rng([SEED, sum(map(ord, name)), i])
            # Those from abroad tell no times: there STOP is the last word.
            stop = i % 2 == 0
            text = with_stop("en", rng, last=name != "ked") if stop else talk.sentence("en", rng)
            try:
                _keep(path, say(text, rng))
            except VoiceError as error:
                tqdm.write(f"left out: {error}")
                break


def keep_prompts(folder: Path, sounds: Path) -> None:
    """Every .g722 below `sounds` in pieces of at most _PIECE_S. ImportError without PyAV, VoiceError if
    there is none."""
    import av

    paths = sorted(sounds.rglob("*.g722"))
    if not paths:
        raise VoiceError(f"expected *.g722 below {sounds}, found none")
    for number, path in enumerate(tqdm(paths, desc="prompts", unit="file")):
        with av.open(str(path), format="g722") as file:
            parts = [frame.to_ndarray().ravel() for frame in file.decode(audio=0)]
        sound = np.concatenate([*parts, np.zeros(0, np.int16)]).astype(np.float32) / 32768
        size = round(_PIECE_S * RATE_HZ)
        for piece, at in enumerate(range(0, max(1, len(sound) - RATE_HZ // 4), size)):
            try:
                kept = cut(sound[at : at + size], None)
            except VoiceError:  # silence
                continue
            _keep(folder / f"prompts-all-{number:05d}{piece:02d}.npz", kept)


@functools.cache
def load(folder: Path, who: str, language: str) -> tuple[Utterance, ...]:
    """All that somebody said in a language, read once: every shard and both languages want the prompts."""
    found = []
    for path in sorted(folder.glob(f"{who}-{language}-*.npz")):
        if ".part" in path.name:
            continue
        with np.load(path) as kept:
            end = int(kept["stop_end"])
            found.append(Utterance(kept["samples"].astype(np.float32) / 32768, None if end < 0 else end))
    return tuple(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("who", choices=("kokoro", "festival", "prompts"))
    parser.add_argument("--out", type=Path, default=Path("runs/stop/people"))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--sounds", type=Path, default=Path("/usr/share/asterisk/sounds"))
    args = parser.parse_args()
    if args.who == "kokoro":
        say_kokoro(args.out, args.first, args.every)
    elif args.who == "festival":
        say_festival(args.out)
    else:
        keep_prompts(args.out, args.sounds)


if __name__ == "__main__":
    main()
