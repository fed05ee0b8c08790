"""Evaluation faster than real time: the whole robot in one process, with the clock in our hand.

Everything between the frame and the servo bytes is the runtime's own code: features, engine, worker,
mailboxes, plan, guard, arm, bus codec, librealsense. What is not there is the pty (an in-process port
carries the bytes) and wall time: a manual clock steps the physics, and a chunk becomes available a set
delay after its frame was exposed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from edge_wam.act.arm import Calibration
from edge_wam.act.feetech_arm import FeetechArm
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.act.limits import load_guards
from edge_wam.clock import ManualClock
from edge_wam.loop import run
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.manifest import Manifest
from edge_wam.messages import CHUNK, STATE, chunk_record
from edge_wam.orders import Order, Verb
from edge_wam.pilot import Patience, Pilot
from edge_wam.remote import RemoteThinker
from edge_wam.sense.camera import load_calibration
from edge_wam.sense.realsense import RealSenseCamera
from edge_wam.sim.camera import SoftwareCameras
from edge_wam.sim.foresight import Foresight, Glimpse
from edge_wam.sim.judge import Judge, Verdict
from edge_wam.sim.scene import FRAME_RATE_HZ, PHYSICS_DT_S
from edge_wam.sim.score import Imagined
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.tasks import Trial, command, lay
from edge_wam.sim.wire import LoopPort
from edge_wam.sim.world import World
from edge_wam.think.policy import Policy
from edge_wam.think.worker import Worker
from edge_wam.ticklog import History, TickLog
from edge_wam.types import JOINTS, Frame, ImageArray

DELAY_S = 0.06  # exposure to chunk: render, librealsense, engine; what the demo measures (LOG.md)
_PHOTO_EVERY = round(1 / (FRAME_RATE_HZ * PHYSICS_DT_S))


class Outcome(NamedTuple):
    """One episode: what was asked, what came of it, how long it took (simulated), and how the loop fared.

    closest_m is how near the fingertip came to the named cube, NaN where none is named. imagined and
    glimpse say how the imagined frames compare with those that came, where any were imagined.
    """

    trial: Trial
    verdict: Verdict
    seconds: float
    infer_ms: tuple[float, ...]
    history: History
    closest_m: float
    imagined: tuple[Imagined, ...]
    glimpse: Glimpse | None


@runtime_checkable
class Imagines(Protocol):
    """A policy that can show what its last chunk should bring (think/policy.WamPolicy)."""

    ahead_s: tuple[float, ...]

    def imagine(self) -> ImageArray | None: ...


class FastRobot:
    """A simulated robot whose time passes when somebody waits. One world, many episodes."""

    def __init__(
        self, calibration: Path, manifest: Manifest, policy: Policy, delay_s: float = DELAY_S
    ) -> None:
        self.world = World()
        self._folder, self._manifest, self._policy, self._delay_s = calibration, manifest, policy, delay_s
        cameras = load_calibration(calibration / "camera.json")
        self._devices = SoftwareCameras(cameras)
        by_name = {camera.spec.name: camera.spec for camera in cameras}
        self._cameras = [
            RealSenseCamera(by_name[view.name], self._devices.source(view.name), now_s=self._now_s)
            for view in manifest.cameras
        ]
        self._clock = ManualClock()
        for camera in self._cameras:
            camera.start()
        self._base_s = 0.0

    def change(self, manifest: Manifest, policy: Policy) -> None:
        """Go on with another policy. ValueError if it wants other cameras: those here are open already."""
        if manifest.cameras != self._manifest.cameras:
            raise ValueError(f"cameras are {self._manifest.cameras}, not {manifest.cameras}")
        self._manifest, self._policy = manifest, policy

    def _now_s(self) -> float:
        return self._clock.now_s()

    def close(self) -> None:
        """Let go of cameras and GL."""
        for camera in self._cameras:
            camera.stop()
        self.world.close()

    def frames(self, t_s: float) -> tuple[Frame, ...]:
        """What the cameras see at t_s (now), through librealsense."""
        frames = []
        for view, camera, image in zip(self._manifest.cameras, self._cameras, self.renders(), strict=True):
            self._devices.push(view.name, image, t_s)
            frames.append(camera.newest(0.0))
        return tuple(frames)

    def renders(self) -> list[ImageArray]:
        """What the cameras would see now, one frame a camera, past librealsense."""
        return [self.world.render(view.name, view.width, view.height) for view in self._manifest.cameras]

    def episode(
        self, trial: Trial, watch: Callable[[World], None] | None = None, imagine_every: int = 0
    ) -> Outcome:
        """Lay the trial's table, say its phrase and run the loop until the judge has seen enough.

        Every imagine_every-th thought is imagined too (0: none) and compared with what then came.
        """
        lay(self.world, trial.command_id, trial.seed)
        names = private_name(f"fast.{id(self)}.state"), private_name(f"fast.{id(self)}.chunk")
        with Mailbox.create(names[0], STATE) as states, Mailbox.create(names[1], CHUNK) as chunks:
            return _Episode(self, states, chunks, trial, watch, imagine_every).run()


class _Episode:
    """One run of the loop; `advance` is what happens while it waits."""

    def __init__(
        self,
        robot: FastRobot,
        states: Mailbox,
        chunks: Mailbox,
        trial: Trial,
        watch: Callable[[World], None] | None,
        imagine_every: int,
    ) -> None:
        manifest, folder = robot._manifest, robot._folder
        self._robot, self._chunks, self._watch = robot, chunks, watch
        self._trial, self._colour = trial, command(trial.command_id).colour
        self.clock = ManualClock(robot._clock.now_s() + 1.0, on_advance=self._advance)
        robot._clock = self.clock
        calibration = Calibration.load(folder / "arm.json")
        self._chain = ServoChain(robot.world, calibration)
        self._port = LoopPort(self._chain)
        self._arm = FeetechArm(FeetechBus(self._port, calibration.ids, self.clock), calibration)
        limits, health = load_guards(folder / "limits.toml")
        self._pilot = Pilot(limits, Patience(), health)
        self._worker = Worker(
            robot._policy,
            manifest.dt_s,
            manifest.committed_rows_max,
            manifest.replan_s,
            states,
            self.clock.now_s,
            delay_s=robot._delay_s,
        )
        self._thinker = RemoteThinker(states, chunks)
        self._log = TickLog(len(JOINTS), capacity=2000)
        self._judge = Judge(robot.world, trial.command_id)
        self._orders = [Order(Verb.DO, trial.phrase)]
        self._steps = 0
        self._start_s = self.clock.now_s()
        self._sight: tuple[Frame, ...] | None = None
        self._due: list[tuple[float, np.ndarray]] = []
        self._infer_ms: list[float] = []
        self._verdict = Verdict(False, False, False)
        self._closest_m = np.inf if self._colour else np.nan
        self._foresight: Foresight | None = None
        self._imagine_every = imagine_every
        if imagine_every and isinstance(robot._policy, Imagines):
            self._foresight = Foresight(manifest.cameras, robot._policy.ahead_s)

    def take(self) -> list[Order]:
        """The loop asks once a tick: the command first, and a QUIT when the judge has seen enough."""
        orders, self._orders = self._orders, []
        if not self._verdict.over:
            self._verdict = self._judge.look()
            if self._verdict.over:
                raise _Over
        return orders

    def run(self) -> Outcome:
        self._arm.connect()
        with contextlib.suppress(_Over):
            run(self._arm, self._thinker, self, self._pilot, self.clock, self._log)
        seconds = self.clock.now_s() - self._start_s
        return Outcome(
            self._trial,
            self._verdict,
            seconds,
            tuple(self._infer_ms),
            self._log.history(),
            self._closest_m,
            self._foresight.sums if self._foresight else (),
            self._foresight.glimpse if self._foresight else None,
        )

    def _advance(self, now_s: float) -> None:
        """Physics up to now_s; frames on their grid, thoughts on the frames, chunks when they are due."""
        if self._sight is not None:
            self._think(self._sight)
        while self._start_s + (self._steps + 1) * PHYSICS_DT_S <= now_s + 1e-9:
            self._robot.world.step()
            self._chain.update()
            self._steps += 1
            t_s = self._start_s + self._steps * PHYSICS_DT_S
            while self._due and self._due[0][0] <= t_s:
                self._chunks.put(self._due.pop(0)[1], t_s)
            if self._steps % _PHOTO_EVERY == 0:
                self._photo(t_s)

    def _photo(self, t_s: float) -> None:
        world = self._robot.world
        if self._colour:
            off_m = world.grasp_position_m() - world.cube_position_m(self._colour)
            self._closest_m = min(self._closest_m, float(np.linalg.norm(off_m)))
        if self._watch is not None:
            self._watch(world)
        if self._worker.wants(t_s):
            self._sight = self._robot.frames(t_s)
        if self._foresight is not None and self._foresight.due(t_s):
            seen = [frame.image for frame in self._sight] if self._sight else self._robot.renders()
            self._foresight.compare(t_s, seen)

    def _think(self, frames: tuple[Frame, ...]) -> None:
        """Not before the next tick: by then control has said, as on the robot, where the arm was at t0."""
        self._sight, began_s = None, time.perf_counter()
        thought = self._worker.think(frames)
        self._infer_ms.append((time.perf_counter() - began_s) * 1e3)
        if thought is None:
            return
        if self._foresight is not None and (len(self._infer_ms) - 1) % self._imagine_every == 0:
            self._imagine(self._foresight, frames)
        due_s = thought.chunk.t0_s + self._robot._delay_s
        self._due.append((due_s, chunk_record(thought.chunk, 0.0)))

    def _imagine(self, foresight: Foresight, frames: tuple[Frame, ...]) -> None:
        policy = self._robot._policy
        if isinstance(policy, Imagines) and (imagined := policy.imagine()) is not None:
            foresight.imagine(frames[0].t_s, [frame.image for frame in frames], imagined)


class _Over(Exception):
    """The judge has seen enough; the loop lets go on its way out."""
