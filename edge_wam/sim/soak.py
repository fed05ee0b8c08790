"""`edge-wam soak`: days of faults in simulated time, one arm, one loop that never ends.

The rig of sim/faults.py goes on and on. Every now and then a fault of the list, picked by chance, begins;
some seconds later everything is mended, and an arm that holds or has parked is told to go on. Asked of the
end: was any goal unsafe, was a slot missed that no fault took, has the process grown?
"""

from __future__ import annotations

import gc
import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from edge_wam.loop import run
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.messages import CHUNK, STATE
from edge_wam.orders import Order, Verb
from edge_wam.pilot import Mode
from edge_wam.remote import RemoteThinker
from edge_wam.sim.faults import BEGIN_S, Fault, Rig, faults_of

LASTS_S = (1.0, 4.0)  # from a fault to its mending
QUIET_S = (4.0, 20.0)  # from there to the next
WARM_S = 120.0  # after which nothing may grow any more
STOLEN = ("control stopped", "another program")  # slots are missed, and must be


def survived(servos: str) -> tuple[Fault, ...]:
    """The faults of these servos without those that end the loop: persist and systemd are there for them, and
    QUIT would end it too."""
    faults = faults_of(servos)
    return tuple(f for f in faults if f.expected != "let go" and not f.name.startswith("QUIT"))


class _Over(Exception):
    """The time is up."""


class Soak:
    """One long run."""

    def __init__(self, folder: Path, servos: str, seed: int, hours: float, tell: Any) -> None:
        self.rig, self._random = Rig(folder, servos), random.Random(seed)
        self._survived, self._end_s, self._tell = survived(servos), 3600 * hours, tell
        self.faults: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.stolen = self.missed = 0
        self._before: tuple[int, int, int] | None = None
        self.grown: tuple[int, int, int] = (0, 0, 0)
        self._told_s, self._misses, self._thief = 0.0, 0, False
        self.rig.at(BEGIN_S, lambda: self.rig.orders.give(Order(Verb.DO, "swing")))
        self.rig.at(5.0, self._begin)
        self.rig.at(WARM_S, self._weigh)

    def run(self) -> None:
        names = private_name("soak.state"), private_name("soak.chunk")
        with Mailbox.create(names[0], STATE) as states, Mailbox.create(names[1], CHUNK) as chunks:
            rig, rig.chunks = self.rig, chunks
            rig.at(self._end_s, self._end)
            rig.arm.connect()
            try:
                run(rig.arm, RemoteThinker(states, chunks), rig, rig.pilot, rig.clock, rig.log)
            except _Over:
                self._weigh()

    def _begin(self) -> None:
        rig, fault = self.rig, self._random.choice(self._survived)
        self.faults[fault.name] += 1
        self._settle()
        self._thief = fault.name.startswith(STOLEN)
        fault.begin(rig)
        rig.at(rig.t_s + self._random.uniform(*LASTS_S), self._mend)

    def _mend(self) -> None:
        rig = self.rig
        self.modes[rig.pilot.mode.value] += 1
        rig.mend()
        rig.at(rig.t_s + 1.0, self._again)
        rig.at(rig.t_s + self._random.uniform(*QUIET_S), self._begin)
        self._tell(rig.t_s - self._told_s)
        self._told_s = rig.t_s

    def _again(self) -> None:
        if self.rig.pilot.mode is not Mode.FOLLOWING:
            self.rig.orders.give(Order(Verb.DO, "swing"))

    def _settle(self) -> None:
        """Whose were the slots that were missed since the last fault began?"""
        misses = self.rig.log.misses
        if self._thief:
            self.stolen += misses - self._misses
        else:
            self.missed += misses - self._misses
        self._misses = misses

    def _end(self) -> None:
        self._settle()
        raise _Over

    def _weigh(self) -> None:
        """Resident pages, open descriptors and Python objects, and how they have grown."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        now = (
            pages * os.sysconf("SC_PAGE_SIZE") // 1024,
            len(os.listdir("/proc/self/fd")),
            len(gc.get_objects()),
        )
        if self._before is None:
            self._before = now
        self.grown = tuple(a - b for a, b in zip(now, self._before, strict=True))  # type: ignore[assignment]


def main(folder: Path, servos: str, hours: float, seed: int) -> int:
    """The command. 1 where a goal was unsafe or a slot was missed that no fault took."""
    from tqdm import tqdm

    began_s = time.monotonic()
    with tqdm(total=3600 * hours, unit="s", unit_scale=True, desc="soak") as bar:
        soak = Soak(folder, servos, seed, hours, bar.update)
        soak.run()
    took_s, worst = time.monotonic() - began_s, soak.rig.monitor.worst
    ticks = soak.rig.log.figures().ticks
    print(
        f"{hours:g} h in {took_s / 60:.0f} min: {ticks:,} ticks, {sum(soak.faults.values())} faults of "
        f"{len(soak.faults)} kinds; {soak.missed} slots missed beside the {soak.stolen} that faults took; "
        f"{soak.rig.monitor.goals:,} goals, {len(worst.unsafe)} unsafe (longest step "
        f"{100 * worst.step:.0f} %, largest lead {100 * worst.lead:.0f} % of the limit)"
    )
    memory_kb, descriptors, objects = soak.grown
    print(f"grown since the second minute: {memory_kb} kB, {descriptors} descriptors, {objects} objects")
    for said in worst.unsafe[:5]:
        print(f"UNSAFE: {said}")
    print(
        json.dumps(
            {
                "servos": servos,
                "hours": hours,
                "seed": seed,
                "ticks": ticks,
                "faults": sum(soak.faults.values()),
                "missed": soak.missed,
                "stolen": soak.stolen,
                "unsafe": len(worst.unsafe),
                "ended_in": dict(soak.modes),
                "grown_kb": memory_kb,
                "grown_descriptors": descriptors,
            }
        )
    )
    return 1 if worst.unsafe or soak.missed else 0
