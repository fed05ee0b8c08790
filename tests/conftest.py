"""What several rooms' tests share: one simulated world, the suite's manifest, and the shipped model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_wam import layers
from edge_wam.manifest import CameraView, Command, Manifest
from edge_wam.sim import tasks
from edge_wam.sim.scene import CROP_PX, FRAME_HEIGHT_PX, FRAME_RATE_HZ, FRAME_WIDTH_PX
from edge_wam.sim.world import READY_RAD, World
from edge_wam.think.features import Normalisation
from edge_wam.types import JOINTS

ROOT = Path(__file__).parents[1]
# A candidate can be put to the same tests: EDGE_WAM_TEST_MODEL=runs/candidate pytest tests/think
MODEL = Path(os.environ.get("EDGE_WAM_TEST_MODEL", ROOT / "models" / "so101-tabletop"))


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A robot that has been set up, or its owner's environment, changes no test."""
    monkeypatch.setattr(layers, "SYSTEM", tmp_path / "no-etc" / "config.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-home"))
    for name in list(os.environ):
        if name.startswith(("EDGE_WAM_ROBOT_", "EDGE_WAM_MODEL_", "EDGE_WAM_CAMERAS_", "EDGE_WAM_STALE_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.fixture
def world(shared_world: World) -> World:
    """A world with its drives as they are made: building one takes a second, so all tests share it."""
    shared_world.torque_on[:] = True
    shared_world.torque_limit[:] = 1.0
    shared_world.speed_limit_rad_s[:] = np.inf
    shared_world.accel_limit_rad_s2[:] = np.inf
    shared_world.reset(0)
    shared_world.set_table(tasks.table_for(tasks.command("pick_red"), np.random.default_rng(0), 0))
    return shared_world


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    """The suite's contract, with scales of a plausible model and no files."""
    camera = (FRAME_WIDTH_PX, FRAME_HEIGHT_PX, FRAME_RATE_HZ, CROP_PX, 2)
    std_rad = 0.02 + 0.02 * np.arange(1, 17)[:, None] * np.linspace(0.5, 1.5, 6)
    return Manifest(
        name=tasks.SUITE,
        joints=JOINTS,
        dt_s=1 / 30,
        rows=16,
        committed_rows_max=6,
        replan_s=0.2,
        cameras=(CameraView("front", *camera), CameraView("wrist", *camera)),
        vocabulary=tasks.vocabulary(),
        words=tasks.WORDS,
        commands=tuple(Command(c.id, c.tokens, c.phrases) for c in tasks.commands()),
        normalisation=Normalisation(READY_RAD, np.linspace(0.2, 0.6, 6), std_rad),
        steps=10,
        noise_std=1.0,
        precision="fp32",
        files={},
        measured={},
        parents={},
    )


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The shipped model's folder."""
    if not (MODEL / "manifest.toml").is_file():
        pytest.skip(f"there is no model in {MODEL}; it is made by scripts/pipeline.sh")
    return MODEL
