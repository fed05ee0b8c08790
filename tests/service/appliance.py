"""A robot installed in a box (booted.py), and what a person, a cable and an operating system do to it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import booted
import numpy as np
from booted import Box

WHEELS, SOURCE = "/srv/shared/wheels", "/srv/source"
UNITS = "/etc/systemd/system"
SETTINGS = "/etc/edge-wam/config.toml"
GOOD = '[robot]\nport = "/dev/ttyACM0"\n'
MOVING_RAD = 0.15
START_S, HEAR_S = 120.0, 15.0


class Row(NamedTuple):
    """One line of the table: what was done, the states that were seen, restarts, seconds, and the proof."""

    suite: str
    what: str
    states: str
    restarts: int
    seconds: float
    proof: str


class Appliance:
    """One installed robot, its world behind /dev/ttyACM0."""

    def __init__(self, box: Box, rows: list[Row]) -> None:
        self.box, self._rows = box, rows

    # --- what is written down ---------------------------------------------------------------------

    def note(self, what: str, states: str, restarts: int, seconds: float, proof: str) -> None:
        """A line of the table."""
        self._rows.append(Row(self.box.suite, what, states, restarts, seconds, proof))

    # --- installing -------------------------------------------------------------------------------

    def pack(self) -> None:
        """The folder of wheels that is carried to the machine."""
        folder = self.box.shared / "wheels"
        shutil.copytree(booted.wheels(self.box.suite), folder, copy_function=os.link)
        booted.wheel(folder)

    def install(self, *words: str, index: str = "") -> tuple[str, float]:
        """scripts/install.sh as a person runs it; what it said, and how long it took (s). index: pip's."""
        began_s = time.monotonic()
        where = ["env", f"PIP_INDEX_URL={index}"] if index else []
        done = self.box.run("sudo", *where, "bash", f"{SOURCE}/scripts/install.sh", *words, timeout_s=500)
        return done.stdout + done.stderr, time.monotonic() - began_s

    def serve_index(self) -> str:
        """A package index on this machine, and nothing else on its network; its address."""
        booted.index(self.box.shared / "index", self.box.suite)
        serve = [
            "python3",
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--directory",
            "/srv/shared/index",
            "8081",
        ]
        self.box.run("systemd-run", "--quiet", "--unit=index", *serve)
        return "http://127.0.0.1:8081/"

    @property
    def version(self) -> str:
        """The one that runs."""
        return self.box.run("readlink", "/opt/edge-wam/venv").stdout.strip()

    def stage(self) -> None:
        """The simulated world, plugged in."""
        here = f"{SOURCE}/tests/service/box"
        self.box.run("mkdir", "-p", f"{UNITS}/edge-wam.service.d")
        self.box.run("cp", f"{here}/stage.service", UNITS)
        self.box.run("cp", f"{here}/staged.conf", f"{UNITS}/edge-wam.service.d")
        self.box.run("ln", "-sfn", "/run/stage/arm", "/dev/ttyACM0")
        self.box.write(SETTINGS, GOOD)
        self.box.run("systemctl", "daemon-reload")
        self.box.run("systemctl", "start", "stage")

    def change(self, text: str, unit: str = "edge-wam") -> None:
        """One more drop-in of the unit; '' takes it away again."""
        self.box.write(f"{UNITS}/{unit}.service.d/more.conf", text)
        self.box.run("systemctl", "daemon-reload")

    # --- the service ------------------------------------------------------------------------------

    def start(self) -> tuple[int, float]:
        """`sudo systemctl start edge-wam`: its exit code, and how long it took (s)."""
        began_s = time.monotonic()
        done = self.box.run("sudo", "systemctl", "start", "edge-wam", check=False, timeout_s=START_S)
        return done.returncode, time.monotonic() - began_s

    @property
    def state(self) -> str:
        return self.box.show("ActiveState")

    @property
    def status(self) -> str:
        return self.box.show("StatusText")

    @property
    def restarts(self) -> int:
        return int(self.box.show("NRestarts"))

    def kill(self, number: str) -> None:
        """A signal to the control process alone. (--kill-whom is newer than Ubuntu 22.04's systemd.)"""
        self.box.run("systemctl", "kill", "--kill-who=main", f"--signal={number}", "edge-wam")

    def back(self, restarts: int) -> float:
        """Seconds until it has been started again and is ready."""
        return self.box.wait(lambda: self.restarts > restarts and self.state == "active", START_S)

    def said(self, since: str, *matches: str) -> list[str]:
        """The service's messages since a cursor."""
        self.box.run("journalctl", "--sync")
        found = self.box.journal("--unit=edge-wam", *matches, since=since)
        return [entry["MESSAGE"] for entry in found if isinstance(entry["MESSAGE"], str)]

    # --- the world --------------------------------------------------------------------------------

    def ask(self, *words: str) -> Any:
        """Tell the stage something (box/stage.py)."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(START_S)
            line.connect(os.path.join("/proc", str(self.box.pid), "root", "run/stage/socket"))
            line.sendall(" ".join(words).encode())
            line.shutdown(socket.SHUT_WR)
            answer = json.loads(b"".join(iter(lambda: line.recv(4096), b"")))
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"stage: {' '.join(words)}: {answer['error']}")
        return answer

    def limp(self) -> bool:
        """Whether no servo has torque, by the servos themselves."""
        return not any(self.ask("servos")["torque"])

    def where_rad(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array(self.ask("servos")["true_rad"])

    def say(self, command: str) -> None:
        self.ask("say", f"{SOURCE}/edge_wam/sim/samples/en_{command}.wav")

    def obeys(self, command: str, tries: int = 4) -> float:
        """Say it, as a person would again and again, until it follows; how long that took (s)."""
        began_s = time.monotonic()
        for _ in range(tries):
            since = self.box.cursor()
            self.say(command)
            # What it follows already is no answer: this one would be heard later, after a STOP of the test's.
            heard = functools.partial(self._begins, since)
            if self.soon(heard, HEAR_S):
                return time.monotonic() - began_s
        raise TimeoutError(f"'{command}' was said {tries} times; it is {self.state}, {self.status}")

    def _begins(self, since: str) -> bool:
        doing = any("doing: " in line for line in self.said(since))
        return doing and self.status.startswith("following")

    def moves(self, command: str) -> None:
        """Say it, until the arm is on its way."""
        here_rad = self.where_rad()
        self.obeys(command)
        if not self.soon(lambda: bool(np.abs(self.where_rad() - here_rad).max() > MOVING_RAD), HEAR_S):
            lately = "\n".join(self.said("")[-30:])
            raise TimeoutError(f"'{command}' was understood, and the arm stands; {self.status}:\n{lately}")

    def soon(self, what: Callable[[], bool], timeout_s: float) -> bool:
        """Whether it is so in time."""
        try:
            self.box.wait(what, timeout_s)
        except TimeoutError:
            return False
        return True


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    head = ["| Debian | what happened | states | restarts | s | seen |", "|---|---|---|---|---|---|"]
    return "\n".join(
        head
        + [
            f"| {row.suite} | {row.what} | {row.states} | {row.restarts} | {row.seconds:.1f} | {row.proof} |"
            for row in rows
        ]
    )
