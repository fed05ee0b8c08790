"""The policy's side of the mailboxes: newest frames and newest state in, newest chunk out. Nothing queues.

`Worker` is one thought at a time and knows neither processes nor cameras, so that evaluation faster than
real time runs the very same code. `policy_main` is the policy process around it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from edge_wam.mailbox import Mailbox
from edge_wam.messages import CHUNK, STATE, State, chunk_record, read_state
from edge_wam.telemetry import attach
from edge_wam.think.outlook import Outlook
from edge_wam.think.policy import Delay, Policy, WamPolicy, committed_rows
from edge_wam.types import ActionChunk, Frame, ImageArray, Observation

IMAGINE_EVERY_S = 0.25
FIRST_DELAY_S = 0.08


class Thought(NamedTuple):
    """A chunk, and the age of its oldest frame when thinking began."""

    chunk: ActionChunk
    frame_age_s: float


class Worker:
    """Turns frames and the newest STATE record into chunks, no oftener than every replan_s."""

    def __init__(
        self,
        policy: Policy,
        dt_s: float,
        committed_rows_max: int,
        replan_s: float,
        state_box: Mailbox,
        now_s: Callable[[], float],
        delay_s: float | None = None,
    ) -> None:
        self._policy, self._dt_s, self._most, self._replan_s = policy, dt_s, committed_rows_max, replan_s
        self._states, self._now_s = state_box, now_s
        self._delay = Delay(FIRST_DELAY_S if delay_s is None else delay_s)
        self._fixed_delay = delay_s is not None
        self._previous: ActionChunk | None = None

    def state(self) -> State | None:
        """What control said last; None before it has said anything."""
        letter = self._states.get()
        return None if letter is None else read_state(letter.record)

    def wants(self, t_s: float) -> bool:
        """Whether a frame exposed at t_s is worth a thought."""
        state = self.state()
        if state is None or not state.running:
            return False
        last = self._previous
        return last is None or last.epoch != state.epoch or t_s - last.t0_s >= self._replan_s - 1e-6

    def think(self, frames: Sequence[Frame]) -> Thought | None:
        """A chunk from one frame a camera (manifest order); None while nothing is to be done."""
        state = self.state()
        if state is None or not state.running:
            return None
        thought = self.decide(frames, state)
        self.remember(thought.chunk)
        return thought

    def decide(self, frames: Sequence[Frame], state: State) -> Thought:
        """A chunk from these frames and this state, after the chunks remembered so far."""
        began_s = self._now_s()
        t0_s = min(frame.t_s for frame in frames)
        committed = committed_rows(
            self._previous, state.epoch, t0_s, self._dt_s, self._delay.p99_s, self._most
        )
        observation = Observation(
            tuple(frames), state.position_at(t0_s), state.sent_at(t0_s), state.command, t0_s
        )
        target_rad = self._policy.infer(observation, committed)
        ready_s = self._now_s()
        far, done = self._policy.progress
        chunk = ActionChunk(t0_s, self._dt_s, target_rad, state.epoch, ready_s, ready_s - began_s, far, done)
        return Thought(chunk, began_s - t0_s)

    def remember(self, chunk: ActionChunk) -> None:
        """The chunk in force from now on, and what it took; `think` does so by itself."""
        if not self._fixed_delay:
            self._delay.note(chunk.ready_s - chunk.t0_s)
        self._previous = chunk


# --- the process ----------------------------------------------------------------------------


class FrameSource(Protocol):
    """All cameras of the model: start, the newest frame of each, stop."""

    def start(self) -> None: ...

    def newest(self, after_s: float, timeout_s: float) -> tuple[Frame, ...] | None:
        """One frame a camera, in the model's order, all exposed after `after_s`; None when there is none
        in time."""

    def stop(self) -> None: ...


class PolicySettings(NamedTuple):
    """What the policy process is told: plain values, for they cross into another process.

    sight names what opens the cameras there (robot.open_cameras); steps and replan_s are 0 where the
    manifest's hold; record_to is '' or a folder for what was seen and imagined; outlet is '' or the name of
    the robot that others may look at (telemetry.py).
    """

    model: str
    steps: int
    threads: int
    replan_s: float
    state_box: str
    chunk_box: str
    sight: object
    record_to: str
    outlet: str = ""


class Onlooker(Protocol):
    """Who is shown what the policy sees, decides and imagines. Nothing in here may wait."""

    def see(self, frames: Sequence[Frame]) -> None: ...
    def think(self, chunk: ActionChunk, frame_age_s: float) -> None: ...
    def imagine(self, t0_s: float, frames: ImageArray) -> None: ...


class Recorder:
    """What was seen and imagined, kept in memory (the last `keep_s`) and written once, at the end."""

    def __init__(
        self, folder: Path, ahead_s: tuple[float, ...], keep_s: float = 60.0, every_s: float = 1 / 15
    ) -> None:
        self._folder, self._ahead_s, self._keep_s, self._every_s = folder, ahead_s, keep_s, every_s
        self._frames: list[tuple[float, tuple[ImageArray, ...]]] = []
        self._imagined: list[tuple[float, ImageArray]] = []
        self._chunks: list[tuple[float, float]] = []

    def see(self, frames: Sequence[Frame]) -> None:
        """Keep these frames, if it is time."""
        t_s = frames[0].t_s
        if self._frames and t_s - self._frames[-1][0] < self._every_s - 0.01:
            return
        self._frames.append((t_s, tuple(frame.image.copy() for frame in frames)))
        for kept in (self._frames, self._imagined, self._chunks):
            while kept and t_s - kept[0][0] > self._keep_s:
                kept.pop(0)

    def think(self, chunk: ActionChunk, frame_age_s: float) -> None:
        self._chunks.append((chunk.t0_s, chunk.ready_s))

    def imagine(self, t0_s: float, frames: ImageArray) -> None:
        self._imagined.append((t0_s, frames))

    def write(self) -> None:
        """sight.npz, as film.py reads it."""
        if not self._frames:
            return
        times, images = zip(*self._frames, strict=True)
        height = images[0][0].shape[0]
        side = height * 4 // 5
        edge = [(height - side) // 2, (images[0][0].shape[1] - side) // 2]
        self._folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            self._folder / "sight.npz",
            frame_t_s=np.array(times),
            front=np.stack([pair[0] for pair in images]),
            wrist=np.stack([p[1][edge[0] : edge[0] + side, edge[1] : edge[1] + side] for p in images]),
            imagined_t0_s=np.array([t for t, _ in self._imagined]),
            imagined=np.stack([f for _, f in self._imagined])
            if self._imagined
            else np.zeros((0, 2, 2, 48, 48, 3), np.uint8),
            ahead_s=np.array(self._ahead_s),
            chunk_t0_s=np.array([t for t, _ in self._chunks]),
            chunk_ready_s=np.array([r for _, r in self._chunks]),
        )


class Stoppable(Protocol):
    """The part of process.Life that the loop below needs."""

    def ready(self) -> None: ...
    def wait(self, timeout_s: float = 0.0) -> bool: ...


def think_until(
    life: Stoppable,
    worker: Worker,
    policy: WamPolicy,
    cameras: FrameSource,
    chunks: Mailbox,
    onlookers: Sequence[Onlooker] = (),
) -> None:
    """The policy process's loop. Imagining, for onlookers, waits for a moment in which no chunk is due."""
    seen_s = imagined_s = -np.inf
    thought: Thought | None = None
    while not life.wait(0.0):
        frames = cameras.newest(seen_s, 0.05)
        if frames is None:
            continue
        seen_s = min(frame.t_s for frame in frames)
        for onlooker in onlookers:
            onlooker.see(frames)
        if worker.wants(seen_s):
            if (thought := worker.think(frames)) is not None:
                chunks.put(chunk_record(thought.chunk, thought.frame_age_s), thought.chunk.t0_s)
                for onlooker in onlookers:
                    onlooker.think(*thought)
        elif onlookers and thought is not None and thought.chunk.t0_s - imagined_s >= IMAGINE_EVERY_S:
            imagined_s = thought.chunk.t0_s
            if (dreamt := policy.imagine()) is not None:
                for onlooker in onlookers:
                    onlooker.imagine(imagined_s, dreamt)


def policy_main(
    life: Stoppable, settings: PolicySettings, open_cameras: Callable[[object], FrameSource]
) -> None:
    """The policy process: load and verify the engine, open the cameras, think."""
    from edge_wam.think.choice import open_engine

    def say(text: str) -> None:
        print(f"edge-wam: {text}", file=sys.stderr, flush=True)

    manifest, engine, _ = open_engine(Path(settings.model), settings.threads, say=say)
    policy = WamPolicy(manifest, engine, settings.steps)
    cameras = open_cameras(settings.sight)
    states, chunks = Mailbox.open(settings.state_box, STATE), Mailbox.open(settings.chunk_box, CHUNK)
    recorder = Recorder(Path(settings.record_to), policy.ahead_s) if settings.record_to else None
    outlook = Outlook(attach(settings.outlet, thinking=True)[1]) if settings.outlet else None
    onlookers = [onlooker for onlooker in (recorder, outlook) if onlooker is not None]
    replan_s = settings.replan_s or manifest.replan_s
    worker = Worker(policy, manifest.dt_s, manifest.committed_rows_max, replan_s, states, time.monotonic)
    cameras.start()
    try:
        life.ready()
        think_until(life, worker, policy, cameras, chunks, onlookers)
    finally:
        cameras.stop()
        if recorder is not None:
            recorder.write()
        states.close()
        chunks.close()
