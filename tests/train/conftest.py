"""A model small enough to test with, and a world of moving squares to train it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edge_wam.train.data import Episode, SceneShard, _save, save_episodes
from edge_wam.train.model import CONFIGS, WorldActionModel


# For the session: a fixture of a wider scope would otherwise use all cores, and sum in another order.
@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model() -> WorldActionModel:
    """Sizes 'debug', and no weight zero: a fresh model's blocks do nothing yet, and prove nothing."""
    torch.manual_seed(0)
    model = WorldActionModel(CONFIGS["debug"])
    for parameter in model.parameters():
        if not parameter.detach().any():
            nn.init.normal_(parameter, std=0.05)
    return model.eval().requires_grad_(False)


def drawn_episode(rng: np.random.Generator, count: int) -> Episode:
    """A square that goes where the joints say, on grey; labels are the joints to come."""
    speed = rng.uniform(-0.02, 0.02, 6)
    position = rng.uniform(-0.5, 0.5, 6) + np.arange(count)[:, None] * speed
    frames = np.full((count, 2, 96, 96, 3), 120, np.uint8)
    for index, camera in np.ndindex(count, 2):
        row, column = (40 + 50 * position[index, 2 * camera : 2 * camera + 2]).astype(int)
        frames[index, camera, row : row + 12, column : column + 12] = (220, 30, 30)
    targets = position[:, None] + np.arange(16)[:, None] * speed / 4
    labelled = np.ones(count, bool)
    labelled[3:5] = False
    return Episode(
        frames,
        position.astype(np.float32),
        (position + 0.01).astype(np.float32),
        targets.astype(np.float32),
        position[-1, :5].astype(np.float32),
        int(rng.integers(4)),
        labelled,
        labelled.copy(),
    )


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two shards of drawn episodes, 60 recordings in all, and one of 40 scenes."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    for first in (1_000_000, 1_000_004):
        save_episodes(folder / f"episodes-{first}.npz", [drawn_episode(rng, 15) for _ in range(2)])
    scenes = SceneShard(
        rng.integers(0, 256, (40, 2, 96, 96, 3), dtype=np.uint8),
        rng.uniform(-1, 1, (40, 6)).astype(np.float32),
        np.stack([rng.permutation(4)[:3] for _ in range(40)]),
        rng.uniform(-1, 1, (40, 3, 5)).astype(np.float32),
    )
    _save(folder / "scenes-5000000.npz", scenes._asdict())
    return folder
