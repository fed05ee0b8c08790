"""`edge-wam bench loop`: how late the loop is, idle and beside hungry neighbours; what a bus cycle costs.

Each loop runs for a few seconds at each rate: ours (absolute deadlines; with the last core, SCHED_FIFO and
locked memory as far as the kernel lets us), the loop that everybody writes first (work, then sleep for what
is left of the period), and LeRobot's, which is that; and cyclictest, where it is installed. Then the bus: an
emulated arm in another process, on a wire that takes the time of its bytes, and one cycle (all of six
servos' present values, six goals) by our code and, where they are installed, by Feetech's own SDK and by
LeRobot, each asked for positions alone and for the same as ours (LeRobot by a question for each of the
eight): time, and CPU time of who asks.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.act.bus import open_port
from edge_wam.act.calibration import Calibration
from edge_wam.act.feetech_arm import FeetechArm
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.clock import MonotonicClock, ticks
from edge_wam.realtime import realtime
from edge_wam.sim.bench_host import sleeper
from edge_wam.sim.bench_lerobot import ALL, PAUSE_S, Neighbour, neighbour, settle

HOST = "cyclictest: this computer's own limit"
RATES_HZ, LOADS = (50, 100, 200), ("idle", "busy")
WORK_S = 0.001  # about what a tick of the robot takes, waiting for the bus left aside
GOALS_BYTES = 8 + 6 * 3
READ_BYTES = 8 + 6 + 6 * 21
# Ours has a second question behind the goals (all servos' settings, 1.1 ms), which no cycle waits for.
BLOCK_BYTES = READ_BYTES + GOALS_BYTES
POSITIONS_BYTES = 8 + 6 + 6 * 8 + GOALS_BYTES
EACH_BYTES = sum(8 + 6 + 6 * (6 + size) for size in ALL.values()) + GOALS_BYTES
POSITION = ((56, 2),)  # address, bytes
BLOCK = (*POSITION, (58, 2), (60, 2), (62, 1), (63, 1), (65, 1), (66, 1), (69, 2))  # all that ours tells
TURN, BYTE_S = 10, 10e-6  # cycles of one client before the next one's turn; at 1 Mbaud


class Jitter(NamedTuple):
    """One loop at one rate: late_ms of each tick, missed slots, and how far its last tick was from where the
    clock says that it should have been."""

    loop: str
    rate_hz: int
    load: str
    late_ms: NDArray[np.float64]
    missed: int
    drift_ms: float


class Cycle(NamedTuple):
    """A bus cycle by one client. wire_ms: what its bytes need; cpu_ms: of this process."""

    client: str
    ms: NDArray[np.float64]
    cpu_ms: float
    wire_ms: float


# --- jitter ---------------------------------------------------------------------------------


def _work() -> None:
    end_s = time.perf_counter() + WORK_S
    while time.perf_counter() < end_s:
        pass


def ours(rate_hz: int, seconds: float) -> tuple[list[float], int, float]:
    """The control loop's slots."""
    late_s, missed, count = [], 0, round(rate_hz * seconds)
    for tick in ticks(MonotonicClock(), 1 / rate_hz):
        late_s.append(tick.late_s)
        missed += tick.skipped
        if tick.index >= count:
            return late_s, missed, tick.late_s  # a slot is where the clock says; only lateness is left
        _work()
    return late_s, missed, 0.0


def plain(rate_hz: int, seconds: float) -> tuple[list[float], int, float]:
    """Work, then sleep for the rest of the period: each tick's lateness is the next one's beginning."""
    period_s, late_s, count = 1 / rate_hz, [], round(rate_hz * seconds)
    start_s = time.monotonic()
    for index in range(count):
        began_s = time.monotonic()
        late_s.append(began_s - start_s - index * period_s)
        _work()
        time.sleep(max(0.0, period_s - (time.monotonic() - began_s)))
    return late_s, int(late_s[-1] / period_s), late_s[-1]


def _burn() -> None:
    while True:
        pass


@contextmanager
def neighbours(load: str) -> Iterator[None]:
    """A hungry process for every core, or none."""
    context = multiprocessing.get_context("spawn")
    count = (os.cpu_count() or 1) if load == "busy" else 0
    hungry = [context.Process(target=_burn, daemon=True) for _ in range(count)]
    for process in hungry:
        process.start()
    try:
        yield
    finally:
        for process in hungry:
            process.kill()
            process.join()


def jitter(
    seconds: float, rates_hz: Sequence[int], lerobot: Neighbour | str, tell: Callable[[], object]
) -> tuple[list[Jitter], list[str]]:
    """Every loop at every rate and load; and what the kernel did not let us have."""
    found: list[Jitter] = []
    said: list[str] = []

    def note(name: str, rate_hz: int, load: str, one: tuple[list[float], int, float]) -> None:
        late_s, missed, drift_s = one
        found.append(Jitter(name, rate_hz, load, _ms(late_s), missed, 1e3 * drift_s))
        tell()

    for load in LOADS:
        with neighbours(load):
            for rate_hz in rates_hz:
                note("sleep for the rest", rate_hz, load, plain(rate_hz, seconds))
                if not isinstance(lerobot, str):
                    there = lerobot.loop(rate_hz, seconds, WORK_S)
                    note(f"LeRobot {lerobot.version}", rate_hz, load, there)
                with realtime(say=said.append):
                    here = ours(rate_hz, seconds)
                note("edge_wam", rate_hz, load, here)
                if (late_ms := sleeper(rate_hz, seconds)) is not None:
                    found.append(Jitter(HOST, rate_hz, load, late_ms, 0, 0.0))
                tell()
    return found, sorted(set(said))


def _ms(seconds: Sequence[float]) -> NDArray[np.float64]:
    return 1e3 * np.array(seconds)


# --- the bus --------------------------------------------------------------------------------

_WIRE = """
import sys, time
from pathlib import Path
import numpy as np
from edge_wam.act.calibration import Calibration
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import PtyPort
pose = np.array([0.1, -0.9, 0.9, 0.6, -0.3, 0.6])
chain = ServoChain(KinematicPlant(pose, pose - 1, pose + 1), Calibration.load(Path(sys.argv[1]) / "arm.json"))
with PtyPort(chain) as port:
    print(port.path, flush=True)
    sys.stdin.read()
"""


@contextmanager
def wire(folder: Path) -> Iterator[str]:
    """An emulated arm in a process of its own: the path of its serial port."""
    words = [sys.executable, "-c", _WIRE, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


LOST = object()  # a cycle in which a reply was missing: not counted
Cycles = Callable[[int], tuple[list[float], float]]


class _Client:
    """One client of the bus in this process."""

    def __init__(self, cycle: Callable[[], object], close: Callable[[], object]) -> None:
        self._cycle, self.close = cycle, close

    def cycles(self, count: int) -> tuple[list[float], float]:
        """Seconds of each cycle, and seconds of CPU for all."""
        taken, cpu_s = list[float](), 0.0
        while len(taken) < count:
            used_s = time.process_time()
            time.sleep(PAUSE_S)
            began_s = time.perf_counter()
            if self._cycle() is not LOST:
                taken.append(time.perf_counter() - began_s)
                cpu_s += time.process_time() - used_s
        return taken, cpu_s


def cycles(
    path: str, theirs: str, folder: Path, rounds: int, lerobot: Neighbour | str, tell: Callable[[int], object]
) -> list[Cycle]:
    """Bus cycles by every client there is, a few of each in turn. Ours has a line to itself: a line is set up
    for all who have it open (act/tty.py)."""
    ours = _our_client(path, folder)
    clients: dict[str, tuple[Cycles, int]] = {"edge_wam": (ours.cycles, BLOCK_BYTES)}
    opened = [ours]
    for name, registers, count in (
        ("scservo_sdk: positions", POSITION, POSITIONS_BYTES),
        ("scservo_sdk: the same block", BLOCK, BLOCK_BYTES),
    ):
        if (sdk := _sdk_client(theirs, folder, registers)) is not None:
            clients[name] = sdk.cycles, count
            opened.append(sdk)
    if not isinstance(lerobot, str):
        name, everything = f"LeRobot {lerobot.version}", partial(lerobot.cycles, what="all")
        clients[f"{name}: positions"] = lerobot.cycles, POSITIONS_BYTES
        clients[f"{name}: the same, by eight questions"] = everything, EACH_BYTES
    taken: dict[str, list[float]] = {name: [] for name in clients}
    cpu_s = dict.fromkeys(clients, 0.0)
    for turn, _ in clients.values():
        turn(3)  # what is done once
    while len(taken["edge_wam"]) < rounds:
        for name, (turn, _) in clients.items():
            seconds, used_s = turn(min(TURN, rounds - len(taken[name])))
            taken[name] += seconds
            cpu_s[name] += used_s
            tell(len(seconds))
    for one in opened:
        one.close()
    return [
        Cycle(name, _ms(taken[name]), 1e3 * cpu_s[name] / rounds, 1e3 * wire_bytes * BYTE_S)
        for name, (_, wire_bytes) in clients.items()
    ]


def _our_client(path: str, folder: Path) -> _Client:
    calibration = Calibration.load(folder / "arm.json")
    arm = FeetechArm(FeetechBus(open_port(path), calibration.ids), calibration)
    arm.connect()
    held_rad = arm.start()

    def cycle() -> None:
        arm.sense()
        arm.act(held_rad)

    def close() -> None:
        arm.release()
        arm.bus.close()

    return _Client(cycle, close)


def _sdk_client(path: str, folder: Path, registers: Sequence[tuple[int, int]]) -> _Client | None:
    """Feetech's own SDK: these registers of every servo by one question, as LeRobot asks for positions."""
    try:
        sdk: Any = importlib.import_module("scservo_sdk")
    except ImportError:
        return None
    port = sdk.PortHandler(path)
    port.setBaudRate(1_000_000)
    packets = sdk.PacketHandler(0)
    ids = Calibration.load(folder / "arm.json").ids
    first, (last, size) = registers[0][0], registers[-1]
    read = sdk.GroupSyncRead(port, packets, first, last + size - first)
    write = sdk.GroupSyncWrite(port, packets, 42, 2)
    for servo_id in ids:
        read.addParam(servo_id)

    def cycle() -> object:
        write.clearParam()
        try:
            if read.txRxPacket():
                raise IndexError
            for servo_id in ids:
                count, *_ = [read.getData(servo_id, address, size) for address, size in registers]
                write.addParam(servo_id, [count & 0xFF, count >> 8])
        except IndexError:  # a reply was lost, or a late one was taken for it
            settle(port)
            return LOST
        write.txPacket()
        return None

    return _Client(cycle, port.closePort)


# --- telling --------------------------------------------------------------------------------


def table(found: Sequence[Jitter], buses: Sequence[Cycle]) -> str:
    """Two tables, Markdown."""
    rows = [
        "| loop | Hz | neighbour | late p50 ms | p99 ms | p99.9 ms | max ms | slots missed | drift ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        p50, p99, p999 = np.percentile(one.late_ms, (50, 99, 99.9))
        rows.append(
            f"| {one.loop} | {one.rate_hz} | {one.load} | {p50:.3f} | {p99:.3f} | {p999:.3f} | "
            f"{one.late_ms.max():.3f} | {one.missed} | {one.drift_ms:.2f} |"
        )
    rows += [
        "",
        "| bus cycle by | p50 ms | p99 ms | its bytes on the wire ms | times the wire | CPU ms |",
        "|---|---|---|---|---|---|",
    ]
    for bus in buses:
        p50, p99 = np.percentile(bus.ms, (50, 99))
        rows.append(
            f"| {bus.client} | {p50:.2f} | {p99:.2f} | {bus.wire_ms:.2f} | {p50 / bus.wire_ms:.2f} | "
            f"{bus.cpu_ms:.3f} |"
        )
    return "\n".join(rows)


def report(found: Sequence[Jitter], buses: Sequence[Cycle]) -> dict[str, Any]:
    """For the JSON line."""
    return {
        "jitter": [
            {
                "loop": one.loop,
                "hz": one.rate_hz,
                "load": one.load,
                **{f"p{p:g}_ms": round(float(np.percentile(one.late_ms, p)), 4) for p in (50, 99, 99.9)},
                "missed": one.missed,
                "drift_ms": round(one.drift_ms, 3),
            }
            for one in found
        ],
        "bus": [
            {
                "client": bus.client,
                "p50_ms": round(float(np.median(bus.ms)), 4),
                "wire_ms": round(bus.wire_ms, 4),
                "cpu_ms": round(bus.cpu_ms, 4),
            }
            for bus in buses
        ],
    }


def plot(found: Sequence[Jitter], path: Path) -> None:
    """How often each loop is how late (PNG)."""
    from matplotlib.figure import Figure

    rates = sorted({one.rate_hz for one in found})
    figure = Figure(figsize=(9, 2.2 * len(rates) + 0.6), layout="constrained")
    axes = figure.subplots(len(rates), len(LOADS), sharex=True, squeeze=False)
    bins = np.logspace(-3, 4, 80)
    for row, rate_hz in enumerate(rates):
        for column, load in enumerate(LOADS):
            one = axes[row][column]
            for jitter_ in found:
                if (jitter_.rate_hz, jitter_.load) == (rate_hz, load):
                    one.hist(np.maximum(jitter_.late_ms, 1e-3), bins, alpha=0.6, label=jitter_.loop)
            one.set(xscale="log", title=f"{rate_hz} Hz, {load}")
    for one in axes[-1]:
        one.set_xlabel("ms late")
    axes[0][0].legend()
    figure.savefig(path, dpi=110)


def main(folder: Path, rounds: int, seconds: float = 5.0, picture: Path | None = None) -> int:
    """The command."""
    from tqdm import tqdm

    with (
        wire(folder) as path,
        wire(folder) as theirs,
        neighbour(folder, theirs) as lerobot,
        tqdm(total=4 * len(RATES_HZ) * len(LOADS) + 5 * rounds, desc="loop", unit="step") as bar,
    ):
        found, said = jitter(seconds, RATES_HZ, lerobot, bar.update)
        buses = cycles(path, theirs, folder, rounds, lerobot, bar.update)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {seconds:g} s each, {rounds} bus cycles")
    for line in said:
        print(f"not had: {line}")
    if isinstance(lerobot, str):
        print(f"LeRobot is not in the tables: {lerobot}")
    print(f"\n{table(found, buses)}\n")
    if picture is not None:
        plot(found, picture)
    print(json.dumps(report(found, buses)))
    return 0
