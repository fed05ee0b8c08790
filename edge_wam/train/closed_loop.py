"""Judge models in closed loop straight from their weights, in eager torch: nothing is exported.

For comparisons of teachers, many of which will never be exported. The robot, its loop, bus and guard are
those of `edge-wam evaluate` (sim/fast.py), and so are the trials; the engine is torch in fp32, one thread a
process. Every result is a line in results.jsonl as it comes: what was stopped goes on.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from edge_wam.manifest import Manifest
from edge_wam.sim import score
from edge_wam.sim.fast import FastRobot
from edge_wam.sim.score import Result
from edge_wam.sim.tasks import Trial, command
from edge_wam.think.engine import Engine
from edge_wam.think.features import FUTURES, IMAGINED_PX, Float32
from edge_wam.think.policy import WamPolicy
from edge_wam.train import flow
from edge_wam.train.data import CHUNK_DT_S
from edge_wam.train.export import make_manifest
from edge_wam.train.model import CONFIGS, WorldActionModel
from edge_wam.train.teacher import load_normalisation
from edge_wam.types import ImageArray


class Candidate(NamedTuple):
    """A model under test: its name, its files, how it was trained."""

    name: str
    weights: Path
    normalisation: Path
    config: str
    committed_max: int
    coupling: str


class Question(NamedTuple):
    """One episode to be run: by whom, how many rows late its chunks come, and which."""

    candidate: Candidate
    delay_rows: int
    trial: Trial

    @property
    def key(self) -> str:
        """What a kept result must agree in."""
        return key_of(self.candidate.name, self.delay_rows)


def key_of(name: str, delay_rows: int) -> str:
    """Candidate and delay, as in Result.key."""
    return f"{name} late={delay_rows}"


class Seen(NamedTuple):
    """What one observation means to the model (think/engine.Context, in torch)."""

    context: dict[str, Tensor]
    images: Tensor
    progress: Float32 | None = None  # not asked of models under comparison


class Acted(NamedTuple):
    """Rows (K, J) in standard deviations (think/engine.Actions)."""

    rows: Float32


class Eager:
    """A model in eager torch, as think/policy.WamPolicy uses an engine."""

    def __init__(self, model: WorldActionModel, coupling: str = "action_centric") -> None:
        self.model, self.coupling = model.eval().requires_grad_(False), coupling
        config = model.config
        shape = (1, config.cameras, FUTURES, 3, IMAGINED_PX, IMAGINED_PX)
        # Drawn once, as the rows' noise is: the same observation always gives the same chunk.
        self.video_noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def context(self, images: ImageArray, tokens: NDArray[np.int64], state: Float32) -> Seen:
        """images (C, S, S, 3) uint8, tokens (W,), state (2 J,)."""
        batch = torch.from_numpy(np.ascontiguousarray(images[None]))
        given = (batch, torch.from_numpy(tokens[None]), torch.from_numpy(state[None]))
        return Seen(self.model.context(*given), batch)

    def act(self, seen: Seen, noise: Float32, steps: int, committed: Float32 | None = None) -> Acted:
        """Rows from noise (K, J); committed (K, J) holds decided ones, NaN where undecided."""
        start = torch.from_numpy(noise[None])
        decided = None if committed is None else torch.from_numpy(committed[None].astype(np.float32))
        if self.coupling == "joint":  # the future has to be denoised beside the actions, which look at it
            rows, _ = flow.sample_together(
                self.model, seen.context, seen.images, start, self.video_noise, steps, decided
            )
        else:
            rows, _ = flow.sample_actions(self.model, seen.context, start, steps, decided)
        return Acted(rows[0].numpy())


def load(candidate: Candidate) -> tuple[Manifest, WamPolicy]:
    """The suite's contract for a model that stays in torch, and the model as a policy."""
    model = WorldActionModel(CONFIGS[candidate.config])
    model.load_state_dict(load_file(candidate.weights))
    manifest = make_manifest(None, load_normalisation(candidate.normalisation), {})
    manifest = replace(manifest, committed_rows_max=candidate.committed_max)
    return manifest, WamPolicy(manifest, cast(Engine, Eager(model, candidate.coupling)))


# --- in a worker process --------------------------------------------------------------------


class _Bench:
    """Models and robots of one process; each is made when it is first asked for."""

    def __init__(self, calibration: Path) -> None:
        self._calibration = calibration
        self._policies: dict[Candidate, tuple[Manifest, WamPolicy]] = {}
        self._robots: dict[int, FastRobot] = {}

    def answer(self, asked: Question) -> Result:
        candidate, late, trial = asked
        if candidate not in self._policies:
            self._policies[candidate] = load(candidate)
        manifest, policy = self._policies[candidate]
        if late not in self._robots:
            self._robots[late] = FastRobot(self._calibration, manifest, policy, late * CHUNK_DT_S)
        self._robots[late].change(manifest, policy)
        outcome = self._robots[late].episode(trial)
        verdict, near_m = outcome.verdict, outcome.closest_m
        return Result(
            asked.key,
            *trial,
            command(trial.command_id).verb,
            verdict.success,
            verdict.wrong_object,
            round(outcome.seconds, 3),
            None if np.isnan(near_m) else round(near_m, 5),
            tuple(round(ms, 2) for ms in outcome.infer_ms),
        )


_bench: _Bench | None = None


def _begin(calibration: Path) -> None:
    global _bench
    os.environ.setdefault("MUJOCO_GL", "egl")
    torch.set_num_threads(1)
    _bench = _Bench(calibration)


def _answer(asked: Question) -> Result:
    assert _bench is not None
    return _bench.answer(asked)


# --- the run --------------------------------------------------------------------------------


def kept(out: Path) -> dict[tuple[str, int], Result]:
    """Results there are, by key and seed; a line that was cut short is as if not there."""
    path = out / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [result for text in lines if (result := score.parse(text)) is not None]
    return {(result.key, result.seed): result for result in found}


def judge(out: Path, questions: Sequence[Question], calibration: Path, workers: int) -> None:
    """Run the episodes whose results are not in `out` yet, and keep each as it comes."""
    from tqdm import tqdm

    done = kept(out)
    left = [asked for asked in questions if (asked.key, asked.trial.seed) not in done]
    if not left:
        return
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(min(workers, len(left)), spawn, _begin, (calibration,)) as pool,
        (out / "results.jsonl").open("a") as file,
    ):
        if file.tell():
            file.write("\n")  # ends a line that an interruption cut short
        futures = [pool.submit(_answer, asked) for asked in left]
        for future in tqdm(as_completed(futures), total=len(left), unit="episode", desc="closed loop"):
            file.write(score.line(future.result()) + "\n")
            file.flush()
