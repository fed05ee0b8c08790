"""Lines for people, printed by a thread of its own: what hangs or is full there must not hold up the loop."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time

_WAITING = 1000  # lines; a terminal that was stopped, or a log nobody reads, loses what comes then
_CLOSE_S = 1.0


class Teller:
    """`tell = Teller(); tell("parking")`: never waits, never raises."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._out = sys.stdout  # held: whoever replaces it while a thread prints crashes Python 3.11
        self._start_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)
        self._thread.start()

    def __call__(self, line: str) -> None:
        self._put(f"[{time.monotonic() - self._start_s:6.2f} s] {line}")

    def close(self) -> None:
        """What was said is printed, unless that takes too long."""
        self._put(None)
        self._thread.join(_CLOSE_S)

    def __enter__(self) -> Teller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, line: str | None) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError):  # a full disk, a terminal that is gone
                print(line, file=self._out, flush=True)
