"""The world around the robot, inside the box: a unit of its own, which outlives whatever the service dies of.

A simulated arm on a pty (/run/stage/arm leads to it), its cameras in mailboxes, a microphone that plays a WAV
when told, and the judge. One line of words on the socket /run/stage/socket is answered by one line of JSON:

    plug | unplug | lay SEED COMMAND | judge | say WAV | mute | verdict | servos
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import numpy as np

from edge_wam.mailbox import Mailbox
from edge_wam.process import Child
from edge_wam.robot import Stage
from edge_wam.service.notify import Notifier
from edge_wam.sim.cue import CUE
from edge_wam.sim.robot import TRUTH, WISH, SimSettings, robot_main
from edge_wam.sim.wiretap import create_tap, read_tap

FOLDER = Path("/run/stage")
FRAMES, CUES, WISHES, TRUTHS = "stage.frames", "stage.cue", "stage.wish", "stage.truth"
READY_S = 120.0


class World:
    """What the test may do to the robot's surroundings."""

    def __init__(self, calibration: str, cues: Mailbox, wishes: Mailbox, truths: Mailbox) -> None:
        self._tap, self._row = FOLDER / "tap.npy", 0
        self._settings = SimSettings(calibration, 0, FRAMES, WISHES, TRUTHS, str(self._tap))
        self._cues, self._stage = cues, Stage(wishes, truths, WISH)
        self._servos: dict[str, object] = {}
        self.plug()

    def plug(self) -> None:
        """A new arm, with a new tap: it holds some eight minutes."""
        create_tap(self._tap)
        self._row = 0
        self._robot = Child("robot", robot_main, (self._settings,))
        self._robot.wait_ready(READY_S)
        new = FOLDER / "arm.new"
        new.symlink_to(self._stage.port)
        new.rename(FOLDER / "arm")

    def unplug(self) -> None:
        """Killed, as in sim/process_rig.py: a camera's mailbox stays, and whoever reads it goes on."""
        self._robot.kill()

    def lay(self, seed: str, command: str) -> None:
        self._stage.lay(int(seed), command)

    def judge(self) -> None:
        self._stage.judge()

    def say(self, wav: str) -> None:
        record = np.zeros((), CUE)
        record["wav"] = wav.encode()
        self._cues.put(record)

    def mute(self) -> None:
        """No microphone, until something is said into one."""
        record = np.zeros((), CUE)
        record["unplugged"] = True
        self._cues.put(record)

    def verdict(self) -> dict[str, bool] | None:
        truth = self._stage.verdict()
        return None if truth is None else {"success": truth.success, "over": truth.over}

    def servos(self) -> dict[str, object]:
        """Torque and true angles (rad), at the servos' end of the bus."""
        while len(rows := read_tap(self._tap, self._row)):
            self._row += len(rows)
            self._servos = {
                "torque": rows[-1]["torque_on"].tolist(),
                "true_rad": rows[-1]["true_rad"].tolist(),
            }
        return self._servos


def main(calibration: str) -> None:
    with (
        Mailbox.create(CUES, CUE) as cues,
        Mailbox.create(WISHES, WISH) as wishes,
        Mailbox.create(TRUTHS, TRUTH) as truths,
        socket.socket(socket.AF_UNIX) as listening,
    ):
        world = World(calibration, cues, wishes, truths)
        listening.bind(str(FOLDER / "socket"))
        listening.listen()
        Notifier().ready("the arm is plugged in")
        while True:
            with listening.accept()[0] as asked:
                verb, *words = asked.recv(4096).decode().split()
                try:
                    answer = getattr(world, verb)(*words)
                except Exception as error:  # the edge of a process: the test reads it
                    answer = {"error": f"{type(error).__name__}: {error}"}
                asked.sendall(json.dumps(answer).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
