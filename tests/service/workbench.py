"""The simulated arm on a pty, in real time, with cameras, a board, and a hand that moves it limp."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
from person import REST_RAD, SHIPPED

from edge_wam.act.calibration import Calibration
from edge_wam.mailbox import private_name
from edge_wam.sense.camera import CameraCalibration, CameraSpec, Intrinsics, save_calibration
from edge_wam.sim.camera import FrameOutlet
from edge_wam.sim.robot import Photographer
from edge_wam.sim.scene import FOVY_DEG
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import PtyPort
from edge_wam.sim.world import World

STEP_S, PHOTO_EVERY = 1 / 300, 10


def camera_of(name, serial, width, height):
    focal_px = height / 2 / np.tan(np.radians(FOVY_DEG[name]) / 2)
    lens = Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)
    return CameraCalibration(CameraSpec(name, width, height, 30), serial, "SIM D435", lens)


class Workbench:
    """`port`: the servos'; `cameras` and `prefix`: what --simulated wants; frames are dated late_s too late.

    hand is None (physics has the arm) or a pose (6,) in which somebody holds it.
    """

    def __init__(
        self, folder: Path, cameras, *, spec=None, late_s=0.0, pose_rad=REST_RAD, lay=lambda world: None
    ):
        self.cameras, self.prefix, self.late_s = folder / "sim-cameras.json", private_name("frames"), late_s
        save_calibration(self.cameras, cameras)
        self.hand = None
        self.chain = self.world = None
        self._cameras, self._spec, self._pose_rad, self._lay = cameras, spec, pose_rad, lay
        self._stopping, self._ready = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()

    def _run(self):
        world = self.world = World(3, spec=self._spec)
        world.place_arm(self._pose_rad)
        self._lay(world)
        chain = self.chain = ServoChain(world, Calibration.load(SHIPPED))
        specs = tuple(camera.spec for camera in self._cameras)
        with FrameOutlet(self.prefix, specs) as outlet, PtyPort(chain, wire_time=False) as port:
            photographer = Photographer(world, outlet, specs)
            self.port = port.path
            self._ready.set()
            try:
                self._keep_time(world, chain, photographer)
            finally:
                photographer.stop()
                world.close()

    def _keep_time(self, world, chain, photographer):
        start_s, step = time.monotonic(), 0
        while not self._stopping.is_set():
            assert not photographer.failure, photographer.failure
            ahead_s = start_s + step * STEP_S - time.monotonic()
            if ahead_s > 0:
                time.sleep(ahead_s)
            elif ahead_s < -0.1:
                start_s -= ahead_s
            if self.hand is None:
                world.step()
            else:
                world.place_arm(self.hand)
                world.data.time += STEP_S
            chain.update()
            step += 1
            if step % PHOTO_EVERY == 0:
                # The servos show this state from now until the next step: on average half a step from now.
                photographer.expose(start_s + (step - 0.5) * STEP_S + self.late_s)
