"""Train the teacher: first to see (single scenes), then to act and imagine together (demonstrations).

    python -m edge_wam.train.teacher see  --data runs/data --out runs/teacher --steps 3000
    python -m edge_wam.train.teacher joint --data runs/data --out runs/teacher --steps 4000

Each stage writes log.jsonl (a line every 20 steps), pictures (loss curves; present, imagined and true
future side by side) and a checkpoint it resumes from: weights as safetensors, the optimisers' moments
beside them. The schedule is in steps, so a stopped run goes on exactly where it was.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge_wam.think.features import Features, Normalisation
from edge_wam.train import flow
from edge_wam.train.dataset import Batch, Episodes, Scenes, make_features
from edge_wam.train.model import CONFIGS, Config, WorldActionModel
from edge_wam.train.pictures import curves, imagination_sheet

LOG_EVERY, SAVE_EVERY, LOOK_EVERY = 20, 200, 400
VIDEO_EVERY = 2
KEY_WEIGHT, VIDEO_WEIGHT = 0.5, 0.5
HELD_OUT = 512  # the last scenes / recordings (a fifth, if they are few) are never trained on


def autocast() -> Any:
    """bf16 where the CPU computes in it, fp32 elsewhere (emulated bf16 is slower than fp32)."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast)


class Average:
    """Exponential moving average of a model's parameters, warmed up so that early steps do not linger."""

    def __init__(self, model: WorldActionModel, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.count = decay, 0

    @torch.no_grad()
    def update(self, model: WorldActionModel) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        ours: list[Tensor] = list(self.model.parameters())
        theirs: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - decay)


# What single scenes have taught. Joint training sees some thousand tables only and would unlearn the rest of
# them within minutes (LOG.md), so in joint training the eyes stay as they are.
EYES = (
    *(f"stem.{name}" for name in ("conv1", "norm1", "conv2", "norm2", "film", "conv3", "norm3", "points")),
    *("stem.temperature", "words.", "command.", "camera_film", "key."),
)


def optimisers(model: WorldActionModel, stage: str, lr: float) -> list[tuple[torch.optim.Optimizer, float]]:
    """(optimiser, base learning rate). Seeing: AdamW for all. Joint: Muon for the trunk's matrices, AdamW
    for the rest, and the eyes frozen."""
    if stage == "see":
        return [(torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01), lr)]
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        if name.startswith(EYES):
            parameter.requires_grad_(False)
        elif name.startswith("blocks") and parameter.ndim == 2:
            matrices.append(parameter)
        else:
            rest.append(parameter)
    return [
        (torch.optim.Muon(matrices, lr=25 * lr, momentum=0.95, weight_decay=0.01), 25 * lr),
        (torch.optim.AdamW(rest, lr=lr, weight_decay=0.01), lr),
    ]


def schedule(step: int, steps: int, stage: str) -> float:
    """Warm-up of 50 steps; then linear decay to 0 (see: from the start; joint: over the second half)."""
    warm = min(1.0, (step + 1) / 50)
    done = step / steps
    return warm * (1 - done if stage == "see" else min(1.0, 2 * (1 - done)))


def see_step(model: WorldActionModel, batch: Batch) -> dict[str, Tensor]:
    """Seeing alone: the grasp, read off the keypoints."""
    command, _, points, _, _ = model.see(batch.images, batch.tokens)
    return {"key": F.smooth_l1_loss(model.grasp(points, batch.state, command), batch.key, beta=0.1)}


def joint_step(
    model: WorldActionModel, batch: Batch, video: bool, generator: torch.Generator
) -> dict[str, Tensor]:
    """One step of everything; the video stream takes part where `video`."""
    context = model.context(batch.images, batch.tokens, batch.state)
    losses = {"key": F.smooth_l1_loss(context["key"], batch.key, beta=0.1)}
    losses["action"], act_kv = flow.action_loss(model, context, batch.rows, 2, generator, clean=video)
    if video:  # on half of the batch: a picture costs as much as two chunks
        half = len(batch.rows) // 2
        part = {
            "kv": context["kv"][:, :, :half],
            "fine": context["fine"][: half * model.config.cameras],
            "coarse": context["coarse"][: half * model.config.cameras],
        }
        first = Batch(*(x[:half] for x in batch))
        losses["video"] = flow.video_loss(model, part, act_kv[:, :, :half], first, generator)
    return losses


WEIGHT = {"key": KEY_WEIGHT, "action": 1.0, "video": VIDEO_WEIGHT * VIDEO_EVERY}


class Trainer:
    """One stage: its data, its optimisers, its files."""

    def __init__(self, stage: str, arguments: argparse.Namespace) -> None:
        self.stage, self.steps, self.batch_size = stage, arguments.steps, arguments.batch
        self.out: Path = arguments.out / stage
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(arguments.seed)
        self.config: Config = CONFIGS[arguments.config]
        model: Any = WorldActionModel(self.config)
        self.model: WorldActionModel = model.to(memory_format=torch.channels_last)
        load: Any = Scenes if stage == "see" else Episodes.load
        self.data = load(arguments.data)
        pool = self.data.usable
        held_out = max(1, min(HELD_OUT, len(pool) // 5))
        self.pool, self.held_out = pool[:-held_out], pool[-held_out:]
        self.features = self._features(arguments)
        if arguments.start is not None:
            self.model.load_state_dict(load_file(arguments.start), strict=True)
        self.average = Average(self.model, 0.998)
        self.optimisers = optimisers(self.model, stage, arguments.lr)
        self.seed, self.generator = arguments.seed, torch.Generator()
        self.step, self.seconds = 0, 0.0
        if (self.out / "state.json").exists():
            self._resume()

    def _features(self, arguments: argparse.Namespace) -> Features:
        """The scales come with the checkpoint once there are any; else from the demonstrations."""
        path = arguments.out / "normalisation.json"
        if not path.exists():
            scales = (
                Episodes.load(arguments.data).normalisation()
                if self.stage == "see"
                else self.data.normalisation()
            )
            names = ("position_mean_rad", "position_std_rad", "action_std_rad")
            path.write_text(json.dumps({name: getattr(scales, name).tolist() for name in names}))
        return make_features(load_normalisation(path))

    # --- files ------------------------------------------------------------------------------

    def save(self) -> None:
        """Weights and moments, each beside and renamed."""
        moments: dict[str, Tensor] = {}
        for number, (optimiser, _) in enumerate(self.optimisers):
            for key, state in optimiser.state_dict()["state"].items():
                moments |= {f"{number}.{key}.{name}": v for name, v in state.items() if isinstance(v, Tensor)}
        files = {
            "weights": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "moments": moments,
        }
        for name, tensors in files.items():
            path = self.out / f"{name}.safetensors"
            save_file({k: v.contiguous() for k, v in tensors.items()}, path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
        state = {"step": self.step, "seconds": self.seconds, "average": self.average.count}
        (self.out / "state.part").write_text(json.dumps(state))
        (self.out / "state.part").rename(self.out / "state.json")

    def _resume(self) -> None:
        state = json.loads((self.out / "state.json").read_text())
        self.step, self.seconds, self.average.count = state["step"], state["seconds"], state["average"]
        self.model.load_state_dict(load_file(self.out / "weights.safetensors"))
        self.average.model.load_state_dict(load_file(self.out / "average.safetensors"))
        moments = load_file(self.out / "moments.safetensors")
        for number, (optimiser, _) in enumerate(self.optimisers):
            loaded = optimiser.state_dict()
            for name, value in moments.items():
                which, key, field = name.split(".")
                if int(which) == number:
                    loaded["state"].setdefault(int(key), {})[field] = value
            optimiser.load_state_dict(loaded)
        log = self.out / "log.jsonl"  # what was done after the checkpoint is done, and logged, again
        lines = log.read_text().splitlines() if log.exists() else []
        log.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= self.step))

    # --- the loop ---------------------------------------------------------------------------

    def run(self, until: int | None = None) -> None:
        """Train to the last step; or to step `until`, as if stopped right after its checkpoint."""
        last = self.steps if until is None else until
        began_s, before_s = time.monotonic(), self.seconds
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        while self.step < last:
            losses = self._one_step()
            for name, value in losses.items():
                sums[name], counts[name] = sums.get(name, 0.0) + value, counts.get(name, 0) + 1
            self.step += 1
            self.seconds = before_s + time.monotonic() - began_s
            if self.step % LOG_EVERY == 0:
                self._log({name: round(sums[name] / counts[name], 5) for name in sums})
                sums, counts = {}, {}
            if self.step % SAVE_EVERY == 0 or self.step == last:
                self.save()
            if self.step % LOOK_EVERY == 0 or self.step == self.steps:
                self._log(self.look())
                curves(self.out / "log.jsonl", self.out / "curves.png")

    def _one_step(self) -> dict[str, float]:
        # A step's randomness follows from its number: a run that was stopped goes on exactly where it was.
        rng = np.random.default_rng((self.seed, self.step))
        self.generator.manual_seed(int(rng.integers(2**63)))
        index = rng.choice(self.pool, self.batch_size)
        video = self.stage == "joint" and self.step % VIDEO_EVERY == 0
        factor = schedule(self.step, self.steps, self.stage)
        for optimiser, lr in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = lr * factor
        with autocast():
            if self.stage == "see":
                losses = see_step(self.model, self.data.batch(index, self.features, rng))
            else:
                batch = self.data.batch(index, self.features, rng, video)
                losses = joint_step(self.model, batch, video, self.generator)
            total = sum(WEIGHT[name] * value for name, value in losses.items())
        assert isinstance(total, Tensor)
        self.model.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        for optimiser, _ in self.optimisers:
            optimiser.step()
        self.average.update(self.model)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _log(self, numbers: dict[str, float]) -> None:
        line = {"step": self.step, "seconds": round(self.seconds, 1), **numbers}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        left_min = self.seconds / self.step * (self.steps - self.step) / 60
        print(f"{self.stage} {self.step}/{self.steps}  {numbers}  {left_min:.0f} min left", flush=True)

    @torch.no_grad()
    def look(self) -> dict[str, float]:
        """Held-out figures of the averaged model, and pictures."""
        model, rng = self.average.model, np.random.default_rng(0)
        index = self.held_out[:256]
        if self.stage == "see":
            batch = self.data.batch(index, self.features, rng)
            command, _, points, _, _ = model.see(batch.images, batch.tokens)
            return key_error(model.grasp(points, batch.state, command), batch.key)
        batch = self.data.batch(index, self.features, rng, video=True)
        generator = torch.Generator().manual_seed(0)
        context = model.context(batch.images, batch.tokens, batch.state)
        loss, _ = flow.action_loss(model, context, batch.rows, 2, generator, clean=False)
        noise = torch.randn(batch.rows.shape, generator=generator)
        rows, act_kv = flow.sample_actions(model, context, noise, 10)
        shape = batch.future.shape
        start = torch.randn(shape, generator=generator)
        frames = flow.sample_video(model, context, act_kv, batch.images, start, 1)
        error, still = flow.imagination_error(frames, batch)
        error10, _ = flow.imagination_error(
            flow.sample_video(model, context, act_kv, batch.images, start, 10), batch
        )
        imagination_sheet(self.out / "imagined.png", batch, frames)
        return {
            "held_out_action": round(float(loss), 5),
            "row_error": round(float((rows - batch.rows).abs().mean()), 5),
            "imagined_ratio_1": round(float((still / error).mean()), 3),
            "imagined_ratio_10": round(float((still / error10).mean()), 3),
            **key_error(context["key"], batch.key),
        }


def key_error(key: Tensor, truth: Tensor) -> dict[str, float]:
    """Median and 90th percentile error of the body joints of the grasp, and of the roll, in radians."""
    from edge_wam.train.dataset import KEY_STD

    body = (key[:, :4] - truth[:, :4]).abs() * torch.from_numpy(KEY_STD)
    angle = torch.atan2(key[:, 5], key[:, 4]) - torch.atan2(truth[:, 5], truth[:, 4])
    roll = torch.atan2(angle.sin(), angle.cos()).abs() / 4
    return {
        "key_p50_rad": round(float(body.flatten().median()), 5),
        "key_p90_rad": round(float(body.flatten().quantile(0.9)), 5),
        "roll_p50_rad": round(float(roll.median()), 5),
    }


def load_normalisation(path: Path) -> Normalisation:
    """The scales a training run has written."""
    return Normalisation(**{name: np.array(value) for name, value in json.loads(path.read_text()).items()})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("see", "joint"))
    parser.add_argument("--data", type=Path, default=Path("runs/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/teacher"))
    parser.add_argument("--start", type=Path, default=None, help="weights to start from")
    parser.add_argument("--config", choices=CONFIGS, default="nano")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--until", type=int, default=None, help="stop after this step, as if interrupted")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=None, help="default: 2e-3 for see, 8e-4 for joint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.lr is None:
        arguments.lr = 2e-3 if arguments.stage == "see" else 8e-4
    torch.set_num_threads(arguments.threads)
    Trainer(arguments.stage, arguments).run(arguments.until)


if __name__ == "__main__":
    main()
