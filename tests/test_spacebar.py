"""The space bar of a terminal as a push-to-talk button: a real terminal, and somebody at it."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
import time

import pytest

pexpect = pytest.importorskip("pexpect")

PROGRAM = """
import os, signal, sys, termios, time
from edge_wam.spacebar import space_bar
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
before = termios.tcgetattr(0)
times = []
try:
    with space_bar(0, lambda: (times.append(time.monotonic()), print("held", flush=True))) as ours:
        print("ours", ours, flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print("restored", termios.tcgetattr(0) == before, min([b - a for a, b in zip(times, times[1:])] + [9]) > 0.09)
"""


@pytest.fixture
def person():
    child = pexpect.spawn(sys.executable, ["-c", PROGRAM], timeout=20, encoding="utf-8")
    child.expect("ours True")
    yield child
    child.close(force=True)


def test_a_space_is_a_hold_other_keys_are_not_and_the_terminal_is_as_it_was(person):
    person.send("x\t8")
    with pytest.raises(pexpect.TIMEOUT):
        person.expect("held", timeout=0.5)
    person.send(" ")
    person.expect("held")
    assert "x" not in person.before  # nor is it shown
    time.sleep(0.2)
    person.send("a b")
    person.expect("held")
    person.sendintr()
    person.expect("interrupted")
    person.expect("restored True True")


def test_a_key_that_repeats_is_told_now_and_then(person):
    for _ in range(60):
        person.send(" ")
    person.expect("held")
    person.sendintr()
    person.expect("restored True True")


def test_no_terminal_is_no_button():
    program = PROGRAM.replace("time.sleep(60)", "pass").replace("termios.tcgetattr(0)", "0")
    done = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert "ours False" in done.stdout


def test_anothers_terminal_is_left_alone():
    """One that we have open, but that is not the one we were started from."""
    from edge_wam.spacebar import space_bar

    theirs, ours = os.openpty()
    before = termios.tcgetattr(ours)
    with space_bar(ours, pytest.fail) as button:
        assert not button
        assert termios.tcgetattr(ours) == before
    for file in (theirs, ours):
        os.close(file)
