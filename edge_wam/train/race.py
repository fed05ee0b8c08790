"""How much faster is what runs on the robot than what it was distilled from?

    python -m edge_wam.train.race --teacher-weights runs/teacher/joint/average.safetensors \
        --student models/so101-tabletop-int8 --policy student-fp32@1=models/so101-tabletop@1

The slow end is the teacher as World Action Models are usually run: eager fp32, actions and future frames
denoised together in 16 steps, the frames decoded to pixels. The fast end is the student in its CPU engine:
one step, no frames, since nothing waits for them. Both get the same uint8 camera frames, words and joints,
and give targets in radians; both do their own cropping and scaling. More contestants with --policy.

One process, one set of cores, the same number of threads for all, and turns taken in one run, so that a
busy moment hits everybody. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError
from edge_wam.manifest import Manifest
from edge_wam.sim.entrants import entrant
from edge_wam.think.engine import Engine
from edge_wam.think.features import FUTURES, IMAGINED_PX, UNIT_GREY, UNIT_LEVELS
from edge_wam.think.policy import WamPolicy, features_of
from edge_wam.think.rehearsal import observations
from edge_wam.train.model import CONFIGS, WorldActionModel, small
from edge_wam.types import FloatArray, ImageArray, Observation

TEACHER_STEPS = 16
TURNS_OF_THE_QUICK = 5  # for each turn of the teacher
NOTHING = np.zeros((0, 0))

Contestant = Callable[[Observation], FloatArray]


class Eager:
    """The many-step teacher in eager fp32: rows and frames denoised together, the frames decoded."""

    def __init__(self, manifest: Manifest, model: WorldActionModel, steps: int = TEACHER_STEPS) -> None:
        self.model, self.steps, self.features = model.eval(), steps, features_of(manifest)
        generator = torch.Generator().manual_seed(0)
        config = model.config
        shape = (1, config.cameras, FUTURES, 3, IMAGINED_PX, IMAGINED_PX)
        self.noise = torch.randn(1, config.rows, config.joints, generator=generator)
        self.dreamt = torch.randn(shape, generator=generator)
        self.frames: ImageArray = np.zeros((0,), np.uint8)

    @torch.no_grad()
    def __call__(self, observation: Observation) -> FloatArray:
        """Targets (K, J) in radians; `frames` (C, F, 48, 48, 3) uint8 is what was imagined with them."""
        features, position = self.features, observation.position_rad
        images = torch.from_numpy(features.images([frame.image for frame in observation.frames]))[None]
        tokens = torch.from_numpy(features.tokens(observation.command))[None]
        state = torch.from_numpy(features.state(position, observation.sent_rad))[None]
        model, steps = self.model, self.steps
        context = model.context(images, tokens, state)
        kv, fine, coarse = context["kv"], context["fine"], context["coarse"]
        free, present = torch.zeros(1, model.config.rows), small(images)[:, :, None]
        rows, change = self.noise, self.dreamt
        for step in range(steps):
            level = torch.full((1,), 1 - step / steps)
            velocity, act_kv = model.act(kv, context["hint"], rows, free, level)
            clean = model.dream(kv, act_kv, fine, coarse, images, change, level) - present
            rows = rows - velocity / steps
            change = change + (clean - change) / (steps - step)
        levels = ((present + change)[0] * UNIT_LEVELS + UNIT_GREY).clamp(0, 255)
        self.frames = levels.byte().movedim(-3, -1).contiguous().numpy()
        return features.targets(rows[0].numpy(), position)


def engine(folder: Path, steps: int, threads: int) -> Contestant:
    """A model in its CPU engine, exactly as the robot runs it."""
    manifest = manifests.load(folder)
    policy = WamPolicy(manifest, Engine(folder, manifest, threads), steps)
    return lambda observation: policy.infer(observation, NOTHING)


def race(
    slow: Contestant, quick: Mapping[str, Contestant], shown: tuple[Observation, ...], rounds: int
) -> dict[str, NDArray[np.float64]]:
    """Seconds a call: 'teacher' (rounds,), every quick one (rounds, TURNS_OF_THE_QUICK), turn by turn."""
    every = {"teacher": slow, **quick}
    for name, contestant in every.items():  # the first calls allocate
        for observation in shown[:1] if name == "teacher" else shown:
            contestant(observation)
    taken: dict[str, list[list[float]]] = {name: [] for name in every}
    for turn in range(rounds):
        for name, contestant in every.items():
            times = []
            for again in range(1 if name == "teacher" else TURNS_OF_THE_QUICK):
                observation = shown[(turn + again) % len(shown)]
                began_s = time.perf_counter()
                contestant(observation)
                times.append(time.perf_counter() - began_s)
            taken[name].append(times)
    return {name: np.array(times).squeeze() for name, times in taken.items()}


def report(taken: Mapping[str, NDArray[np.float64]]) -> tuple[str, dict[str, float]]:
    """A table in Markdown, and its figures: median and p99 in ms, and how many times faster than the
    teacher (medians; with the 5th and 95th percentile over the rounds)."""
    slow = taken["teacher"]
    lines = ["| | median ms | p99 ms | times faster | (5 % .. 95 % of rounds) |", "|---|---|---|---|---|"]
    figures: dict[str, float] = {}
    for name, seconds in taken.items():
        median, p99 = 1e3 * np.median(seconds), 1e3 * np.quantile(seconds, 0.99)
        each = slow / np.median(seconds.reshape(len(slow), -1), axis=1)
        ratio, low, high = np.median(slow) / np.median(seconds), *np.quantile(each, (0.05, 0.95))
        lines.append(f"| {name} | {median:.2f} | {p99:.2f} | {ratio:.1f} | {low:.1f} .. {high:.1f} |")
        figures |= {f"{name} p50_ms": round(median, 3), f"{name} p99_ms": round(p99, 3)}
        if name != "teacher":
            figures[f"{name} ratio"] = round(float(ratio), 2)
    return "\n".join(lines), figures


def pin(threads: int) -> None:
    """This process on the first `threads` cores it may use (where the system can), and torch likewise."""
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads > len(cores):
            raise EdgeWamError(f"--threads {threads}: this process may use {len(cores)} cores; try: fewer")
        os.sched_setaffinity(0, cores[:threads])


def cpu() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    named = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return named[0] if named else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher-weights", type=Path, required=True)
    parser.add_argument("--student", type=Path, default=Path("models/so101-tabletop-int8"))
    parser.add_argument("--policy", action="append", default=[], help="LABEL=FOLDER@STEPS, as in evaluate")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    pin(arguments.threads)
    manifest = manifests.load(arguments.student)
    model = WorldActionModel(CONFIGS[str(manifest.parents["config"])])
    model.load_state_dict(load_file(arguments.teacher_weights))
    quick = {f"student-{manifest.precision}@1": engine(arguments.student, 1, arguments.threads)}
    for one in map(entrant, arguments.policy):
        quick[one.label] = engine(Path(one.folder), one.steps, arguments.threads)
    shown = observations(arguments.student, manifest)
    taken = race(Eager(manifest, model), quick, shown, arguments.rounds)
    table, figures = report(taken)
    print(f"{cpu()}, {arguments.threads} thread(s), {arguments.rounds} rounds\n\n{table}\n")
    load = os.getloadavg()[0]
    print(json.dumps({"cpu": cpu(), "threads": arguments.threads, "load": round(load, 2), **figures}))


if __name__ == "__main__":
    main()
