"""Control's end of telemetry: every tick, and what happened, for whoever looks. Never waits."""

from __future__ import annotations

import math

import numpy as np

from edge_wam.act.guard import Limited, Limits
from edge_wam.config import Config
from edge_wam.manifest import Manifest
from edge_wam.pilot import Pilot, Task
from edge_wam.sense.camera import load_calibration
from edge_wam.telemetry import TICK, Boxes, Plan, event_record
from edge_wam.think.features import FUTURES, IMAGINED_PX
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, ActionChunk, FloatArray, Joints, Tick

_SERVO = ("load", "current_a", "voltage_v", "temperature_c", "error", "fresh")


class Broadcast:
    """Control's: every tick into the log, and from one preallocated record into TICK; events into EVENT."""

    def __init__(self, boxes: Boxes, log: TickLog, pilot: Pilot) -> None:
        self._boxes, self._log, self._pilot = boxes, log, pilot
        self._record = np.zeros((), TICK)
        self._task: Task | None = None

    def add(
        self,
        tick: Tick,
        seen: Joints,
        wish_rad: FloatArray | None,
        sent_rad: FloatArray,
        stale_s: float,
        limited: Limited,
        entered: ActionChunk | None,
        now_s: float,
    ) -> None:
        """One tick, as loop.Log has it."""
        self._log.add(tick, seen, wish_rad, sent_rad, stale_s, limited, entered, now_s)
        record, pilot = self._record, self._pilot
        record["index"], record["late_s"], record["skipped"] = tick.index, tick.late_s, tick.skipped
        record["work_s"] = now_s - tick.t_s - tick.late_s
        record["misses"], record["stale_s"] = self._log.misses, stale_s
        record["measured_s"], record["measured_rad"] = seen.t_s, seen.position_rad
        record["wish_rad"] = math.nan if wish_rad is None else wish_rad
        record["sent_rad"], record["limited"] = sent_rad, limited
        for name in _SERVO:
            record[name] = getattr(seen, name)
        record["entered_s"] = math.nan if entered is None else entered.t0_s
        record["servo_s"] = math.nan if entered is None else now_s - entered.t0_s
        record["infer_s"] = math.nan if entered is None else entered.infer_s
        record["mode"] = pilot.mode.value.encode()
        if pilot.task is not self._task:
            self._task = pilot.task
            record["epoch"] = self._task.epoch
            record["command"] = self._task.command.encode() if self._task.running else b""
        self._boxes.ticks.put(record, tick.t_s)

    def tell(
        self,
        kind: str,
        text: str,
        t_s: float,
        meant: str = "",
        confidence: float = math.nan,
        why: str = "",
    ) -> None:
        """An event: see telemetry.EVENT."""
        self._boxes.events.put(event_record(kind, text, meant, confidence, why), t_s)


def plan_of(config: Config, manifest: Manifest, limits: Limits) -> Plan:
    """What others find in this robot's boxes (telemetry.py)."""
    sizes = {
        camera.spec.name: camera.spec for camera in load_calibration(config.robot.calibration / "camera.json")
    }
    manifest.phrases(config.voice.language)  # refused with the languages that there are
    ahead_s = tuple(manifest.dt_s * manifest.rows * part / FUTURES for part in range(1, FUTURES + 1))
    return Plan(
        manifest.name,
        config.robot.control_hz,
        manifest.dt_s,
        JOINTS,
        tuple(map(float, limits.low_rad)),
        tuple(map(float, limits.high_rad)),
        tuple((view.name, sizes[view.name].height, sizes[view.name].width) for view in manifest.cameras),
        (len(manifest.cameras), FUTURES, IMAGINED_PX),
        ahead_s,
        {command.tokens: command.phrases[config.voice.language][0] for command in manifest.commands},
        tuple(view.crop_px for view in manifest.cameras),
        {command.tokens: command.phrases[config.voice.language] for command in manifest.commands},
        config.voice.language,
        config.voice.listen == "push",
    )
