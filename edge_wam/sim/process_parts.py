"""The processes on the stage of sim/process_rig.py: control itself, and stand-ins for a machine that is busy.

control        `edge-wam run`, line for line, with the stage's sound, frames and servo port
light robot    servos on a pty like the simulated robot's, joints without mass, no cameras
light policy   a swing instead of a model, from the real policy process's place
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from edge_wam import manifest
from edge_wam.act.calibration import Calibration
from edge_wam.act.limits import load_limits
from edge_wam.config import Config
from edge_wam.errors import EdgeWamError
from edge_wam.live import live
from edge_wam.mailbox import Mailbox
from edge_wam.messages import CHUNK, STATE, chunk_record, read_state
from edge_wam.process import Life
from edge_wam.robot import Staged
from edge_wam.sim.faults import DT_S, MIDDLE_RAD, REPLAN_S, ROWS, SWING_RAD, SWING_S, THOUGHT_S
from edge_wam.sim.kinematic import STEP_S, KinematicPlant
from edge_wam.sim.robot import TRUTH, SimSettings
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import PtyPort
from edge_wam.sim.wiretap import Wiretap
from edge_wam.think.worker import PolicySettings
from edge_wam.types import ActionChunk

LOADING_S = 0.5  # a model takes longer; one that is killed as it loads has sent nothing


def control_main(config: Config, staged: Staged, output: str, environment: dict[str, str]) -> None:
    """The control process. What it and its children say goes to the file `output`."""
    to = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(to, stream)
    os.environ.update(environment)
    try:
        sys.exit(live(config, manifest.load(config.model.folder), staged))
    except EdgeWamError as error:  # as cli.main has it
        print(f"edge-wam: {error}", file=sys.stderr)
        sys.exit(2)


def light_robot(life: Life, settings: SimSettings) -> None:
    """As sim/robot.py's robot_main, for joints that are nothing but angles."""
    sys.setswitchinterval(0.0005)
    folder = Path(settings.calibration)
    limits = load_limits(folder / "limits.toml")
    plant = KinematicPlant(MIDDLE_RAD, limits.low_rad - 0.02, limits.high_rad + 0.02)
    plant.torque_on[:] = False
    chain, tap = ServoChain(plant, Calibration.load(folder / "arm.json")), Wiretap(Path(settings.tap), plant)
    record = np.zeros((), TRUTH)
    with Mailbox.open(settings.truth_box, TRUTH) as truths, PtyPort(chain, tap=tap.see) as port:
        record["port"] = port.path.encode()
        truths.put(record)
        life.ready()
        start_s, step = time.monotonic(), 0
        while not life.wait(STEP_S):
            while start_s + step * STEP_S <= time.monotonic():
                plant.step()
                chain.update()
                step += 1
            tap.look()


def light_policy(life: Life, settings: PolicySettings, open_cameras: object) -> None:
    """As think/worker.py's policy_main: a chunk of a slow swing, every REPLAN_S."""
    with Mailbox.open(settings.state_box, STATE) as states, Mailbox.open(settings.chunk_box, CHUNK) as chunks:
        life.wait(LOADING_S)
        life.ready()
        while not life.wait(REPLAN_S):
            letter = states.get()
            if letter is None or not (state := read_state(letter.record)).running:
                continue
            now_s = time.monotonic()
            t0_s = now_s - THOUGHT_S
            phase = 2 * np.pi * (t0_s + DT_S * np.arange(ROWS)) / SWING_S
            target_rad = MIDDLE_RAD + np.sin(phase)[:, None] * SWING_RAD
            chunk = ActionChunk(t0_s, DT_S, target_rad, state.epoch, now_s, THOUGHT_S)
            chunks.put(chunk_record(chunk, 0.0), t0_s)


def lives(pid: int) -> bool:
    """Whether there is such a process; an orphan that init has not buried yet is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False
