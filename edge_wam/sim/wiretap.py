"""What passes on the servo bus, written down where no death loses it: bytes, time, and where the joints were.

A tap is a file of rows (TAP), mapped into memory: the simulated robot's process fills row after row, and
whoever judges reads them whenever it likes, even after both have been killed.

    with the robot   tap = Wiretap(path, plant); PtyPort(chain, tap=tap.see); tap.look() now and then
    the judge        rows = read_tap(path)
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError
from edge_wam.sim.servos import Plant
from edge_wam.types import JOINTS

_PIECE = 192  # bytes in a row; a longer write takes several
TAP = np.dtype(
    [
        ("t_s", np.float64),  # when it was read at the servos' end; 0: a row that is not there yet
        ("data", np.uint8, (_PIECE,)),
        ("size", np.uint8),  # 0: no bytes, only where the joints were
        ("true_rad", np.float64, (len(JOINTS),)),
        ("torque_on", np.bool_, (len(JOINTS),)),
    ]
)
ROWS = 1 << 17  # some eight minutes; the file is sparse
_BATCH = 4096

Rows = NDArray[np.void]


def create_tap(path: Path) -> None:
    """An empty tap."""
    np.lib.format.open_memmap(path, mode="w+", dtype=TAP, shape=(ROWS,)).flush()


def read_tap(path: Path, start: int = 0) -> Rows:
    """The rows from number `start` on that have been written so far, in order; a batch at a time."""
    rows: Any = np.load(path, mmap_mode="r")[start : start + _BATCH]
    # A row counts once its time is there, and the time is written last.
    missing = np.flatnonzero(rows["t_s"] == 0.0)
    return np.array(rows[: missing[0]] if len(missing) else rows)


class Wiretap:
    """Goes on after the rows that are there. The wire's and the plant's threads may write at once."""

    def __init__(self, path: Path, plant: Plant) -> None:
        self._rows: Any = np.load(path, mmap_mode="r+")
        self._next = int(np.count_nonzero(self._rows["t_s"]))
        self._plant, self._lock = plant, threading.Lock()

    def see(self, data: bytes) -> None:
        """Bytes from the host."""
        for start in range(0, len(data), _PIECE):
            self._write(data[start : start + _PIECE])

    def look(self) -> None:
        """Nothing but where the joints are now."""
        self._write(b"")

    def _write(self, data: bytes) -> None:
        with self._lock:
            if self._next >= ROWS:
                raise EdgeWamError(f"the tap is full after {ROWS} rows; try: a shorter run")
            row = self._rows[self._next]
            row["data"][: len(data)] = np.frombuffer(data, np.uint8)
            row["size"] = len(data)
            row["true_rad"], row["torque_on"] = self._plant.position_rad, self._plant.torque_on
            row["t_s"] = time.monotonic()
            self._next += 1
