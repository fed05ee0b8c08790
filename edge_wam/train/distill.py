"""Distil the teacher: a student that needs one step where the teacher needs ten.

    python -m edge_wam.train.distill --data runs/data --teacher runs/teacher/joint/average.safetensors \
        --normalisation runs/teacher/normalisation.json --out runs/student --steps 2000

The teacher's ten steps take a noise e to an end point y, and always to the same one: a function, with
nothing random left in it. So a student that starts as the teacher learns it by plain regression. From e at
level 1 its one step should arrive at y; a second step, at level 1/2, from wherever its own first one leads,
should arrive there too (the fallback of two steps). Beside that it goes on with flow matching, so that it
stays a model of any number of steps, and with imagination and progress exactly as in joint training: clean
frames are predicted, so one step of the future was always what was trained.

Shortcuts and mean flows promise the same without a teacher, and diverged at this size (LOG.md).

What the teacher costs: its own context, and eleven passes of sixteen rows for each noise, forwards only;
with two noises a context that is about what the student's own step costs. Storing end points would save it
from the second pass over the recordings on, but the light, the words and the measurement errors would have
to stay as they were then; a student is done after one or two passes. So they are made as they are needed.
The eyes are frozen and the same in both: they look once.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from edge_wam.errors import EdgeWamError
from edge_wam.train import flow
from edge_wam.train.dataset import Batch
from edge_wam.train.model import CONFIGS, Seen, WorldActionModel
from edge_wam.train.parallel import Team, add_flags, device_of, join, moved
from edge_wam.train.pictures import imagination_sheet
from edge_wam.train.teacher import COUPLINGS, VIDEO_EVERY, VIDEO_WEIGHT, Trainer, progress_loss

TEACHER_STEPS = 10
NOISES = 2  # end points a context
FLOW_WEIGHT = 0.5
BETA = 0.1  # standard deviations; beyond, the loss of an end point grows linearly
LOOKED_AT = 256  # held-out recordings


@torch.no_grad()
def end_points(
    teacher: WorldActionModel, context: dict[str, Tensor], noise: Tensor, rows: Tensor, keep: Tensor
) -> Tensor:
    """Where the teacher's steps lead from noise (B N, K, J): (B N, K, J).

    rows (B N, K, J) are given as decided where keep (B N, K) is 1, and come back unchanged.
    """
    committed = torch.where(keep[..., None] > 0, rows, torch.nan)
    return flow.sample_actions(teacher, context, noise, TEACHER_STEPS, committed)[0]


def end_point_losses(
    student: WorldActionModel, context: dict[str, Tensor], noise: Tensor, ends: Tensor, keep: Tensor
) -> dict[str, Tensor]:
    """`end`: one step from noise (B N, K, J) against ends; `second`: a second step, for one noise of each
    context, from halfway to where the first one led. Decided rows (keep (B N, K) is 1) are not counted."""
    count = len(noise)
    start = torch.where(keep[..., None] > 0, ends, noise)
    velocity, _ = student.act(context["kv"], context["hint"], start, keep, noise.new_ones(count))
    first = noise - velocity
    some = slice(None, None, count // context["kv"].shape[2])
    free = 1 - keep[some, :, None]
    halfway = start[some] - velocity[some].detach() * free / 2
    again, _ = student.act(
        context["kv"], context["hint"], halfway, keep[some], noise.new_full((len(halfway),), 0.5)
    )
    return {
        "end": distance(first, ends, keep),
        "second": distance(halfway - again / 2, ends[some], keep[some]),
    }


def distance(ours: Tensor, theirs: Tensor, keep: Tensor) -> Tensor:
    """Smooth L1 of the undecided rows, in standard deviations."""
    free = (1 - keep)[..., None]
    error = F.smooth_l1_loss(ours.float(), theirs.float(), beta=BETA, reduction="none") * free
    return error.sum() / (free.sum() * ours.shape[-1]).clamp(min=1)


def student_step(
    student: WorldActionModel,
    teacher: WorldActionModel,
    batch: Batch,
    video: bool,
    generator: torch.Generator,
    committed_max: int = flow.COMMITTED_MAX,
) -> dict[str, Tensor]:
    """One step of everything, as in joint training, and the end points."""
    context = student.context(batch.images, batch.tokens, batch.state)
    with torch.no_grad():
        theirs = teacher.context(batch.images, batch.tokens, batch.state)
    rows = batch.rows.repeat_interleave(NOISES, 0)
    noise = torch.randn(rows.shape, generator=generator).to(rows.device)
    keep = flow.committed_mask(len(rows), rows.shape[1], generator, committed_max).to(rows.device)
    ends = end_points(teacher, theirs, noise, rows, keep)
    losses = end_point_losses(student, context, noise, ends, keep)
    losses["progress"] = progress_loss(context["progress"].float(), batch.progress)
    losses["action"], act_kv = flow.action_loss(
        student, context, batch.rows, 1, generator, video, committed_max
    )
    if video:  # on half of the batch, as in joint training
        half, cameras = len(batch.rows) // 2, student.config.cameras
        part = {"kv": context["kv"][:, :, :half]}
        part |= {name: context[name][: half * cameras] for name in ("fine", "coarse")}
        losses["video"] = flow.video_loss(student, part, act_kv[:, :, :half], batch.part(0, half), generator)
    return losses


def share_eyes(student: WorldActionModel, teacher: WorldActionModel) -> None:
    """From now on the teacher sees what the student saw last. EdgeWamError if they do not see alike."""
    ours, theirs = student.state_dict(), teacher.state_dict()
    for name, value in ours.items():
        if name.startswith(("reader.", "stem.", "look.")) and not torch.equal(value, theirs[name]):
            raise EdgeWamError(
                f"student and teacher differ in their eyes ({name}); try: --out an empty folder"
            )
    look, last = student.see, [Seen(*[torch.empty(0)] * 4)]

    def see(images: Tensor, cube: Tensor, place: Tensor) -> Seen:
        last[0] = look(images, cube, place)
        return last[0]

    student.see = see  # type: ignore[method-assign]
    teacher.see = lambda images, cube, place: last[0]  # type: ignore[method-assign]


@torch.no_grad()
def compare(teacher: WorldActionModel, student: WorldActionModel, batch: Batch) -> dict[str, float]:
    """Mean distance of the rows (standard deviations) to the teacher's end point and to the demonstration,
    for both models in few steps; nothing is decided, and all start from the same noise."""
    noise = torch.randn(batch.rows.shape, generator=torch.Generator().manual_seed(0)).to(device_of(student))
    inputs = (batch.images, batch.tokens, batch.state)
    contexts = {
        "teacher": (teacher, teacher.context(*inputs)),
        "student": (student, student.context(*inputs)),
    }
    ends, _ = flow.sample_actions(*contexts["teacher"], noise, TEACHER_STEPS)
    found = {f"teacher{TEACHER_STEPS}_to_demonstration": float((ends - batch.rows).abs().mean())}
    for name, steps in (("teacher", 1), ("teacher", 2), ("student", 1), ("student", 2)):
        rows, _ = flow.sample_actions(*contexts[name], noise, steps)
        found[f"{name}{steps}_to_end"] = float((rows - ends).abs().mean())
        found[f"{name}{steps}_to_demonstration"] = float((rows - batch.rows).abs().mean())
    return found


@torch.no_grad()
def imagined(model: WorldActionModel, batch: Batch, sheet: Path | None = None) -> list[float]:
    """How many times less the squared error of imagined frames is than of 'nothing changes', for each
    future: one step of actions, one of frames."""
    generator = torch.Generator().manual_seed(1)
    context = model.context(batch.images, batch.tokens, batch.state)
    noise = torch.randn(batch.rows.shape, generator=generator).to(device_of(model))
    _, act_kv = flow.sample_actions(model, context, noise, 1)
    start = torch.randn(batch.future.shape, generator=generator).to(device_of(model))
    frames = flow.sample_video(model, context, act_kv, batch.images, start, 1)
    if sheet is not None:
        cpu = torch.device("cpu")
        imagination_sheet(sheet, moved(batch, cpu), moved(frames, cpu))
    error, still = flow.imagination_error(frames, batch)
    ratios: list[float] = (still / error.clamp(min=1e-9)).tolist()
    return ratios


class Student(Trainer):
    """The joint trainer with the student's losses. It writes into <out>/joint, like the teacher's."""

    def __init__(self, arguments: argparse.Namespace, team: Team | None = None) -> None:
        scales = arguments.out / "normalisation.json"
        if not scales.exists() and (team is None or team.first):
            arguments.out.mkdir(parents=True, exist_ok=True)
            scales.write_text(arguments.normalisation.read_text())
        arguments.start = arguments.teacher
        arguments.coupling = COUPLINGS[0]  # actions that see video have no steps of their own to distil
        super().__init__("joint", arguments, team)
        teacher: Any = WorldActionModel(self.config)
        teacher.load_state_dict(load_file(arguments.teacher))
        teacher = teacher.eval().requires_grad_(False)
        self.teacher: WorldActionModel = teacher.to(self.team.device, memory_format=torch.channels_last)
        self.judge: WorldActionModel = copy.deepcopy(self.teacher)  # with eyes of its own
        self.weight["action"] = FLOW_WEIGHT
        share_eyes(self.model, self.teacher)

    def _losses(self, rng: np.random.Generator) -> dict[str, Tensor]:
        video = self.weight["video"] > 0 and self.step % VIDEO_EVERY == 0
        batch = self.data.batch(self.data.draw(self.batch_size, rng), self.features, rng, video)
        batch = moved(batch, self.team.device)
        return student_step(self.model, self.teacher, batch, video, self.generator, self.committed_max)

    def look(self) -> dict[str, float]:
        """Held-out figures of the averaged student beside the teacher's, and pictures."""
        rng = np.random.default_rng(0)
        index = self.data.draw(LOOKED_AT, rng, self.data.held_out)
        batch = moved(self.data.batch(index, self.features, rng, video=True), self.team.device)
        found = compare(self.judge, self.average.model, batch)
        ours = imagined(self.average.model, batch, self.out / "imagined.png")
        for name, ratios in (("teacher", imagined(self.judge, batch)), ("student", ours)):
            found |= {f"{name}_imagined_half": ratios[0], f"{name}_imagined_end": ratios[1]}
        return {name: round(value, 5) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("runs/data"))
    parser.add_argument("--teacher", type=Path, default=Path("runs/teacher/joint/average.safetensors"))
    parser.add_argument("--normalisation", type=Path, default=Path("runs/teacher/normalisation.json"))
    parser.add_argument("--out", type=Path, default=Path("runs/student"))
    parser.add_argument("--config", choices=CONFIGS, default="nano")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--until", type=int, default=None, help="stop after this step, as if interrupted")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-4, help="a quarter of the teacher's")
    parser.add_argument("--video-weight", type=float, default=VIDEO_WEIGHT, help="0: no imagination")
    parser.add_argument(
        "--committed-max", type=int, default=flow.COMMITTED_MAX, help="longest decided beginning; 0: none"
    )
    parser.add_argument("--seed", type=int, default=0)
    add_flags(parser)
    arguments = parser.parse_args()
    with join(arguments.device, arguments.accumulate) as team:
        torch.set_num_threads(arguments.threads or team.threads)
        Student(arguments, team).run(arguments.until)


if __name__ == "__main__":
    main()
