"""A function in a process of its own: it answers, holds nobody up, is begun anew, leaves nobody behind."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense.apart import Apart


class Adder:
    """Adds to what it was made with, slowly: without letting another thread run, as some libraries do."""

    def __init__(self, first):
        self._first = first

    def __call__(self, more, sleep_s=0.0):
        if sleep_s:
            ctypes.PyDLL(None).usleep(round(1e6 * sleep_s))
        if more is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._first + more


def name_of(pid):
    return Path(f"/proc/{pid}/comm").read_text().strip()


def gone(pid, within_s=10.0):
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.02)
    return False


def test_it_answers_and_goes_by_its_name_behind_others():
    add = Apart(Adder, 40, name="adder")
    assert [add(2), add(3)] == [42, 43]
    assert name_of(add.pid) == "adder"
    assert os.getpriority(os.PRIO_PROCESS, add.pid) > os.getpriority(os.PRIO_PROCESS, 0)


def test_threads_go_on_while_it_works():
    add = Apart(Adder, 40, name="adder")
    add(0)
    worst_s, done = 0.0, threading.Event()

    def watch():
        nonlocal worst_s
        last_s = time.monotonic()
        while not done.is_set():
            time.sleep(0.001)
            now_s = time.monotonic()
            worst_s, last_s = max(worst_s, now_s - last_s), now_s

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert add(2, 1.5) == 42
    done.set()
    watcher.join()
    assert worst_s < 1.0


def test_one_that_was_killed_is_begun_anew_and_asked_again():
    add = Apart(Adder, 40, name="adder")
    assert add(2) == 42
    first = add.pid
    os.kill(first, signal.SIGKILL)
    assert add(3) == 43
    assert add.pid != first


def test_one_that_dies_at_it_again_is_said_to():
    add = Apart(Adder, 40, name="adder")
    with pytest.raises(VoiceError, match="'adder' has died twice"):
        add(None)
    assert add(2) == 42


def test_one_that_cannot_be_made_is_said_to_have_died():
    add = Apart(Adder, name="adder")  # without what it is to add to
    with pytest.raises(VoiceError, match="'adder' has died twice"):
        add(2)


def test_a_terminal_ends_it_not_and_its_end_is_that_of_who_began_it():
    add = Apart(Adder, 40, name="adder")
    assert add(2) == 42
    pid = add.pid
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    assert add(3) == 43
    assert add.pid == pid
    del add
    assert gone(pid)


def test_it_outlives_nobody_who_is_killed():
    lines = (
        "from test_apart import Adder",
        "from edge_wam.sense.apart import Apart",
        "add = Apart(Adder, 40, name='adder')",
        "add(2)",
        "print(add.pid, flush=True)",
        "add(2, 0.5)",
        "input()",
    )
    words, pipe = [sys.executable, "-c", "\n".join(lines)], subprocess.PIPE
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=here) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    assert gone(pid)
