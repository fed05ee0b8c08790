"""Demonstrations and single scenes, made by the simulator and the scripted expert, in resumable shards.

    python -m edge_wam.train.data scenes   --count 40000 --out runs/data
    python -m edge_wam.train.data episodes --count 4000  --out runs/data

Two kinds, for two lessons (LOG.md):

* **scenes** teach seeing: a random table, a random arm pose, and for every cube and plate the joints
  that would grasp it or let go over it.
* **episodes** teach acting and imagining: the expert does what a command says, pushed off its way
  now and then (small noise on the commands but never on the labels; whole shoves, after which it
  plans anew from wherever the arm is). Shoves are not labelled.

A run that was stopped goes on with the first shard that is missing. Scenes of seeds below 1,000,000 are
never made, nor is any pair of verb and colour that the suite holds out.
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

from edge_wam.sim import tasks
from edge_wam.sim.expert import CLOSED_RAD, END_S, OPEN_RAD, Expert, Plan
from edge_wam.sim.judge import Judge
from edge_wam.sim.scene import COLOURS, CROP_PX
from edge_wam.sim.tasks import FIRST_TRAINING_SEED as FIRST_SEED
from edge_wam.sim.tasks import Command
from edge_wam.sim.world import PARK_RAD, READY_RAD, World
from edge_wam.think.features import shrink
from edge_wam.train import shards
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
SHARE = {"pick": 0.24, "push": 0.23, "put": 0.31, "point": 0.13, "home": 0.09}  # of the episodes
FAR_S = 6.0  # this long before its end a demonstration counts as not begun
GRASPED_RAD, GRASPED_RAD_M = 0.30, 13.0  # how far a 25 mm cube holds the jaws open, and more for a larger one


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


def make_scenes(seed: int, count: int) -> tuple[ImageArray, shards.Arrays]:
    """count scenes: frames (n, 2, 96, 96, 3) and position_rad (n, J), cube_colour (n, 4) and plate_colour
    (n, 2) as indices (-1: none), cube_key_rad (n, 4, 5) and plate_key_rad (n, 2, 5) (NaN: out of reach)."""
    world = World()
    expert, rng = Expert(world), np.random.default_rng(seed)
    frames, rows = [], []
    for _ in range(count):
        world.reset(scene_seed(rng))
        commands = tasks.training_commands()
        scene = world.set_table(tasks.table_for(commands[int(rng.integers(len(commands)))], rng))
        pose = _random_pose(world, expert, rng)
        world.place_arm(pose)
        if rng.random() < 0.25:
            pose = _put_into_hand(world, rng, pose)
        row = {
            "position_rad": pose.astype(np.float32),
            "cube_colour": np.full(4, -1),
            "cube_key_rad": np.full((4, 5), np.nan, np.float32),
            "plate_colour": np.full(2, -1),
            "plate_key_rad": np.full((2, 5), np.nan, np.float32),
        }
        for index, colour in enumerate(scene.colours):
            row["cube_colour"][index] = COLOUR_NAMES.index(colour)
            row["cube_key_rad"][index] = reached(expert.key_pose(colour, _START_RAD))
        for index, colour in enumerate(scene.plates):
            row["plate_colour"][index] = COLOUR_NAMES.index(colour)
            row["plate_key_rad"][index] = reached(expert.place_pose(colour, _START_RAD))
        frames.append(look(world))
        rows.append(row)
    world.close()
    return np.stack(frames), {name: np.stack([row[name] for row in rows]) for name in rows[0]}


_START_RAD = np.array([0.0, -0.3, 0.6, 1.2, 0.0])


def reached(found: tuple[FloatArray, float]) -> FloatArray:
    """A pose (5,), or NaN where inverse kinematics came no nearer than 3 mm."""
    pose, error_m = found
    return pose if error_m < 0.003 else np.full(5, np.nan)


def scene_seed(rng: np.random.Generator) -> int:
    """A seed for a scene, none of those kept for evaluation."""
    seed = int(rng.integers(2**31))
    return seed if seed >= FIRST_SEED else seed + FIRST_SEED


def _random_pose(world: World, expert: Expert, rng: np.random.Generator) -> FloatArray:
    """Near ready, above a random place of the table, or close above a cube or plate; the gripper anywhere."""
    kind, scene = rng.random(), world.scene
    gripper = rng.uniform(0.05, 0.8) if rng.random() < 0.4 else rng.choice([OPEN_RAD, CLOSED_RAD])
    if kind < 0.25:
        body = READY_RAD[:5] + rng.normal(size=5) * (0.15, 0.12, 0.12, 0.10, 0.10)
    else:
        x, y, z = rng.uniform(0.14, 0.31), rng.uniform(-0.18, 0.18), rng.uniform(0.02, 0.13)
        if kind > 0.55:  # near something, on one side of it or above
            spots = np.concatenate([scene.cubes_xy_yaw[:, :2], scene.plates_xy])
            x, y = spots[rng.integers(len(spots))] + rng.normal(size=2) * rng.choice([0.005, 0.03])
        body, _ = expert.inverse(
            np.array([x, y, z]), float(np.arctan2(y, x) + rng.uniform(-0.7, 0.7)), _START_RAD, 25
        )
    limit = np.append(body, gripper + rng.normal() * 0.03)
    return np.clip(limit, world.joint_low_rad + 0.01, world.joint_high_rad - 0.01)


def _put_into_hand(world: World, rng: np.random.Generator, pose: FloatArray) -> FloatArray:
    """One of the cubes between the jaws, about as a grasp holds it; returns the pose with jaws to match."""
    colour = str(rng.choice(world.scene.colours))
    pose = pose.copy()
    pose[5] = GRASPED_RAD + GRASPED_RAD_M * (world.cube_size_m(colour) - 0.025) + rng.normal() * 0.02
    world.place_arm(pose)
    world.hold(colour, rng.normal(size=3) * (0.002, 0.004, 0.003))
    return pose


# --- episodes -------------------------------------------------------------------------------


class Episode(NamedTuple):
    """One demonstration, n recordings RECORD_S apart.

    frames (n, 2, 96, 96, 3) uint8; position_rad, sent_rad (n, J); target_rad (n, K, J) the expert's
    rows from each recording on; key_rad, place_rad (n, 5) the joints that would grasp the named cube, let go
    over the named plate (NaN: none); progress (n, 2) how far it is, 0..1, and 1 once it is done; labelled
    (n,) is False while the arm was being shoved; undisturbed (n,) says that the next RECORD_S went by the
    expert's plan; command is the id.
    """

    frames: ImageArray
    position_rad: NDArray[Any]
    sent_rad: NDArray[Any]
    target_rad: NDArray[Any]
    key_rad: NDArray[Any]
    place_rad: NDArray[Any]
    progress: NDArray[Any]
    labelled: NDArray[Any]
    undisturbed: NDArray[Any]
    command: str


class _Shove(NamedTuple):
    start_s: float
    length_s: float
    offset_rad: FloatArray


Driver = Callable[[World, Command], "FloatArray | None"]


def make_episode(world: World, expert: Expert, seed: int, takeover: Driver | None = None) -> Episode | None:
    """One try; None if the judge was not content or something could not be reached.

    With `takeover`, a policy drives first (called every control tick; it returns the targets (J,),
    or None once the expert is to take over), and now and then again instead of being shoved. Only the
    expert's parts are labelled.
    """
    rng = np.random.default_rng(seed)
    wish = random_command(rng)
    tasks.lay(world, wish.id, seed)
    if takeover is None and (wish.verb != "home" or rng.random() < 0.5):
        world.place_arm(_start_pose(world, expert, rng))
    prepare(world)
    world.step(6)
    judge = Judge(world, wish.id)
    if takeover is not None and not _drive(world, wish, judge, takeover):
        return None
    return _demonstrate(world, expert, rng, wish, judge, takeover)


def random_command(rng: np.random.Generator) -> Command:
    """A command that may be trained, its verb by SHARE."""
    verb = str(rng.choice(list(SHARE), p=list(SHARE.values())))
    choice = [c for c in tasks.training_commands() if c.verb == verb]
    return choice[int(rng.integers(len(choice)))]


def _start_pose(world: World, expert: Expert, rng: np.random.Generator) -> FloatArray:
    """About the ready pose, the park pose, between them, or where another task has ended."""
    kind = rng.random()
    if kind < 0.45:
        return READY_RAD + rng.normal(size=6) * (0.10, 0.08, 0.08, 0.08, 0.08, 0.04)
    if kind < 0.65:
        return PARK_RAD + rng.normal(size=6) * (0.02, 0.01, 0.02, 0.02, 0.02, 0.02)
    if kind < 0.80:
        pose = _random_pose(world, expert, rng)
        return pose if pose[1] < 0.0 else READY_RAD
    mix = rng.uniform(0, 1.2)
    return (1 - mix) * PARK_RAD + mix * READY_RAD + rng.normal(size=6) * (0.35, 0.08, 0.10, 0.12, 0.25, 0.05)


def _drive(world: World, wish: Command, judge: Judge, policy: Driver) -> bool:
    """Let the policy drive until it gives up the wheel; False where nothing is left to show."""
    while (target := policy(world, wish)) is not None:
        world.goal_rad[:] = target
        world.step(6)
        verdict = judge.look()
        if verdict.over or verdict.wrong_object:
            return False
    return True


class _Log:
    """The recordings of one demonstration."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, world: World, expert: Expert, wish: Command, plan: Plan, t_s: float, done: bool) -> None:
        before = self.rows[-1] if self.rows else {"key_rad": _START_RAD, "place_rad": _START_RAD}
        none = np.full(5, np.nan)
        start = np.nan_to_num(before["key_rad"], nan=0.3)
        left_s = plan.knot_s[-1] - END_S - t_s
        self.rows.append(
            {
                "frames": look(world),
                "position_rad": world.position_rad,
                "sent_rad": world.goal_rad.copy(),
                "target_rad": plan.at(t_s + CHUNK_DT_S * np.arange(CHUNK_ROWS, dtype=np.float64)),
                "key_rad": reached(expert.key_pose(wish.colour, start)) if wish.colour else none,
                "place_rad": self._place(expert, wish) if wish.verb == "put" else none,
                "progress": np.array([1 - np.clip(left_s / FAR_S, 0, 1), done]),
                "labelled": True,
                "undisturbed": True,
            }
        )

    def _place(self, expert: Expert, wish: Command) -> FloatArray:
        if self.rows:  # plates do not move
            return self.rows[0]["place_rad"]  # type: ignore[no-any-return]
        return reached(expert.place_pose(wish.place, _START_RAD))


def _demonstrate(
    world: World, expert: Expert, rng: np.random.Generator, wish: Command, judge: Judge, policy: Driver | None
) -> Episode | None:
    plan = expert.plan(wish, world.goal_rad, pace=float(rng.uniform(0.9, 1.15)))
    if plan is None:
        return None
    shoves, turns_s = ([], _plan_turns(rng, plan)) if policy else (_plan_shoves(rng, plan), [])
    noise_rad, noise_size = np.zeros(6), rng.choice([0.0, 0.004, 0.010], p=[0.3, 0.4, 0.3])
    start_s, plan_start_s = world.time_s, world.time_s
    log, verdict = _Log(), judge.look()
    tick, shoved = 0, False
    while True:
        now_s = start_s + tick * CONTROL_S
        t_s = now_s - plan_start_s
        if t_s > plan.knot_s[-1] or tick > 700:
            break
        shove = next((s for s in shoves if s.start_s <= now_s - start_s < s.start_s + s.length_s), None)
        turn = bool(turns_s) and now_s - start_s >= turns_s[0]
        driven_rad = policy(world, wish) if policy is not None and turn else None
        if turn and driven_rad is None:
            turns_s.pop(0)
        off = shove is not None or driven_rad is not None
        if shoved and not off:  # it is over: think again, from here
            if (plan := expert.plan(wish, world.goal_rad, pace=float(rng.uniform(0.9, 1.15)))) is None:
                return None
            plan_start_s, t_s = now_s, 0.0
        shoved = off
        if log.rows and shoved:
            log.rows[-1]["undisturbed"] = False
        if now_s - start_s >= len(log.rows) * RECORD_S - 1e-6:
            log.add(world, expert, wish, plan, t_s, verdict.success)
            log.rows[-1]["labelled"] = log.rows[-1]["undisturbed"] = not shoved
        noise_rad = 0.9 * noise_rad + 0.44 * noise_size * rng.normal(size=6)
        noise_rad[5] = 0.0
        wished = plan.at(t_s) + noise_rad if driven_rad is None else driven_rad
        if shove is not None:
            wished = wished + shove.offset_rad * ((now_s - start_s - shove.start_s) / shove.length_s)
        world.goal_rad[:] = np.clip(wished, world.joint_low_rad, world.joint_high_rad)
        world.step(6)
        verdict = judge.look()
        tick += 1
    if not verdict.success or verdict.wrong_object:
        return None
    joined = {name: np.stack([row[name] for row in log.rows]) for name in log.rows[0]}
    small = {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in joined.items()}
    return Episode(**small, command=wish.id)  # type: ignore[arg-type]


def _plan_shoves(rng: np.random.Generator, plan: Plan) -> list[_Shove]:
    """None for a third of the episodes, else one or two pushes off the way."""
    shoves = []
    for _ in range(int(rng.choice([0, 1, 2], p=[0.35, 0.4, 0.25]))):
        length_s = float(rng.uniform(0.2, 0.5))
        size = np.array([0.16, 0.16, 0.16, 0.16, 0.35, 0.0]) * rng.choice([0.3, 1.0])
        offset = rng.normal(size=6) * size
        if rng.random() < 0.15:
            offset[5] = -0.35  # closed its hand too early
        shoves.append(_Shove(float(rng.uniform(0.1, 0.75 * plan.knot_s[-1])), length_s, offset))
    return sorted(shoves, key=lambda s: s.start_s)


def _plan_turns(rng: np.random.Generator, plan: Plan) -> list[float]:
    """When, in seconds from now, a policy gets the wheel back: mostly on the way there."""
    count = int(rng.choice([0, 1, 2, 3], p=[0.2, 0.35, 0.3, 0.15]))
    return sorted(rng.uniform(0.4, 0.8 * plan.knot_s[-1], count).tolist())


# --- shards ---------------------------------------------------------------------------------


def _scene_job(job: tuple[int, int, str]) -> int:
    seed, count, out = job
    frames, arrays = make_scenes(seed, count)
    shards.save(Path(out), "scenes", seed, frames, arrays)
    return count


def _episode_job(job: tuple[int, int, str]) -> int:
    first, count, out = job
    world, seed = World(), first
    expert = Expert(world)
    kept: list[Episode] = []
    while len(kept) < count:
        if (episode := make_episode(world, expert, seed)) is not None:
            kept.append(episode)
        seed += 1
    world.close()
    save_episodes(Path(out), first, kept)
    return count


def save_episodes(folder: Path, seed: int, episodes: list[Episode]) -> None:
    """Write one shard of episodes, joined end to end; `length` (e,) says where one ends."""
    names = [name for name in Episode._fields if name not in ("frames", "command")]
    joined = {name: np.concatenate([getattr(e, name) for e in episodes]) for name in names}
    joined["command"] = np.array([e.command for e in episodes])
    joined["length"] = np.array([len(e.frames) for e in episodes])
    shards.save(folder, "episodes", seed, np.concatenate([e.frames for e in episodes]), joined)


def generate(kind: str, count: int, out: Path, workers: int, per_shard: int) -> None:
    """Make shards until count items of `kind` exist in `out`; shards that are there are kept."""
    from tqdm import tqdm

    out.mkdir(parents=True, exist_ok=True)
    base = FIRST_SEED * (1 if kind == "episodes" else 5)
    number = -(-count // per_shard)
    jobs = [(base + index * 2 * per_shard, per_shard, str(out)) for index in range(number)]
    todo = [job for job in jobs if not shards.exists(out, kind, job[0])]
    work = _scene_job if kind == "scenes" else _episode_job
    with (
        multiprocessing.get_context("spawn").Pool(workers) as pool,
        tqdm(
            total=number * per_shard, initial=(number - len(todo)) * per_shard, unit=kind[:-1], desc=kind
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
