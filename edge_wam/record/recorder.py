"""`edge-wam record`: a program of its own that writes down what a robot tells (telemetry.py).

Two threads: one looks into the boxes every POLL_S and makes messages, the other writes them. So a disk that
hangs costs memory first (BACKLOG_BYTES) and then messages, which are counted and written down as lost; the
robot knows nothing of either. The last KEPT_S are in memory as well: on a fault they become a file of their
own. A file begins with what came just before it (the chunks in force, the last second), so that each can be
replayed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam import __version__
from edge_wam.errors import EdgeWamError
from edge_wam.mailbox import Letter, Mailbox
from edge_wam.record import topics
from edge_wam.record.ring import FAULT, McapFile, Open, file_name, make_room, mend, open_file
from edge_wam.record.topics import Entry, Stamp
from edge_wam.telemetry import Boxes, Plan, Window
from edge_wam.types import ImageArray

POLL_S = 0.05  # a box of frames holds more than half a second of them
ABSENT_S = 0.5  # between looks for a robot that is not there
KEPT_S = 30.0
AFTER_S = 2.0  # what came of a fault belongs to it
CHUNKS_BEFORE = 50  # as many as think/policy.py's Delay remembers
TICKS_BEFORE_S = 1.0
BACKLOG_BYTES = 64e6
WRITE_S = 0.5
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


class Memory:
    """The last KEPT_S of messages, and the chunks before."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._chunks: deque[Entry] = deque(maxlen=CHUNKS_BEFORE)

    def add(self, entries: Iterable[Entry], now_s: float) -> None:
        for entry in entries:
            self._entries.append(entry)
            if entry.topic == topics.CHUNKS:
                self._chunks.append(entry)
        while self._entries and now_s - self._entries[0].t_s > KEPT_S:
            self._entries.popleft()

    def before(self, t_s: float) -> list[Entry]:
        """What a file that begins at t_s needs to stand alone."""
        ticks = [
            entry
            for entry in self._entries
            if entry.topic == topics.TICKS and t_s - TICKS_BEFORE_S < entry.t_s < t_s
        ]
        return [*(chunk for chunk in self._chunks if chunk.t_s < t_s), *ticks]

    def all(self) -> list[Entry]:
        """Everything, and the chunks before it."""
        if not self._entries:
            return []
        first_s = min(entry.t_s for entry in self._entries)
        return [*(chunk for chunk in self._chunks if chunk.t_s < first_s), *self._entries]

    def clear(self) -> None:
        """A robot that was started again remembers nothing of before."""
        self._entries.clear()
        self._chunks.clear()


class Reader:
    """The boxes of one robot, as messages. `read` never waits."""

    def __init__(self, plan: Plan, boxes: Boxes, images: str) -> None:
        self._plan, self._boxes, self._images = plan, boxes, images
        self.stamp = Stamp.now()

    def read(self) -> list[Entry]:
        """What is new in all boxes; what was missed as a message of its own."""
        boxes, found = self._boxes, list[Entry]()
        plain = {topics.TICKS: boxes.ticks, topics.CHUNKS: boxes.chunks, topics.EVENTS: boxes.events}
        for topic, box in plain.items():
            for number, letter in self._news(topic, box, found):
                found.append(Entry(topic, letter.t_s, number, topics.pack(topic, letter.record, letter.t_s)))
                if topic == topics.TICKS:
                    found += self._joints(letter)
                elif topic == topics.EVENTS:
                    found.append(self._log(letter))
        for (name, *_), box in zip(self._plan.cameras, boxes.sights, strict=True):
            for number, letter in self._news(f"{topics.CAMERA}{name}", box, found):
                found.append(self._image(f"{topics.CAMERA}{name}", letter, number, letter.record["image"]))
        for number, letter in self._news(topics.IMAGINED, boxes.dreams, found):
            for (name, *_), futures in zip(self._plan.cameras, letter.record["images"], strict=True):
                beside = np.concatenate(list(futures), axis=1)
                found.append(self._image(f"{topics.IMAGINED}{name}", letter, number, beside))
        return found

    def _news(self, what: str, box: Mailbox, found: list[Entry]) -> Iterable[tuple[int, Letter]]:
        letters, missed = box.news()
        if missed:
            found += lost(what, missed, letters[0].t_s if letters else time.monotonic(), self.stamp)
        return enumerate(letters, start=box.read - len(letters) + 1)

    def _image(self, topic: str, letter: Letter, number: int, pixels: ImageArray) -> Entry:
        name, wall_ns = topic.rpartition("/")[2], self.stamp.wall_ns(letter.t_s)
        return Entry(topic, letter.t_s, number, topics.image(name, pixels, wall_ns, self._images))

    def _joints(self, letter: Letter) -> list[Entry]:
        record, wall_ns = letter.record, self.stamp.wall_ns(letter.t_s)
        return [
            Entry(topic, letter.t_s, 0, topics.joints(record[field].tolist(), wall_ns))
            for topic, field in ((topics.MEASURED, "measured_rad"), (topics.SENT, "sent_rad"))
        ]

    def _log(self, letter: Letter) -> Entry:
        kind, text = (bytes(letter.record[name]).decode("utf-8", "replace") for name in ("kind", "text"))
        return Entry(topics.LOG, letter.t_s, 0, topics.log(kind, text, self.stamp.wall_ns(letter.t_s)))


def lost(what: str, count: int, t_s: float, stamp: Stamp) -> list[Entry]:
    """That `count` of something are missing before t_s: for programs, and for people."""
    record = np.zeros((), topics.LOST)
    record["what"], record["count"] = what.encode(), count
    text = f"{count} lost of {what}"
    return [
        Entry(topics.LOSSES, t_s, 0, topics.pack(topics.LOSSES, record, t_s)),
        Entry(topics.LOG, t_s, 0, topics.log("lost", text, stamp.wall_ns(t_s))),
    ]


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

    def __init__(self, settings: Settings, say: Say, opening: Open = open_file) -> None:
        self._settings, self._say, self._opening = settings, say, opening
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting_bytes = 0  # written by both threads, each under the lock
        self._lock = threading.Lock()
        self._dropped = 0
        self._file: McapFile | None = None
        self._broken_s = -RETRY_S
        self._told = ""
        self._thread = threading.Thread(target=self._work, name="disk", daemon=True)
        self._thread.start()

    def give(self, run: Run, entries: list[Entry], before: list[Entry], *, fault: bool = False) -> None:
        """Write these to the run's file, or, if it is a fault, to one of their own."""
        size = sum(len(entry.data) for entry in entries)
        with self._lock:
            if self._waiting_bytes and self._waiting_bytes + size > BACKLOG_BYTES:
                self._dropped += len(entries)
                return
            self._waiting_bytes += size
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
                self._fail(error, len(job.entries))
            with self._lock:
                self._waiting_bytes -= job.size_bytes
        with contextlib.suppress(OSError):
            self._finish()

    def _do(self, job: _Job) -> None:
        if job.ends:
            return self._finish()
        if time.monotonic() - self._broken_s < RETRY_S:
            with self._lock:
                self._dropped += len(job.entries)
            return None
        if job.fault:
            return self._dump(job)
        settings = self._settings
        if self._file is not None and time.monotonic() - self._file.began_s > settings.file_s:
            self._finish()
        if self._file is None:
            settings.folder.mkdir(parents=True, exist_ok=True)
            path = file_name(settings.folder, settings.robot)
            self._file = McapFile(path, job.run.about, job.run.stamp, self._opening)
            self._file.add(job.before)
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        missing = lost("the disk", dropped, job.entries[0].t_s, job.run.stamp) if dropped else []
        self._file.add([*missing, *job.entries])
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
        self._say(f"fault: the last {KEPT_S:.0f} s are in {file.path}")
        make_room(settings.folder, settings.most_bytes, None if self._file is None else self._file.path)

    def _finish(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.finish()
            except OSError:
                file.abandon()
                raise

    def _fail(self, error: OSError, entries: int) -> None:
        """Say it once, let the file be, try again later."""
        file, self._file = self._file, None
        if file is not None:
            file.abandon()
        with self._lock:
            self._dropped += entries
        self._broken_s = time.monotonic()
        if self._told != (told := error.strerror or str(error)):
            self._told = told
            self._say(f"cannot write to {self._settings.folder}: {told}; the robot goes on, unrecorded")


class Recorder:
    """Follows a robot through its restarts. `step` is called every POLL_S."""

    def __init__(self, settings: Settings, disk: Disk, say: Say) -> None:
        self._settings, self._disk, self._say = settings, disk, say
        self._window, self._memory = Window(settings.robot), Memory()
        self._boxes: Boxes | None = None
        self._reader: Reader | None = None
        self._run: Run | None = None
        self._batch: list[Entry] = []
        self._batched_s = self._looked_s = -ABSENT_S
        self._dump_s: float | None = None

    def step(self, now_s: float) -> None:
        """Look into the boxes; hand on what is due."""
        if self._reader is not None:
            self._take(self._reader.read(), now_s)
        if self._reader is None and now_s - self._looked_s < ABSENT_S:
            return
        self._looked_s = now_s
        try:
            plan, boxes = self._window.look()
        except EdgeWamError:
            if self._reader is not None:
                self._leave(now_s)
            return
        if boxes is not self._boxes:
            if self._reader is not None:
                self._leave(now_s)
            self._begin(plan, boxes)

    def close(self, now_s: float) -> None:
        """Hand on what is left."""
        if self._reader is not None:
            self._take(self._reader.read(), now_s)
            self._leave(now_s)
        self._window.close()

    def _begin(self, plan: Plan, boxes: Boxes) -> None:
        self._boxes, self._reader = boxes, Reader(plan, boxes, self._settings.images)
        about = {
            "version": str(topics.VERSION),
            "edge_wam": __version__,
            "robot": self._settings.robot,
            "plan": json.dumps(plan._asdict()),
            "images": self._settings.images,
            "manifest_sha256": digest(self._settings.model),
        }
        self._run = Run(about, self._reader.stamp)
        self._say(f"recording robot '{self._settings.robot}' ({plan.model}) to {self._settings.folder}")

    def _leave(self, now_s: float) -> None:
        self._hand_on(now_s)
        if self._dump_s is not None:
            self._dump()
        if self._run is not None:
            self._disk.end(self._run)
        self._memory.clear()
        self._boxes = self._reader = self._run = None

    def _take(self, entries: list[Entry], now_s: float) -> None:
        if not self._batch and entries:
            self._batched_s = now_s
        self._batch += entries
        if self._dump_s is None and any(_is_fault(entry) for entry in entries):
            self._dump_s = now_s + AFTER_S
        if self._batch and now_s - self._batched_s >= WRITE_S:
            self._hand_on(now_s)
        if self._dump_s is not None and now_s >= self._dump_s:
            self._hand_on(now_s)
            self._dump()

    def _hand_on(self, now_s: float) -> None:
        if self._batch and self._run is not None:
            before = self._memory.before(min(entry.t_s for entry in self._batch))
            self._disk.give(self._run, self._batch, before)
            self._memory.add(self._batch, now_s)
        self._batch = []

    def _dump(self) -> None:
        self._dump_s = None
        if self._run is not None:
            self._disk.give(self._run, self._memory.all(), [], fault=True)


def _is_fault(entry: Entry) -> bool:
    return (
        entry.topic == topics.EVENTS and bytes(topics.unpack(entry.topic, entry.data)[0]["kind"]) == b"fault"
    )


def digest(folder: str) -> str:
    """The model's manifest, which states everything else by sha256; '' if it is not to be had."""
    with contextlib.suppress(OSError):
        return hashlib.sha256((Path(folder) / "manifest.toml").read_bytes()).hexdigest() if folder else ""
    return ""


def record(settings: Settings, say: Say, stop: threading.Event) -> None:
    """Record until `stop`. EdgeWamError if the folder cannot be written to at the start."""
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
        for path in mend(settings.folder):
            say(f"{path} was cut off, and is whole again")
        make_room(settings.folder, settings.most_bytes, None)
    except OSError as error:
        raise EdgeWamError(
            f"recordings cannot be kept in {settings.folder}: {error.strerror}; try: --set record.folder=..."
        ) from None
    disk = Disk(settings, say)
    recorder = Recorder(settings, disk, say)
    while not stop.wait(POLL_S):
        recorder.step(time.monotonic())
    recorder.close(time.monotonic())
    if not disk.close(10.0):
        say(f"{settings.folder} takes nothing any more; the last recording is left as it is")
