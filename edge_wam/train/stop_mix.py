"""A network for one language, trained on shards of some sources, each drawn as often as it is told.

    python -m edge_wam.train.stop_mix clips --who espeak --clips 4000 --out runs/stop/mix/espeak.npz
    python -m edge_wam.train.stop_mix train --out runs/stop/mix --seed 2
    python -m edge_wam.train.stop_mix merge --out runs/stop/mix --other DIR   # of stop.py's export

What is trained long on clips of stop.py learns espeak-ng (LOG.md, 2026-11-29). Here others are most of
what is drawn, and clips are warped: another throat, another tempo, a telephone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import nn
from tqdm import tqdm

from edge_wam.sense.spotter import BANDS, HOP, LANGUAGES, WEIGHTS, WINDOW, Features
from edge_wam.train import stop, stop_people, stop_voices
from edge_wam.train.stop_data import FRAMES, Studio

# Of which sources a clip is drawn: a file of clips, who speaks in it, how often.
SOURCES = (
    ("espeak", ("espeak",), 1.5),
    ("kokoro", ("kokoro",), 3.0),
    ("abroad", stop_voices.ABROAD, 6.0),
    ("known", ("piper", "ked"), 4.0),
)
LEARNING_RATE, BATCH, STEPS, END = 8e-3, 32, 1_800, 1_500  # END: where the schedule of STEPS is left
EARLY = LATE = 9  # as in stop.py, wider: the silence in "p" is longer in some voices

Array = NDArray[Any]


def warped(frames: Array, end: int, rng: np.random.Generator) -> Array:
    """(FRAMES, BANDS) of one clip in another throat, tempo (around `end`), blur, telephone, slope."""
    bands, f = np.arange(BANDS), frames
    if rng.random() < 0.7:
        f = _along(f.T, bands * rng.uniform(0.82, 1.2) + rng.uniform(-1, 1)).T
    if rng.random() < 0.7:
        pace, centre = rng.uniform(0.75, 1.3), end if end >= 0 else len(f) // 2
        f = _along(f, centre + (np.arange(len(f)) - centre) * pace)
    if rng.random() < 0.5:
        blur, whole = 0.8 * rng.uniform(0, 0.35), f
        f = whole.copy()
        f[:, 1:-1] = whole[:, 1:-1] * (1 - 2 * blur) + blur * (whole[:, :-2] + whole[:, 2:])
    if rng.random() < 0.4:
        f = f.copy()
        f[:, int(rng.integers(26, 38)) :] *= rng.uniform(0, 0.3)
    if rng.random() < 0.5:
        slope = np.interp(bands, np.linspace(0, BANDS - 1, 5), rng.uniform(-0.35, 0.35, 5))
        f = np.maximum(f, 0) ** rng.uniform(0.75, 1.3) * np.exp(slope)
    return f.astype(np.float32)


def _along(rows: Array, where: Array) -> Array:
    """Rows between rows."""
    where = np.clip(where, 0, len(rows) - 1)
    low = np.minimum(where.astype(int), len(rows) - 2)
    share = (where - low)[:, None]
    return rows[low] * (1 - share) + rows[low + 1] * share


def clips(out: Path, people: Path, who: tuple[str, ...], count: int, seed: int) -> None:
    """A file of clips in which only `who` speaks ("espeak": espeak-ng's voices of stop_voices.py)."""
    studio = Studio([seed, 77], False, {language: [] for language in LANGUAGES})
    if who != ("espeak",):
        them = {one: [*stop_people.load(people, one, who)] for one in LANGUAGES}
        for language, spoken in them.items():
            for bank, stops in ((studio.stops, True), (studio.talk, False)):
                # A language that they do not speak stays espeak-ng's; only English is trained here.
                some = [one for one in spoken if (one.stop_end is not None) == stops]
                bank[language] = some or bank[language]
    features, languages, ends = np.empty((count, FRAMES, BANDS), np.float16), [], []
    for i in tqdm(range(count), desc="+".join(who), unit="clip"):
        sound, number, end = studio.clip()
        features[i] = Features().hear(np.rint(sound * 32767).astype(np.int16))
        languages.append(number)
        ends.append(-1 if end < 0 else round((end - WINDOW / 2) / HOP))
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, features=features, language=np.array(languages), end=np.array(ends))


def train(out: Path, seed: int, language: str = "en", held_out: tuple[str, ...] = ()) -> None:
    """From the files of SOURCES in `out`, but those of held_out, to END steps: out/mixed.pt."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    stop.EARLY, stop.LATE = EARLY, LATE
    number, data, shares = LANGUAGES.index(language), [], []
    for name, _, share in SOURCES:
        if name not in held_out:
            with np.load(out / f"{name}.npz") as kept:
                mine = kept["language"] == number
                data.append((kept["features"][mine], kept["end"][mine].astype(np.int64)))
                shares.append(share)
    net, chance = stop.StopNet(), np.array(shares) / sum(shares)
    optimiser = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=0.01)
    for step in tqdm(range(END), desc="stop", unit="step"):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(seed + step)
        for group in optimiser.param_groups:
            falling = 0.02 + 0.49 * (1 + np.cos(np.pi * step / STEPS))
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 30) * falling
        frames, ends = [], []
        for source in rng.choice(len(data), BATCH, p=chance):
            features, end = data[source]
            i = int(rng.integers(len(end)))
            frames.append(warped(features[i].astype(np.float32), int(end[i]), rng))
            ends.append(int(end[i]))
        heard = net(stop.masked(torch.from_numpy(np.stack(frames)), rng))
        loss = stop.loss_of(heard, torch.full((BATCH,), number), torch.tensor(ends))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
    torch.save(net.state_dict(), out / "mixed.pt")


def side_by_side(one: dict[str, Array], other: dict[str, Array]) -> dict[str, Array]:
    """Two networks of as many layers as one: the first hears English, the second Mandarin."""
    found = {}
    for name, a in one.items():
        b = other[name]
        if name == "out_bias":
            found[name] = np.array([a[0], b[1]])
        elif name == "out":
            found[name] = np.zeros((len(a) + len(b), 2))
            found[name][: len(a), 0], found[name][len(a) :, 1] = a[:, 0], b[:, 1]
        elif name.endswith("across"):
            found[name] = np.zeros((len(a) + len(b), len(a) + len(b)))
            found[name][: len(a), : len(a)], found[name][len(a) :, len(a) :] = a, b
        else:  # into, along and biases: channels are last
            found[name] = np.concatenate([a, b], -1)
    return {name: np.ascontiguousarray(array, np.float32) for name, array in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("clips", "train", "merge"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=Path, default=Path("runs/stop/people"))
    parser.add_argument("--who", default="espeak", choices=[name for name, _, _ in SOURCES])
    parser.add_argument("--clips", type=int, default=4_000)
    parser.add_argument("--held-out", nargs="*", default=[])
    parser.add_argument(
        "--other", type=Path, default=Path("runs/stop/export"), help="has the Mandarin network"
    )
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    if args.what == "clips":
        clips(args.out, args.people, {n: w for n, w, _ in SOURCES}[args.who], args.clips, args.seed)
    elif args.what == "train":
        train(args.out, args.seed, held_out=tuple(args.held_out))
    else:
        net = stop.StopNet()
        net.load_state_dict(torch.load(args.out / "mixed.pt"))
        arrays = side_by_side(net.eval().arrays(), load_file(args.other / WEIGHTS))
        save_file(arrays, args.out / WEIGHTS)


if __name__ == "__main__":
    main()
