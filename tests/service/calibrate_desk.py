"""scripts/calibrate.py as a person meets it: the program at a terminal of its own."""

from __future__ import annotations

import signal
import sys

import pexpect
from person import ROOT


class Desk:
    """Six servos on a pty, and calibrate.py started in a folder of its own."""

    def __init__(self, folder, port=""):
        self.folder, self.port = folder, port

    def start(self, *words, port=True):
        words = [str(ROOT / "scripts/calibrate.py"), *words, *(["--port", self.port] if port else [])]
        child = pexpect.spawn(
            sys.executable,
            words,
            cwd=str(self.folder),
            encoding="utf-8",
            timeout=30,
            # A job in a shell's background has it ignored, and hands that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        child.setwinsize(50, 160)
        return child


def ended(child):
    """The rest of what it said, and its exit code."""
    child.expect(pexpect.EOF)
    child.close()
    return child.before.replace("\r\n", "\n"), child.exitstatus


def out(desk):
    return "--out", str(desk.folder / "arm.json")
