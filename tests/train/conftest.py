"""A model small enough to test with, and a world of moving squares to train it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import COMMANDS, drawn_episode, save_episodes, save_scenes
from torch import nn

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


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two shards of drawn episodes, one of every verb in each, 150 recordings in all; and one
    of 40 scenes."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(1)
    for first in (1_000_000, 1_000_010):
        save_episodes(folder, first, [drawn_episode(rng, c, 15) for c in COMMANDS], COMMANDS)
    save_scenes(folder, 5_000_000, 40, rng)
    return folder
