"""A whole house of real processes in real time, and hands that reach into it: sim/process_faults.py's stage.

The simulated robot (servos on a pty, cameras) is a child of ours and not of control, so that it outlives
whatever control dies of. Control is `edge-wam run` with its policy and its voice (sim/process_parts.py); it
is told what to do by a voice, through the recogniser. We are its service manager: we hear its sd_notify,
kill it when the watchdog is not fed, run edge-wam-safe-stop once it has ended, and start it again, as
edge-wam.service says. What passed on the bus is judged by sim/monitor.py, from the tap at the servos' end.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam.act.calibration import Calibration
from edge_wam.act.limits import load_limits
from edge_wam.config import Config
from edge_wam.errors import EdgeWamError
from edge_wam.loop import CONTROL_HZ
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.process import Child
from edge_wam.realtime import control_core
from edge_wam.robot import Sound, Stage, Staged
from edge_wam.sim import process_parts
from edge_wam.sim.cue import CUE, CuedMicrophone
from edge_wam.sim.microphone import for_samples, sample
from edge_wam.sim.monitor import Monitor
from edge_wam.sim.robot import TRUTH, WISH, SimSettings, robot_main
from edge_wam.sim.wiretap import create_tap, read_tap
from edge_wam.telemetry import INSTANCE
from edge_wam.think.worker import policy_main
from edge_wam.types import FloatArray

COMMAND, AGAIN = "pick_red", "home"  # and there is something to do for the second, however far the first came
WATCHDOG_S = 10.0  # as in edge-wam.service
START_S, HEAR_S, END_S = 120.0, 15.0, 30.0
MOVING_RAD = 0.15  # from where it stood when it was told: now it moves
POLL_S = 0.005
_FILLING = "\0"
_STAMP = re.compile(r"^\[ *[\d.]+ s\] ")
_OURS = re.compile(rf"{_STAMP.pattern}|^edge-wam: ")


class Said(NamedTuple):
    """A line that control wrote, a STATUS it gave, or what its service manager did."""

    t_s: float
    text: str


class Moment(NamedTuple):
    """The bus after something was written: the goals and the true joints, (J,) each, and what has torque."""

    t_s: float
    goals_rad: FloatArray
    true_rad: FloatArray
    torque_on: bool
    written: bool  # by the host; else nobody wrote, and this is only where the joints are


class ProcessRig:
    """One house. `with ProcessRig(...) as rig:` starts it, and leaves nothing behind."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        *,
        light: bool,
        record: bool = False,
        terminal: bool = False,
        sound: Sound | None = None,
    ) -> None:
        """record: with a recorder in the policy; terminal: what is said goes to one, else to a file; sound: a
        microphone, else one that is given cues."""
        self.folder, self.light = folder, light
        self._link, self._log, self._tap = folder / "arm", folder / "control.log", folder / "tap.npy"
        # The usual name is that of a robot that may be at work on this machine.
        name = f"rig-{os.getpid()}" if config.robot.name == INSTANCE else config.robot.name
        robot = replace(config.robot, name=name, port=str(self._link))
        self._config = replace(config, robot=robot, voice=for_samples(config.voice))
        calibration = config.robot.calibration
        self.limits = load_limits(calibration / "limits.toml")
        self._true_rad: FloatArray = np.zeros(len(self.limits.joints))
        self.monitor = Monitor(
            Calibration.load(calibration / "arm.json"), self.limits, 1 / CONTROL_HZ, lambda: self._true_rad
        )
        frames, wish, truth = map(private_name, ("frames", "wish", "truth"))
        self._settings = SimSettings(str(calibration), 0, frames, wish, truth, str(self._tap))
        sound = sound or Sound(functools.partial(CuedMicrophone, private_name("cue")))
        policy = process_parts.light_policy if light else policy_main
        self._staged = Staged(sound, frames, policy, str(folder / "record") if record else "")
        self.said: list[Said] = []
        self.moments: list[Moment] = []
        self.status, self.fed_s, self.gone = "", 0.0, False
        self._rows, self._text, self._stalled = 0, b"", False
        self._line = ""  # the last that anybody wrote
        (os.mkfifo if terminal else Path.touch)(self._log)
        self._output = os.open(self._log, os.O_RDONLY | os.O_NONBLOCK)
        self._stack = contextlib.ExitStack()
        self._hogs: list[subprocess.Popen[bytes]] = []
        self._due: list[tuple[float, Callable[[], object]]] = []
        self._undo: list[Callable[[], object]] = []
        self._before: set[int] = set()

    # --- starting and ending ----------------------------------------------------------------------

    def __enter__(self) -> ProcessRig:
        with contextlib.ExitStack() as stack:
            create_tap(self._tap)
            self._cues = stack.enter_context(Mailbox.create(private_name("cue"), CUE))
            wishes = stack.enter_context(Mailbox.create(private_name("wish"), WISH))
            truths = stack.enter_context(Mailbox.create(private_name("truth"), TRUTH))
            self.stage = Stage(wishes, truths, WISH)
            self._socket = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._socket.bind(str(self.folder / "notify"))
            self._socket.setblocking(False)
            stack.callback(os.close, self._output)
            stack.callback(lambda: self.robot.stop())
            stack.callback(self._end_all)
            self.start_robot()
            self.stage.lay(0, COMMAND)
            self.start_control()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_robot(self) -> None:
        """The arm and its cameras, plugged in."""
        main = process_parts.light_robot if self.light else robot_main
        self.robot = Child("robot", main, (self._settings,))
        self.robot.wait_ready(START_S)
        new = self.folder / "arm.new"
        new.symlink_to(self.stage.port)
        new.rename(self._link)  # as udev does: a name that stays

    def start_control(self) -> None:
        """`edge-wam run`, until it says that it is ready."""
        environment = {
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": str(round(1e6 * WATCHDOG_S)),
            "PYTHONFAULTHANDLER": "1",
        }
        self.status, self.fed_s = "", 0.0
        given = (self._config, self._staged, str(self._log), environment)
        context = multiprocessing.get_context("spawn")
        self.control = context.Process(target=process_parts.control_main, args=given, name="control")
        self.control.start()
        self.gone = False
        if not self.wait(lambda: self.status != "" or self.gone, START_S) or self.gone:
            raise EdgeWamError(f"control did not become ready: {self._line or self.last_words()}")

    def _end_all(self) -> None:
        self.mend()
        for pid in (self.control.pid or 0, *self.children()) if hasattr(self, "control") else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if hasattr(self, "control"):
            self.control.join()

    # --- time -------------------------------------------------------------------------------------

    def pass_until(self, t_s: float) -> None:
        """Let real time pass: hear, watch, be the service manager."""
        self.wait(lambda: False, t_s - time.monotonic())

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Until the condition holds; False if it does not in time."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= end_s:
                return False
            time.sleep(POLL_S)
            self._look()
        return True

    def at(self, t_s: float, what: Callable[[], object]) -> None:
        """Let something happen at a monotonic time."""
        self._due = sorted([*self._due, (t_s, what)], key=lambda item: item[0])

    def _look(self) -> None:
        now_s = time.monotonic()
        while self._due and self._due[0][0] <= now_s:
            self._due.pop(0)[1]()
        self._hear(now_s)
        self._read_output(now_s)
        self._judge()
        self._manage(now_s)

    def _read_output(self, now_s: float) -> None:
        with contextlib.suppress(BlockingIOError):
            self._text += b"" if self._stalled else os.read(self._output, 1 << 16)
        *lines, self._text = self._text.split(b"\n")
        for line in (raw.decode("utf-8", "replace").strip(_FILLING) for raw in lines):
            self._line = line or self._line
            if _OURS.match(line):  # what else there is are traces of what crashed
                self.said.append(Said(now_s, _STAMP.sub("", line)))

    def _hear(self, now_s: float) -> None:
        """What control tells its service manager."""
        with contextlib.suppress(BlockingIOError):
            while True:
                for line in self._socket.recv(4096).decode().splitlines():
                    name, _, value = line.partition("=")
                    if name == "WATCHDOG":
                        self.fed_s = now_s
                    elif name == "STATUS":
                        self.status = value
                        self.said.append(Said(now_s, value))

    def _judge(self) -> None:
        """The bus since we last looked."""
        for row in read_tap(self._tap, self._rows):
            self._rows += 1
            self._true_rad = np.array(row["true_rad"])
            if row["size"]:
                self.monitor.see(row["data"][: row["size"]].tobytes())
            self.moments.append(
                Moment(
                    float(row["t_s"]),
                    self.monitor.goals_rad,
                    self._true_rad,
                    bool(row["torque_on"].any()),
                    bool(row["size"]),
                )
            )

    def _manage(self, now_s: float) -> None:
        """As systemd does with edge-wam.service, but for starting again."""
        if self.gone or not hasattr(self, "control"):
            return
        if self.control.is_alive():
            if self.fed_s and now_s - self.fed_s > WATCHDOG_S:
                self.said.append(Said(now_s, f"service manager: not a beat for {WATCHDOG_S:g} s, aborted"))
                for number in (signal.SIGABRT, signal.SIGCONT):
                    os.kill(self.control.pid or 0, number)
                self.control.join(5.0)
            return
        self.gone = True
        code = self.control.exitcode or 0
        why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self.said.append(Said(now_s, f"the control process ended: {why}"))
        words = [sys.executable, "-m", "edge_wam.safe_stop", "release", "--port", str(self._link)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=END_S)
        sure = done.returncode == 0 and json.loads(done.stdout)["confirmed"]
        self.said.append(Said(time.monotonic(), f"safe stop: {'confirmed' if sure else done.stderr.strip()}"))

    def last_words(self) -> str:
        """The last line that was said."""
        return self.said[-1].text if self.said else "nothing was said"

    # --- telling it what to do, and seeing whether it does ------------------------------------------

    def cue(self, command: str = "", *, unplugged: bool = False) -> None:
        """Say a command into the microphone ('': nothing), or pull its plug."""
        record = np.zeros((), CUE)
        record["wav"] = str(sample("en", command)).encode() if command else b""
        record["unplugged"] = unplugged
        self._cues.put(record)

    def moves_when_told(self, command: str = COMMAND, tries: int = 4) -> bool:
        """Say the command, as a person would again and again; does the arm set out?"""
        for _ in range(tries):
            if self.gone:
                return False
            before = len(self.said)
            self.cue(command)
            if not self.wait(functools.partial(self.following, before), HEAR_S):
                continue
            here_rad = self.moments[-1].true_rad
            if self.wait(functools.partial(self._far_from, here_rad), HEAR_S / 3):
                return True
        return False

    def following(self, since: int) -> bool:
        """Whether it is at a task that it took up after so many lines were said."""
        return self.status.startswith("following") and any(
            one.text.startswith(("following", "doing")) for one in self.said[since:]
        )

    def _far_from(self, here_rad: FloatArray) -> bool:
        return bool(np.abs(self.moments[-1].true_rad - here_rad).max() > MOVING_RAD)

    def leave(self) -> bool:
        """SIGTERM: park, let go, end. True if it did all of it."""
        if not self.gone:
            os.kill(self.control.pid or 0, signal.SIGTERM)
            self.wait(lambda: self.gone, END_S)
        self.pass_until(time.monotonic() + 0.1)
        return self.gone and self.control.exitcode == 0 and not self.moments[-1].torque_on

    # --- what faults reach for --------------------------------------------------------------------

    def children(self) -> dict[int, str]:
        """Every process of control's, by its number: its name."""
        found: dict[int, str] = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                name, _, rest = (path / "stat").read_text().partition(" (")[2].rpartition(") ")
                state, parent = rest.split()[:2]
                if int(parent) == self.control.pid and state != "Z":
                    found[int(path.name)] = name
        return found

    def pids(self, who: str) -> list[int]:
        """'control', 'robot', 'policy', 'voice', or 'house': all of them but the robot."""
        control = self.control.pid or 0
        if who in ("control", "robot"):
            return [control if who == "control" else self.robot.pid]
        found = [pid for pid, name in self.children().items() if who in (name, "house")]
        if not found:
            raise EdgeWamError(f"there is no process '{who}' to reach into")
        return [*found, control] if who == "house" else found

    def kill(self, who: str, number: int = signal.SIGKILL, *, must: bool = True) -> None:
        """A signal to whoever it is; EdgeWamError if there must be one and is not."""
        self._before = set(self.children())
        with contextlib.ExitStack() as maybe:
            if not must:
                maybe.enter_context(contextlib.suppress(EdgeWamError))
            for pid in self.pids(who):
                os.kill(pid, number)

    def stop(self, who: str, lasts_s: float) -> None:
        """SIGSTOP, and SIGCONT so much later."""
        pids = self.pids(who)

        def go_on() -> None:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self._undo.append(go_on)
        self.at(time.monotonic() + lasts_s, go_on)

    def stall_output(self) -> None:
        """Nobody reads what it prints any more, and the pipe there is full; until it is mended."""
        self._stalled = True
        full = os.open(self._log, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(full, _FILLING.encode())
        os.close(full)
        self._undo.append(lambda: setattr(self, "_stalled", False))

    def squeeze(self, who: str, what: int, most: Callable[[int], int]) -> None:
        """Lower a resource limit to what `most` says of a process; until it is mended."""
        for pid in self.pids(who):
            before = resource.prlimit(pid, what)
            resource.prlimit(pid, what, (most(pid), before[1]))

            def lift(pid: int = pid, before: tuple[int, int] = before) -> None:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(pid, what, before)

            self._undo.append(lift)

    def hog(self, everywhere: bool) -> None:
        """A program that takes all it can get, on control's core or on every one."""
        cores = os.sched_getaffinity(0)
        for core in sorted(cores) if everywhere else [control_core() or min(cores)]:
            code = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
            self._hogs.append(subprocess.Popen([sys.executable, "-c", code]))

    def left_over(self, control: int) -> list[str]:
        """Processes and mailboxes of a control process that is gone."""
        alive = [f"process {pid} is left over" for pid in self._before if process_parts.lives(pid)]
        return alive + [
            f"{path.name} is left over" for path in Path("/dev/shm").glob(f"edge-wam.{control}.*")
        ]

    def mend(self) -> None:
        """Everything as it was before."""
        for undo in self._undo:
            undo()
        self._undo, self._due = [], []
        for hog in self._hogs:
            hog.kill()
            hog.wait()
        self._hogs = []
