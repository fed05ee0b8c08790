"""LeRobot's servo bus and pacing, in a process of its own that is asked turn by turn.

    python -m edge_wam.sim.bench_lerobot PACKAGES FOLDER PORT

LeRobot lives in a folder of its own (tests/lerobot.txt), because it wants other versions of half of what is
here. Its bus imports torch, accelerate and datasets and uses none of them; those are stood in for. What is
measured is the bus class of its SO-101 driver, and how its record, replay and teleoperation loops keep their
rate: work, then `precise_sleep` for what is left of the period.

    standard input    "cycles 10", "cycles 10 all" or "loop 100 5.0", a line each
    standard output   an answer in JSON, a line each; first of all the version
"""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_wam.act.calibration import Calibration

PACKAGES = Path(sys.prefix) / "lerobot"
_UNUSED = ("torch", "accelerate", "datasets", "datasets.utils", "datasets.utils.logging")
_END_S = 30.0
LATE_S = 0.05
PAUSE_S = 0.005  # between two cycles, as a loop has it: not counted
# LeRobot's names of what a tick of ours reads; each is a question of its own there. And its bytes.
ALL = {
    "Present_Position": 2,
    "Present_Velocity": 2,
    "Present_Load": 2,
    "Present_Voltage": 1,
    "Present_Temperature": 1,
    "Status": 1,
    "Moving": 1,
    "Present_Current": 2,
}


class Neighbour:
    """LeRobot in another process. `version` is its own word."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.version = str(self._answer())

    def cycles(self, count: int, what: str = "") -> tuple[list[float], float]:
        """So many bus cycles (what: "all" or positions alone): seconds of each, and of CPU for all."""
        seconds, cpu_s = self._ask(f"cycles {count} {what}")
        return seconds, cpu_s

    def loop(self, rate_hz: int, seconds: float, work_s: float) -> tuple[list[float], int, float]:
        """Its loop for so long: as bench_loop.plain."""
        late_s, missed, drift_s = self._ask(f"loop {rate_hz} {seconds} {work_s}")
        return late_s, missed, drift_s

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise ConnectionError("LeRobot's process ended")
        return json.loads(line)


@contextlib.contextmanager
def neighbour(folder: Path, port: str, packages: Path | None = None) -> Iterator[Neighbour | str]:
    """LeRobot on this servo port; or why there is none, in a few words."""
    packages = PACKAGES if packages is None else packages
    if not (packages / "lerobot").is_dir():
        yield f"it is not installed in {packages.name}/ of this environment; try: make test"
        return
    words = [sys.executable, "-m", __name__, str(packages), str(folder), port]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            made: Neighbour | str = Neighbour(process)
        except ConnectionError:
            _, said = process.communicate(timeout=_END_S)
            made = (said.strip().splitlines() or ["it ended without a word"])[-1]
        try:
            yield made
        finally:
            process.kill()


def settle(port: Any) -> None:
    """Feetech's SDK is a question behind for ever, or busy, once an answer was late: it is let come."""
    time.sleep(LATE_S)
    port.is_using = False
    port.ser.reset_input_buffer()


# --- the other process ----------------------------------------------------------------------


def _stand_in(name: str) -> None:
    """A module in which every name is there, and nothing is behind any."""
    module = types.ModuleType(name)
    module.__dict__["__getattr__"] = lambda attribute: object
    module.__path__ = []
    sys.modules[name] = module


def _open_bus(folder: Path, port: str) -> Any:
    """Connected as their SO-101 driver does it."""
    feetech = importlib.import_module("lerobot.motors.feetech")
    motors = importlib.import_module("lerobot.motors")
    joints = Calibration.load(folder / "arm.json").joints
    bus = feetech.FeetechMotorsBus(
        port,
        {j.name: motors.Motor(j.id, "sts3215", motors.MotorNormMode.RANGE_M100_100) for j in joints},
        {
            j.name: motors.MotorCalibration(j.id, j.drive_mode, j.homing_offset, j.range_min, j.range_max)
            for j in joints
        },
    )
    bus.connect()
    return bus


def _cycles(bus: Any, count: int, names: Sequence[str]) -> tuple[list[float], float]:
    taken: list[float] = []
    cpu_s = 0.0
    while len(taken) < count:
        used_s = time.process_time()
        time.sleep(PAUSE_S)
        began_s = time.perf_counter()
        try:
            positions, *_ = [bus.sync_read(name) for name in names]
        except ConnectionError:  # a reply was lost: not counted
            settle(bus.port_handler)
            continue
        bus.sync_write("Goal_Position", positions)
        taken.append(time.perf_counter() - began_s)
        cpu_s += time.process_time() - used_s
    return taken, cpu_s


def _loop(rate_hz: int, seconds: float, work_s: float) -> tuple[list[float], int, float]:
    """Their loop, as in lerobot_record.py and lerobot_teleoperate.py."""
    sleep = importlib.import_module("lerobot.utils.robot_utils").precise_sleep
    period_s, late_s = 1 / rate_hz, []
    start_s = time.perf_counter()
    for index in range(round(rate_hz * seconds)):
        began_s = time.perf_counter()
        late_s.append(began_s - start_s - index * period_s)
        while time.perf_counter() < began_s + work_s:
            pass
        sleep(max(period_s - (time.perf_counter() - began_s), 0.0))
    return late_s, int(late_s[-1] / period_s), late_s[-1]


def main(packages: str, folder: str, port: str) -> None:
    sys.path.insert(0, packages)
    for name in _UNUSED:
        _stand_in(name)
    bus = _open_bus(Path(folder), port)
    print(json.dumps(importlib.import_module("lerobot").__version__), flush=True)
    for line in sys.stdin:
        what, *numbers = line.split()
        if what == "cycles":
            names = list(ALL) if "all" in numbers else ["Present_Position"]
            answer: object = _cycles(bus, int(numbers[0]), names)
        else:
            answer = _loop(int(numbers[0]), float(numbers[1]), float(numbers[2]))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
