"""Takeover demonstrations: the policy drives into its own mistakes, the expert takes over.

    python -m edge_wam.train.takeover --model models/so101-tabletop --count 400 --out runs/data

The shipped policy drives for a random time through the same features and engine that the robot runs;
then the expert plans from wherever that has led, and now and then the policy gets the wheel back for a
moment. Only the expert's parts are labelled. Shards are those of train/data.py (seeds of their own), so the
trainer reads both alike.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from pathlib import Path

import numpy as np

from edge_wam import manifest as manifests
from edge_wam.act.plan import Plan
from edge_wam.sim.expert import Expert
from edge_wam.sim.tasks import Command, training_phrases
from edge_wam.sim.world import World
from edge_wam.think.engine import Engine
from edge_wam.think.policy import WamPolicy, committed_rows
from edge_wam.train import shards
from edge_wam.train.data import CAMERAS, Episode, make_episode, save_episodes
from edge_wam.types import ActionChunk, FloatArray, Frame, Observation

FIRST_SEED = 3_000_000
DELAY_S = 0.06
FIRST_TURN_S, TURN_S = (0.6, 5.0), (0.4, 1.6)  # how long the policy drives


class PolicyDriver:
    """A `Driver` for train/data.make_episode: the policy, for a random time; less when it drives again."""

    def __init__(self, policy: WamPolicy, manifest: manifests.Manifest, rng: np.random.Generator) -> None:
        self._policy, self._manifest, self._rng = policy, manifest, rng
        self._limit_s = float(rng.uniform(*FIRST_TURN_S))
        self._chunk: ActionChunk | None = None
        self._coming: ActionChunk | None = None
        self._plan = Plan(np.full(6, -4.0), np.full(6, 4.0))
        self._start_s: float | None = None

    def __call__(self, world: World, wish: Command) -> FloatArray | None:
        """Targets (J,) of this tick; None once the expert is to take over."""
        now_s = world.time_s
        if self._start_s is None:
            self._start_s = now_s
            self._plan.begin(1, now_s)
        if now_s - self._start_s > self._limit_s:
            self._start_s = self._chunk = self._coming = None
            self._limit_s = float(self._rng.uniform(*TURN_S))
            return None
        if self._chunk is None or now_s - self._chunk.t0_s >= self._manifest.replan_s - 1e-6:
            self._chunk = self._coming = self._think(world, wish, now_s)
        if self._coming is not None and now_s >= self._coming.t0_s + DELAY_S:
            self._plan.accept(self._coming, now_s)
            self._coming = None
        target_rad = self._plan.at(now_s).target_rad
        if target_rad is None:
            return world.goal_rad.copy()
        return np.clip(target_rad, world.joint_low_rad, world.joint_high_rad)

    def _think(self, world: World, wish: Command, now_s: float) -> ActionChunk:
        frames = tuple(Frame(name, world.render(name), now_s, 0) for name in CAMERAS)
        committed = committed_rows(
            self._chunk, 1, now_s, self._manifest.dt_s, DELAY_S, self._manifest.committed_rows_max
        )
        phrase = training_phrases(wish)[0]
        seen = Observation(frames, world.position_rad, world.goal_rad.copy(), phrase, now_s)
        return ActionChunk(
            now_s, self._manifest.dt_s, self._policy.infer(seen, committed), 1, now_s + DELAY_S, 0.0
        )


def _job(job: tuple[int, int, str, str]) -> int:
    seed, count, out, model = job
    folder = Path(model)
    manifest = manifests.load(folder)
    policy = WamPolicy(manifest, Engine(folder, manifest))
    world, at = World(), seed
    expert = Expert(world)
    kept: list[Episode] = []
    while len(kept) < count:
        driver = PolicyDriver(policy, manifest, np.random.default_rng(at))
        episode = make_episode(world, expert, at, driver)
        if episode is not None:
            kept.append(episode)
        at += 1
    world.close()
    save_episodes(Path(out), seed, kept)
    return count


def main() -> None:
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("models/so101-tabletop"))
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("runs/data"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--per-shard", type=int, default=20)
    parser.add_argument(
        "--round", type=int, default=0, help="which generation of the policy: seeds of its own"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    base, per = FIRST_SEED + 100_000 * arguments.round, arguments.per_shard
    jobs = [
        (base + i * 4 * per, per, str(arguments.out), str(arguments.model))
        for i in range(-(-arguments.count // per))
    ]
    todo = [job for job in jobs if not shards.exists(arguments.out, "episodes", job[0])]
    with (
        multiprocessing.get_context("spawn").Pool(arguments.workers) as pool,
        tqdm(
            total=len(jobs) * per, initial=(len(jobs) - len(todo)) * per, unit="episode", desc="takeovers"
        ) as bar,
    ):
        for made in pool.imap_unordered(_job, todo):
            bar.update(made)


if __name__ == "__main__":
    main()
