"""The simulated robot as a process: physics in real time, servos on a pty, cameras in shared memory, a judge.

Nothing of it is known to the runtime but a serial port, two camera serials and a sound: what a real
robot would show. The judge's mailbox is for the demo alone.

    WISH   demo -> robot    a new episode: lay a table for this command; then: judge it from now on
    TRUTH  robot -> demo    where the port is, what lies on the table, and the verdict so far
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam.act.calibration import Calibration
from edge_wam.mailbox import Mailbox, RecordType
from edge_wam.process import Life
from edge_wam.sense.camera import CameraSpec, load_calibration
from edge_wam.sim.camera import FrameOutlet
from edge_wam.sim.dynamixel import DynamixelChain
from edge_wam.sim.judge import Judge, Verdict
from edge_wam.sim.scene import COLOURS, FRAME_RATE_HZ, PHYSICS_DT_S
from edge_wam.sim.servos import Chain, ServoChain
from edge_wam.sim.tasks import command, table_for
from edge_wam.sim.wire import PtyPort
from edge_wam.sim.wiretap import Wiretap
from edge_wam.sim.world import World, make_renderer

WISH: RecordType = np.dtype(
    [("episode", np.int64), ("seed", np.int64), ("command", "S64"), ("judging", np.bool_)]
)
TRUTH: RecordType = np.dtype(
    [
        ("port", "S128"),
        ("episode", np.int64),
        ("judging", np.bool_),
        ("success", np.bool_),
        ("wrong_object", np.bool_),
        ("over", np.bool_),
        ("cubes", "S16", (len(COLOURS),)),  # colours; b"" where there are fewer
        ("plates", "S16", (len(COLOURS),)),
    ]
)
CHAINS: dict[str, Callable[..., Chain[Any, Any]]] = {"feetech": ServoChain, "dynamixel": DynamixelChain}
_BEHIND_S = 0.1  # a machine that cannot keep up loses simulated time rather than racing after it


class SimSettings(NamedTuple):
    """calibration is the robot's folder; frames the prefix of the cameras' mailboxes; tap is '' or where what
    passes on the bus is written down (sim/wiretap.py); servos is their family (act/families.py)."""

    calibration: str
    seed: int
    frames: str
    wish_box: str
    truth_box: str
    tap: str = ""
    servos: str = "feetech"


class Photographer:
    """The cameras' thread: renders a copy of the world, so that exposure takes no time off the physics.

    All cameras expose at the same instant. A camera that is still busy when the next is due drops it.
    """

    def __init__(self, world: World, outlet: FrameOutlet, specs: tuple[CameraSpec, ...]) -> None:
        import mujoco

        self._mujoco, self._world, self._outlet, self._specs = mujoco, world, outlet, specs
        self._copy = mujoco.MjData(world.model)
        self._due, self._ready, self._stopping = threading.Event(), threading.Event(), False
        self._t_s = 0.0
        self.dropped = 0
        self.failure = ""
        self._thread = threading.Thread(target=self._run, name="photographer", daemon=True)
        self._thread.start()
        self._ready.wait(60.0)

    def expose(self, t_s: float) -> None:
        """Take the picture of now, true at t_s. Returns at once."""
        if self._due.is_set():
            self.dropped += 1
            return
        self._mujoco.mj_copyData(self._copy, self._world.model, self._world.data)
        self._t_s = t_s
        self._due.set()

    def _run(self) -> None:
        renderers: list[Any] = []
        try:
            renderers = [make_renderer(self._world.model, spec.width, spec.height) for spec in self._specs]
            self._ready.set()
            while not self._stopping:
                if not self._due.wait(0.2):
                    continue
                for spec, renderer in zip(self._specs, renderers, strict=True):
                    renderer.update_scene(self._copy, spec.name)
                    self._outlet.put(spec.name, renderer.render(), self._t_s)
                self._due.clear()
        except Exception as error:  # the edge of a thread: the process's loop reads it and ends
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self._ready.set()
            for renderer in renderers:
                renderer.close()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._thread.join()


class Stage:
    """Episodes: what lies on the table, and what is to be judged. The arm stays where it is throughout."""

    def __init__(self, world: World, wishes: Mailbox, truths: Mailbox, port: str) -> None:
        self._world, self._wishes, self._truths = world, wishes, truths
        self._judge: Judge | None = None
        self._record = np.zeros((), TRUTH)
        self._record["port"] = port.encode()
        self.tell()

    def look(self) -> None:
        """Once a physics tick or so: take a new wish, judge."""
        if (letter := self._wishes.take()) is not None:
            self._obey(letter.record)
        self.tell()

    def _obey(self, wish: Any) -> None:
        name = bytes(wish["command"]).decode()
        if wish["episode"] != self._record["episode"]:
            seed = int(wish["seed"])
            table = table_for(command(name) if name else None, np.random.default_rng(seed), seed)
            self._world.set_table(table)
            self._record["episode"] = wish["episode"]
            for kind, colours in (("cubes", table.colours), ("plates", table.plates)):
                self._record[kind] = [c.encode() for c in colours] + [b""] * (len(COLOURS) - len(colours))
        self._record["judging"] = wish["judging"]
        self._judge = Judge(self._world, name) if wish["judging"] else None

    def tell(self) -> None:
        """Publish the verdict so far."""
        verdict = Verdict(False, False, False) if self._judge is None else self._judge.look()
        self._record["success"], self._record["wrong_object"], self._record["over"] = verdict
        self._truths.put(self._record)


def robot_main(life: Life, settings: SimSettings) -> None:
    """The simulated robot's process."""
    sys.setswitchinterval(0.0005)  # the wire's thread answers while this one steps
    os.environ.setdefault("MUJOCO_GL", "egl")
    folder = Path(settings.calibration)
    specs = tuple(camera.spec for camera in load_calibration(folder / "camera.json"))
    world = World(settings.seed)
    calibration = Calibration.load(folder / "arm.json", settings.servos)
    chain: Chain[Any, Any] = CHAINS[settings.servos](world, calibration)
    tap = Wiretap(Path(settings.tap), world) if settings.tap else None
    with (
        FrameOutlet(settings.frames, specs) as outlet,
        Mailbox.open(settings.wish_box, WISH) as wishes,
        Mailbox.open(settings.truth_box, TRUTH) as truths,
        PtyPort(chain, tap=tap.see if tap else lambda data: None) as port,
    ):
        photographer = Photographer(world, outlet, specs)
        try:
            stage = Stage(world, wishes, truths, port.path)
            life.ready()
            _keep_time(life, world, chain, photographer, stage, tap)
        finally:
            photographer.stop()


def _keep_time(
    life: Life,
    world: World,
    chain: Chain[Any, Any],
    photographer: Photographer,
    stage: Stage,
    tap: Wiretap | None,
) -> None:
    """Physics follows the monotonic clock; a picture every 1/30 s, dated by the step it shows."""
    start_s, step, photo_every = time.monotonic(), 0, round(1 / (FRAME_RATE_HZ * PHYSICS_DT_S))
    while not life.wait(max(0.0, start_s + step * PHYSICS_DT_S - time.monotonic())):
        now_s = time.monotonic()
        if photographer.failure:
            raise RuntimeError(photographer.failure)
        behind_s = now_s - (start_s + step * PHYSICS_DT_S)
        if behind_s > _BEHIND_S:
            start_s += behind_s
        while start_s + step * PHYSICS_DT_S <= now_s:
            world.step()
            chain.update()
            step += 1
            if step % photo_every == 0:
                photographer.expose(start_s + step * PHYSICS_DT_S)
            if step % 6 == 0:
                stage.look()
                if tap is not None:
                    tap.look()
