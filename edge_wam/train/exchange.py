"""`edge-wam dataset`: recordings and demonstrations as LeRobot datasets, and datasets as training shards.

    export FILE.mcap ... --out FOLDER    what the robot did, 15 frames a second, as LeRobot records it
    export FOLDER        --out FOLDER    episodes of train/data.py; their labels go along as columns
    import DATASET       --out FOLDER    shards that train/dataset.py learns from

What a dataset does not say is not made up: one without our labels has no grasping poses (NaN), its rows are
the actions that followed, its progress is the time that was left.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_wam import manifest as manifests
from edge_wam.act.calibration import Calibration
from edge_wam.config import Config
from edge_wam.errors import EdgeWamError
from edge_wam.manifest import Manifest
from edge_wam.record import lerobot
from edge_wam.record.episodes import NAMES, RATE_HZ, ROBOT, Scale, episodes_of
from edge_wam.record.lerobot import ACTION, STATE, Dataset
from edge_wam.record.reading import read
from edge_wam.sim.tasks import FIRST_TRAINING_SEED
from edge_wam.think.features import shrink
from edge_wam.train import shards
from edge_wam.train.data import (
    BOX_PX,
    CAMERAS,
    CHUNK_DT_S,
    CHUNK_ROWS,
    FAR_S,
    RECORD_S,
    Episode,
    save_episodes,
)
from edge_wam.types import FloatArray, ImageArray

LABELS = ("target_rad", "key_rad", "place_rad", "progress", "labelled", "undisturbed")
PREFIX = "edge_wam."  # of a column with a label
MODEL_PX = 96
SHARE_SEEN = 0.8  # of a frame's height: the square that the model is shown
PER_SHARD = 100


def take_out(sources: Sequence[Path], out: Path, config: Config) -> int:
    """Export. EdgeWamError if a source is neither recordings nor shards."""
    scale = Scale(_calibration(config))
    names = {STATE: NAMES, ACTION: NAMES}
    if all(source.is_file() for source in sources):
        recorded = itertools.chain.from_iterable(episodes_of(read(source), scale) for source in sources)
        count = lerobot.write(out, recorded, RATE_HZ, names, ROBOT)
    elif len(sources) == 1 and sources[0].is_dir():
        made = demonstrations(sources[0], scale, manifests.load(config.model.folder))
        count = lerobot.write(out, made, 1 / RECORD_S, names, ROBOT)
    else:
        raise EdgeWamError(
            f"expected recordings, or one folder of shards; found {', '.join(map(str, sources))}; "
            "are they there?"
        )
    print(f"{out}: {count} episodes; try: lerobot-dataset-viz, or LeRobotDataset('mine', root='{out}')")
    return 0


def bring_in(sources: Sequence[Path], out: Path, config: Config) -> int:
    """Import. EdgeWamError for more than one dataset."""
    if len(sources) != 1:
        raise EdgeWamError(
            f"dataset import: expected one dataset, found {len(sources)}; try: one after the other"
        )
    dataset = lerobot.open_dataset(sources[0])
    manifest, scale = manifests.load(config.model.folder), Scale(_calibration(config))
    seed, count, unknown = _free_seed(out), 0, dict[str, int]()
    kept: list[Episode] = []
    for one in imported(dataset, scale, manifest, unknown):
        kept.append(one)
        count += 1
        if len(kept) == PER_SHARD:
            save_episodes(out, seed, kept)
            seed, kept = seed + 2 * PER_SHARD, []
    if kept:
        save_episodes(out, seed, kept)
    for task, times in unknown.items():
        print(f"left out: {times} episodes of '{task}', which model '{manifest.name}' has no command for")
    if not count:
        raise EdgeWamError(f"no episode of {sources[0]} is of a command that model '{manifest.name}' knows")
    print(f"{out}: {count} episodes")
    return 0


def _calibration(config: Config) -> Calibration:
    return Calibration.load(config.robot.calibration / "arm.json", config.robot.servos)


def _free_seed(folder: Path) -> int:
    """A shard's number that nobody has: far from those of made episodes."""
    taken = [int(path.stem.split("-")[-1]) for path in folder.glob("episodes-*.npz")]
    return max([9 * FIRST_TRAINING_SEED, *(number + 2 * PER_SHARD for number in taken)])


def demonstrations(folder: Path, scale: Scale, manifest: Manifest) -> Iterator[lerobot.Episode]:
    """Shards of episodes, an episode at a time."""
    frames, arrays = shards.load(folder, "episodes")
    tokens = {command.id: command.tokens for command in manifest.commands}
    begin = 0
    for command, length in zip(arrays["command"], arrays["length"], strict=True):
        part = slice(begin, begin + int(length))
        begin += int(length)
        seen = frames[np.arange(part.start, part.stop)]
        if str(command) not in tokens:
            raise EdgeWamError(f"{folder}: model '{manifest.name}' has no command '{command}'")
        # The first row is the target of its own moment: what was sent for it.
        columns: dict[str, NDArray[Any]] = {
            STATE: scale.out(arrays["position_rad"][part].astype(np.float64)).astype(np.float32),
            ACTION: scale.out(arrays["target_rad"][part, 0].astype(np.float64)).astype(np.float32),
            f"{PREFIX}sent_rad": arrays["sent_rad"][part],
        } | {f"{PREFIX}{name}": arrays[name][part] for name in LABELS if name in arrays}
        images = {name: seen[:, index] for index, name in enumerate(CAMERAS)}
        yield lerobot.Episode(tokens[str(command)], columns, images)


def imported(
    dataset: Dataset, scale: Scale, manifest: Manifest, unknown: dict[str, int]
) -> Iterator[Episode]:
    """Episodes for training; what no command is known for is counted in `unknown`."""
    for key in (STATE, ACTION):
        names = dataset.info["features"].get(key, {}).get("names")
        if list(names or ()) != list(NAMES):
            raise EdgeWamError(
                f"{dataset.root}: {key} has {names}, expected {', '.join(NAMES)}; is it another arm's?"
            )
    if missing := [name for name in CAMERAS if name not in dataset.cameras]:
        raise EdgeWamError(
            f"{dataset.root} has the cameras {', '.join(dataset.cameras) or 'none'}; "
            f"the model wants {', '.join(missing)} as well; try: rename {lerobot.IMAGES}... in the dataset"
        )
    every = RECORD_S * dataset.fps
    if abs(every - round(every)) > 1e-6:
        raise EdgeWamError(
            f"{dataset.root} has {dataset.fps:g} frames a second; expected a multiple of {1 / RECORD_S:g}"
        )
    for one in dataset.episodes(round(every)):
        command = manifest.command_of(one.task)
        if command is None:
            unknown[one.task] = unknown.get(one.task, 0) + 1
            continue
        yield _episode(one, round(every), dataset.fps, scale, command.id)


def _episode(one: lerobot.Episode, every: int, fps: float, scale: Scale, command: str) -> Episode:
    state_rad, action_rad = (scale.back(one.columns[key].astype(np.float64)) for key in (STATE, ACTION))
    index = np.arange(0, one.frames, every)
    t_s = index / fps
    labels = {
        name: one.columns[f"{PREFIX}{name}"][index] for name in LABELS if f"{PREFIX}{name}" in one.columns
    }
    if len(labels) < len(LABELS):
        labels = _guessed(action_rad, t_s, fps)
    sent = one.columns.get(f"{PREFIX}sent_rad")
    small = [np.stack([_shown(image) for image in one.images[name]]) for name in CAMERAS]
    return Episode(
        frames=np.stack(small, axis=1),
        position_rad=state_rad[index].astype(np.float32),
        # What had been sent last when the frame was taken.
        sent_rad=(action_rad[np.maximum(index - 1, 0)] if sent is None else sent[index]).astype(np.float32),
        command=command,
        **{name: _like(name, labels[name]) for name in LABELS},
    )


def _guessed(action_rad: FloatArray, t_s: FloatArray, fps: float) -> dict[str, NDArray[Any]]:
    """Labels from the actions alone: row i is what was sent i * CHUNK_DT_S later."""
    n, end_s = len(t_s), (len(action_rad) - 1) / fps
    due_s = t_s[:, None] + CHUNK_DT_S * np.arange(CHUNK_ROWS)
    there_s = np.arange(len(action_rad)) / fps
    rows = [np.interp(due_s, there_s, action_rad[:, j]) for j in range(action_rad.shape[1])]
    left_s = end_s - t_s
    none = np.full((n, 5), np.nan)
    return {
        "target_rad": np.stack(rows, axis=-1),
        "key_rad": none,
        "place_rad": none,
        "progress": np.stack([1 - np.clip(left_s / FAR_S, 0, 1), left_s < RECORD_S], axis=1),
        "labelled": np.ones(n, np.bool_),
        "undisturbed": np.ones(n, np.bool_),
    }


def _like(name: str, values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.bool_ if name in ("labelled", "undisturbed") else np.float32)


def _shown(image: ImageArray) -> ImageArray:
    """A frame as the model is shown it: (96, 96, 3)."""
    height, width = image.shape[:2]
    if (height, width) == (MODEL_PX, MODEL_PX):
        return image
    side = round(SHARE_SEEN * height)
    if side == BOX_PX * MODEL_PX:
        return shrink(image, side, BOX_PX)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(square.resize((MODEL_PX, MODEL_PX), Image.Resampling.BOX))
