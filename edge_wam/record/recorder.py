"""`edge-wam record`: a program of its own that writes down what a robot tells (telemetry.py).

Two threads: one looks into the boxes every POLL_S and makes messages, the other writes them (disk.py). So a
disk that hangs costs memory first and then messages, which are counted and written down as lost; the robot
knows nothing of either. The last KEPT_S are in memory as well: on a fault they become a file of their own.
A file begins with what came just before it (the chunks in force, the last second): each can be replayed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edge_wam import __version__
from edge_wam.errors import EdgeWamError
from edge_wam.mailbox import Letter, Mailbox
from edge_wam.record import topics
from edge_wam.record.disk import Disk, Run, Say, Settings
from edge_wam.record.ring import make_room, mend
from edge_wam.record.topics import Entry, Stamp
from edge_wam.telemetry import Boxes, Plan, Window
from edge_wam.types import ImageArray

POLL_S = 0.05  # a box of frames holds more than half a second of them
ABSENT_S = 0.5  # between looks for a robot that is not there
KEPT_S, KEPT_BYTES = 30.0, 48e6  # of what came last; less than may wait for the disk
AFTER_S = 2.0  # what came of a fault belongs to it
CHUNKS_BEFORE = 50  # as many as think/policy.py's Delay remembers
TICKS_BEFORE_S = 1.0
WRITE_S = 0.5


class Memory:
    """The last KEPT_S of messages, or KEPT_BYTES of large ones, and the chunks before."""

    def __init__(self) -> None:
        self._size_bytes = 0
        self._entries: deque[Entry] = deque()
        self._chunks: deque[Entry] = deque(maxlen=CHUNKS_BEFORE)

    def add(self, entries: Iterable[Entry], now_s: float) -> None:
        for entry in entries:
            self._entries.append(entry)
            self._size_bytes += len(entry.data)
            if entry.topic == topics.CHUNKS:
                self._chunks.append(entry)
        while self._entries and (now_s - self._entries[0].t_s > KEPT_S or self._size_bytes > KEPT_BYTES):
            self._size_bytes -= len(self._entries.popleft().data)

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
        self._size_bytes = 0


class Reader:
    """The boxes of one robot, as messages. `read` never waits."""

    def __init__(self, plan: Plan, boxes: Boxes, images: str) -> None:
        self._plan, self._boxes, self._images = plan, boxes, images
        self._begun = False
        self.stamp = Stamp.now()

    def read(self) -> list[Entry]:
        """What is new in all boxes; what was missed as a message of its own."""
        if self._begun:
            return self._read()
        self._begun = True
        return recent(self._read())

    def _read(self) -> list[Entry]:
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
            found += topics.lost(what, missed, letters[0].t_s if letters else time.monotonic(), self.stamp)
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


class Recorder:
    """Follows a robot through its restarts. `step` is called every POLL_S."""

    def __init__(self, settings: Settings, disk: Disk, say: Say) -> None:
        self._settings, self._disk, self._say = settings, disk, say
        self._window, self._memory = Window(settings.robot), Memory()
        self._plan: Plan | None = None
        self._boxes: Boxes | None = None
        self._reader: Reader | None = None
        self._run: Run | None = None
        self._batch: list[Entry] = []
        self._batched_s = self._looked_s = -ABSENT_S
        self._dump_s: float | None = None
        self._dumped_s = -math.inf

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
        if boxes is not self._boxes or plan is not self._plan:  # another robot, or other limits
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
        self._plan, self._boxes = plan, boxes
        self._reader = Reader(plan, boxes, self._settings.images)
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
            self._dump_s = max(now_s + AFTER_S, self._dumped_s + KEPT_S)  # no second twice
        if self._batch and now_s - self._batched_s >= WRITE_S:
            self._hand_on(now_s)
        if self._dump_s is not None and now_s >= self._dump_s:
            self._hand_on(now_s)
            self._dump()
            self._dumped_s = now_s

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


def recent(entries: list[Entry]) -> list[Entry]:
    """Of a robot that was at work before anybody recorded: what a file begins with. The boxes hold more:
    ticks without their chunks and frames, from which nothing could be replayed."""
    newest_s = max((entry.t_s for entry in entries if entry.topic == topics.TICKS), default=-math.inf)
    return [one for one in entries if one.topic == topics.CHUNKS or one.t_s >= newest_s - TICKS_BEFORE_S]


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
