"""`edge-wam run --config FILE` with a swing instead of a model, no microphone, and more patience with the
bus: an emulated processor is slow. The arm, its port and all from there to systemd are the service's own."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any, cast

from edge_wam import layers, manifest
from edge_wam.act.families import FAMILIES
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.errors import EdgeWamError
from edge_wam.live import live
from edge_wam.robot import Staged
from edge_wam.sim.process_parts import light_policy

DEADLINE_S = 0.05

if __name__ == "__main__":
    FAMILIES["feetech"] = FAMILIES["feetech"]._replace(
        bus=functools.partial(FeetechBus, deadline_s=DEADLINE_S)
    )
    try:
        config = layers.load([Path(sys.argv[1])], []).config
        sys.exit(live(config, manifest.load(config.model.folder), Staged(cast(Any, None), "", light_policy)))
    except EdgeWamError as error:  # as cli.main has it
        print(f"edge-wam: {error}", file=sys.stderr)
        sys.exit(2)
