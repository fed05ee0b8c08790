"""What the doctor finds out about what stands around the robot: its engine, its units, the clock, leftovers.

As in looks.py each look returns what was found, or raises; each cure does one safe thing and says what.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_wam import mailbox
from edge_wam.config import Config
from edge_wam.errors import EdgeWamError, EngineError
from edge_wam.service.looks import Imperfect, latency_timer
from edge_wam.think import store

UNITS = ("edge-wam", "edge-wam-web", "edge-wam-record")
SETTINGS = Path("/etc/edge-wam")
_ABOUT = "LoadState,ActiveState,UnitFileState,NRestarts"
Ask = Callable[[Sequence[str]], str]


def ask(words: Sequence[str]) -> str:
    """What a system's tool says, '' if it is not there or hangs."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def engine(config: Config, root: Path | None = None) -> str:
    """What `edge-wam compile` has chosen on this machine, if it still holds."""
    key = store.key_of(store.variants(config.model.folder))
    place = store.place(root or store.state(), config.model.folder.name, key)
    if not place.exists():
        raise Imperfect("none was compiled for this machine and model; the graphs run as they are; "
                        "try: edge-wam compile, or --fix")  # fmt: skip
    try:
        choice = store.read(place, key)
    except EngineError as error:
        raise Imperfect(f"{error}; try: edge-wam compile, or --fix") from None
    p99_ms = choice.measured.get("p99_ms")
    return f"{choice.model}, {choice.settings}" + (f", {p99_ms:g} ms at p99" if p99_ms else "")


def compile_engine(config: Config) -> str:
    """The cure."""
    from edge_wam.think import compile as compiling

    target, _ = compiling.build(config.model.folder, store.state(), "", 0, 60)
    return f"compiled into {target}"


def units(ask: Ask = ask, booted: Path = Path("/run/systemd/system"), settings: Path = SETTINGS) -> str:
    """The service, its companions and the robots by name, as systemd has them."""
    if not booted.is_dir():
        return "no systemd here"
    told, bad = [], []
    named = (f"edge-wam@{path.stem}" for path in sorted(settings.glob("*.toml")) if path.stem != "config")
    for unit in (*UNITS, *named):
        words = ["systemctl", "show", f"{unit}.service", "-p", _ABOUT]
        said = dict(line.split("=", 1) for line in ask(words).splitlines() if "=" in line)
        if said.get("LoadState") != "loaded":
            continue
        state, restarts = said.get("ActiveState", "unknown"), said.get("NRestarts", "0")
        told.append(f"{unit} is {state}, {said.get('UnitFileState') or 'static'}, restarted {restarts} times")
        if state == "failed" or (state == "activating" and restarts != "0"):
            bad.append(unit)
    if bad:
        raise Imperfect(f"{'; '.join(told)}; try: journalctl -u {bad[0]} -e")
    return "; ".join(told) or "not installed as a service; to have it: sudo scripts/install.sh"


def clock(ask: Ask = ask, booted: Path = Path("/run/systemd/system")) -> str:
    """Whether the times in journal and recordings mean anything; the robot itself needs no date."""
    if not booted.is_dir() or shutil.which("timedatectl") is None:
        return "nobody here to ask"
    if ask(["timedatectl", "show", "-p", "NTPSynchronized", "--value"]).strip() == "yes":
        return "set by the network"
    raise Imperfect(
        "not set by the network: dates in journal and recordings may be wrong; "
        "try: sudo timedatectl set-ntp true"
    )


def leftovers() -> str:
    """Mailboxes in shared memory whose robot was killed."""
    if count := len(mailbox.leftovers()):
        raise Imperfect(f"{count} of robots that were killed; the next start removes them, or --fix")
    return "none"


def remove_leftovers(config: Config) -> str:
    """The cure."""
    return f"removed {mailbox.remove_leftovers()} mailboxes"


def wake_adapter(config: Config) -> str:
    """The cure for an adapter that waits: 1 ms."""
    _, timer = latency_timer(config)
    try:
        timer.write_text("1\n")
    except OSError as error:
        raise EdgeWamError(
            f"{timer} cannot be written ({error.strerror}); try: sudo edge-wam doctor --fix"
        ) from None
    return f"{timer} is 1 now; until the next plugging, unless the udev rule is installed"
