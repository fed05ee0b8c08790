"""Train the teacher: to read (text), to see (single scenes), then to act and imagine (demonstrations).

    python -m edge_wam.train.teacher read  --out runs/teacher --steps 600
    python -m edge_wam.train.teacher see   --data runs/data --out runs/teacher --steps 3000 --batch 128 \
        --start runs/teacher/read/average.safetensors
    python -m edge_wam.train.teacher joint --data runs/data --out runs/teacher --steps 4000 \
        --start runs/teacher/see/average.safetensors

Each stage writes log.jsonl (a line every 20 steps), pictures (loss curves; present, imagined and true
future side by side) and a checkpoint it resumes from: weights as safetensors, the optimisers' moments
beside them. The schedule is in steps, so a stopped run goes on exactly where it was. Several GPUs or
machines: the same line after `torchrun` (parallel.py).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edge_wam.think.features import Features, Normalisation
from edge_wam.train import figures, flow
from edge_wam.train.average import Average
from edge_wam.train.dataset import Batch, Episodes, Seeing, make_features
from edge_wam.train.model import BODY, CONFIGS, Config, WorldActionModel, plate_of, unit
from edge_wam.train.muon import Muon
from edge_wam.train.parallel import Team, add_flags, autocast, generator, join, moved, unsynchronised
from edge_wam.train.pictures import curves
from edge_wam.train.reader import DROPOUT
from edge_wam.train.text import Sentences

STAGES = ("read", "see", "joint")
LOG_EVERY, SAVE_EVERY, LOOK_EVERY = 20, 200, 400
VIDEO_EVERY = 3
VIDEO_WEIGHT, PROGRESS_WEIGHT = 0.5, 0.2
# The roll of a cube is hard to see: at equal weight it was nine tenths of the grasp's loss. That a tenth is
# better is not shown: 90 steps with and without, from the same weights, came out alike.
ROLL_WEIGHT, POSE_BETA = 0.1, 0.03
COUPLINGS = ("action_centric", "joint")
LEARNING_RATE = {"read": 3e-3, "see": 2e-3, "joint": 8e-4}


# What each stage trains. In joint training the eyes and the reader stay as they are: it sees some thousand
# tables only and would unlearn the rest of them within minutes (LOG.md).
READER = ("reader.",)
EYES = ("stem.", "look.", "key.", "place.")


def trained(name: str, stage: str) -> bool:
    """Whether a stage trains the parameter of this name."""
    if stage == "read":
        return name.startswith(READER)
    return name.startswith(EYES) if stage == "see" else not name.startswith((*READER, *EYES))


def optimisers(model: WorldActionModel, stage: str, lr: float) -> list[tuple[torch.optim.Optimizer, float]]:
    """(optimiser, base learning rate). Muon for the trunk's matrices, AdamW for the rest of what the stage
    trains; what it does not train is frozen."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained(name, stage))
        if parameter.requires_grad:
            (matrices if name.startswith("blocks") and parameter.ndim == 2 else rest).append(parameter)
    made: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.AdamW(rest, lr=lr, weight_decay=0.01), lr)
    ]
    if matrices:
        made.insert(0, (Muon(matrices, lr=25 * lr, momentum=0.95, weight_decay=0.01), 25 * lr))
    return made


def schedule(step: int, steps: int, stage: str) -> float:
    """Warm-up of 50 steps; then linear decay to 0 (joint: over the second half; else from the start)."""
    warm = min(1.0, (step + 1) / 50)
    done = step / steps
    return warm * (min(1.0, 2 * (1 - done)) if stage == "joint" else 1 - done)


def read_step(model: WorldActionModel, tokens: Tensor, slots: Tensor) -> dict[str, Tensor]:
    """Reading alone: tokens (B, W), slots (B, 3)."""
    parts = model.reader.logits(tokens, DROPOUT)
    return {"text": torch.stack([F.cross_entropy(x, slots[:, i]) for i, x in enumerate(parts)]).sum()}


def see_step(model: WorldActionModel, batch: Batch) -> dict[str, Tensor]:
    """Seeing alone: both poses, read off the keypoints. What is asked for comes from the labels; where there
    is no plate to be found, none is looked for (half of the work)."""
    _, coarse = model.stem(unit(batch.images).flatten(0, 1))
    cube = model.points(coarse, 0, batch.slots.object)
    key = model.key(torch.cat([cube, batch.state], 1))
    some = ~batch.place.isnan().any(1)
    maps = coarse.unflatten(0, (-1, model.config.cameras))[some].flatten(0, 1)
    plate = model.points(maps, 1, plate_of(batch.slots.place[some]))
    place = model.place(torch.cat([plate, batch.state[some]], 1))
    return {
        "key": labelled_loss(key[:, :BODY], batch.key[:, :BODY]),
        "roll": labelled_loss(key[:, BODY:], batch.key[:, BODY:]),
        "place": labelled_loss(place, batch.place[some]),
    }


def labelled_loss(ours: Tensor, truth: Tensor) -> Tensor:
    """Smooth L1 over what is labelled (not NaN). Linear from POSE_BETA on: a small error still pulls."""
    known = ~truth.isnan()
    error = F.smooth_l1_loss(ours, truth.nan_to_num(), beta=POSE_BETA, reduction="none") * known
    return error.sum() / known.sum().clamp(min=1)


def progress_loss(progress: Tensor, truth: Tensor) -> Tensor:
    """How far (squared error), and whether it is done (cross entropy); (B, 2) each."""
    done = F.binary_cross_entropy_with_logits(progress[:, 1], truth[:, 1])
    return F.mse_loss(progress[:, 0], truth[:, 0]) + done


def joint_step(
    model: WorldActionModel,
    batch: Batch,
    video: bool,
    generator: torch.Generator,
    committed_max: int = flow.COMMITTED_MAX,
    coupling: str = "action_centric",
) -> dict[str, Tensor]:
    """One step of everything; frames are judged where `video`, on half of the batch: a picture costs as much
    as two chunks. Coupling "joint" is for comparison: actions see the noisy future, in every step."""
    half = len(batch.rows) // 2 if video else 0
    context = model.context(batch.images, batch.tokens, batch.state)
    losses = {"progress": progress_loss(context["progress"].float(), batch.progress)}
    if coupling == "joint":
        losses["action"], error = flow.together_loss(model, context, batch, half, generator, committed_max)
        return losses if error is None else losses | {"video": error}
    losses["action"], act_kv = flow.action_loss(
        model, context, batch.rows, 2, generator, video, committed_max
    )
    if video:
        part = {
            "kv": context["kv"][:, :, :half],
            "fine": context["fine"][: half * model.config.cameras],
            "coarse": context["coarse"][: half * model.config.cameras],
        }
        losses["video"] = flow.video_loss(model, part, act_kv[:, :, :half], batch.part(0, half), generator)
    return losses


class Trainer:
    """One stage: its data, its optimisers, its files."""

    def __init__(self, stage: str, arguments: argparse.Namespace, team: Team | None = None) -> None:
        self.team = team = team or Team()
        self.stage, self.steps = stage, arguments.steps
        self.batch_size = team.share_size(arguments.batch)  # of a share: all of it, alone
        self.out: Path = arguments.out / stage
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(arguments.seed)
        self.config: Config = CONFIGS[arguments.config]
        model: Any = WorldActionModel(self.config)
        self.model: WorldActionModel = model.to(team.device, memory_format=torch.channels_last)
        makers: dict[str, Any] = {"read": Sentences, "see": Seeing, "joint": Episodes.load}
        self.data = makers[stage](*(() if stage == "read" else (arguments.data,)))
        self.features = None if stage == "read" else self._features(arguments)
        self.weight = {
            "video": arguments.video_weight * VIDEO_EVERY,
            "progress": PROGRESS_WEIGHT,
            "roll": ROLL_WEIGHT,
        }
        self.committed_max: int = arguments.committed_max
        self.coupling: str = arguments.coupling
        if arguments.start is not None:
            self.model.load_state_dict(load_file(arguments.start), strict=True)
        self.average = Average(self.model, 0.998)
        self.optimisers = optimisers(self.model, stage, arguments.lr)
        self.seed, self.generator = arguments.seed, torch.Generator()
        self.step, self.seconds = 0, 0.0
        if (self.out / "state.json").exists():
            self._resume()
        self.lesson = team.wrap(self.model, self._losses)

    def _features(self, arguments: argparse.Namespace) -> Features:
        """The scales come with the checkpoint once there are any; else from the demonstrations."""
        path = arguments.out / "normalisation.json"
        if not path.exists() and self.team.first:
            episodes = self.data if self.stage == "joint" else self.data.episodes
            scales = (episodes or Episodes.load(arguments.data)).normalisation()
            names = ("position_mean_rad", "position_std_rad", "action_std_rad")
            path.write_text(json.dumps({name: getattr(scales, name).tolist() for name in names}))
        self.team.wait()
        return make_features(load_normalisation(path))

    # --- files ------------------------------------------------------------------------------

    def save(self) -> None:
        """Weights and moments, each beside and renamed, by the first of the team."""
        self.team.check(self.model)
        if not self.team.first:
            return
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
        if not self.team.first:
            return
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
                means = self.team.mean({name: sums[name] / counts[name] for name in sums})
                self._log({name: round(value, 5) for name, value in means.items()})
                sums, counts = {}, {}
            if self.step % SAVE_EVERY == 0 or self.step == last:
                self.save()
            if self.team.first and (self.step % LOOK_EVERY == 0 or self.step == self.steps):
                self._log(self.look())
                curves(self.out / "log.jsonl", self.out / "curves.png")

    def _one_step(self) -> dict[str, float]:
        factor = schedule(self.step, self.steps, self.stage)
        for optimiser, lr in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = lr * factor
        self.model.zero_grad(set_to_none=True)
        found: dict[str, float] = {}
        for share in self.team.shares:
            with unsynchronised(self.lesson, share == self.team.shares[-1]):
                losses = self._share(share)
            for name, value in losses.items():
                found[name] = found.get(name, 0.0) + float(value.detach()) / self.team.accumulate
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        for optimiser, _ in self.optimisers:
            optimiser.step()
        self.average.update(self.model)
        return found

    def _share(self, share: int) -> dict[str, Tensor]:
        """One share of a step, both ways. Its randomness follows from the step's number and its own."""
        rng = generator(self.seed, self.step, share)
        self.generator.manual_seed(int(rng.integers(2**63)))
        with autocast(self.team.device):
            losses: dict[str, Tensor] = self.lesson(rng)
            total = sum(self.weight.get(name, 1.0) * value for name, value in losses.items())
        assert isinstance(total, Tensor)
        (total / self.team.accumulate).backward()
        return losses

    def _losses(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a batch of the stage, and compute what it costs."""
        if self.stage == "read":
            return read_step(self.model, *moved(self.data.batch(self.batch_size, rng), self.team.device))
        if self.stage == "see":
            batch = self.data.batch(self.batch_size, self.features, rng)
            return see_step(self.model, moved(batch, self.team.device))
        video = self.weight["video"] > 0 and self.step % VIDEO_EVERY == 0
        future = video or self.coupling == "joint"
        batch = self.data.batch(self.data.draw(self.batch_size, rng), self.features, rng, future)
        batch = moved(batch, self.team.device)
        return joint_step(self.model, batch, video, self.generator, self.committed_max, self.coupling)

    def _log(self, numbers: dict[str, float]) -> None:
        if not self.team.first:
            return
        line = {"step": self.step, "seconds": round(self.seconds, 1), **numbers}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        left_min = self.seconds / self.step * (self.steps - self.step) / 60
        print(f"{self.stage} {self.step}/{self.steps}  {numbers}  {left_min:.0f} min left", flush=True)

    def look(self) -> dict[str, float]:
        """Held-out figures of the averaged model, and pictures."""
        model = self.average.model
        if self.stage == "read":
            return figures.reading(model)
        assert self.features is not None
        if self.stage == "see":
            return figures.seeing(model, self.data, self.features)
        sheet = self.out / "imagined.png"
        return figures.acting(model, self.data, self.features, sheet, self.coupling)


def load_normalisation(path: Path) -> Normalisation:
    """The scales a training run has written."""
    return Normalisation(**{name: np.array(value) for name, value in json.loads(path.read_text()).items()})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--data", type=Path, default=Path("runs/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/teacher"))
    parser.add_argument("--start", type=Path, default=None, help="weights to start from")
    parser.add_argument("--config", choices=CONFIGS, default="nano")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--until", type=int, default=None, help="stop after this step, as if interrupted")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=None, help=f"default: {LEARNING_RATE}")
    parser.add_argument("--video-weight", type=float, default=VIDEO_WEIGHT, help="0: no imagination")
    parser.add_argument(
        "--committed-max", type=int, default=flow.COMMITTED_MAX, help="longest decided beginning; 0: none"
    )
    parser.add_argument(
        "--coupling", choices=COUPLINGS, default=COUPLINGS[0], help="joint: actions see video"
    )
    parser.add_argument("--seed", type=int, default=0)
    add_flags(parser)
    arguments = parser.parse_args()
    if arguments.lr is None:
        arguments.lr = LEARNING_RATE[arguments.stage]
    with join(arguments.device, arguments.accumulate) as team:
        torch.set_num_threads(arguments.threads or team.threads)
        Trainer(arguments.stage, arguments, team).run(arguments.until)


if __name__ == "__main__":
    main()
