"""Demonstrations and single scenes, made by the simulator and the scripted expert, in resumable shards.

    python -m edge_wam.train.data scenes   --count 40000 --out runs/data
    python -m edge_wam.train.data episodes --count 3000  --out runs/data

Two kinds, for two lessons (LOG.md):

* **scenes** teach seeing: random cubes, a random arm pose, and for every cube on the table the
  joints that would grasp it.
* **episodes** teach acting and imagining: the expert picks up the named cube, pushed off its way
  now and then (small noise on the commands but never on the labels; whole shoves, after which it
  plans anew from wherever the arm is). Shoves are not labelled.

A shard is one .npz of plain arrays, named by its first seed, written beside and renamed; a run that
was stopped goes on where it was. Scenes of seeds below 1,000,000 are never made: evaluation has them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.sim.expert import OPEN_RAD, Expert, Plan
from edge_wam.sim.scene import COLOURS, CROP_PX
from edge_wam.sim.tasks import FIRST_TRAINING_SEED as FIRST_SEED
from edge_wam.sim.world import PARK_RAD, READY_RAD, World
from edge_wam.think.features import shrink
from edge_wam.types import FloatArray, ImageArray

CAMERAS = ("front", "wrist")
BOX_PX = 2
CONTROL_S = 1 / 50
CHUNK_DT_S, CHUNK_ROWS = 1 / 30, 16
RECORD_S = 4 / 30  # two recordings ahead is row 8, four is row 16
FUTURE_RECORDS = (2, 4)
COLOUR_NAMES = tuple(COLOURS)
GRIPPER_TORQUE_LIMIT = 0.5
SERVO_SPEED_RAD_S, SERVO_ACCEL_RAD_S2 = 3.6, 38.9  # what arm.py writes into the servos


def look(world: World) -> ImageArray:
    """Both cameras as the model sees them: (2, 96, 96, 3) uint8."""
    return np.stack(
        [shrink(world.render(f"{name}_crop", CROP_PX, CROP_PX), CROP_PX, BOX_PX) for name in CAMERAS]
    )


def prepare(world: World) -> None:
    """The drives as the runtime sets them."""
    world.speed_limit_rad_s[:] = SERVO_SPEED_RAD_S
    world.accel_limit_rad_s2[:] = SERVO_ACCEL_RAD_S2
    world.torque_limit[:] = 1.0
    world.torque_limit[-1] = GRIPPER_TORQUE_LIMIT


# --- single scenes --------------------------------------------------------------------------


class SceneShard(NamedTuple):
    """frames (n, 2, 96, 96, 3) uint8, position_rad (n, J), colours (n, 3) indices, key_rad (n, 3, 5)."""

    frames: NDArray[Any]
    position_rad: NDArray[Any]
    colours: NDArray[Any]
    key_rad: NDArray[Any]


def make_scenes(seed: int, count: int) -> SceneShard:
    """count scenes: cubes, an arm pose that a task could pass through, three grasps each."""
    world = World()
    expert, rng = Expert(world), np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    while len(rows) < count:
        world.reset(scene_seed(rng))
        keys, start = [], np.array([0.0, -0.3, 0.6, 1.2, 0.0])
        for colour in world.scene.colours:
            key, error_m = expert.key_pose(colour, start)
            if error_m < 0.003:
                keys.append(key)
        if len(keys) < 3:
            continue
        pose = _random_pose(world, expert, rng, keys)
        world.place_arm(pose)
        colours = [COLOUR_NAMES.index(c) for c in world.scene.colours]
        rows.append((look(world), pose.astype(np.float32), colours, np.array(keys, np.float32)))
    world.close()
    frames, position, colours_of, key_rad = zip(*rows, strict=True)
    return SceneShard(np.stack(frames), np.stack(position), np.array(colours_of, np.int64), np.stack(key_rad))


def scene_seed(rng: np.random.Generator) -> int:
    """A seed for a scene, none of those kept for evaluation."""
    seed = int(rng.integers(2**31))
    return seed if seed >= FIRST_SEED else seed + FIRST_SEED


def _random_pose(
    world: World, expert: Expert, rng: np.random.Generator, keys: list[FloatArray]
) -> FloatArray:
    """Near ready, on the way to a cube, or close above one; the gripper anywhere."""
    kind, key = rng.random(), keys[rng.integers(len(keys))]
    gripper = rng.uniform(0.1, 0.8) if rng.random() < 0.3 else OPEN_RAD + rng.normal() * 0.05
    if kind < 0.3:
        body = READY_RAD[:5] + rng.normal(size=5) * (0.15, 0.12, 0.12, 0.10, 0.10)
    else:
        x, y, z = (rng.uniform(0.14, 0.31), rng.uniform(-0.18, 0.18), rng.uniform(0.03, 0.13))
        body, _ = expert.inverse(
            np.array([x, y, z]), float(np.arctan2(y, x) + rng.uniform(-0.7, 0.7)), key, 25
        )
        mix = 1.0 if kind < 0.5 else rng.random()
        toward = key + np.array([0, -0.25, -0.05, 0.25, 0]) * rng.random()  # about straight above it
        body = mix * body + (1 - mix) * toward
    limit = np.append(body, gripper)
    return np.clip(limit, world.joint_low_rad + 0.01, world.joint_high_rad - 0.01)


# --- episodes -------------------------------------------------------------------------------


class Episode(NamedTuple):
    """One demonstration, n recordings RECORD_S apart.

    frames (n, 2, 96, 96, 3) uint8; position_rad, sent_rad (n, J); target_rad (n, K, J) the expert's
    rows from each recording on; key_rad (5,); colour an index of COLOUR_NAMES; labelled (n,) is False
    while the arm was being shoved; undisturbed (n,) says that the next RECORD_S went by the expert's plan.
    """

    frames: NDArray[Any]
    position_rad: NDArray[Any]
    sent_rad: NDArray[Any]
    target_rad: NDArray[Any]
    key_rad: NDArray[Any]
    colour: int
    labelled: NDArray[Any]
    undisturbed: NDArray[Any]


class _Shove(NamedTuple):
    start_s: float
    length_s: float
    offset_rad: FloatArray


Driver = Callable[[World, str], "FloatArray | None"]


def make_episode(world: World, expert: Expert, seed: int, takeover: Driver | None = None) -> Episode | None:
    """One try; None if the cube was not lifted or could not be reached.

    With `takeover`, a policy drives first (called every control tick; it returns the targets (J,),
    or None once the expert is to take over), and only the expert's part is kept.
    """
    rng = np.random.default_rng(seed)
    world.reset(seed, _start_pose(rng))
    prepare(world)
    colour = world.scene.colours[int(rng.integers(3))]
    world.step(6)
    if takeover is not None and not _drive(world, colour, takeover):
        return None
    return _demonstrate(world, expert, rng, colour)


def _start_pose(rng: np.random.Generator) -> FloatArray:
    """About the ready pose, the park pose, or somewhere between them and beyond."""
    kind = rng.random()
    if kind < 0.4:
        return READY_RAD + rng.normal(size=6) * (0.10, 0.08, 0.08, 0.08, 0.08, 0.04)
    if kind < 0.75:
        return PARK_RAD + rng.normal(size=6) * (0.02, 0.01, 0.02, 0.02, 0.02, 0.02)
    mix = rng.uniform(0, 1.2)
    return (1 - mix) * PARK_RAD + mix * READY_RAD + rng.normal(size=6) * (0.35, 0.08, 0.10, 0.12, 0.25, 0.05)


def _drive(world: World, colour: str, policy: Driver) -> bool:
    """Let the policy drive until it gives up the wheel; False where nothing is left to show."""
    while (target := policy(world, colour)) is not None:
        world.goal_rad[:] = target
        world.step(6)
        if world.lifted() is not None:
            return False
    return True


def _demonstrate(world: World, expert: Expert, rng: np.random.Generator, colour: str) -> Episode | None:
    plan = expert.plan(colour, world.goal_rad, pace=float(rng.uniform(0.9, 1.15)))
    if plan is None:
        return None
    shoves = _plan_shoves(rng, plan)
    noise_rad, noise_size = np.zeros(6), rng.choice([0.0, 0.004, 0.010], p=[0.3, 0.4, 0.3])
    start_s, plan_start_s = world.time_s, world.time_s
    frames, position, sent, targets, labelled = [], [], [], [], []
    calm: list[bool] = []
    next_record, tick, shoved = 0, 0, False
    while True:
        now_s = start_s + tick * CONTROL_S
        t_s = now_s - plan_start_s
        if t_s > plan.knot_s[-1] + 0.1 or tick > 500:
            break
        shove = next((s for s in shoves if s.start_s <= now_s - start_s < s.start_s + s.length_s), None)
        if shoved and shove is None:  # the shove is over: think again, from here
            if (plan := expert.plan(colour, world.goal_rad, pace=float(rng.uniform(0.9, 1.15)))) is None:
                return None
            plan_start_s, t_s = now_s, 0.0
        shoved = shove is not None
        if calm and shoved:
            calm[-1] = False
        if now_s - start_s >= next_record * RECORD_S - 1e-6:
            frames.append(look(world))
            position.append(world.position_rad)
            sent.append(world.goal_rad.copy())
            targets.append(plan.at(t_s + CHUNK_DT_S * np.arange(CHUNK_ROWS, dtype=np.float64)))
            labelled.append(not shoved)
            calm.append(not shoved)
            next_record += 1
        noise_rad = 0.9 * noise_rad + 0.44 * noise_size * rng.normal(size=6)
        noise_rad[5] = 0.0
        wish = plan.at(t_s) + noise_rad
        if shove is not None:
            u = (now_s - start_s - shove.start_s) / shove.length_s
            wish = wish + shove.offset_rad * u
        world.goal_rad[:] = np.clip(wish, world.joint_low_rad, world.joint_high_rad)
        world.step(6)
        tick += 1
    if world.lifted() != colour:
        return None
    return Episode(
        np.stack(frames),
        np.stack(position).astype(np.float32),
        np.stack(sent).astype(np.float32),
        np.stack(targets).astype(np.float32),
        plan.key_rad.astype(np.float32),
        COLOUR_NAMES.index(colour),
        np.array(labelled),
        np.array(calm),
    )


def _plan_shoves(rng: np.random.Generator, plan: Plan) -> list[_Shove]:
    """None for a third of the episodes, else one or two pushes off the way before the grasp."""
    shoves = []
    for _ in range(int(rng.choice([0, 1, 2], p=[0.35, 0.4, 0.25]))):
        length_s = float(rng.uniform(0.2, 0.5))
        size = np.array([0.16, 0.16, 0.16, 0.16, 0.35, 0.0]) * rng.choice([0.3, 1.0])
        offset = rng.normal(size=6) * size
        if rng.random() < 0.15:
            offset[5] = -0.35  # closed its hand too early
        shoves.append(_Shove(float(rng.uniform(0.1, 2.2)), length_s, offset))
    return sorted(shoves, key=lambda s: s.start_s)


# --- shards ---------------------------------------------------------------------------------


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    beside = path.with_suffix(f".{os.getpid()}.part")
    with beside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    beside.rename(path)


def _scene_job(job: tuple[int, int, str]) -> int:
    seed, count, out = job
    _save(Path(out) / f"scenes-{seed}.npz", make_scenes(seed, count)._asdict())
    return count


def _episode_job(job: tuple[int, int, str]) -> int:
    """Episodes joined end to end; `length` (e,) says where one ends."""
    seed, count, out = job
    world = World()
    expert = Expert(world)
    kept: list[Episode] = []
    while len(kept) < count:
        if (episode := make_episode(world, expert, seed)) is not None:
            kept.append(episode)
        seed += 1
    world.close()
    save_episodes(Path(out) / f"episodes-{job[0]}.npz", kept)
    return count


def save_episodes(path: Path, episodes: list[Episode]) -> None:
    """Write one shard of episodes."""
    joined = {
        name: np.concatenate([getattr(e, name) for e in episodes])
        for name in ("frames", "position_rad", "sent_rad", "target_rad", "labelled", "undisturbed")
    }
    joined["key_rad"] = np.stack([e.key_rad for e in episodes])
    joined["colour"] = np.array([e.colour for e in episodes])
    joined["length"] = np.array([len(e.frames) for e in episodes])
    _save(path, joined)


def generate(kind: str, count: int, out: Path, workers: int, per_shard: int) -> None:
    """Make shards until count items of `kind` exist in `out`; shards that are there are kept."""
    from tqdm import tqdm

    out.mkdir(parents=True, exist_ok=True)
    base = FIRST_SEED * (1 if kind == "episodes" else 5)
    shards = -(-count // per_shard)
    jobs = [(base + index * 2 * per_shard, per_shard, str(out)) for index in range(shards)]
    todo = [job for job in jobs if not (out / f"{kind}-{job[0]}.npz").exists()]
    work = _scene_job if kind == "scenes" else _episode_job
    with (
        multiprocessing.get_context("spawn").Pool(workers) as pool,
        tqdm(
            total=shards * per_shard, initial=(shards - len(todo)) * per_shard, unit=kind[:-1], desc=kind
        ) as bar,
    ):
        for made in pool.imap_unordered(work, todo):
            bar.update(made)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("scenes", "episodes"))
    parser.add_argument("--count", type=int, required=True, help="how many in all")
    parser.add_argument("--out", type=Path, default=Path("runs/data"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--per-shard", type=int, default=100)
    arguments = parser.parse_args()
    generate(arguments.kind, arguments.count, arguments.out, arguments.workers, arguments.per_shard)


if __name__ == "__main__":
    main()
