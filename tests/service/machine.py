"""A machine with a systemd of its own (booted.py, virtual.py): what a test asks of it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

POLL_S = 0.05
ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root")


class Machine:
    """Commands inside it, and what they are for."""

    def run(
        self, *words: str, check: bool = True, timeout_s: float = 300.0, wish: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command inside, as root. wish: its standard input."""
        raise NotImplementedError

    def write(self, path: str, text: str) -> None:
        """A file inside."""
        self.run("sh", "-c", f"mkdir -p $(dirname {path}) && cat >{path}", wish=text)

    def show(self, what: str, unit: str = "edge-wam") -> str:
        """A property of a unit, as `systemctl show` gives it."""
        return self.run("systemctl", "show", "--value", f"--property={what}", unit).stdout.strip()

    def wait(self, what: Callable[[], bool], timeout_s: float) -> float:
        """How long it took until it was so, in seconds. TimeoutError if it did not in time."""
        began_s = time.monotonic()
        while not what():
            if time.monotonic() - began_s > timeout_s:
                raise TimeoutError(f"not within {timeout_s:g} s")
            time.sleep(POLL_S)
        return time.monotonic() - began_s

    def journal(self, *matches: str, since: str = "") -> list[dict[str, str]]:
        """What the journal has; since: a cursor."""
        words = ["journalctl", "--output=json", "--quiet", *([f"--after-cursor={since}"] if since else [])]
        return [json.loads(line) for line in self.run(*words, *matches).stdout.splitlines()]

    def cursor(self) -> str:
        """The journal's end."""
        self.run("journalctl", "--sync")
        return str(self.journal("--lines=1")[-1]["__CURSOR"])


def done(
    words: tuple[str, ...], code: int, out: str, err: str, check: bool
) -> subprocess.CompletedProcess[str]:
    """What a command did; RuntimeError with all it said if it failed and must not."""
    if check and code != 0:
        raise RuntimeError(f"{' '.join(words)}: {code}\n{out}\n{err}")
    return subprocess.CompletedProcess(words, code, out, err)
