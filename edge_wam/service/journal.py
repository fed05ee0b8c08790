"""What happens, in the journal with names: `journalctl -u edge-wam EVENT=heard -o json`.

Each event is one datagram with its fields; sending never waits. Only where standard output goes to the
journal anyway (JOURNAL_STREAM, systemd.exec(5)): elsewhere the line is printed, for people.

Protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
_WARNING, _INFORMATION = 4, 6  # syslog(3)


class Journal:
    """This process's own line to journald, if it has one."""

    def __init__(
        self, robot: str, environment: Mapping[str, str] | None = None, path: Path = SOCKET, stream: int = 1
    ) -> None:
        """robot: what it is called; stream: the file descriptor whose lines the journal takes."""
        environment = os.environ if environment is None else environment
        self._robot, self._path = robot, str(path)
        told = environment.get("JOURNAL_STREAM", "")
        self._there = bool(told) and told == _name(stream)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def event(self, kind: str, text: str, fields: Mapping[str, str]) -> bool:
        """Write one down: EVENT=kind (telemetry.KINDS), the text as MESSAGE, and the fields that are not ''.

        False if the journal did not take it: say it in another way."""
        if not self._there:
            return False
        priority = _WARNING if kind == "fault" else _INFORMATION
        named = {
            "MESSAGE": text,
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": "edge-wam",
            "EVENT": kind,
            "ROBOT": self._robot,
            **{name: value for name, value in fields.items() if value},
        }
        try:
            self._socket.sendto(b"".join(_field(*one) for one in named.items()), self._path)
        except OSError:  # full, gone
            return False
        return True


def _field(name: str, value: str) -> bytes:
    """A field on the wire: a line, or with its length where it has line breaks."""
    data = value.encode()
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"


def _name(stream: int) -> str:
    """A file descriptor as JOURNAL_STREAM names it; '' if it is closed."""
    try:
        found = os.fstat(stream)
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"
