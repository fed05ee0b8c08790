"""Who starts again what has died: the policy and the voice, while the arm holds.

A child that ended, or that has not asked `life.wait` for `hang_s` (process.py: whoever lives asks), is
started again after a pause that doubles from one death to the next, and begins anew once it has lived for a
while. Nothing of this is the loop's business: a policy that is not there is a plan that runs out.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from edge_wam.errors import EdgeWamError
from edge_wam.process import Child, Main

PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
HANG_S = 10.0  # longer than any thought, download or pause of a busy machine
LIVED_S = 60.0  # a child that has lived so long has earned a short pause again
_LOOK_S = 0.1


class Kept:
    """A child that is started again. Owned by one Keeper; `stop` and what it says may be asked anywhere."""

    def __init__(self, name: str, main: Main, args: tuple[Any, ...], ready_s: float) -> None:
        self.name, self.ready_s, self.restarts = name, ready_s, 0
        self._main = main
        self._make: Callable[[], Child] = functools.partial(Child, name, main, args)
        self._lock = threading.Lock()
        self._stopped = False
        self._child = self._make()
        self._born_s = time.monotonic()
        self._again_s: float | None = None
        self._pause_s = PAUSE_S

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.alive

    @property
    def reason(self) -> str:
        """Why it is not there, '' while it lives."""
        return self._child.reason

    def wait_ready(self) -> None:
        """Wait for the first one. EdgeWamError if it dies first: what never worked is not tried again."""
        self._child.wait_ready(self.ready_s)

    def renew(self, *args: Any) -> None:
        """Another one in its place, with these arguments. Takes as long as the old one needs to end."""
        with self._lock:
            if not self._stopped:
                self._make = functools.partial(Child, self.name, self._main, args)
                self._child.stop()
                self._child, self._born_s, self._again_s = self._make(), time.monotonic(), None

    def stop(self) -> None:
        """End it for good."""
        with self._lock:
            self._stopped = True
            self._child.stop()

    def look(self, now_s: float, hang_s: float, tell: Callable[[str], object]) -> None:
        """Once in a while: notice a death, and start again when its time has come."""
        with self._lock:
            if self._stopped:
                return
            if self._child.silent_s(now_s) > hang_s:
                tell(f"the {self.name} process hangs: killed")
                self._child.kill()
            if self._child.alive:
                return
            if self._again_s is None:
                if now_s - self._born_s > LIVED_S:
                    self._pause_s = PAUSE_S
                self._again_s = now_s + self._pause_s
                tell(f"the {self.name} process ended: {self._child.reason}; again in {self._pause_s:g} s")
            elif now_s >= self._again_s:
                self._child.stop()
                self._child, self._born_s, self._again_s = self._make(), now_s, None
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
                self.restarts += 1


class Keeper:
    """The thread that looks after them: `with Keeper([policy, voice]): ...`"""

    def __init__(
        self, kept: Sequence[Kept], tell: Callable[[str], object] = print, hang_s: float = HANG_S
    ) -> None:
        self._kept, self._tell, self._hang_s = tuple(kept), tell, hang_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_LOOK_S):
            for one in self._kept:
                try:
                    one.look(time.monotonic(), self._hang_s, self._tell)
                except (OSError, EdgeWamError) as error:  # no process can be started: later, perhaps
                    self._tell(f"the {one.name} process cannot be started: {error}")
