"""What a stage for simulated servos does, of any family: time that passes, by hand or beside a pty."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from edge_wam.act.calibration import Calibration
from edge_wam.sim.kinematic import STEP_S, KinematicPlant
from edge_wam.sim.wire import PtyPort


class Stage:
    """A chain on its plant."""

    calibration: Calibration
    plant: KinematicPlant
    chain: Any

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.plant.step()
            self.chain.update()

    def counts(self) -> list[int]:
        return self.calibration.to_counts(self.plant.position_rad).tolist()


class LivePty:
    """A pty with servos behind it, and a thread that lets time pass three times faster than it does."""

    def __init__(self, chain, run: Callable[[float], None]) -> None:
        self.wire, self._run = PtyPort(chain, wire_time=False), run
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        while not self._stop.wait(0.01):
            self._run(10 * STEP_S)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.wire.close()


def eventually(condition, tries: int = 200) -> bool:
    """Poll at the pace of the wire: other threads carry the world on meanwhile."""
    pause = threading.Event()
    return any(condition() or pause.wait(0.01) for _ in range(tries))
