"""A robot that tells what it does, without processes: the loop, pilot, plan and guard are the real ones, the
arm goes where it is told, time is by hand, and the policy is a formula of what it sees."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_wam import __version__, telemetry
from edge_wam import config as settings
from edge_wam import manifest as manifests
from edge_wam.act.calibration import Calibration
from edge_wam.broadcast import Broadcast, plan_of
from edge_wam.clock import ManualClock
from edge_wam.loop import run
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.messages import CHUNK, STATE, chunk_record
from edge_wam.orders import Order, Orders, Verb
from edge_wam.pilot import Pilot
from edge_wam.record import topics
from edge_wam.record.disk import Settings
from edge_wam.record.recorder import Reader, digest
from edge_wam.record.ring import McapFile
from edge_wam.record.topics import Entry
from edge_wam.remote import RemoteThinker
from edge_wam.robot import check
from edge_wam.telemetry import TICK
from edge_wam.think.outlook import Outlook
from edge_wam.think.worker import Worker
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, FloatArray, Frame, Joints, Observation

CONFIG = settings.load()
MANIFEST = manifests.load(CONFIG.model.folder)
COMMAND = "pick up the red cube"
NAME = "rig"
START_S = 1000.0
POSE = np.array([0.1, -0.9, 0.9, 0.9, 0.0, 0.4])


class Formula:
    """A Policy: rows that depend on everything it is shown, and on the rows already decided."""

    progress = math.nan, math.nan

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def infer(self, observation: Observation, committed_rad: FloatArray) -> FloatArray:
        seen = sum((i + 1) * float(frame.image.mean()) for i, frame in enumerate(observation.frames)) / 300
        along = np.linspace(0, 1, MANIFEST.rows)[:, None]
        aim = observation.position_rad + self.gain * 0.7 * np.sin(seen + observation.sent_rad * 3)
        rows = observation.position_rad + along * (aim - observation.position_rad)
        if len(committed_rad):
            rows[: len(committed_rad)] = committed_rad
        return rows


class Arm:
    """Half of the way to its goal in every tick."""

    def __init__(self, clock: ManualClock, calibration: Calibration) -> None:
        self._clock, self._calibration = clock, calibration
        self._rad = calibration.to_rad(calibration.to_counts(POSE))
        self._goal_rad = self._rad.copy()

    def start(self) -> FloatArray:
        return self._rad.copy()

    def sense(self) -> Joints:
        self._rad = self._rad + 0.5 * (self._goal_rad - self._rad)
        none = np.zeros(len(JOINTS))
        return Joints(self._clock.now_s(), self._rad.copy(), none, none, none, none + 12.0, none + 30.0,
                      np.zeros(len(JOINTS), np.uint8), np.ones(len(JOINTS), np.bool_))  # fmt: skip

    def act(self, target_rad: FloatArray) -> FloatArray:
        self._goal_rad = self._calibration.to_rad(self._calibration.to_counts(target_rad))
        return self._goal_rad.copy()

    def release(self) -> bool:
        return True


def picture(camera: str, number: int) -> np.ndarray:
    """A smooth picture that changes with time."""
    spec = next((h, w) for name, h, w in PLAN.cameras if name == camera)
    across = np.linspace(0, 3, spec[1]) + 0.31 * number + len(camera)
    grey = 127 + 90 * np.sin(across)[None, :, None] * np.linspace(0.4, 1, spec[0])[:, None, None]
    return np.repeat(grey, 3, axis=2).astype(np.uint8)


CALIBRATION, LIMITS, _ = check(CONFIG, MANIFEST)
PLAN = plan_of(CONFIG, MANIFEST, LIMITS)
ORDERS = {
    0.5: Order(Verb.DO, COMMAND),
    2.5: Order(Verb.STOP),
    3.0: Order(Verb.DO, COMMAND),
    4.0: Order(Verb.PARK),
}


class Over(Exception):
    """The time is up."""


def flight(boxes: telemetry.Boxes, until_s: float, each_tick: object = None) -> list[Entry]:
    """Everything a recorder reads of a robot that is told ORDERS; frames thirty times a second."""
    clock = ManualClock(START_S)
    calibration, limits, health = check(CONFIG, MANIFEST)
    pilot, given = Pilot(limits, CONFIG.stale.patience, health), Orders()
    broadcast = Broadcast(boxes, TickLog(len(JOINTS)), pilot)
    reader, outlook, entries = Reader(PLAN, boxes, "png"), Outlook(boxes), list[Entry]()
    due = dict(ORDERS)
    with (
        Mailbox.create(private_name("rig-state"), STATE) as states,
        Mailbox.create(private_name("rig-chunk"), CHUNK) as chunks,
    ):
        worker = Worker(
            Formula(), MANIFEST.dt_s, MANIFEST.committed_rows_max, MANIFEST.replan_s, states, clock.now_s
        )
        shown = 0

        def beat(t_s: float) -> None:
            nonlocal shown
            for event in pilot.news():
                broadcast.tell(event.kind, event.text, event.t_s)
            clock.advance(0.003)
            if t_s - START_S >= shown / 30:
                shown += 1
                frames = tuple(
                    Frame(name, picture(name, shown), clock.now_s() - 0.0025 + 0.002 * i, shown)
                    for i, (name, *_) in enumerate(PLAN.cameras)
                )
                outlook.see(frames)
                if worker.wants(min(frame.t_s for frame in frames)):
                    thought = worker.think(frames)
                    chunks.put(chunk_record(*thought))
                    outlook.think(*thought)
            for after_s in [s for s in due if t_s - START_S >= s]:
                given.give(due.pop(after_s))
            entries.extend(reader.read())
            if t_s - START_S > until_s:
                raise Over

        with contextlib.suppress(Over):
            run(Arm(clock, calibration), RemoteThinker(states, chunks), given, pilot, clock, broadcast,
                CONFIG.robot.control_hz, beat)  # fmt: skip
    return entries


def about(images: str = "png") -> dict[str, str]:
    """What a file says of the rig."""
    return {
        "version": str(topics.VERSION),
        "edge_wam": __version__,
        "robot": NAME,
        "images": images,
        "plan": json.dumps(PLAN._asdict()),
        "manifest_sha256": digest(str(CONFIG.model.folder)),
    }


def write(path: Path, entries: list[Entry], stamp: object, **changed: str) -> Path:
    """A finished file of these."""
    file = McapFile(path, about() | changed, stamp)
    file.add(entries)
    file.finish()
    return path


@contextlib.contextmanager
def told(name: str = NAME) -> Iterator[telemetry.Boxes]:
    with contextlib.ExitStack() as stack:
        yield telemetry.create(name, PLAN, stack)


def settings_for(folder: Path, **changed: object) -> Settings:
    return Settings(folder, NAME, 1e9, 300.0, "png")._replace(**changed)


def tick(number: int) -> np.ndarray:
    record = np.zeros((), TICK)
    record["index"], record["mode"] = number, b"holding"
    return record


def entry(number: int, t_s: float = 0.0, size: int = 0) -> Entry:
    data = topics.pack(topics.TICKS, tick(number), t_s)
    return Entry(topics.TICKS, t_s or number / 50, number, data if not size else b"x" * size)


def finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mcap"))
