"""Batches from shards.

Building a batch must cost little beside a step: gather uint8, then one fused multiply-add for light and
colour. Images are never shifted: three of 96 pixels are 1.5 cm on the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_wam.sim import tasks
from edge_wam.sim.scene import CROP_PX
from edge_wam.think.features import UNIT_GREY, UNIT_LEVELS, Features, Normalisation
from edge_wam.train import shards
from edge_wam.train.data import BOX_PX, CAMERAS, CHUNK_DT_S, FUTURE_RECORDS
from edge_wam.train.model import BODY, unit
from edge_wam.train.reader import Slots
from edge_wam.train.text import CUBES, Phrases, one_hot, slot_indices, training_index

# How often each verb is trained on: what is harder, and what has more slots, oftener.
BALANCE = {"put": 0.36, "pick": 0.24, "push": 0.20, "point": 0.12, "home": 0.08}
AFTERWARDS = 6  # recordings after a shove, or after the policy drove, that count twice: how to mend things
STALE_S = 0.04  # a measured pose is up to this much older than the frame it goes with
EPISODE_SHARE = 0.3  # of what the eyes are shown; the rest are single scenes
SCENES_HELD_OUT, EPISODES_HELD_OUT = 512, 0.04  # the last scenes; this share of the episodes
NONE = torch.empty(0)


def make_features(normalisation: Normalisation) -> Features:
    """The features of this suite with the given scales."""
    count = len(CAMERAS)
    return Features(normalisation, tasks.vocabulary(), tasks.WORDS, (CROP_PX,) * count, (BOX_PX,) * count)


def place_features(pose_rad: NDArray[Any], normalisation: Normalisation) -> NDArray[np.float32]:
    """Joints (..., 5) -> the first four in the state's units (..., 4); the roll is of no matter."""
    mean, std = normalisation.position_mean_rad[:BODY], normalisation.position_std_rad[:BODY]
    return ((pose_rad[..., :BODY] - mean) / std).astype(np.float32)


def key_features(pose_rad: NDArray[Any], normalisation: Normalisation) -> NDArray[np.float32]:
    """Joints (..., 5) -> (..., 6): as `place_features`, and cos and sin of four times the roll (a cube has
    four faces)."""
    roll = 4 * pose_rad[..., 4:5].astype(np.float32)
    return np.concatenate([place_features(pose_rad, normalisation), np.cos(roll), np.sin(roll)], -1)


class Batch(NamedTuple):
    """images (B, C, 3, S, S) float unit scale (or bytes), tokens (B, W), state (B, 2 J), key (B, 6), rows
    (B, K, J); future (B, C, F, 3, 48, 48) unit scale and imaginable (B,) only where asked for; place (B, 4),
    progress (B, 2). NaN where there is no label. slots are those of the labels (for seeing)."""

    images: Tensor
    tokens: Tensor
    state: Tensor
    key: Tensor
    rows: Tensor
    future: Tensor = NONE
    imaginable: Tensor = NONE
    place: Tensor = NONE
    progress: Tensor = NONE
    slots: Slots = Slots(NONE, NONE, NONE)

    def part(self, begin: int, end: int) -> Batch:
        """Observations begin..end."""
        cut = {name: x[begin:end] for name, x in self._asdict().items() if name != "slots"}
        return Batch(**cut, slots=Slots(*(x[begin:end] for x in self.slots)))


class Lighting(NamedTuple):
    """Gain and bias (B, 1, 3, 1, 1) of a batch's colours, the same for present and future."""

    gain: Tensor
    bias: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """images (B, ..., S, S, 3) uint8, or (B, ..., 3, S, S) in unit scale -> the latter, relit."""
        x = unit(images)
        shape = (len(x),) + (1,) * (x.ndim - 4) + (3, 1, 1)
        return torch.addcmul(self.bias.reshape(shape), x, self.gain.reshape(shape))


def random_lighting(count: int, rng: np.random.Generator) -> Lighting:
    """A little brighter or darker, flatter or harsher, warmer or colder."""
    gain = rng.uniform(0.85, 1.15, (count, 1, 1, 1, 1)) * rng.uniform(0.96, 1.04, (count, 1, 3, 1, 1))
    bias = rng.uniform(-0.2, 0.2, (count, 1, 1, 1, 1)) + rng.uniform(-0.06, 0.06, (count, 1, 3, 1, 1))
    return Lighting(torch.from_numpy(gain.astype(np.float32)), torch.from_numpy(bias.astype(np.float32)))


class Scenes:
    """Single scenes, for seeing."""

    def __init__(self, folder: Path) -> None:
        self.frames, arrays = shards.load(folder, "scenes")
        self.position_rad = arrays["position_rad"]
        self.cube_colour, self.cube_key_rad = arrays["cube_colour"], arrays["cube_key_rad"]
        self.plate_colour, self.plate_key_rad = arrays["plate_colour"], arrays["plate_key_rad"]
        usable = np.flatnonzero((self.cube_colour >= 0).any(1))
        held_out = max(1, min(SCENES_HELD_OUT, len(usable) // 5))
        self.pool, self.held_out = usable[:-held_out], usable[-held_out:]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices (B,) to train on."""
        return rng.choice(self.pool, count)

    def batch(self, index: NDArray[Any], features: Features, rng: np.random.Generator) -> Batch:
        """Scenes `index` (B,), each asked for a random one of its cubes, and one of its plates or none."""
        here = np.arange(len(index))
        cube = _random_present(self.cube_colour[index] >= 0, rng)
        plates = np.concatenate([self.plate_colour[index] >= 0, np.ones((len(index), 1), bool)], 1)
        plate = _random_present(plates, rng)  # the last column is: no plate
        padded = np.pad(self.plate_key_rad[index], ((0, 0), (0, 1), (0, 0)), constant_values=np.nan)
        colour = np.pad(self.plate_colour[index], ((0, 0), (0, 1)), constant_values=-1)[here, plate]
        # None, left and right are all the same to the eyes: no plate is asked for.
        place = np.where(colour >= 0, colour + tasks.PLACES.index(CUBES[1]), rng.integers(3, size=len(index)))
        position = self.position_rad[index].astype(np.float64)
        light = random_lighting(len(index), rng)
        return Batch(
            light(torch.from_numpy(self.frames[index])),
            NONE,
            torch.from_numpy(features.state(position, position + rng.normal(size=position.shape) * 0.01)),
            torch.from_numpy(key_features(self.cube_key_rad[index, cube], features.normalisation)),
            NONE,
            place=torch.from_numpy(place_features(padded[here, plate], features.normalisation)),
            slots=one_hot(here * 0, self.cube_colour[index, cube].astype(np.int64) + 1, place),
        )


def _random_present(there: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """there (B, n) -> (B,) a random column where it is true."""
    return np.asarray(np.where(there, rng.random(there.shape), -1.0).argmax(1))


@dataclass
class Episodes:
    """Demonstrations, for acting and imagining. Every recording n has its training command, its future's
    recordings, and what is known of it; `pool` and `held_out` are the labelled ones."""

    frames: shards.Frames
    arrays: Mapping[str, NDArray[Any]]
    command: NDArray[np.int64]
    slots: NDArray[np.int64]
    future: NDArray[np.int64]
    imaginable: NDArray[np.bool_]
    mending: NDArray[np.bool_]
    pool: NDArray[np.int64]
    held_out: NDArray[np.int64]
    episodes: int
    phrases: Phrases

    def __post_init__(self) -> None:
        self.edges = np.cumsum(self._weights(self.pool))

    @classmethod
    def load(cls, folder: Path) -> Episodes:
        """Every episode in the folder. EdgeWamError if there is none, or one that may not be trained on."""
        frames, arrays = shards.load(folder, "episodes")
        length = arrays["length"]
        episode = np.repeat(np.arange(len(length)), length)
        last = np.repeat(np.cumsum(length) - 1, length)
        command = training_index(arrays["command"])[episode]
        here = np.arange(len(frames))
        ahead = np.stack([np.minimum(here + step, last) for step in FUTURE_RECORDS], 1)
        calm = arrays["undisturbed"]
        imaginable = np.all([calm[np.minimum(here + k, last)] for k in range(max(FUTURE_RECORDS))], axis=0)
        labelled = arrays["labelled"]
        first = last - np.repeat(length, length) + 1
        mending = labelled & np.any(
            [~labelled[np.maximum(here - k, first)] for k in range(AFTERWARDS + 1)], 0
        )
        # By lot, and the same ones when more are added: generators take the verbs in turn.
        lot = np.random.default_rng(0).random(len(length))
        apart = (lot < max(EPISODES_HELD_OUT, np.sort(lot)[min(2, len(lot) - 1)]))[episode]
        slots = np.array([slot_indices(c) for c in tasks.training_commands()], np.int64)
        pool, held_out = np.flatnonzero(labelled & ~apart), np.flatnonzero(labelled & apart)
        return cls(
            frames,
            arrays,
            command,
            slots,
            ahead,
            imaginable & labelled,
            mending,
            pool,
            held_out,
            len(length),
            Phrases(),
        )

    @property
    def usable(self) -> NDArray[np.int64]:
        """Every labelled recording."""
        return np.flatnonzero(self.arrays["labelled"])

    def normalisation(self) -> Normalisation:
        """Scales of positions and of every row and joint, from the labelled recordings, each verb counting
        as often as it is trained on."""
        use = self.usable
        weight = self._weights(use)
        position = self.arrays["position_rad"][use].astype(np.float64)
        relative = self.arrays["target_rad"][use] - position[:, None]
        mean = weight @ position
        spread = np.sqrt(weight @ (position - mean) ** 2) + 0.02
        row_mean = np.einsum("n,nkj->kj", weight, relative)
        row_std = np.sqrt(np.einsum("n,nkj->kj", weight, (relative - row_mean) ** 2)) + 0.02
        return Normalisation(mean.round(5), spread.round(5), row_std.round(5))

    def _weights(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """How often each of these recordings is to be drawn: sums to 1, and to BALANCE by verb."""
        verb, worth = self.slots[self.command[index], 0], 1.0 + self.mending[index]
        counts = np.bincount(verb, worth, minlength=len(tasks.VERBS))
        share = np.array([BALANCE[name] for name in tasks.VERBS]) * (counts > 0)
        weight: NDArray[np.float64] = (share / share.sum() / counts.clip(min=1))[verb] * worth
        return weight

    def draw(
        self, count: int, rng: np.random.Generator, among: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Recordings (B,) to train on, or of those in `among`, balanced by verb."""
        among, edges = (self.pool, self.edges) if among is None else (among, np.cumsum(self._weights(among)))
        at = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
        return among[np.minimum(at, len(among) - 1)]

    def batch(
        self, index: NDArray[np.int64], features: Features, rng: np.random.Generator, video: bool
    ) -> Batch:
        """Recordings `index` (B,), each told by a phrase of its command.

        The pose is a little late and a little wrong, as a measured one is. The last command is dropped
        three times in ten (else the policy copies itself).
        """
        arrays, command = self.arrays, self.command[index]
        position, target = arrays["position_rad"][index].astype(np.float64), arrays["target_rad"][index]
        speed_rad_s = (target[:, 1] - target[:, 0]) / CHUNK_DT_S
        late_s = rng.uniform(0, STALE_S, (len(index), 1))
        measured = position - late_s * speed_rad_s + rng.normal(size=position.shape) * 0.003
        state = features.state(measured, arrays["sent_rad"][index])
        joints = position.shape[-1]
        dropped = rng.random(len(index)) < 0.3
        state[dropped, joints : 2 * joints - 1] = 0  # the gripper's lag stays: it says that something is held
        light = random_lighting(len(index), rng)
        future = imaginable = NONE
        if video:
            ahead = halved(self.frames[self.future[index]])  # (B, F, C, 3, 48, 48)
            future, imaginable = light(ahead).transpose(1, 2), torch.from_numpy(self.imaginable[index])
        return Batch(
            light(torch.from_numpy(self.frames[index])),
            self.phrases.draw(command, rng),
            torch.from_numpy(state),
            torch.from_numpy(key_features(arrays["key_rad"][index], features.normalisation)),
            torch.from_numpy(features.rows(target, measured)),
            future,
            imaginable,
            torch.from_numpy(place_features(arrays["place_rad"][index], features.normalisation)),
            torch.from_numpy(arrays["progress"][index].astype(np.float32)),
            one_hot(*self.slots[command].T.copy()),
        )


def halved(images: NDArray[np.uint8]) -> Tensor:
    """(..., S, S, 3) uint8 -> (..., 3, S/2, S/2) in unit scale, means of boxes."""
    total = images[..., ::2, ::2, :].astype(np.uint16)
    for row, column in ((0, 1), (1, 0), (1, 1)):
        total += images[..., row::2, column::2, :]
    levels = torch.from_numpy(total.astype(np.float32)).movedim(-1, -3)
    return (levels - 4 * UNIT_GREY) / (4 * UNIT_LEVELS)


class Seeing:
    """What the eyes are trained on: single scenes, and recordings of episodes if there are any."""

    def __init__(self, folder: Path) -> None:
        self.scenes = Scenes(folder)
        self.episodes = Episodes.load(folder) if any(folder.glob("episodes-*.npz")) else None

    def batch(self, count: int, features: Features, rng: np.random.Generator) -> Batch:
        """A mixture to train on."""
        recordings = round(EPISODE_SHARE * count) if self.episodes is not None else 0
        scenes = self.scenes.batch(self.scenes.draw(count - recordings, rng), features, rng)
        if self.episodes is None or not recordings:
            return scenes
        others = self.episodes.batch(self.episodes.draw(recordings, rng), features, rng, video=False)
        return joined(scenes, others)


def joined(one: Batch, other: Batch) -> Batch:
    """Two batches as one, as far as seeing goes."""

    def both(name: str) -> Tensor:
        return torch.cat([getattr(one, name), getattr(other, name)])

    slots = Slots(*(torch.cat(pair) for pair in zip(one.slots, other.slots, strict=True)))
    return Batch(both("images"), NONE, both("state"), both("key"), NONE, place=both("place"), slots=slots)
