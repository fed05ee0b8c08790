"""Telling systemd how the robot is: ready, alive, what it does. A no-op where nobody listens.

The watchdog is fed by the control loop itself, at a third of what systemd allows: a loop that hangs is a
robot that hangs, whatever other threads still do. Sending never waits; a full socket is a message less.

Protocol: sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """One process's line to its service manager. is_service: that is systemd, and SIGHUP means reload."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # the abstract namespace
            self._address = "\0" + self._address[1:]
        # A shell in a desktop's terminal inherits the one, what a test listens with is the other.
        self.is_service = bool(self._address) and "INVOCATION_ID" in environment
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        timeout_us = environment.get("WATCHDOG_USEC", "0")
        self.period_s = int(timeout_us) / 3e6 if ours and timeout_us.isdigit() else 0.0
        self._beaten_s = -float("inf")
        self._status = ""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def starting(self, status: str, allowed_s: float) -> None:
        """Something begins that may take so long: TimeoutStartSec= is extended, from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(1e6 * allowed_s)}\nSTATUS={_line(status)}")

    def ready(self, status: str) -> None:
        """Everything is there and verified."""
        self._status = status
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def reloading(self) -> None:
        """Settings are read again; `reloaded` must follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """They have been, or were refused."""
        self._send("READY=1")

    def ending(self, allowed_s: float) -> None:
        """The loop is over, nothing has torque, and no beat comes: what is left to do is given allowed_s."""
        self._send(f"WATCHDOG_USEC={round(1e6 * allowed_s)}")

    def stopping(self) -> None:
        """On the way out: parking takes its time."""
        self._send("STOPPING=1")

    def beat(self, t_s: float, status: str) -> None:
        """Once a tick, from the loop: what it does now, and that it does. t_s is any monotonic time."""
        message = []
        if self.period_s and t_s - self._beaten_s >= self.period_s:
            self._beaten_s = t_s
            message.append("WATCHDOG=1")
        if status != self._status:
            self._status = status
            message.append(f"STATUS={_line(status)}")
        if message:
            self._send("\n".join(message))

    def _send(self, text: str) -> None:
        if self._address:
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(), self._address)


def _line(text: str) -> str:
    return " ".join(text.split())
