"""Shards in memory, and batches from them.

Building a batch must cost little beside a step: gather uint8, then one fused multiply-add for light and
colour. Images are never shifted: three of 96 pixels are 1.5 cm on the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_wam.errors import EdgeWamError
from edge_wam.sim.scene import CROP_PX
from edge_wam.sim.tasks import pick_command, vocabulary
from edge_wam.think.features import Features, Normalisation
from edge_wam.train.data import BOX_PX, CAMERAS, COLOUR_NAMES, FUTURE_RECORDS
from edge_wam.train.model import unit

WORDS = 8


def make_features(normalisation: Normalisation) -> Features:
    """The features of this suite with the given scales."""
    count = len(CAMERAS)
    return Features(normalisation, vocabulary(), WORDS, (CROP_PX,) * count, (BOX_PX,) * count)


def key_features(key_rad: NDArray[Any]) -> NDArray[np.float32]:
    """Five joints (..., 5) -> (..., 6): the roll as cos and sin of four times it (a cube has four faces)."""
    roll = 4 * key_rad[..., 4:5]
    return np.concatenate([(key_rad[..., :4] - KEY_MEAN) / KEY_STD, np.cos(roll), np.sin(roll)], -1).astype(
        np.float32
    )


KEY_MEAN = np.array(
    [0.0, 0.05, 0.42, 1.08], np.float32
)  # rounded from the data; the scale of a loss, no more
KEY_STD = np.array([0.40, 0.25, 0.28, 0.06], np.float32)


def read_shards(folder: Path, kind: str) -> list[dict[str, NDArray[Any]]]:
    """Every shard of a kind, in order of seed. Raises EdgeWamError if there is none."""
    paths = sorted(folder.glob(f"{kind}-*.npz"))
    if not paths:
        raise EdgeWamError(
            f"no {kind} in {folder}; try: python -m edge_wam.train.data {kind} --count 1000 --out {folder}"
        )
    shards = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            shards.append({name: file[name] for name in file.files})
    return shards


class Batch(NamedTuple):
    """images (B, C, 3, S, S) float unit scale, tokens (B, W), state (B, 2 J), key (B, 6), rows (B, K, J);
    future (B, C, F, 3, 48, 48) unit scale and imaginable (B,) only where asked for."""

    images: Tensor
    tokens: Tensor
    state: Tensor
    key: Tensor
    rows: Tensor
    future: Tensor
    imaginable: Tensor


class Lighting(NamedTuple):
    """Gain and bias (B, 1, 3, 1, 1) of a batch's colours, the same for present and future."""

    gain: Tensor
    bias: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        x = unit(images)
        extra = x.ndim - self.gain.ndim
        shape = (len(x),) + (1,) * (1 + extra) + (3, 1, 1)
        return torch.addcmul(self.bias.reshape(shape), x, self.gain.reshape(shape))


def random_lighting(count: int, rng: np.random.Generator) -> Lighting:
    """A little brighter or darker, flatter or harsher, warmer or colder."""
    gain = rng.uniform(0.85, 1.15, (count, 1, 1, 1, 1)) * rng.uniform(0.96, 1.04, (count, 1, 3, 1, 1))
    bias = rng.uniform(-0.2, 0.2, (count, 1, 1, 1, 1)) + rng.uniform(-0.06, 0.06, (count, 1, 3, 1, 1))
    return Lighting(torch.from_numpy(gain.astype(np.float32)), torch.from_numpy(bias.astype(np.float32)))


class Scenes:
    """Single scenes, for seeing."""

    def __init__(self, folder: Path) -> None:
        shards = read_shards(folder, "scenes")
        self.frames = np.concatenate([s["frames"] for s in shards])
        self.position_rad = np.concatenate([s["position_rad"] for s in shards])
        self.colours = np.concatenate([s["colours"] for s in shards])
        self.key = key_features(np.concatenate([s["key_rad"] for s in shards]))

    @property
    def usable(self) -> NDArray[Any]:
        """What can be trained on: all of them."""
        return np.arange(len(self.frames))

    def batch(self, index: NDArray[Any], features: Features, rng: np.random.Generator) -> Batch:
        """Scenes `index` (B,), each with a random one of its cubes named."""
        which = rng.integers(self.colours.shape[1], size=len(index))
        position = self.position_rad[index]
        light = random_lighting(len(index), rng)
        return Batch(
            light(torch.from_numpy(self.frames[index])),
            command_tokens(features)[self.colours[index, which]],
            torch.from_numpy(features.state(position, position + rng.normal(size=position.shape) * 0.01)),
            torch.from_numpy(self.key[index, which]),
            torch.empty(0),
            torch.empty(0),
            torch.empty(0),
        )


def command_tokens(features: Features) -> Tensor:
    """Token ids of every colour's command, (colours, W)."""
    return torch.from_numpy(np.stack([features.tokens(pick_command(c).tokens) for c in COLOUR_NAMES]))


@dataclass
class Episodes:
    """Demonstrations, for acting and imagining."""

    frames: NDArray[Any]
    position_rad: NDArray[Any]
    sent_rad: NDArray[Any]
    target_rad: NDArray[Any]
    key: NDArray[Any]
    colour: NDArray[Any]
    usable: NDArray[Any]
    future: NDArray[Any]
    imaginable: NDArray[Any]

    @classmethod
    def load(cls, folder: Path) -> Episodes:
        shards = read_shards(folder, "episodes")
        joined = {name: np.concatenate([s[name] for s in shards]) for name in shards[0] if name != "frames"}
        frames = np.concatenate([s.pop("frames") for s in shards])
        length = joined["length"]
        episode = np.repeat(np.arange(len(length)), length)
        last = np.repeat(np.cumsum(length) - 1, length)
        here = np.arange(len(frames))
        ahead = np.stack([np.minimum(here + step, last) for step in FUTURE_RECORDS], 1)
        calm = np.concatenate([joined["undisturbed"], np.ones(8, bool)])
        imaginable = np.all([calm[np.minimum(here + k, last)] for k in range(max(FUTURE_RECORDS))], axis=0)
        return cls(
            frames,
            joined["position_rad"],
            joined["sent_rad"],
            joined["target_rad"],
            key_features(joined["key_rad"])[episode],
            joined["colour"][episode],
            np.flatnonzero(joined["labelled"]),
            ahead,
            imaginable & joined["labelled"],
        )

    def normalisation(self) -> Normalisation:
        """Scales of positions and of every row and joint, from the labelled recordings."""
        position, use = self.position_rad[self.usable].astype(np.float64), self.usable
        relative = self.target_rad[use] - self.position_rad[use][:, None]
        return Normalisation(
            position.mean(0).round(5), (position.std(0) + 0.02).round(5), (relative.std(0) + 0.02).round(5)
        )

    def batch(self, index: NDArray[Any], features: Features, rng: np.random.Generator, video: bool) -> Batch:
        """Recordings `index` (B,); the last command is dropped three times in ten (else the policy copies
        itself)."""
        position = self.position_rad[index].astype(np.float64)
        stale = position + rng.normal(size=position.shape) * 0.003
        state = features.state(stale, self.sent_rad[index])
        joints = position.shape[-1]
        dropped = rng.random(len(index)) < 0.3
        state[dropped, joints : 2 * joints - 1] = 0  # the gripper's lag stays: it says that something is held
        light = random_lighting(len(index), rng)
        future = imaginable = torch.empty(0)
        if video:
            ahead = torch.from_numpy(self.frames[self.future[index]])  # (B, F, C, S, S, 3)
            frames = light(ahead)
            size = frames.shape
            frames = torch.nn.functional.avg_pool2d(frames.flatten(0, 2), 2).reshape(
                *size[:4], size[4] // 2, -1
            )
            future, imaginable = frames.transpose(1, 2), torch.from_numpy(self.imaginable[index])
        return Batch(
            light(torch.from_numpy(self.frames[index])),
            command_tokens(features)[self.colour[index]],
            torch.from_numpy(state),
            torch.from_numpy(self.key[index]),
            torch.from_numpy(features.rows(self.target_rad[index], stale)),
            future,
            imaginable,
        )
