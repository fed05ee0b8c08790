"""`edge-wam bench record`: what a recorder takes, and what it costs the robot that it listens to.

A whole robot of real processes in real time (sim/process_rig.py: MuJoCo, cameras, model, voice) is told one
command after another. In turns nobody records, or a recorder in a process of its own does, in JPEG or in PNG.
Lateness is what the loop itself tells of each tick. Every second recorder is killed: what its file holds
until then says what that costs. At the end the policy is killed for good: how long until that is on disk?
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam.config import IMAGES, Config
from edge_wam.errors import EdgeWamError
from edge_wam.record.reading import read
from edge_wam.record.recorder import AFTER_S, KEPT_S
from edge_wam.record.ring import FAULT, PART, SUFFIX
from edge_wam.sim.process_faults import policy_killed
from edge_wam.sim.process_rig import AGAIN, COMMAND, ProcessRig
from edge_wam.telemetry import Window

NOBODY = "nobody"
SETTLE_S = 1.0  # until a recorder that was started is one that runs
START_S = 30.0
HEAR_S = 6.0  # to be said, understood and begun


class Turn(NamedTuple):
    """One turn. late_ms of each tick; skipped slots; cpu_s and size_bytes are the recorder's; lost_s: how old
    the last tick in its file was when it was killed (NaN: it was not)."""

    who: str
    seconds: float
    late_ms: list[float]
    skipped: int
    cpu_s: float = 0.0
    size_bytes: int = 0
    lost_s: float = math.nan


class Dump(NamedTuple):
    """What was kept of a fault: its size, the stretch of ticks in it, and how long after that stretch's end
    the file was whole."""

    size_bytes: int
    holds_s: float
    took_s: float


class Bench:
    """One robot, and the recorders that come and go."""

    def __init__(self, rig: ProcessRig, config: Config, folder: Path) -> None:
        self._rig, self._config, self._folder = rig, config, folder
        self._window = Window(config.robot.name)
        self._next, self._told_s = COMMAND, -math.inf

    def turn(self, who: str, seconds: float, *, kill: bool = False) -> Turn:
        """One turn of these seconds; kill: the recorder's end is SIGKILL."""
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder)))
            recorder = None
            if who != NOBODY:
                recorder = stack.enter_context(recording(self._config, folder, who))
                self._rig.pass_until(time.monotonic() + SETTLE_S)
            cpu_s = cpu_of(recorder)
            began_s = time.monotonic()
            late_ms, skipped = self._listen(began_s + seconds)
            took_s = time.monotonic() - began_s
            cpu_s = cpu_of(recorder) - cpu_s
            found = Turn(who, took_s, late_ms, skipped, cpu_s)
            if recorder is None:
                return found
            recorder.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            ended_s = time.monotonic()
            recorder.wait(START_S)
            (path,) = [path for path in folder.iterdir() if path.name.endswith((SUFFIX, PART))]
            ticks_s = read(path).ticks_s
            # What came before the turn began is in the file as well.
            size_bytes = path.stat().st_size * min(1.0, took_s / float(ticks_s[-1] - ticks_s[0]))
            lost_s = ended_s - float(ticks_s[-1]) if kill else math.nan
            return found._replace(size_bytes=round(size_bytes), lost_s=lost_s)

    def dump(self) -> Dump:
        """Kill the policy for good beside a recorder that has its memory full."""
        with recording(self._config, self._folder, IMAGES[0]):
            self._listen(time.monotonic() + KEPT_S + SETTLE_S)
            policy_killed(self._rig)
            files: list[Path] = []

            def there() -> bool:
                files[:] = self._folder.glob(f"{FAULT}*{SUFFIX}")
                return bool(files)

            if not self._rig.wait(there, START_S):
                raise EdgeWamError(f"no file of the fault in {START_S:g} s: {self._rig.last_words()}")
            whole_s = time.monotonic()
            found = read(files[0])
            fault_s = next(
                event.t_s for event in found.events if event.kind == "fault" and "plan" in event.text
            )
            holds_s = float(found.ticks_s[-1] - found.ticks_s[0])
            return Dump(files[0].stat().st_size, holds_s, whole_s - fault_s - AFTER_S)

    def close(self) -> None:
        """Look no more."""
        self._window.close()

    def _listen(self, until_s: float) -> tuple[list[float], int]:
        """What the loop tells of its ticks, while the robot is kept at work."""
        late_ms: list[float] = []
        skipped = 0
        ticks = self._window.look()[1].ticks
        ticks.news()
        while time.monotonic() < until_s:
            if time.monotonic() > self._told_s + HEAR_S and not self._rig.status.startswith("following"):
                self._rig.cue(self._next)
                self._next = AGAIN if self._next == COMMAND else COMMAND
                self._told_s = time.monotonic()
            self._rig.pass_until(time.monotonic() + 0.2)
            letters, missed = ticks.news()
            if missed:
                raise EdgeWamError(f"{missed} ticks were told faster than they could be read; try again")
            late_ms += [1e3 * float(letter.record["late_s"]) for letter in letters]
            skipped += sum(int(letter.record["skipped"]) for letter in letters)
        return late_ms, skipped


@contextlib.contextmanager
def recording(config: Config, folder: Path, images: str) -> Iterator[subprocess.Popen[str]]:
    """`edge-wam record` of this robot into the folder."""
    words = [sys.executable, "-m", "edge_wam", "record"]
    for name, value in (
        ("robot.name", config.robot.name),
        ("robot.calibration", config.robot.calibration),
        ("record.folder", folder),
        ("record.images", images),
    ):
        words += ["--set", f"{name}={value}"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            if "recording robot" not in (line := process.stderr.readline()):
                raise EdgeWamError(f"the recorder does not start: {line.strip()}")
            yield process
        finally:
            process.terminate()


def cpu_of(process: subprocess.Popen[str] | None) -> float:
    """Seconds of CPU so far, of all its threads; 0 for none."""
    if process is None:
        return 0.0
    rest = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(rest[11]) + int(rest[12])) / os.sysconf("SC_CLK_TCK")


def table(turns: Sequence[Turn], dump: Dump) -> str:
    """For people."""
    rows = [
        "| who records | ticks | late p50 / p99 / p99.9 ms | skipped | its CPU | MB a minute | killed |",
        "|---|---|---|---|---|---|---|",
    ]
    for who, found in report(turns, dump)["turns"].items():
        p50, p99, p999 = found["late_ms"]
        rows.append(
            f"| {who} | {found['ticks']} | {p50:.2f} / {p99:.1f} / {p999:.1f} | {found['skipped']} | "
            + (
                "- | - | - |"
                if who == NOBODY
                else f"{100 * found['cpu']:.1f} % of a core | {found['mb_a_minute']:.1f} | "
                f"{', '.join(f'{lost_s:.2f}' for lost_s in found['lost_s']) or '-'} s lost |"
            )
        )
    rows.append(
        f"\nA fault: {dump.holds_s:.1f} s in {dump.size_bytes / 1e6:.1f} MB, "
        f"whole {dump.took_s:.2f} s after the {AFTER_S:g} s that belong to it."
    )
    return "\n".join(rows)


def report(turns: Sequence[Turn], dump: Dump) -> dict[str, Any]:
    """For the JSON line."""
    found: dict[str, Any] = {}
    for who in (NOBODY, *IMAGES):
        theirs = [turn for turn in turns if turn.who == who]
        late_ms = [ms for turn in theirs for ms in turn.late_ms]
        seconds = sum(turn.seconds for turn in theirs)
        found[who] = {
            "ticks": len(late_ms),
            "late_ms": [round(float(np.percentile(late_ms, p)), 3) for p in (50, 99, 99.9)],
            "skipped": sum(turn.skipped for turn in theirs),
            "cpu": round(sum(turn.cpu_s for turn in theirs) / seconds, 4),
            "mb_a_minute": round(60 * sum(turn.size_bytes for turn in theirs) / 1e6 / seconds, 2),
            "lost_s": [round(turn.lost_s, 3) for turn in theirs if turn.lost_s == turn.lost_s],
        }
    return {"turns": found, "dump": dump._asdict()}


def main(config: Config, rounds: int, seconds: float = 20.0) -> int:
    """The command: so many turns of each."""
    from tqdm import tqdm

    config = replace(config, robot=replace(config.robot, name=f"bench-{os.getpid()}"))
    order = [(number, who) for number in range(rounds) for who in (NOBODY, *IMAGES)]
    turns = []
    with tempfile.TemporaryDirectory(prefix="edge-wam-bench.") as folder, contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(order) + 1, desc="record", unit="turn"))
        rig = stack.enter_context(ProcessRig(config, Path(folder), light=False))
        bench = Bench(rig, config, Path(folder))
        stack.callback(bench.close)
        for number, who in order:
            turns.append(bench.turn(who, seconds, kill=number % 2 == 1))
            bar.update()
        dump = bench.dump()
        bar.update()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {rounds} turns of {seconds:g} s each\n")
    print(f"{table(turns, dump)}\n")
    print(json.dumps(report(turns, dump)))
    return 0
