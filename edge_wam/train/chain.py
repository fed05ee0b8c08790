"""`edge-wam bench chain`: from the many-step teacher with its video to what runs on the robot.

The slow end is a World Action Model as they are usually run: eager fp32, actions and future frames denoised
together in 16 steps, the whole network run at every step, the frames decoded. Each further stage changes one
thing and keeps the rest, so every line says what that one thing is worth here:

    context reused      the frames, the words and the joints are read once, not at every step
    compiled            the same in OpenVINO
    16 bits             where the processor has bf16 or fp16
    one step            the student's one step in place of 16
    int8                the student's INT8 graph
    actions alone       no frames: nothing waits for them

All stages get the same uint8 camera frames and give joint targets in radians; all do their own cropping and
scaling. One process, the same number of threads, turns taken in one run. How fast a stage is does not depend
on what its weights have learnt, so one model serves for all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError, EngineError
from edge_wam.manifest import Manifest
from edge_wam.think import store
from edge_wam.think.backend import arithmetics
from edge_wam.think.engine import Engine
from edge_wam.think.features import FUTURES, IMAGINED_PX, UNIT_GREY, UNIT_LEVELS, Float32, pixels
from edge_wam.think.machine import machine
from edge_wam.think.policy import features_of
from edge_wam.think.rehearsal import interleaved, observations, thinker
from edge_wam.train.model import WorldActionModel, small
from edge_wam.train.weights import load as load_model
from edge_wam.types import FloatArray, ImageArray, Observation

STEPS = 16
GOAL = 38.0  # what DreamZero gained by everything it did to the same kind of model (arXiv 2602.15922)


class Stage(NamedTuple):
    """One line of the table. run is None where this machine or this model cannot; why says so."""

    name: str
    run: Callable[[Observation], FloatArray] | None
    why: str = ""


class Noise(NamedTuple):
    """Where denoising starts: rows (1, K, J), and the change of the frames (1, C, F, 3, 48, 48)."""

    rows: Float32
    frames: Float32


def draw(manifest: Manifest) -> Noise:
    """The same noise for every stage."""
    rng = np.random.default_rng(0)
    shape = (1, len(manifest.cameras), FUTURES, 3, IMAGINED_PX, IMAGINED_PX)
    rows = rng.standard_normal((1, manifest.rows, len(manifest.joints)), dtype=np.float32)
    return Noise(rows, rng.standard_normal(shape, dtype=np.float32))


class Eager:
    """The model in eager torch: rows and frames denoised together. reuse: the context is computed once."""

    def __init__(self, manifest: Manifest, model: WorldActionModel, steps: int, reuse: bool) -> None:
        self.model, self.steps, self.reuse = model.eval(), steps, reuse
        self.features, self.noise = features_of(manifest), draw(manifest)
        self.frames: ImageArray = np.zeros((0,), np.uint8)

    @torch.no_grad()
    def __call__(self, observation: Observation) -> FloatArray:
        """Targets (K, J) in radians; `frames` is what was imagined with them."""
        features, position, model = self.features, observation.position_rad, self.model
        images = torch.from_numpy(features.images([frame.image for frame in observation.frames]))[None]
        tokens = torch.from_numpy(features.tokens(observation.command))[None]
        state = torch.from_numpy(features.state(position, observation.sent_rad))[None]
        context = model.context(images, tokens, state)
        free, present = torch.zeros(1, model.config.rows), small(images)[:, :, None]
        rows, change = torch.from_numpy(self.noise.rows), torch.from_numpy(self.noise.frames)
        for step in range(self.steps):
            if step and not self.reuse:
                context = model.context(images, tokens, state)
            kv, level = context["kv"], torch.full((1,), 1 - step / self.steps)
            velocity, act_kv = model.act(kv, context["hint"], rows, free, level)
            clean = model.dream(kv, act_kv, context["fine"], context["coarse"], images, change, level)
            rows = rows - velocity / self.steps
            change = change + (clean - present - change) / (self.steps - step)
        self.frames = pixels((present + change)[0].numpy())
        return features.targets(rows[0].numpy(), position)


class Compiled:
    """The same on an engine's graphs; with a single step, the student with its frames."""

    def __init__(self, engine: Engine, steps: int) -> None:
        manifest = engine.manifest
        self.engine, self.steps = engine, steps
        self.features, self.noise = features_of(manifest), draw(manifest)
        self.frames: ImageArray = np.zeros((0,), np.uint8)

    def __call__(self, observation: Observation) -> FloatArray:
        """As Eager."""
        features, position, run = self.features, observation.position_rad, self.engine.backend.run
        images = features.images([frame.image for frame in observation.frames])
        context = self.engine.context(
            images, features.tokens(observation.command), features.state(position, observation.sent_rad)
        )
        kv, rows, change = context.kv, self.noise.rows, self.noise.frames
        present = _small(context.images)
        free = np.zeros(rows.shape[:2], np.float32)
        for step in range(self.steps):
            level = np.array([1 - step / self.steps], np.float32)
            given = {"kv": kv, "hint": context.hint, "rows": rows, "committed": free, "level": level}
            acted = run("act", given)
            seen = {"kv": kv, "act_kv": acted["act_kv"], "fine": context.fine, "coarse": context.coarse}
            clean = run("dream", seen | {"images": context.images, "noisy": change, "level": level})["frames"]
            rows = rows - acted["velocity"] / np.float32(self.steps)
            change = change + (clean - present - change) / np.float32(self.steps - step)
        self.frames = pixels((present + change)[0])
        return features.targets(rows[0], position)


def _small(images: ImageArray) -> Float32:
    """(1, C, S, S, 3) uint8 -> (1, C, 1, 3, 48, 48) in unit scale: the present, as the model has it."""
    count, edge = images.shape[1], images.shape[2] // IMAGINED_PX
    boxes = images[0].reshape(count, IMAGINED_PX, edge, IMAGINED_PX, edge, 3).mean((2, 4), dtype=np.float32)
    unit: Float32 = (np.moveaxis(boxes, -1, 1) - np.float32(UNIT_GREY)) / np.float32(UNIT_LEVELS)
    return unit[None, :, None]


def stages(folder: Path, threads: int) -> list[Stage]:
    """Every stage of the model in `folder` (float) and of its INT8 variant, if one lies beside it."""
    every = store.variants(folder)
    manifest, base = every[folder.name], folder.resolve().parent
    model = load_model(folder, manifest)
    arithmetic = arithmetics()[-1]
    plain = Engine(folder, manifest, threads)
    best, why = plain, "this processor has none"
    if arithmetic != "fp32":
        try:
            best = Engine(folder, manifest, threads, arithmetic)
        except EngineError as error:
            why = str(error)
    found = [
        Stage(f"eager fp32, {STEPS} steps, frames decoded", Eager(manifest, model, STEPS, reuse=False)),
        Stage("+ context reused", Eager(manifest, model, STEPS, reuse=True)),
        Stage("+ compiled (OpenVINO)", Compiled(plain, STEPS)),
    ]
    if best is plain:
        found.append(Stage("+ 16 bits", None, why))
    else:
        found.append(Stage(f"+ 16 bits ({arithmetic})", Compiled(best, STEPS)))
    found.append(Stage("+ one step", Compiled(best, 1)))
    int8 = next((name for name, one in every.items() if one.precision == "int8"), None)
    if int8 is None:
        found.append(Stage("+ int8", None, f"no INT8 variant of {folder.name} beside it"))
    else:
        try:
            best = Engine(base / int8, every[int8], threads, best.settings.arithmetic)
            found.append(Stage("+ int8", Compiled(best, 1)))
        except EngineError as error:  # without VNNI its sums saturate, and the golden batch shows it
            found.append(Stage("+ int8", None, str(error)))
    found.append(Stage("+ actions alone", thinker(best, 1)))
    return found


def report(every: Sequence[Stage], taken: Mapping[str, NDArray[np.float64]]) -> tuple[str, dict[str, Any]]:
    """A table in Markdown, and its figures. Ratios are those of the medians; beside them the 5th and 95th
    percentile over the rounds, each against its own round's first stage."""
    first = taken[every[0].name]
    before = np.median(first)
    lines = [
        "| stage | median ms | p99 ms | times the stage before | times the first (5 .. 95 % of rounds) |",
        "|---|---|---|---|---|",
    ]
    figures: dict[str, Any] = {}
    for stage in every:
        if stage.run is None:
            lines.append(f"| {stage.name} | - | - | - | {stage.why} |")
            continue
        seconds = taken[stage.name]
        median, p99 = np.median(seconds), np.quantile(seconds, 0.99)
        ratio, (low, high) = np.median(first) / median, np.quantile(first / seconds, (0.05, 0.95))
        lines.append(
            f"| {stage.name} | {1e3 * median:.2f} | {1e3 * p99:.2f} | {before / median:.2f} | "
            f"{ratio:.1f} ({low:.1f} .. {high:.1f}) |"
        )
        figures[stage.name] = {
            "p50_ms": round(1e3 * median, 3),
            "p99_ms": round(1e3 * p99, 3),
            "times": round(float(ratio), 2),
        }
        before = median
    return "\n".join(lines), figures


def pin(threads: int) -> None:
    """This process on the first `threads` cores it may use (where the system can), and torch likewise."""
    torch.set_num_threads(threads)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if threads > len(cores):
            raise EdgeWamError(f"--threads {threads}: this process may use {len(cores)} cores; try: fewer")
        os.sched_setaffinity(0, cores[:threads])


def main(folder: Path, threads: int, rounds: int) -> int:
    """The command. Returns the exit code."""
    from tqdm import tqdm

    pin(threads)
    every = stages(folder, threads)
    shown = observations(folder, manifests.load(folder))
    running = {stage.name: stage.run for stage in every if stage.run is not None}
    with tqdm(total=rounds, unit="round", desc="chain") as bar:
        taken = interleaved(running, shown, rounds, lambda done: bar.update())
    table, figures = report(every, taken)
    load = os.getloadavg()[0]
    times = list(figures.values())[-1]["times"]
    cpu = machine()["processor"]
    print(f"{cpu}, {threads} thread(s), {rounds} rounds, load {load:.1f}\n\n{table}\n")
    print(f"{times:.0f} times from end to end; the whole of DreamZero's chain gained {GOAL:.0f} on its GPUs")
    print(json.dumps({"cpu": cpu, "threads": threads, "load": round(load, 2), "chain": figures}))
    return 0
