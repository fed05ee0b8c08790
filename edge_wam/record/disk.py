"""The recorder's writing thread: whatever the disk does, nobody else waits for it.

What it cannot take is kept in memory up to BACKLOG_BYTES, then dropped and counted; the count is written down
as soon as there is a file again. So is what a file loses when its disk is full in the middle of it, a chunk
at most: the file ends there.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge_wam.record.ring import FAULT, McapFile, Open, file_name, make_room, open_file
from edge_wam.record.topics import Entry, Stamp, lost

BACKLOG_BYTES = 64e6
NO_DUMP = "what was before and after is not kept in a file of its own"
RETRY_S = 5.0  # between tries on a disk that would not take any more


class Settings(NamedTuple):
    """What to record and where. images: one of config.IMAGES; model: the folder the robot runs, or ''."""

    folder: Path
    robot: str
    most_bytes: float
    file_s: float
    images: str
    model: str = ""


Say = Callable[[str], object]


class Run(NamedTuple):
    """A robot from its start to its end: what a file says of it, and its time."""

    about: dict[str, str]
    stamp: Stamp


class _Job(NamedTuple):
    """For the writing thread. ends: there will be no more of this run."""

    run: Run
    entries: list[Entry]
    before: list[Entry]  # for a file that begins with these entries
    size_bytes: int
    fault: bool = False
    ends: bool = False


class Disk:
    """The writing thread and its queue. `give` never waits."""

    def __init__(
        self,
        settings: Settings,
        say: Say,
        opening: Open = open_file,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._say, self._opening, self._now_s = settings, say, opening, now_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting_bytes = 0  # written by both threads, each under the lock
        self._lock = threading.Lock()
        self._dropped = 0
        self._file: McapFile | None = None
        self._file_s = 0.0
        self._broken_s = -math.inf
        self._told = ""
        self._thread = threading.Thread(target=self._work, name="disk", daemon=True)
        self._thread.start()

    def give(self, run: Run, entries: list[Entry], before: list[Entry], *, fault: bool = False) -> None:
        """Write these to the run's file, or, if it is a fault, to one of their own."""
        size = sum(len(entry.data) for entry in entries)
        with self._lock:
            full = bool(self._waiting_bytes) and self._waiting_bytes + size > BACKLOG_BYTES
            if full and not fault:
                self._dropped += len(entries)
            elif not full:
                self._waiting_bytes += size
        if full:
            if fault:  # copies: nothing is lost but the file
                self._say(f"fault: {NO_DUMP} (the disk is behind)")
            return
        self._jobs.put(_Job(run, entries, before, size, fault))

    def end(self, run: Run) -> None:
        """The run is over: its file gets its name."""
        self._jobs.put(_Job(run, [], [], 0, ends=True))

    def close(self, timeout_s: float) -> bool:
        """Write what waits and end. False if the disk did not let us in time."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- the thread ---------------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._do(job)
            except OSError as error:
                self._fail(error, job)
            with self._lock:
                self._waiting_bytes -= job.size_bytes
        with contextlib.suppress(OSError):
            self._finish()

    def _do(self, job: _Job) -> None:
        if job.ends:
            return self._finish()
        if self._now_s() - self._broken_s < RETRY_S:
            if job.fault:
                self._say(f"fault: {NO_DUMP} ({self._told})")
                return None
            with self._lock:
                self._dropped += len(job.entries)
            return None
        if job.fault:
            return self._dump(job)
        settings = self._settings
        if self._file is not None and self._now_s() - self._file_s > settings.file_s:
            self._finish()
        before: list[Entry] = []
        if self._file is None:
            settings.folder.mkdir(parents=True, exist_ok=True)
            path = file_name(settings.folder, settings.robot)
            self._file = McapFile(path, job.run.about, job.run.stamp, self._opening)
            self._file_s = self._now_s()
            before = job.before
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        missing = lost("the disk", dropped, job.entries[0].t_s, job.run.stamp) if dropped else []
        self._file.add([*missing, *before, *job.entries], dropped)
        self._told = ""
        make_room(settings.folder, settings.most_bytes, self._file.path)
        return None

    def _dump(self, job: _Job) -> None:
        settings = self._settings
        settings.folder.mkdir(parents=True, exist_ok=True)
        path = file_name(settings.folder, f"{FAULT}-{settings.robot}")
        file = McapFile(path, job.run.about, job.run.stamp, self._opening)
        try:
            file.add(job.entries)
            file.finish()
        except OSError:
            file.abandon()
            raise
        self._say(f"fault: what was before and after is in {file.path}")
        make_room(settings.folder, settings.most_bytes, None if self._file is None else self._file.path)

    def _finish(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.finish()
            except OSError:
                file.abandon()
                with self._lock:
                    self._dropped += file.unsaved
                raise

    def _fail(self, error: OSError, job: _Job) -> None:
        """Say it once, let the file be, try again later."""
        file, self._file = self._file, None
        if file is not None:
            file.abandon()
        with self._lock:
            if file is not None:
                self._dropped += file.unsaved  # the job's among them
            elif not job.fault:  # a fault's are copies
                self._dropped += len(job.entries)
        self._broken_s = self._now_s()
        if self._told != (told := error.strerror or str(error)):
            self._told = told
            self._say(f"cannot write to {self._settings.folder}: {told}; the robot goes on, unrecorded")
