"""`edge-wam faults`: everything that goes wrong, one after another, and what the control process made of it.

Each fault of sim/fault_list.py gets an arm of its own: the real loop, pilot, guard, bus and mailboxes, on
emulated servos (sim/servos.py) on a wire whose bytes take their time, all in simulated time. The policy is a
script that writes into the real mailbox. Two seconds into a motion the fault begins. Then it is asked:

* when did anything take notice? (a lost reply counted, a chunk refused, a wish limited, a word to a person)
* what came of it: the arm went on, held, parked, or was let go of with a reason?
* was any goal on the wire unsafe? Nobody of ours is asked that: sim/monitor.py reads the bytes.

`--processes` adds those of sim/process_faults.py, on real processes in real time, to the same table.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_wam.act.arm import Arm
from edge_wam.act.calibration import Calibration
from edge_wam.act.dynamixel_arm import DynamixelArm
from edge_wam.act.dynamixel_bus import DynamixelBus
from edge_wam.act.families import FAMILIES
from edge_wam.act.feetech_arm import FeetechArm
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.act.limits import load_guards
from edge_wam.clock import ManualClock
from edge_wam.errors import EdgeWamError, nearest
from edge_wam.loop import CONTROL_HZ, run
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.messages import CHUNK, STATE, chunk_record
from edge_wam.orders import Order, Orders, Verb
from edge_wam.pilot import Mode, Patience, Pilot
from edge_wam.remote import RemoteThinker
from edge_wam.sim.dynamixel import DynamixelChain
from edge_wam.sim.kinematic import STEP_S, KinematicPlant
from edge_wam.sim.monitor import Monitor, Worst
from edge_wam.sim.servos import SUPPLY_V, Chain, Reply, ServoChain
from edge_wam.sim.wire import Faults, LoopPort
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, ActionChunk

if TYPE_CHECKING:
    from edge_wam.sim.process_faults import Processes, ProcessFault

BEGIN_S, FAULT_S, QUIT_S = 0.3, 2.0, 6.0
ROWS, DT_S, REPLAN_S, THOUGHT_S = 16, 1 / 30, 0.1, 0.06
MIDDLE_RAD = np.array([0.1, -1.1, 0.7, 0.6, -0.3, 0.6])
SWING_RAD, SWING_S = np.array([0.4, 0.3, 0.3, 0.3, 0.4, 0.3]), 3.0


class Wire(LoopPort):
    """The bus, watched, and with more ways to go wrong than losing a packet."""

    def __init__(self, chain: Chain[Any, Any], clock: ManualClock, monitor: Monitor, tamper: Tamper) -> None:
        super().__init__(chain, clock.advance, tamper, wire_time=True, now_s=clock.now_s)
        self._monitor, self._tamper = monitor, tamper
        self.broken = False  # the adapter is gone
        self.shorted = False  # data against ground: nobody hears anybody, and the line is low

    def write(self, data: bytes) -> int:
        if self.broken:
            raise OSError(5, "Input/output error")
        self._monitor.see(data)
        self._tamper.request = data
        if self.shorted:
            self._here += bytes(len(data))
            return len(data)
        return super().write(data)

    def read(self, size: int = 1) -> bytes:
        if self.broken:
            raise OSError(5, "Input/output error")
        return super().read(size)


class Tamper(Faults):
    """Replies may be bent one by one, by whatever is put into `bend`."""

    def __init__(self) -> None:
        super().__init__()
        self.request = b""
        self.bend: Callable[[list[Reply]], list[Reply]] | None = None

    def apply(self, replies: list[Reply]) -> list[Reply]:
        made = super().apply(replies)
        return made if self.bend is None or self.unplugged else self.bend(made)


class Kind(NamedTuple):
    """What an arm of one family is made of here."""

    chain: Callable[..., Chain[Any, Any]]
    bus: Callable[..., Any]
    arm: Callable[..., Arm]


KINDS = {
    "feetech": Kind(ServoChain, FeetechBus, FeetechArm),
    "dynamixel": Kind(DynamixelChain, DynamixelBus, DynamixelArm),
}


class Rig:
    """One arm of these servos, its policy, and the clock that moves both. Faults reach into it."""

    def __init__(self, folder: Path, servos: str = "feetech") -> None:
        calibration, path = Calibration.load(folder / "arm.json", servos), folder / "limits.toml"
        limits, health = load_guards(path, error_text=FAMILIES[servos].error_text)
        self.rng = random.Random(0)
        self.clock = ManualClock(1000.0, on_advance=self._advance)
        self.start_s = self.clock.now_s()
        self.plant = KinematicPlant(MIDDLE_RAD, limits.low_rad - 0.02, limits.high_rad + 0.02)
        self.chain: Any = KINDS[servos].chain(self.plant, calibration)
        self.tamper = Tamper()
        self.monitor = Monitor(
            calibration,
            limits,
            1 / CONTROL_HZ,
            lambda: self.plant.position_rad,
            servos=servos,
            turns=lambda: [servo.turn_counts for servo in self.chain.servos],
        )
        self.wire = Wire(self.chain, self.clock, self.monitor, self.tamper)
        bus = KINDS[servos].bus(self.wire, calibration.ids, self.clock)
        self.arm = KINDS[servos].arm(bus, calibration)
        self.pilot = Pilot(limits, Patience(), health)
        self.orders, self.log = Orders(), TickLog(len(JOINTS), 4000)
        self.think: Callable[[float], ActionChunk | None] = self.swing
        self.every: list[Callable[[float], object]] = []  # called after each physics step
        self.replan_s = REPLAN_S
        self._steps, self._thought_s = 0, 0.0
        self._due: list[tuple[float, Callable[[], object]]] = []
        self.chunks: Mailbox | None = None
        self.trouble: float | None = None  # when anybody took notice first
        self._well: object = None

    @property
    def t_s(self) -> float:
        """Since the beginning."""
        return self.clock.now_s() - self.start_s

    def at(self, t_s: float, what: Callable[[], object]) -> None:
        """Let something happen at a time of this rig."""
        self._due.append((t_s, what))
        self._due.sort(key=lambda item: item[0])

    def mend(self) -> None:
        """Everything as it was before any fault; the arm stays where it is."""
        self.think, self.replan_s, self.every = self.swing, REPLAN_S, []
        self.tamper.bend, self.tamper.unplugged = None, False
        self.wire.shorted = False
        self.tamper.forget()
        self.chain.supply_v = SUPPLY_V
        self.chain.mend()
        self.plant.load[:] = 0.0
        self.orders.__dict__.pop("take", None)  # what fault_list.paused and hog put in its way

    def swing(self, t_s: float) -> ActionChunk:
        """What a policy in its right mind sends: a slow swing, seen THOUGHT_S ago."""
        t0_s = t_s - THOUGHT_S
        times_s = t0_s + DT_S * np.arange(ROWS) - BEGIN_S
        swing = np.sin(2 * math.pi * np.maximum(times_s, 0.0) / SWING_S)[:, None] * SWING_RAD
        now_s = self.start_s + t_s
        return ActionChunk(self.start_s + t0_s, DT_S, MIDDLE_RAD + swing, self.pilot.task.epoch, now_s, 0.03)

    def put(self, chunk: ActionChunk) -> None:
        """Into the real mailbox."""
        assert self.chunks is not None
        self.chunks.put(chunk_record(chunk, 0.03), chunk.t0_s)

    def _advance(self, now_s: float) -> None:
        while self.start_s + (self._steps + 1) * STEP_S <= now_s + 1e-9:
            self._steps += 1
            t_s = self._steps * STEP_S
            while self._due and self._due[0][0] <= t_s:
                self._due.pop(0)[1]()
            self.plant.step()
            for happens in self.every:
                happens(t_s)
            self.chain.update()
            if self.pilot.task.running and t_s - self._thought_s >= self.replan_s:
                self._thought_s = t_s
                if (chunk := self.think(t_s)) is not None:
                    self.put(chunk)

    def notice(self) -> None:
        """Once a tick, once the fault has begun: has anything changed that tells of trouble?"""
        if self.trouble is not None:
            return
        bus, plan, log = self.arm.bus.counts, self.pilot.plan.counts, self.log
        wire = (bus.missing, bus.garbled, bus.late, bus.noise_bytes, self.arm.doubted)
        now = (*wire, *plan[1:], len(self.pilot.events), log.limited, log.misses)
        if self._well is None or self.t_s < FAULT_S:
            self._well = now
        elif now != self._well and self.t_s < QUIT_S:
            self.trouble = self.t_s

    def take(self) -> list[Order]:
        """The loop's orders; asked once a tick."""
        self.notice()
        return self.orders.take()


class Fault(NamedTuple):
    """name: as in the table. group: where it comes from. begin(rig) lets it happen; expected: what is to
    come of it, one of OUTCOMES."""

    name: str
    group: str
    begin: Callable[[Rig], object]
    expected: str


OUTCOMES = ("went on", "held", "parked", "let go")


class Row(NamedTuple):
    """What came of a fault. noticed_ms after it began (NaN: nothing had to); said: the words for a person;
    broken: promises that were not kept, beside the one about goals."""

    fault: Fault | ProcessFault
    noticed_ms: float
    outcome: str
    worst: Worst
    said: tuple[str, ...]
    released: bool
    broken: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """As expected, nothing unsafe on the wire, and the torque off in the end where the wire was there."""
        let_go = self.released or self.outcome == "let go"
        kept = not self.worst.unsafe and not self.broken
        return self.outcome == self.fault.expected and kept and let_go


def inject(fault: Fault, folder: Path, servos: str = "feetech") -> Row:
    """Give the fault an arm of these servos, and see."""
    rig = Rig(folder, servos)
    rig.clock.advance(0.05)  # the supply has been measured
    names = private_name("fault.state"), private_name("fault.chunk")
    modes: list[Mode] = []
    with Mailbox.create(names[0], STATE) as states, Mailbox.create(names[1], CHUNK) as chunks:
        rig.chunks = chunks
        rig.at(BEGIN_S, lambda: rig.orders.give(Order(Verb.DO, "swing")))
        rig.at(FAULT_S, lambda: fault.begin(rig))
        rig.at(QUIT_S - 0.05, lambda: modes.append(rig.pilot.mode))
        rig.at(QUIT_S, lambda: rig.orders.give(Order(Verb.QUIT)))
        rig.arm.connect()
        ended = ""
        try:
            run(rig.arm, RemoteThinker(states, chunks), rig, rig.pilot, rig.clock, rig.log)
        except EdgeWamError as error:
            ended = str(error)
            rig.trouble = rig.t_s if rig.trouble is None else rig.trouble
    said = [event.text for event in rig.pilot.events if FAULT_S <= event.t_s - rig.start_s < QUIT_S]
    outcome = "let go" if ended else _outcome(modes)
    noticed_ms = math.nan if rig.trouble is None else 1e3 * (rig.trouble - FAULT_S)
    released = not rig.plant.torque_on.any()
    return Row(fault, noticed_ms, outcome, rig.monitor.worst, (*said, *([ended] if ended else ())), released)


def _outcome(modes: Sequence[Mode]) -> str:
    names = {Mode.FOLLOWING: "went on", Mode.HOLDING: "held", Mode.PARKING: "parked", Mode.PARKED: "parked"}
    return names[modes[0]] if modes else "parked"


# --- telling --------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| fault | from | noticed after ms | longest step | largest lead | outcome | said |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        noticed = "-" if math.isnan(row.noticed_ms) else f"{row.noticed_ms:.0f}"
        wrong = "" if row.outcome == row.fault.expected else f" (expected: {row.fault.expected})"
        unsafe = f" **UNSAFE: {row.worst.unsafe[0]}**" if row.worst.unsafe else ""
        unsafe += f" **{'; '.join(row.broken)}**" if row.broken else ""
        shares = f"{100 * row.worst.step:.0f} % | {100 * row.worst.lead:.0f} %"
        said = row.said[0] if row.said else ""
        lines.append(
            f"| {row.fault.name} | {row.fault.group} | {noticed} | {shares} | {row.outcome}{wrong}{unsafe} | "
            f"{said} |"
        )
    unsafe_count = sum(bool(row.worst.unsafe) for row in rows)
    wrong_count = sum(row.outcome != row.fault.expected for row in rows)
    broken_count = sum(bool(row.broken) for row in rows)
    lines += [
        "",
        f"{len(rows)} faults, {unsafe_count} with an unsafe goal on the wire, {wrong_count} with another end "
        f"than expected, {broken_count} with another promise broken. Steps and leads are shares of what "
        "limits.toml allows, read off the wire.",
    ]
    return "\n".join(lines)


def report(rows: Sequence[Row]) -> list[dict[str, object]]:
    """For the JSON line."""
    return [
        {
            "fault": row.fault.name,
            "group": row.fault.group,
            "noticed_ms": None if math.isnan(row.noticed_ms) else round(row.noticed_ms, 1),
            "step": round(row.worst.step, 3),
            "lead": round(row.worst.lead, 3),
            "outcome": row.outcome,
            "expected": row.fault.expected,
            "unsafe": list(row.worst.unsafe[:3]),
            "broken": list(row.broken),
            "said": list(dict.fromkeys(row.said)),
        }
        for row in rows
    ]


def plot(rows: Sequence[Row], path: Path) -> None:
    """For each fault its largest step and lead, against what is allowed (PNG)."""
    from matplotlib.figure import Figure

    colours = {"went on": "tab:green", "held": "tab:blue", "parked": "tab:purple", "let go": "tab:orange"}
    figure = Figure(figsize=(9, 0.22 * len(rows) + 1.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for one, name, values in (
        (axes[0], "longest step, % of the limit", [100 * row.worst.step for row in rows]),
        (axes[1], "largest lead, % of the limit", [100 * row.worst.lead for row in rows]),
    ):
        one.barh(range(len(rows)), values, color=[colours[row.outcome] for row in rows])
        one.axvline(100, color="red", lw=1)
        one.set_xlabel(name)
    labels = [f"{row.fault.group}: {row.fault.name}" for row in rows]
    axes[0].set_yticks(range(len(rows)), labels, fontsize=7)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    from matplotlib.patches import Patch

    figure.legend(
        handles=[Patch(color=colour, label=name) for name, colour in colours.items()],
        loc="outside upper center",
        ncols=4,
    )
    figure.savefig(path, dpi=110)


def chosen(every: Sequence[Fault | ProcessFault], only: str) -> list[Fault | ProcessFault]:
    """Those whose name or group holds the word ('': all). EdgeWamError if there is none."""
    found = [fault for fault in every if only.lower() in f"{fault.name} {fault.group}".lower()]
    if not found:
        names = [fault.name for fault in every]
        raise EdgeWamError(f"--only: no fault is called '{only}'{nearest(only, names)}; try: edge-wam faults")
    return found


def faults_of(servos: str) -> tuple[Fault, ...]:
    """What can go wrong with an arm of these servos."""
    from edge_wam.sim.dynamixel_faults import DYNAMIXEL_FAULTS
    from edge_wam.sim.fault_list import FAULTS

    return {"feetech": FAULTS, "dynamixel": DYNAMIXEL_FAULTS}[servos]


def main(
    folder: Path,
    servos: str,
    only: str,
    as_json: bool,
    picture: Path | None,
    processes: Processes | None = None,
) -> int:
    """The command. 1 where a goal was unsafe or a fault ended otherwise than expected."""
    from tqdm import tqdm

    from edge_wam.sim.process_faults import PROCESS_FAULTS

    every: list[Fault | ProcessFault] = [*faults_of(servos), *(PROCESS_FAULTS if processes else ())]
    rows = []
    for fault in tqdm(chosen(every, only), unit="fault", desc="faults", disable=as_json):
        if isinstance(fault, Fault):
            rows.append(inject(fault, folder, servos))
        elif processes is not None:
            rows.append(processes.inject(fault))
    if not as_json:
        print(f"{table(rows)}\n")
    if picture is not None:
        plot(rows, picture)
    print(json.dumps({"faults": report(rows)}))
    return 0 if all(row.good for row in rows) else 1
