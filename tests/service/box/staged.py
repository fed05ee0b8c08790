"""`edge-wam run --config FILE [--set ...]`, with stage.py's sound and frames instead of devices: in this
alone is the service's ExecStart not the shipped one."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from stage import CUES, FRAMES

from edge_wam import layers, manifest
from edge_wam.config import Config
from edge_wam.errors import EdgeWamError
from edge_wam.live import live
from edge_wam.process import Life
from edge_wam.robot import Sound, Staged
from edge_wam.sim.cue import CuedMicrophone
from edge_wam.think.worker import PolicySettings, policy_main

SLOW_S = float(os.environ.get("STAGED_SLOW_S", "0"))


def policy(life: Life, settings: PolicySettings, open_cameras: object) -> None:
    """The policy, on a machine that takes its time to load it."""
    life.wait(SLOW_S)
    policy_main(life, settings, open_cameras)


if __name__ == "__main__":
    staged = Staged(Sound(functools.partial(CuedMicrophone, CUES)), FRAMES, policy)

    def load() -> Config:
        return layers.load([Path(sys.argv[1])], sys.argv[3::2]).config

    try:
        config = load()
        sys.exit(live(config, manifest.load(config.model.folder), staged, load))
    except EdgeWamError as error:  # as cli.main has it
        print(f"edge-wam: {error}", file=sys.stderr)
        sys.exit(2)
