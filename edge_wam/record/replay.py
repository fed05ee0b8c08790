"""`edge-wam replay FILE`: a recording through the real stack, compared with what was sent.

Two questions. Does the policy, given the recorded frames, joints and chunks before, decide the same rows? And
do pilot, plan and guard, given those chunks and what the servos answered, want the same targets? Every chunk
and every tick is asked by itself, after what was recorded before it: a difference does not add up to others.
Nothing moves; the clock is the recording's.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam import manifest as manifests
from edge_wam.config import Config
from edge_wam.errors import EdgeWamError
from edge_wam.loop import run
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.manifest import Manifest
from edge_wam.messages import STATE, ChunkNews, StateWriter
from edge_wam.orders import Order, Verb
from edge_wam.pilot import Mode, Pilot, Task
from edge_wam.record.reading import Recording, read
from edge_wam.record.recorder import digest
from edge_wam.robot import check
from edge_wam.think.policy import Policy, WamPolicy
from edge_wam.think.worker import Worker
from edge_wam.types import ActionChunk, FloatArray, Frame, Joints

# Measured in simulation, by the engine that flew (LOG.md): PNG 0.000, JPEG at most 0.03 over 86 chunks. The
# rest is room for pictures that are harder on JPEG.
ROWS_MRAD = {"png": 0.5, "jpeg": 5.0}
TARGETS_MRAD = 0.05  # plan and guard are arithmetic on numbers that were written down as they were
MRAD = 1e3


class Rows(NamedTuple):
    """The policy's part. differ_mrad (n,): of each chunk, its worst row and joint; unseen: chunks whose
    frames or joints are not in the file. chunks: as they were decided now, by t0_s."""

    differ_mrad: FloatArray
    unseen: int
    chunks: dict[float, ActionChunk]


class Targets(NamedTuple):
    """The control's part. differ_mrad (n,): of each tick compared; lost: ticks in which pilot or plan could
    not be in the same state, since what made it so is not in the file."""

    differ_mrad: FloatArray
    lost: int


# --- the policy -----------------------------------------------------------------------------------


def think_again(recording: Recording, manifest: Manifest, policy: Policy) -> Rows:
    """Decide every chunk of the recording again."""
    ticks, put_s = recording.ticks, _said_s(recording)
    differ, chunks, unseen, index = [], dict[float, ActionChunk](), 0, 0
    with Mailbox.create(private_name("replayed"), STATE) as states:
        writer = StateWriter(states)
        worker = Worker(
            policy, manifest.dt_s, manifest.committed_rows_max, manifest.replan_s, states, lambda: 0.0
        )
        for news in recording.chunks.values():
            began_s = news.chunk.t0_s + news.frame_age_s
            while index < len(ticks) and put_s[index] <= began_s:
                tell(writer, ticks[index])
                index += 1
            frames, state = recording.frames_of(news.chunk.t0_s), worker.state()
            if frames is None or state is None or state.epoch != news.chunk.epoch:
                unseen += 1
            else:
                exact = tuple(_at(frame, news) for frame in frames)
                rows = worker.decide(exact, state).chunk.target_rad
                differ.append(MRAD * float(np.abs(rows - news.chunk.target_rad).max()))
                chunks[news.chunk.t0_s] = news.chunk._replace(target_rad=rows)
            worker.remember(news.chunk)
    return Rows(np.array(differ), unseen, chunks)


def _at(frame: Frame, news: ChunkNews) -> Frame:
    """A frame's time was written down to the nanosecond, the chunk's as it was."""
    return frame._replace(t_s=news.chunk.t0_s) if abs(frame.t_s - news.chunk.t0_s) < 1e-6 else frame


def _said_s(recording: Recording) -> FloatArray:
    """When control told the policy of each tick: as it had been sent."""
    ticks = recording.ticks
    said_s: FloatArray = recording.ticks_s + ticks["late_s"] + ticks["work_s"]
    return said_s


def tell(writer: StateWriter, tick: Any) -> None:
    """What control said in this tick, as remote.RemoteThinker does."""
    command = bytes(tick["command"]).decode("utf-8", "replace")
    writer.say(epoch=int(tick["epoch"]), command=command, running=bool(command))
    writer.put(float(tick["measured_s"]), tick["measured_rad"], tick["sent_rad"])


# --- control --------------------------------------------------------------------------------------


class _Over(Exception):
    """There are no more ticks."""


class _Tape:
    """Clock and arm of a stretch of recorded ticks, for loop.run: every wait is the next tick."""

    def __init__(self, recording: Recording, part: range, meet: Callable[[Any, FloatArray], None]) -> None:
        """meet is given every tick and the target that would be sent now."""
        self._recording, self._part, self._meet = recording, part, meet
        self.index = part.start - 1
        self._now_s = float(recording.ticks_s[part.start])

    @property
    def tick(self) -> Any:
        return self._recording.ticks[self.index]

    @property
    def t_s(self) -> float:
        return float(self._recording.ticks_s[self.index])

    @property
    def first(self) -> bool:
        return self.index == self._part.start

    def now_s(self) -> float:
        return self._now_s

    def sleep_until(self, t_s: float) -> None:
        self.index += 1
        if self.index >= self._part.stop:
            raise _Over
        self._now_s = self.t_s + float(self.tick["late_s"])

    def start(self) -> FloatArray:
        return np.array(self._recording.ticks[self._part.start]["sent_rad"])

    def sense(self) -> Joints:
        tick = self.tick
        load, current_a, voltage_v, temperature_c = (
            tick[name].astype(np.float64) for name in ("load", "current_a", "voltage_v", "temperature_c")
        )
        return Joints(
            float(tick["measured_s"]),
            np.array(tick["measured_rad"]),
            np.full(len(tick["measured_rad"]), math.nan),  # not told, and not asked for
            load,
            current_a,
            voltage_v,
            temperature_c,
            np.array(tick["error"]),
            np.array(tick["fresh"]),
        )

    def act(self, target_rad: FloatArray) -> FloatArray:
        self._meet(self.tick, target_rad)
        return np.array(self.tick["sent_rad"])  # what was sent is what went on from there

    def release(self) -> bool:
        return True


class _Orders:
    """What people asked for, told by what became of it: a new epoch without a fault was an order."""

    def __init__(self, tape: _Tape, pilot: Pilot, recording: Recording) -> None:
        self._tape, self._pilot = tape, pilot
        self._faults = {event.t_s for event in recording.events if event.kind == "fault"}
        self._before = -1
        self.known = False  # whether pilot and plan are where they were

    def take(self) -> list[Order]:
        tape, pilot, tick = self._tape, self._pilot, self._tape.tick
        epoch, mode, before = int(tick["epoch"]), Mode(bytes(tick["mode"]).decode()), self._before
        self._before = epoch
        if tape.first and mode is Mode.HOLDING:
            pilot.task = Task(epoch, "", False)
            pilot.plan.begin(epoch, tape.t_s)
            # Where it was to hold is not in the file, but where it has come to rest is.
            wish_rad = tick["wish_rad"]
            self.known = bool(np.isnan(wish_rad).all() or np.allclose(wish_rad, tick["sent_rad"], atol=1e-3))
            return []
        if tape.first:
            self.known = mode is not Mode.PARKING
        elif epoch == before and pilot.task.epoch == epoch:
            return []
        elif tape.t_s in self._faults and epoch != before:
            self.known = True
            return []  # the pilot's own doing, in this very tick
        else:
            self.known = epoch != before
        pilot.task = Task(epoch - 1, "", False)
        if mode is Mode.FOLLOWING:
            return [Order(Verb.DO, bytes(tick["command"]).decode("utf-8", "replace"))]
        return [Order(Verb.STOP if mode is Mode.HOLDING else Verb.PARK)]


class _Thinker:
    """Chunks in the ticks in which they were followed first."""

    def __init__(self, tape: _Tape, recording: Recording, chunks: dict[float, ActionChunk]) -> None:
        self._tape, self._chunks = tape, chunks
        self._recorded = [news.chunk for news in recording.chunks.values()]

    def offer(self, seen: Joints, sent_rad: FloatArray, task: Task) -> None: ...

    def take(self) -> ActionChunk | None:
        entered_s, tick = float(self._tape.tick["entered_s"]), self._tape.tick
        if math.isnan(entered_s) and self._tape.first:  # what it had followed before
            entered_s = max(
                (
                    chunk.t0_s
                    for chunk in self._recorded
                    if chunk.epoch == tick["epoch"] and chunk.ready_s <= self._tape.t_s
                ),
                default=math.nan,
            )
        if entered_s in self._chunks:
            return self._chunks[entered_s]
        return next((chunk for chunk in self._recorded if chunk.t0_s == entered_s), None)


class _Silent:
    """A Log for loop.run."""

    def add(self, *told: object) -> None: ...


def act_again(recording: Recording, config: Config, chunks: dict[float, ActionChunk]) -> Targets:
    """Pilot, plan and guard over every stretch of ticks without a gap; `chunks` stand in for the recorded."""
    parts = [_act_part(recording, part, config, chunks) for part in stretches(recording)]
    return Targets(np.concatenate([part.differ_mrad for part in parts]), sum(part.lost for part in parts))


def _act_part(recording: Recording, part: range, config: Config, chunks: dict[float, ActionChunk]) -> Targets:
    calibration, limits, health = check(config, manifests.load(config.model.folder))
    pilot = Pilot(limits, config.stale.patience, health)
    # In the middle of a flight nobody knows what was sent before the first two ticks.
    skip = 0 if recording.ticks["index"][part.start] == 0 else 2
    differ: list[float] = []

    def meet(tick: Any, target_rad: FloatArray) -> None:
        if tape.index - part.start >= skip and orders.known and pilot.task.epoch == tick["epoch"]:
            goal_rad = calibration.to_rad(calibration.to_counts(target_rad))
            differ.append(MRAD * float(np.abs(goal_rad - tick["sent_rad"]).max()))

    tape = _Tape(recording, part, meet)
    orders, thinker = _Orders(tape, pilot, recording), _Thinker(tape, recording, chunks)
    with contextlib.suppress(_Over):
        run(tape, thinker, orders, pilot, tape, _Silent(), recording.plan.control_hz)
    return Targets(np.array(differ), len(part) - len(differ))


def stretches(recording: Recording) -> Iterator[range]:
    """Ticks that follow each other: of one flight of the loop, none lost between them."""
    index, skipped = recording.ticks["index"], recording.ticks["skipped"]
    begin = 0
    for i in range(1, len(index) + 1):
        if i == len(index) or index[i] != index[i - 1] + 1 + skipped[i]:
            yield range(begin, i)
            begin = i


# --- the verb -------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What is to be said, and whether it is the same."""

    same: bool
    lines: tuple[str, ...]
    figures: dict[str, float | str]


def judge(recording: Recording, config: Config, policy: Policy, manifest: Manifest) -> Verdict:
    """Replay and compare."""
    refuse_others(recording, config)
    rows = think_again(recording, manifest, policy)
    recorded, now = act_again(recording, config, {}), act_again(recording, config, rows.chunks)
    images = recording.about["images"]
    ours = digest(str(config.model.folder)) == recording.about["manifest_sha256"]
    allowed_mrad = ROWS_MRAD[images]
    rows_same = not len(rows.differ_mrad) or float(rows.differ_mrad.max()) <= allowed_mrad
    targets_same = not len(recorded.differ_mrad) or float(recorded.differ_mrad.max()) <= TARGETS_MRAD
    lines = [
        f"{'':24}{'compared':>10}{'not':>6}{'p50':>10}{'p99':>10}{'most':>10}  mrad",
        _line("rows of chunks", rows.differ_mrad, rows.unseen),
        _line("targets, same chunks", *recorded),
        _line("targets, chunks of now", *now),
    ]
    if recording.lost:
        lines.append("not in the file: " + ", ".join(f"{n} of {w}" for w, n in recording.lost.items()))
    if not ours:
        lines.append(f"recorded from another model than {config.model.folder}: its rows are not judged")
    elif not rows_same:
        lines.append(f"the same model decides other rows: {images} images may cost {allowed_mrad:g} mrad")
    if not targets_same:
        lines.append(f"pilot, plan or guard want other targets: {TARGETS_MRAD:g} mrad is allowed")
    figures: dict[str, float | str] = {"images": images, "model": recording.plan.model, "same_model": ours}
    for name, differ in (
        ("rows", rows.differ_mrad),
        ("targets", recorded.differ_mrad),
        ("targets_now", now.differ_mrad),
    ):
        figures |= {f"{name}_compared": len(differ), f"{name}_most_mrad": round(_most(differ), 4)}
    return Verdict(targets_same and (rows_same or not ours), tuple(lines), figures)


def _most(differ: FloatArray) -> float:
    return float(differ.max()) if len(differ) else 0.0


def _line(what: str, differ_mrad: FloatArray, missing: int) -> str:
    shown = "".join(
        f"{np.percentile(differ_mrad, share):10.3f}" if len(differ_mrad) else f"{'-':>10}"
        for share in (50, 99, 100)
    )
    return f"{what:24}{len(differ_mrad):10d}{missing:6d}{shown}"


def refuse_others(recording: Recording, config: Config) -> None:
    """EdgeWamError unless the settings are of the robot that was recorded."""
    _, limits, _ = check(config, manifests.load(config.model.folder))
    theirs = recording.plan
    for what, was, here in (
        ("joints", theirs.joints, limits.joints),
        ("low_rad", theirs.low_rad, tuple(map(float, limits.low_rad))),
        ("high_rad", theirs.high_rad, tuple(map(float, limits.high_rad))),
        ("control_hz", theirs.control_hz, config.robot.control_hz),
    ):
        if was != here:
            raise EdgeWamError(
                f"{recording.path} was recorded with {what} {was}, the settings ({config.source}) "
                f"say {here}; try: --config with the settings it was recorded with"
            )


def main(config: Config, path: Path, as_json: bool) -> int:
    """0: the same; 1: the same model or the same control do otherwise now."""
    from edge_wam.think.choice import open_engine

    recording = read(path)
    folder = config.model.folder
    opened = open_engine(
        folder, config.model.threads, say=lambda text: print(f"edge-wam: {text}", file=sys.stderr)
    )
    policy = WamPolicy(opened.manifest, opened.engine, config.model.steps)
    verdict = judge(recording, config, policy, opened.manifest)
    if not as_json:
        span_s = recording.ticks_s[-1] - recording.ticks_s[0]
        print(f"{path.name}: {span_s:.1f} s, {len(recording.ticks)} ticks, {len(recording.chunks)} chunks, "
              f"{recording.about['images']}; {opened.what}")  # fmt: skip
        print("\n".join(verdict.lines))
    print(json.dumps({"replay": verdict.figures | {"same": verdict.same}}))
    return 0 if verdict.same else 1
