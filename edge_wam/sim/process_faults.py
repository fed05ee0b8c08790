"""The faults of `edge-wam faults --processes`: what an operating system, and who sits at it, do to processes.

Each gets a house of its own (sim/process_rig.py). The arm is told to pick up a cube; once it moves, the fault
begins. After a while everything is mended, the command is said again, and the arm must set out again (a
control process that died is started again first, as systemd would). Then SIGTERM: park, let go, end.
"""

from __future__ import annotations

import math
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam.config import Config
from edge_wam.errors import EdgeWamError
from edge_wam.sim.faults import Row
from edge_wam.sim.monitor import LEAD_SLACK_RAD, Worst
from edge_wam.sim.process_rig import AGAIN, ProcessRig

# A plan that is not renewed runs out after its last row (16 of 1/30 s), and the guard catches up with it.
PLAN_S = 0.7
STILL_RAD = 0.01
GONE_S = 3.6  # longer than control waits for a plan before it parks
GAP_S = 0.15  # nobody writes for so long: control is not there
LITTLE_BYTES = 32 << 20  # an interpreter starts in it, and cannot load numpy


class ProcessFault(NamedTuple):
    """window_s: how long until it is judged and mended; still_s: the goals stand still from so long after the
    fault on, until the arm parks (inf: nothing says so); record: with a recorder to fill the disk; terminal:
    what is said goes to one; or_else: another end that is as good, where it hangs on what a process was doing
    just then."""

    name: str
    begin: Callable[[ProcessRig], object]
    expected: str
    window_s: float = 4.0
    still_s: float = math.inf
    mend: Callable[[ProcessRig], object] = lambda rig: None
    record: bool = False
    terminal: bool = False
    or_else: str = ""
    group: str = "process"


def address_space(pid: int) -> int:
    """What it has mapped, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def no_memory(rig: ProcessRig, who: str) -> None:
    """Not a page more than it has."""
    rig.squeeze(who, resource.RLIMIT_AS, address_space)


def no_memory_for_another(rig: ProcessRig) -> None:
    """It has died, and what is left (a process of control's inherits that) does not hold another."""
    rig.squeeze("control", resource.RLIMIT_AS, lambda pid: LITTLE_BYTES)
    rig.kill("policy")


def no_files(rig: ProcessRig, who: str) -> None:
    """Not a descriptor more than the usual three: a new process cannot be given its pipe."""
    rig.squeeze(who, resource.RLIMIT_NOFILE, lambda pid: 3)


def no_disk(rig: ProcessRig) -> None:
    """No byte more into any file: logs, records, caches. A write past the limit fails as on a full disk."""
    rig.squeeze("house", resource.RLIMIT_FSIZE, lambda pid: 0)


def no_disk_and_the_policy_ends(rig: ProcessRig) -> None:
    """... and its recorder wants to write what it kept."""
    no_disk(rig)
    rig.kill("policy", signal.SIGTERM)
    no_other(rig, "policy", 1.0)


def no_other(rig: ProcessRig, who: str, from_s: float) -> None:
    """Whoever takes its place is killed as it loads: one that is back within two seconds is waited for."""
    for late_s in np.arange(from_s, GONE_S, 0.2):
        rig.at(time.monotonic() + late_s, lambda: rig.kill(who, must=False))


def policy_killed(rig: ProcessRig) -> None:
    rig.kill("policy")
    no_other(rig, "policy", 0.2)


def policy_and_voice_killed(rig: ProcessRig) -> None:
    rig.kill("voice")
    policy_killed(rig)


def without_files_the_policy_dies(rig: ProcessRig) -> None:
    rig.kill("policy")
    no_files(rig, "control")


def arm_away(rig: ProcessRig, lasts_s: float) -> None:
    """Servos and cameras vanish with their ports, and are there again under other ones."""
    rig.kill("robot")
    rig.at(time.monotonic() + lasts_s, rig.start_robot)


def killed(who: str) -> Callable[[ProcessRig], object]:
    return lambda rig: rig.kill(who)


def stopped(who: str, lasts_s: float) -> Callable[[ProcessRig], object]:
    return lambda rig: rig.stop(who, lasts_s)


def hangs_as_the_policy_dies(rig: ProcessRig) -> None:
    """So that there is something to be said."""
    rig.stall_output()
    policy_killed(rig)


PROCESS_FAULTS: tuple[ProcessFault, ...] = (
    ProcessFault("policy killed", policy_killed, "parked", 4.5, PLAN_S),
    ProcessFault("policy stopped for 0.3 s", stopped("policy", 0.3), "went on"),
    ProcessFault("policy stopped for 1.5 s", stopped("policy", 1.5), "went on"),
    ProcessFault("policy stopped for good", stopped("policy", 60.0), "parked", 12.0, PLAN_S),
    ProcessFault("policy cannot allocate", partial(no_memory, who="policy"), "went on"),
    ProcessFault("voice killed", killed("voice"), "went on"),
    ProcessFault("voice stopped for 1 s", stopped("voice", 1.0), "went on"),
    ProcessFault("voice stopped for good", stopped("voice", 60.0), "went on", 12.0),
    ProcessFault("microphone dead", lambda rig: rig.cue(unplugged=True), "went on", 5.0, mend=ProcessRig.cue),
    ProcessFault("policy and voice killed", policy_and_voice_killed, "parked", 4.5, PLAN_S),
    ProcessFault("arm and cameras stopped for 0.05 s", stopped("robot", 0.05), "went on"),
    ProcessFault("arm and cameras stopped for 0.5 s", stopped("robot", 0.5), "went on"),
    ProcessFault("arm and cameras stopped for 3 s", stopped("robot", 3.0), "held", 8.0),
    ProcessFault("arm and cameras gone for 3 s", partial(arm_away, lasts_s=3.0), "held", 14.0),
    ProcessFault("control stopped for 0.1 s", stopped("control", 0.1), "went on"),
    ProcessFault("control stopped for 1 s", stopped("control", 1.0), "went on"),
    ProcessFault("control stopped for 3 s", stopped("control", 3.0), "parked", 6.0, or_else="went on"),
    ProcessFault("control stopped for good", stopped("control", 60.0), "let go", 13.0),
    ProcessFault("control killed", killed("control"), "let go", 6.0),
    ProcessFault("control crashes", lambda rig: rig.kill("control", signal.SIGSEGV), "let go", 6.0),
    ProcessFault("control cannot allocate", partial(no_memory, who="control"), "went on"),
    ProcessFault("no memory for a policy that died", no_memory_for_another, "parked", 5.0, PLAN_S),
    ProcessFault("control cannot open a file as the policy dies", without_files_the_policy_dies, "parked",
                 4.5, PLAN_S),
    ProcessFault("all stopped for 3 s (Ctrl-Z, fg)", stopped("house", 3.0), "parked", 6.0, or_else="went on"),
    ProcessFault("the terminal closes", lambda rig: rig.kill("house", signal.SIGHUP), "let go", 6.0),
    ProcessFault("a terminal hangs (Ctrl-S) as the policy dies", hangs_as_the_policy_dies, "parked",
                 4.5, PLAN_S, terminal=True),
    ProcessFault("disk full", no_disk, "went on"),
    ProcessFault("disk full as the recorder writes", no_disk_and_the_policy_ends, "parked", 4.5, PLAN_S,
                 record=True),
    ProcessFault("another program on control's core", lambda rig: rig.hog(everywhere=False), "went on"),
    ProcessFault("another program on every core", lambda rig: rig.hog(everywhere=True), "went on"),
)  # fmt: skip


class Processes(NamedTuple):
    """Where process faults happen: the settings of the house, and whether it is a light one."""

    config: Config
    light: bool

    def inject(self, fault: ProcessFault) -> Row:
        """Give the fault a house, and see."""
        try:
            return self._inject(fault)
        except EdgeWamError as error:  # a house that cannot be built: the other faults go on
            nothing = Worst(0.0, 0.0, 0.0, ())
            return Row(fault, math.nan, "let go", nothing, (), True, (str(error),))

    def _inject(self, fault: ProcessFault) -> Row:
        with (
            tempfile.TemporaryDirectory(prefix="edge-wam-faults-") as folder,
            ProcessRig(
                self.config, Path(folder), light=self.light, record=fault.record, terminal=fault.terminal
            ) as rig,
        ):
            broken = [] if rig.moves_when_told() else [f"it did not set out: {rig.last_words()}"]
            began, fault_s = len(rig.said), time.monotonic()
            fault.begin(rig)
            rig.pass_until(fault_s + fault.window_s)
            outcome = outcome_of(rig)
            if outcome == fault.or_else:
                fault = fault._replace(expected=outcome)
            after = [one for one in rig.said[began:] if one.t_s >= fault_s]
            said = tuple(one.text for one in after)
            broken += [*moved_on(rig, fault, fault_s), *held_on(rig, outcome)]
            unattended, far = left_alone(rig, fault_s)
            lost, released = recovered(rig, fault)
            broken += [*lost, *far]
            noticed_ms = 1e3 * (after[0].t_s - fault_s) if after else math.nan
            words = (*said, *([unattended] if unattended else []))
            return Row(fault, noticed_ms, outcome, rig.monitor.worst, words, released, tuple(broken))


def recovered(rig: ProcessRig, fault: ProcessFault) -> tuple[list[str], bool]:
    """Mend everything; does it do what it is told again, and leave as it should? What it does not, and
    whether the torque is off in the end."""
    broken: list[str] = []
    fault.mend(rig)
    rig.mend()
    if rig.gone:
        before = rig.control.pid or 0
        try:
            rig.start_control()
        except EdgeWamError as error:
            return [str(error)], not rig.moments[-1].torque_on
        broken += rig.left_over(before)
    if not rig.moves_when_told(AGAIN):
        broken.append(f"it did not set out again: {rig.last_words()}")
    if not (released := rig.leave()):
        broken.append(f"it did not park, let go and end: {rig.last_words()}")
    return broken, released


def outcome_of(rig: ProcessRig) -> str:
    """As sim/faults.py's OUTCOMES: the torque by the servos' own word, the rest by control's."""
    if not rig.moments[-1].torque_on:
        return "let go"
    return {"following": "went on", "holding": "held"}.get(rig.status.partition(":")[0], "parked")


def moved_on(rig: ProcessRig, fault: ProcessFault, fault_s: float) -> list[str]:
    """Did goals move on once nobody could know better? Until the arm sets out to park."""
    parking_s = next((one.t_s for one in rig.said if one.t_s > fault_s and one.text == "parking"), math.inf)
    goals = [
        moment.goals_rad
        for moment in rig.moments
        if moment.written and fault_s + fault.still_s < moment.t_s < parking_s - 0.05
    ]
    far_rad = float(np.ptp(goals, axis=0).max()) if goals else 0.0
    return [f"goals moved on by {far_rad:.3f} rad after {fault.still_s:g} s"] if far_rad > STILL_RAD else []


def held_on(rig: ProcessRig, outcome: str) -> list[str]:
    """Whoever has torque on goes on writing goals, and who says that he holds writes the same."""
    last_s = rig.moments[-1].t_s - 0.4
    goals = [moment.goals_rad for moment in rig.moments if moment.written and moment.t_s > last_s]
    if outcome != "let go" and not goals:
        return [f"it says that it {outcome}, and writes no goals"]
    if outcome == "held" and float(np.ptp(goals, axis=0).max()) > STILL_RAD:
        return ["it says that it holds, and the goals say otherwise"]
    return []


def left_alone(rig: ProcessRig, fault_s: float) -> tuple[str, list[str]]:
    """How far the joints went while nobody wrote to them, in words; and what was too far."""
    moments = [moment for moment in rig.moments if moment.t_s > fault_s - 0.1]
    written = [index for index, moment in enumerate(moments) if moment.written]
    longest_s, far_rad, allowed_rad = 0.0, 0.0, rig.limits.lead_rad + LEAD_SLACK_RAD
    far: list[str] = []
    for start, end in zip(written, [*written[1:], len(moments) - 1], strict=True):
        gap_s = moments[end].t_s - moments[start].t_s
        alone = [moment.true_rad for moment in moments[start : end + 1] if moment.torque_on]
        if gap_s < GAP_S or len(alone) < 2:
            continue
        moved_rad = np.abs(np.array(alone) - alone[0]).max(axis=0)
        if (moved_rad > allowed_rad).any():
            far.append(f"went {moved_rad.max():.2f} rad unattended")
        if gap_s > longest_s:
            longest_s, far_rad = gap_s, float(moved_rad.max())
    text = f"unattended for {longest_s:.1f} s: went {far_rad:.3f} rad, and stood" if far_rad > 0.002 else ""
    return text, far
