"""Train the STOP spotter (sense/spotter.py) on the clips of stop_data.py, and write models/stop.

    python -m edge_wam.train.stop_people kokoro|festival|prompts   # see there: half an hour on two cores
    python -m edge_wam.train.stop_data                             # clips
    python -m edge_wam.train.stop train                            # goes on where it was ended
    python -m edge_wam.train.stop look|quiet|export

A clip is not told frame by frame when to fire: within -60 to +140 ms of the end of the word the surest step
is asked for (max-pooling: Sun et al. 2016, "Max-pooling loss training of LSTM networks for small-footprint
keyword spotting"); everywhere else every step, and once more the surest of them, is to be unsure. What is
around the word is left open.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from edge_wam import tomlfile
from edge_wam.sense import spotter
from edge_wam.sense.sound import RATE_HZ
from edge_wam.sense.spotter import BANDS, LANGUAGES, STRIDE, TAPS, TAPS_IN, Model
from edge_wam.train.average import Average
from edge_wam.train.stop_augment import masked, warped
from edge_wam.train.stop_data import BACKGROUNDS, Studio, stream

WIDTH, DILATIONS = 96, (1, 1, 2, 2, 4, 4)
EARLY, LATE = 4, 7  # steps before and after the end of the word in which it is to be told
BEFORE, AFTER = 18, 40  # steps around it that are left open
LEARNING_RATE, BATCH, SAVE_EVERY, LOG_EVERY = 6e-3, 64, 100, 20
AVERAGED = 0.999  # of the mean of the weights stays at each step
OTHERS = 0.3  # weight of what the other language's output makes of a clip


class StopNet(nn.Module):
    """(B, T, BANDS) frames -> (B, T // STRIDE, languages) logits."""

    def __init__(self, width: int = WIDTH, dilations: tuple[int, ...] = DILATIONS) -> None:
        super().__init__()
        self.dilations = dilations
        self.into = nn.Linear(TAPS_IN * BANDS, width, bias=False)
        self.into_norm = nn.BatchNorm1d(width)
        self.along = nn.ParameterList(torch.randn(TAPS, width) / TAPS**0.5 for _ in dilations)
        self.along_norm = nn.ModuleList(nn.BatchNorm1d(width) for _ in dilations)
        self.across = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in dilations)
        self.across_norm = nn.ModuleList(nn.BatchNorm1d(width) for _ in dilations)
        self.out = nn.Linear(width, len(LANGUAGES))
        nn.init.constant_(self.out.bias, -3.0)

    def forward(self, frames: Tensor) -> Tensor:
        windows = F.pad(frames, (0, 0, TAPS_IN - STRIDE, 0)).unfold(1, TAPS_IN, STRIDE)
        x = windows.transpose(2, 3).flatten(2)
        x = F.relu(_normed(self.into_norm, self.into(x)))
        for i, dilation in enumerate(self.dilations):
            steps = x.shape[1]
            whole = F.pad(x, (0, 0, (TAPS - 1) * dilation, 0))
            y = sum(self.along[i][k] * whole[:, k * dilation : k * dilation + steps] for k in range(TAPS))
            y = F.relu(_normed(self.along_norm[i], y))
            x = F.relu(x + _normed(self.across_norm[i], self.across[i](y)))
        return self.out(F.dropout(x, 0.2, self.training))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What sense/spotter.py runs: the norms folded into the layers before them."""
        found = {}

        def fold(weight: Any, norm: Any) -> tuple[Tensor, Tensor]:  # torch's modules hold Any
            gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            return weight * gain, norm.bias - norm.running_mean * gain

        found["into"], found["into_bias"] = fold(self.into.weight.T, self.into_norm)
        for i in range(len(self.dilations)):
            found[f"{i}.along"], found[f"{i}.along_bias"] = fold(self.along[i], self.along_norm[i])
            across: Any = self.across[i]
            found[f"{i}.across"], found[f"{i}.across_bias"] = fold(across.weight.T, self.across_norm[i])
        found["out"], found["out_bias"] = self.out.weight.T, self.out.bias
        return {name: np.ascontiguousarray(one.detach().numpy()) for name, one in found.items()}


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    return norm(x.flatten(0, 1)).view(x.shape)


def loss_of(logits: Tensor, language: Tensor, end: Tensor) -> Tensor:
    """logits (B, S, languages); language (B,); end (B,) in frames, -1 for a clip without STOP."""
    batch, steps, _ = logits.shape
    own = logits[torch.arange(batch), :, language]
    other = logits[torch.arange(batch), :, 1 - language]
    at = torch.arange(steps)[None] - (end / STRIDE)[:, None]
    there = end >= 0
    inside = there[:, None] & (at >= -EARLY) & (at <= LATE)
    away = ~there[:, None] | (at < -BEFORE) | (at > AFTER)
    lowest = torch.finfo(own.dtype).min
    found = F.softplus(-own.masked_fill(~inside, lowest).amax(1)[there]).sum()
    for one, mask, weight in ((own, away, 1.0), (other, away & ~there[:, None], OTHERS)):
        wrong = F.softplus(one) * mask
        found = found + weight * (wrong.amax(1) + 2 * wrong.sum(1) / steps).sum()
    return found / batch


class Clips:
    """All shards, in memory. `validation`: those in voices that nothing is trained on."""

    def __init__(self, folder: Path, validation: bool = False) -> None:
        self._folder, self._pattern = folder, "shard--*.npz" if validation else "shard-0*.npz"
        self._shards: dict[Path, dict[str, NDArray[Any]]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what has been made since."""
        for path in sorted(self._folder.glob(self._pattern)):
            if ".part" not in path.name and path not in self._shards:
                with np.load(path) as part:
                    self._shards[path] = {name: part[name] for name in part.files}
        parts = list(self._shards.values())
        self._features = [part["features"] for part in parts]
        self.language, self.end = (
            torch.from_numpy(np.concatenate([part[name] for part in parts]).astype(np.int64))
            for name in ("language", "end")
        )
        self._begins = np.cumsum([0, *map(len, self._features)])

    def __len__(self) -> int:
        return len(self.end)

    def batch(
        self, where: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """frames (B, FRAMES, BANDS), warped by rng where there is one; language (B,); end (B,)."""
        shard = np.searchsorted(self._begins, where, "right") - 1
        frames = [
            self._features[s][i - self._begins[s]].astype(np.float32)
            for s, i in zip(shard, where, strict=True)
        ]
        if rng is not None:
            frames = [warped(one, int(self.end[i]), rng) for one, i in zip(frames, where, strict=True)]
        return torch.from_numpy(np.stack(frames)), self.language[where], self.end[where]


def train(data: Path, out: Path, steps: int, seed: int, batch: int = BATCH, of: int = 0) -> None:
    """To `steps`, from the last checkpoint if there is one; log.jsonl has a line every LOG_EVERY. of: the
    steps of the whole schedule, if these are not all of it."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    clips, model, first = Clips(data), StopNet(), 0
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.01)
    path = out / "checkpoint.safetensors"
    average = Average(model, AVERAGED)
    if path.exists():
        first = _resume(path, model, optimiser, average)
    print(f"{len(clips)} clips, {sum(p.numel() for p in model.parameters())} parameters, from step {first}")
    began, losses = time.monotonic(), []
    for step in (bar := tqdm(range(first, steps), initial=first, total=steps, desc="stop", unit="step")):
        rng = np.random.default_rng([seed, step])
        torch.manual_seed(seed + step)  # a run that goes on is the run that was not ended
        if step % SAVE_EVERY == 0:
            clips.refresh()
        done = step / (of or steps)
        for group in optimiser.param_groups:
            group["lr"] = (
                LEARNING_RATE * min(1.0, (step + 1) / 100) * (0.02 + 0.49 * (1 + np.cos(np.pi * done)))
            )
        frames, language, end = clips.batch(rng.integers(0, len(clips), batch), rng)
        loss = loss_of(model(masked(frames, rng)), language, end)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        average.update(model)
        losses.append(float(loss.detach()))
        if (step + 1) % LOG_EVERY == 0:
            mean = float(np.mean(losses[-LOG_EVERY:]))
            bar.set_postfix(loss=f"{mean:.3f}")
            line = {"step": step + 1, "loss": round(mean, 4), "seconds": round(time.monotonic() - began, 1)}
            with (out / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            _save(path, model, optimiser, average)


def _save(path: Path, model: StopNet, optimiser: torch.optim.Optimizer, average: Average[StopNet]) -> None:
    tensors = {f"model.{name}": one.contiguous() for name, one in model.state_dict().items()}
    tensors |= {f"average.{name}": one.contiguous() for name, one in average.model.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": one for name, one in state.items()}
    part = path.with_suffix(".part")
    save_file(tensors, part, {"step": str(average.count)})
    os.replace(part, path)


def _resume(path: Path, model: StopNet, optimiser: torch.optim.Optimizer, average: Average[StopNet]) -> int:
    from safetensors import safe_open

    tensors = load_file(path)
    model.load_state_dict(_part(tensors, "model."))
    average.model.load_state_dict(_part(tensors, "average."))
    state: dict[int, dict[str, Any]] = {}
    for name, one in tensors.items():
        if name.startswith("adam."):
            _, number, what = name.split(".", 2)
            state.setdefault(int(number), {})[what] = one
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    with safe_open(path, "pt") as file:
        average.count = int(file.metadata()["step"])
    return average.count


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


def read(out: Path) -> StopNet:
    """The trained network of a checkpoint, for use: the mean of its last steps."""
    model = StopNet()
    model.load_state_dict(_part(load_file(out / "checkpoint.safetensors"), "average."))
    return model.eval()


@torch.no_grad()
def look(data: Path, out: Path) -> None:
    """Of the validation clips: STOPs heard, and clips without one that fire, by threshold."""
    clips, model = Clips(data, validation=True), read(out)
    own: list[Tensor] = []
    for first in range(0, len(clips), 250):
        frames, language, end = clips.batch(np.arange(first, min(first + 250, len(clips))))
        own.append(model(frames)[torch.arange(len(end)), :, language])
    logits = torch.cat(own)
    at = torch.arange(logits.shape[1])[None] - (clips.end / STRIDE)[:, None]
    near = (at >= -BEFORE) & (at <= 12)
    for number, name in enumerate(LANGUAGES):
        mine = clips.language == number
        there = mine & (clips.end >= 0)
        best = logits.masked_fill(~near, -99).amax(1)[there]
        wrong = logits[mine & (clips.end < 0)].amax(1)
        for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98):
            limit = spotter.logit_of(threshold)
            fired = logits[there] > limit
            first_at = torch.where(fired & near[there], at[there], torch.inf).amin(1)
            late = first_at[torch.isfinite(first_at)] * spotter.STEP_S * 1e3
            print(
                f"{name} {threshold:4.2f}: heard {float((best > limit).float().mean()):.3f} of {len(best)}, "
                f"false {float((wrong > limit).float().mean()):.4f} of {len(wrong)}, "
                f"late p50, p95: {np.percentile(late, (50, 95)).round() if len(late) else '-'} ms"
            )


LIMITS = {"thresholds": 0.9, "possible": 0.05, "asked": 0.3, "sure": 0.95}  # see spotter.Model
THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99)


def quiet(out: Path, people: Path, minutes: float, seed: int) -> None:
    """False STOPs an hour in what others say and do, in voices kept for that, by threshold."""
    arrays, studio = read(out).arrays(), Studio([seed, 2_000], True, people)
    print("             ", *(f"{threshold:6.2f}" for threshold in THRESHOLDS))
    for language in LANGUAGES:
        for kind in BACKGROUNDS:
            sound = stream(studio, kind, language, 60 * minutes, seed)
            counts: list[int] = []
            for threshold in THRESHOLDS:
                ear = spotter.Spotter(Model(arrays, DILATIONS, {}), language, threshold)
                if not counts:
                    logits = _logits(ear, sound)
                counts.append(sum(map(ear.fires, logits)))
            print(f"{language} {kind:9s} ", *(f"{60 * count / minutes:6.1f}" for count in counts), flush=True)


def _logits(ear: spotter.Spotter, sound: NDArray[np.int16]) -> NDArray[np.float32]:
    piece = 10 * RATE_HZ
    return np.concatenate([ear.steps(sound[at : at + piece]) for at in range(0, len(sound), piece)])


def export(out: Path, model: Path, limits: dict[str, dict[str, float]]) -> None:
    """models/stop: the weights as sense/spotter.py reads them, and its manifest."""
    model.mkdir(parents=True, exist_ok=True)
    net = read(out)
    (model / spotter.WEIGHTS).write_bytes(save_arrays(net.arrays()))
    content: dict[str, tomlfile.Value] = {
        "format": spotter.FORMAT,
        "dilations": list(net.dilations),
        **limits,
    }
    (model / spotter.MANIFEST).write_text(
        tomlfile.dumps(content, "STOP spotter: sense/spotter.py, README.md")
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "look", "quiet", "export"))
    parser.add_argument("--data", type=Path, default=Path("runs/stop/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/stop/train"))
    parser.add_argument("--model", type=Path, default=Path("models/stop"))
    parser.add_argument("--people", type=Path, default=Path("runs/stop/people"))
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=0)
    for language, (name, usual) in itertools.product(LANGUAGES, LIMITS.items()):
        parser.add_argument(f"--{name}-{language}", type=float, default=usual)
    args = parser.parse_args()
    if args.what == "train":
        train(args.data, args.out, args.steps, args.seed)
    elif args.what == "look":
        look(args.data, args.out)
    elif args.what == "quiet":
        quiet(args.out, args.people, args.minutes, args.seed)
    else:
        limits = {name: {one: getattr(args, f"{name}_{one}") for one in LANGUAGES} for name in LIMITS}
        export(args.out, args.model, limits)


if __name__ == "__main__":
    main()
