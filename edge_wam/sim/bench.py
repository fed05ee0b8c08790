"""`edge-wam bench`: what each part of a tick and of a thought costs, in one run, beside its physical limit.

Medians of interleaved rounds, so that a noisy neighbour disturbs all lines alike; trust the ratios. The
last line is JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam.act.arm import Calibration
from edge_wam.act.bus import open_port
from edge_wam.act.feetech_arm import FeetechArm
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.act.guard import limit
from edge_wam.act.limits import load_limits
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import PtyPort
from edge_wam.sim.world import PARK_RAD, World
from edge_wam.think.choice import open_engine
from edge_wam.think.policy import features_of
from edge_wam.think.rehearsal import interleaved

# Bytes of a tick, 10 bits each: sync read of 15 bytes from six servos, sync write of six goals.
READ_BYTES, WRITE_BYTES, BIT_S = 14 + 6 * 21, 26, 1e-6


class Line(NamedTuple):
    """One thing measured. limit_ms is what physics or arithmetic allows, NaN where nothing is known."""

    name: str
    p50_ms: float
    p99_ms: float
    limit_ms: float
    limit: str


def measure(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds (rounds,) of each task, one after another in each round; the first calls warm up."""
    alike = {name: lambda _, task=task: task() for name, task in tasks.items()}
    return {name: 1e3 * seconds for name, seconds in interleaved(alike, (None,) * 3, rounds).items()}


def main(calibration: Path, model: Path, threads: int, rounds: int) -> int:
    """Measure and print. Returns the exit code."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    manifest, engine, what = open_engine(model, threads)
    features = features_of(manifest)
    world, arm_file = World(), Calibration.load(calibration / "arm.json")
    limits = load_limits(calibration / "limits.toml")
    rng = np.random.default_rng(0)
    frames = [world.render(view.name, view.width, view.height) for view in manifest.cameras]
    images, state = features.images(frames), features.state(PARK_RAD, PARK_RAD)
    tokens = features.tokens(manifest.commands[0].tokens)
    noise = rng.standard_normal((manifest.rows, len(manifest.joints)), dtype=np.float32)
    video = rng.standard_normal((len(manifest.cameras), 2, 3, 48, 48), dtype=np.float32)
    context = engine.context(images, tokens, state)
    actions = engine.act(context, noise, 1)
    with PtyPort(ServoChain(world, arm_file), wire_time=False) as wire:
        port = open_port(wire.path)
        arm = FeetechArm(FeetechBus(port, arm_file.ids), arm_file)
        arm.connect()
        took = measure(
            {
                "features (2 frames)": lambda: features.images(frames),
                "context": lambda: engine.context(images, tokens, state),
                "act, 1 step": lambda: engine.act(context, noise, 1),
                "act, 2 steps": lambda: engine.act(context, noise, 2),
                "act, 10 steps": lambda: engine.act(context, noise, 10),
                "imagine": lambda: engine.imagine(actions, video),
                "guard": lambda: limit(PARK_RAD, PARK_RAD, PARK_RAD, PARK_RAD, limits, 0.02),
                "sense (6 servos)": arm.sense,
                "act (6 goals)": lambda: arm.act(PARK_RAD),
            },
            rounds,
        )
        arm.bus.close()
    world.close()
    bounds = {
        "sense (6 servos)": (
            READ_BYTES * 10 * BIT_S * 1e3,
            "1 Mbaud wire, no return delay (not emulated here)",
        ),
        "act (6 goals)": (WRITE_BYTES * 10 * BIT_S * 1e3, "1 Mbaud wire"),
    }
    lines = [
        Line(name, float(np.median(ms)), float(np.percentile(ms, 99)), *bounds.get(name, (float("nan"), "")))
        for name, ms in took.items()
    ]
    print(f"{'':<24}{'p50 ms':>10}{'p99 ms':>10}{'limit ms':>10}")
    for line in lines:
        bound = f"{line.limit_ms:>10.3f}  {line.limit}" if line.limit else ""
        print(f"{line.name:<24}{line.p50_ms:>10.3f}{line.p99_ms:>10.3f}{bound}")
    print(f"{manifest.name}: {what}; engine ready in {engine.load_s:.1f} s; {rounds} rounds")
    print(
        json.dumps(
            {f"{line.name} p50_ms": round(line.p50_ms, 4) for line in lines}
            | {"rounds": rounds, "engine": what}
        )
    )
    return 0
