"""`edge-wam run --config FILE` with a swing instead of a model, and no microphone: an emulated processor is too
slow for either. The arm, its port and everything that is between them and systemd are the service's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from edge_wam import layers, manifest
from edge_wam.errors import EdgeWamError
from edge_wam.live import live
from edge_wam.robot import Staged
from edge_wam.sim.process_parts import light_policy

if __name__ == "__main__":
    try:
        config = layers.load([Path(sys.argv[1])], []).config
        sys.exit(live(config, manifest.load(config.model.folder), Staged(cast(Any, None), "", light_policy)))
    except EdgeWamError as error:  # as cli.main has it
        print(f"edge-wam: {error}", file=sys.stderr)
        sys.exit(2)
