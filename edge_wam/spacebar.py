"""The space bar of `edge-wam run`'s own terminal as a push-to-talk button.

A terminal tells of a key that is pressed and, after a pause, of its repetition; never that it was let go. So
a hold is told at every repetition, and ends by itself (sense/button.py) soon after the last.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator

SPACE = b" "
_TELL_S = 0.1  # not at every one of thirty repetitions a second
_LOOK_S = 0.2


@contextlib.contextmanager
def space_bar(file: int, held: Callable[[], object]) -> Iterator[bool]:
    """In the block a thread calls `held` while the space bar of the terminal `file` is held; False where
    there is no terminal, or others have it. Ctrl-C is what it was. For the main thread."""
    if not _ours(file):
        yield False
        return
    before, over = termios.tcgetattr(file), threading.Event()
    # A robot that is put into the background must not be stopped for touching its terminal.
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTTIN, signal.SIGTTOU)}
    thread = threading.Thread(target=_read, args=(file, held, over), name="space bar", daemon=True)
    try:
        tty.setcbreak(file, termios.TCSANOW)
        thread.start()
        yield True
    finally:
        over.set()
        thread.join(2 * _LOOK_S)
        with contextlib.suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(file, termios.TCSANOW, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ours(file: int) -> bool:
    try:
        return os.isatty(file) and os.tcgetpgrp(file) == os.getpgrp()
    except OSError:
        return False


def _read(file: int, held: Callable[[], object], over: threading.Event) -> None:
    """A thread: every key."""
    told_s = 0.0
    while not over.is_set():
        try:
            if not select.select([file], [], [], _LOOK_S)[0]:
                continue
            keys = os.read(file, 256)
        except OSError:  # in the background, or the terminal has gone
            keys = b""
        if not keys:
            over.wait(_LOOK_S)
        elif SPACE in keys and time.monotonic() - told_s >= _TELL_S:
            told_s = time.monotonic()
            held()
