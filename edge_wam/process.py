"""Processes of our own: started by name, ready when they say so, stopped kindly, then firmly.

    child = Child("policy", policy_main, (settings,))     # policy_main(life, settings), importable
    child.wait_ready(60.0)                                 # EdgeWamError with the child's own words
    ...
    child.stop()                                           # asks, then SIGTERM, then SIGKILL

and in the child

    def policy_main(life: Life, settings: ...) -> None:
        ...
        life.ready()
        while not life.wait(0.01):
            ...

Ctrl-C reaches every process of a terminal, and so does its closing (SIGHUP): children ignore both, so that
the control process decides in which order things end. SIGTERM, a request over the pipe, and the death of the
parent (the pipe's end) all look the same in the child: `life.wait` returns True.

The start method is spawn: fork copies the locks of threads that are not there any more.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from edge_wam.errors import EdgeWamError
from edge_wam.realtime import cores_of_others

_READY, _FAILED = b"ready", b"failed "
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Life:
    """A child's view of its own life. Made by Child; used from the child's threads."""

    def __init__(self, pipe: Connection, beat: Any) -> None:
        self._pipe, self._beat = pipe, beat
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)

    def ready(self) -> None:
        """Tell the parent that work has begun."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send_bytes(_READY)

    def wait(self, timeout_s: float = 0.0) -> bool:
        """True as soon as this process is to stop, False after `timeout_s`. Once True, always True.

        Whoever asks lives: the parent knows when it was asked last (Child.silent_s).
        """
        self._beat.value = time.monotonic()
        # Nothing is read: whatever arrived stays there for the next call and for other threads.
        return bool(select.select([self._pipe.fileno(), self._wake], [], [], max(0.0, timeout_s))[0])

    def end(self) -> None:
        """Stop this process from within; safe in a signal handler."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"x")

    def failed(self, text: str) -> None:
        """Leave a reason for the parent."""
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(_FAILED + text.encode())


# Any: the arguments are the child's own affair, and only our own code names them.
Main = Callable[..., None]


class Child:
    """A named process that runs `main(life, *args)`. Started at once."""

    def __init__(self, name: str, main: Main, args: tuple[Any, ...] = ()) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._beat = context.RawValue("d", 0.0)
        given = (name, theirs, self._beat, main, args, cores_of_others())
        self._process = context.Process(target=_run, args=given, name=name, daemon=True)
        self._process.start()
        theirs.close()  # else the pipe would not end when the child does
        self.name = name
        self._reason = ""
        self._ready = self._asked = False

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def silent_s(self, now_s: float) -> float:
        """How long it has not asked whether to stop: long is a hang. 0 before it first asks."""
        asked_s = float(self._beat.value)
        return now_s - asked_s if asked_s else 0.0

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.join()

    @property
    def reason(self) -> str:
        """Why it ended, in one line: its own words if it left any; '' while it lives."""
        if self.alive:
            return ""
        self._listen(0.0)
        code = self._process.exitcode
        if code is not None and code < 0:
            return self._reason or f"killed by {signal.Signals(-code).name}"
        return self._reason or ("stopped" if self._asked else f"ended by itself (exit code {code})")

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until it says it is ready. EdgeWamError if it dies first or takes too long."""
        end_s = time.monotonic() + timeout_s
        while not self._ready:
            rest_s = end_s - time.monotonic()
            if rest_s <= 0:
                raise EdgeWamError(f"the {self.name} process was not ready after {timeout_s:g} s")
            if not self._listen(rest_s) and not self._ready:
                self._process.join(1.0)
                raise EdgeWamError(f"the {self.name} process ended before it was ready: {self.reason}")

    def stop(self, timeout_s: float = 5.0) -> str:
        """End it and wait for that: a request, then SIGTERM, then SIGKILL, each for `timeout_s`.

        Returns the reason it ended for. Harmless when it has ended already.
        """
        if self.alive:
            self._asked = True
            with contextlib.suppress(OSError):
                self._pipe.send_bytes(b"stop")
            self._process.join(timeout_s)
        for harder in (self._process.terminate, self._process.kill):
            if self.alive:
                harder()
                self._process.join(timeout_s)
        reason = self.reason
        self._pipe.close()
        return reason

    def _listen(self, timeout_s: float) -> bool:
        """Take in what the child said; False once its end of the pipe is closed."""
        try:
            while self._pipe.poll(timeout_s):
                message = self._pipe.recv_bytes()
                if message == _READY:
                    self._ready = True
                    return True
                self._reason = message.removeprefix(_FAILED).decode("utf-8", "replace")
                timeout_s = 0.0
        except (EOFError, OSError):  # OSError: closed by stop()
            return False
        return True


def _run(
    name: str, pipe: Connection, beat: Any, main: Main, args: tuple[Any, ...], cores: frozenset[int]
) -> None:
    """The child, from its first line to its last."""
    life = Life(pipe, beat)
    if cores:  # else a child that is started again would have control's one core
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cores)
    behind(name)
    signal.signal(signal.SIGTERM, lambda number, frame: life.end())
    try:
        main(life, *args)
    except EdgeWamError as error:
        life.failed(str(error))
        sys.exit(2)
    except Exception as error:  # the edge of a process: its words go to the parent, its trace to the log
        life.failed(f"{type(error).__name__}: {error}")
        traceback.print_exc()
        sys.exit(1)


def behind(name: str) -> None:
    """What a process behind another does first: take its name, leave the terminal's signals to that one."""
    with contextlib.suppress(OSError):  # what top, kill and a person call it
        Path("/proc/self/comm").write_text(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@contextlib.contextmanager
def on_interrupt(quit_kindly: Callable[[], None], reload: Callable[[], None] | None = None) -> Iterator[None]:
    """In the block, the first SIGINT, SIGTERM or SIGHUP (the terminal closed) calls `quit_kindly`; the next
    raises KeyboardInterrupt. With `reload`, for a service, every SIGHUP calls that and is no end.

    For the control process's main thread. They run inside a signal handler: they may give an order
    (orders.Orders) or set a flag, no more.
    """
    seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if number == signal.SIGHUP and reload is not None:
            reload()
            return
        seen += 1
        if seen > 1:
            raise KeyboardInterrupt
        quit_kindly()

    before = {number: signal.signal(number, handle) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
