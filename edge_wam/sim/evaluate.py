"""`edge-wam evaluate`: many episodes faster than real time, on all cores; a table, and a line of JSON."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError
from edge_wam.sim.fast import DELAY_S, FastRobot, Outcome
from edge_wam.sim.tasks import FIRST_TRAINING_SEED
from edge_wam.think.engine import Engine
from edge_wam.think.policy import WamPolicy

EPISODE_SEEDS = 10_000  # seed s evaluates scenes s * 10,000 ...: all below the first training seed


class Job(NamedTuple):
    """What a worker process needs. steps 0: the manifest's."""

    calibration: str
    model: str
    steps: int
    delay_s: float


class Result(NamedTuple):
    """What is kept of an episode."""

    seed: int
    command_id: str
    success: bool
    wrong_object: bool
    seconds: float
    closest_m: float
    infer_ms: tuple[float, ...]


_robot: FastRobot | None = None


def _begin(job: Job) -> None:
    global _robot
    os.environ.setdefault("MUJOCO_GL", "egl")
    folder = Path(job.model)
    manifest = manifests.load(folder)
    policy = WamPolicy(manifest, Engine(folder, manifest, threads=1), job.steps)
    _robot = FastRobot(Path(job.calibration), manifest, policy, job.delay_s)


def _one(seed: int) -> Result:
    assert _robot is not None
    return _kept(_robot.episode(seed))


def _kept(outcome: Outcome) -> Result:
    return Result(
        outcome.seed,
        outcome.command_id,
        outcome.verdict.success,
        outcome.verdict.wrong_object,
        outcome.seconds,
        outcome.closest_m,
        outcome.infer_ms,
    )


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a success rate (Wilson's score interval)."""
    if not trials:
        return 0.0, 1.0
    z, rate = 1.96, successes / trials
    centre = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def scene_seeds(seed: int, episodes: int) -> list[int]:
    """The scenes of an evaluation. EdgeWamError where they would be those of another one, or trained on."""
    highest = FIRST_TRAINING_SEED // EPISODE_SEEDS - 1
    if not (0 <= seed <= highest and 1 <= episodes <= EPISODE_SEEDS):
        raise EdgeWamError(
            f"an evaluation has a seed of 0 to {highest} and 1 to {EPISODE_SEEDS} episodes, "
            f"found seed {seed} and {episodes} episodes; beyond lie scenes that models are trained on"
        )
    return [seed * EPISODE_SEEDS + index for index in range(episodes)]


def evaluate(job: Job, episodes: int, seed: int, workers: int, progress: bool = True) -> list[Result]:
    """Run `episodes` scenes; the same seed gives the same scenes whatever the number of workers."""
    from tqdm import tqdm

    seeds = scene_seeds(seed, episodes)
    bar = tqdm(total=episodes, unit="episode", disable=not progress, file=sys.stderr)
    results, lifted = [], 0
    with multiprocessing.get_context("spawn").Pool(workers, _begin, (job,)) as pool, bar:
        for result in pool.imap_unordered(_one, seeds):
            results.append(result)
            lifted += result.success
            bar.set_postfix_str(f"lifted {lifted}/{len(results)}")
            bar.update()
    return sorted(results, key=lambda result: result.seed)


def summary(job: Job, results: list[Result], seed: int) -> dict[str, Any]:
    """The figures of an evaluation, flat, for the JSON line."""
    done = [result for result in results if result.success]
    infer = [ms for result in results for ms in result.infer_ms]
    low, high = wilson(len(done), len(results))
    return {
        "success": round(len(done) / len(results), 4),
        "success_low": round(low, 4),
        "success_high": round(high, 4),
        "episodes": len(results),
        "seed": seed,
        "wrong_object": sum(result.wrong_object for result in results),
        "seconds_p50": round(float(np.median([r.seconds for r in done])), 2) if done else None,
        "closest_mm_p50": round(1e3 * float(np.median([r.closest_m for r in results])), 1),
        "infer_ms_p50": round(float(np.median(infer)), 2) if infer else None,
        "infer_ms_p99": round(float(np.percentile(infer, 99)), 2) if infer else None,
        "steps": job.steps or manifests.load(Path(job.model)).steps,
        "delay_ms": round(job.delay_s * 1e3),
        "model": manifests.load(Path(job.model)).name,
    }


def table(results: list[Result], figures: dict[str, Any]) -> str:
    """Success by command, for people."""
    lines = [f"{'command':<14}{'lifted':>10}{'95 % interval':>18}"]
    tried = Counter(result.command_id for result in results)
    won = Counter(result.command_id for result in results if result.success)
    for command in sorted(tried):
        low, high = wilson(won[command], tried[command])
        lines.append(f"{command:<14}{won[command]:>4} of {tried[command]:<3}{low:>10.0%} to {high:.0%}")
    low, high = wilson(sum(won.values()), len(results))
    lines.append(f"{'all':<14}{sum(won.values()):>4} of {len(results):<3}{low:>10.0%} to {high:.0%}")
    missed = [result.seed for result in results if not result.success]
    lines.append(f"wrong cube lifted: {figures['wrong_object']}; missed scenes: {missed or 'none'}")
    return "\n".join(lines)


def main(
    calibration: Path, model: Path, episodes: int, seed: int, steps: int, workers: int, only_json: bool
) -> int:
    """The command. Returns the exit code."""
    job = Job(str(calibration), str(model), steps, DELAY_S)
    results = evaluate(job, episodes, seed, workers or os.cpu_count() or 1, progress=not only_json)
    figures = summary(job, results, seed)
    if not only_json:
        print(table(results, figures))
    print(json.dumps(figures))
    return 0
