"""Six simulated STS3215 behind a serial line: the gadget's end of the cable.

    servos.py /dev/ttyGS0       what they do is told in /run/servos/state.json
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
import tty
from pathlib import Path

from edge_wam.act.calibration import Calibration
from edge_wam.act.limits import load_limits
from edge_wam.sim.faults import MIDDLE_RAD
from edge_wam.sim.kinematic import STEP_S, KinematicPlant
from edge_wam.sim.servos import ServoChain

FOLDER = Path("/opt/edge-wam/venv/share/edge-wam/calibration/so101-sim")
STATE = Path("/run/servos/state.json")
LOOK_S, TELL_S, BEHIND_STEPS = 0.01, 0.2, 30


def opened(path: str) -> int:
    """The line, raw, once it is there."""
    while True:
        with contextlib.suppress(OSError):
            line = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            tty.setraw(line)
            return line
        time.sleep(LOOK_S)


def main(path: str) -> None:
    limits = load_limits(FOLDER / "limits.toml")
    plant = KinematicPlant(MIDDLE_RAD, limits.low_rad - 0.02, limits.high_rad + 0.02)
    plant.torque_on[:] = False
    chain, line = ServoChain(plant, Calibration.load(FOLDER / "arm.json")), opened(path)
    start_s, step, told_s, bytes_in = time.monotonic(), 0, 0.0, 0
    while True:
        there, _, _ = select.select([line], [], [], LOOK_S)
        now_s = time.monotonic()
        due = int((now_s - start_s) / STEP_S) - step
        plant.step(min(due, BEHIND_STEPS))
        step += due
        chain.update()
        if there:
            try:
                data = os.read(line, 4096)
            except OSError:
                data = b""
            if not data:  # the cable came out
                os.close(line)
                time.sleep(LOOK_S)
                line = opened(path)
                continue
            bytes_in += len(data)
            for reply in chain.replies(data):
                with contextlib.suppress(OSError):
                    os.write(line, reply.data)
        if now_s - told_s > TELL_S:
            told_s = now_s
            draft = STATE.with_suffix(".new")
            told = {"torque": plant.torque_on.tolist(), "rad": plant.position_rad.tolist(), "bytes": bytes_in}
            draft.write_text(json.dumps(told))
            draft.rename(STATE)


if __name__ == "__main__":
    main(*sys.argv[1:])
