"""The verb `edge-wam record`, from settings to the last file."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from edge_wam.config import Config
from edge_wam.record.disk import Settings
from edge_wam.record.recorder import record as record_until
from edge_wam.think.store import state

GIGABYTE = 1e9
NICE = 10  # whatever else there is to do on this machine comes first


def settings_of(config: Config) -> Settings:
    """What [record] says, and whom to record."""
    wanted = config.record
    folder = Path(wanted.folder) if wanted.folder else state() / "recordings"
    return Settings(
        folder,
        config.robot.name,
        wanted.max_gb * GIGABYTE,
        wanted.minutes * 60,
        wanted.images,
        str(config.model.folder),
    )


def record(config: Config) -> int:
    """Record until SIGINT or SIGTERM."""
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    def say(text: str) -> None:
        print(f"edge-wam: {text}", file=sys.stderr, flush=True)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    os.nice(NICE)
    record_until(settings_of(config), say, stop)
    return 0
