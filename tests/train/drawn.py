"""Shards of drawn squares, as the generator would write them: what the trainer's tests are trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_wam.train import shards

COMMANDS = ("pick_red", "push_blue_left", "put_green_on_purple", "point_purple", "home")


def drawn_episode(rng: np.random.Generator, command: str, count: int) -> dict[str, np.ndarray]:
    """A square that goes where the joints say, on grey; labels are the joints to come. The last two
    recordings are still."""
    speed = rng.uniform(-0.02, 0.02, 6)
    at = np.minimum(np.arange(count), count - 3)[:, None]
    position = rng.uniform(-0.5, 0.5, 6) + at * speed
    frames = np.full((count, 2, 96, 96, 3), 120, np.uint8)
    for index, camera in np.ndindex(count, 2):
        row, column = (40 + 50 * position[index, 2 * camera : 2 * camera + 2]).astype(int)
        frames[index, camera, row : row + 12, column : column + 12] = (220, 30, 30)
    labelled = np.ones(count, bool)
    labelled[3:5] = False
    nothing = np.full((count, 5), np.nan)
    pose = np.repeat(position[-1:, :5], count, 0)
    still = at[:, 0] == count - 3
    return {
        "frames": frames,
        "position_rad": position.astype(np.float32),
        "sent_rad": (position + 0.01).astype(np.float32),
        "target_rad": (position[:, None] + np.arange(16)[:, None] * speed / 4).astype(np.float32),
        "labelled": labelled,
        "undisturbed": labelled.copy(),
        "key_rad": (nothing if command == "home" else pose).astype(np.float32),
        "place_rad": (pose if command.startswith("put") else nothing).astype(np.float32),
        "progress": np.stack([at[:, 0] / (count - 3), still], 1).astype(np.float32),
    }


def save_episodes(
    folder: Path, seed: int, episodes: list[dict[str, np.ndarray]], commands: list[str]
) -> None:
    """One shard, as the generator writes it."""
    joined = {name: np.concatenate([e[name] for e in episodes]) for name in episodes[0]}
    arrays = {
        "command": np.array(commands),
        "length": np.array([len(e["frames"]) for e in episodes]),
        **joined,
    }
    shards.save(folder, "episodes", seed, arrays.pop("frames"), arrays)


def save_scenes(folder: Path, seed: int, count: int, rng: np.random.Generator) -> None:
    """One shard of scenes: three cubes of four, a plate or none or two."""
    cubes = np.stack([np.append(rng.permutation(4)[:3], -1) for _ in range(count)])
    plates = np.array([[-1, -1], [2, -1], [0, 3]])[np.arange(count) % 3]
    keys = rng.uniform(-1, 1, (count, 4, 5)).astype(np.float32)
    spots = rng.uniform(-1, 1, (count, 2, 5)).astype(np.float32)
    keys[cubes < 0], spots[plates < 0] = np.nan, np.nan
    frames = rng.integers(0, 256, (count, 2, 96, 96, 3), dtype=np.uint8)
    position = rng.uniform(-1, 1, (count, 6)).astype(np.float32)
    names = ("position_rad", "cube_colour", "cube_key_rad", "plate_colour", "plate_key_rad")
    shards.save(
        folder, "scenes", seed, frames, dict(zip(names, (position, cubes, keys, plates, spots), strict=True))
    )
