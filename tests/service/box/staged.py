"""`edge-wam run --config FILE`, with the sound and the frames of stage.py instead of devices: the one thing in
which the service's ExecStart is not the shipped one."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from stage import CUES, FRAMES

from edge_wam import layers, manifest
from edge_wam.errors import EdgeWamError
from edge_wam.live import live
from edge_wam.robot import Sound, Staged
from edge_wam.sim.cue import CuedMicrophone

if __name__ == "__main__":
    staged = Staged(Sound(functools.partial(CuedMicrophone, CUES)), FRAMES)
    try:
        config = layers.load([Path(sys.argv[1])]).config
        sys.exit(live(config, manifest.load(config.model.folder), staged))
    except EdgeWamError as error:  # as cli.main has it
        print(f"edge-wam: {error}", file=sys.stderr)
        sys.exit(2)
