"""The nouns that pass between rooms, with their shapes and units.

Letters used in every docstring of the project:

    J   joints of the arm (6 for the SO-101), in the order of `JOINTS`
    K   rows of an action chunk
    H W pixels of an image, row 0 at the top, RGB

Angles are radians in the arm's calibrated convention: a body joint is zero in the middle of its
calibrated range; the gripper is zero where its calibrated range begins (closed) and opens towards
positive. Times are seconds on the monotonic clock (`time.monotonic`), and say when a value was
true in the world, not when somebody read it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

JOINTS: tuple[str, ...] = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)

FloatArray = NDArray[np.float64]
ImageArray = NDArray[np.uint8]


class Frame(NamedTuple):
    """One colour image. `image` has shape (H, W, 3), uint8 RGB; `t_s` is the middle of its exposure."""

    camera: str
    image: ImageArray
    t_s: float
    sequence: int


class Joints(NamedTuple):
    """Where the arm was at `t_s`. All arrays have shape (J,).

    load is the fraction of the stall torque, signed; current_a, voltage_v, temperature_c as the
    servos report them; error is the servo's raw error byte (0 is healthy); fresh says which joints
    answered this time (the others carry their last known value); reset names a joint whose servo had lost its
    memory (a dip of the supply) and has just got its settings and its torque back, '' for none; stopped names
    joints that their servos' bus watchdog had stopped, since the host was silent, and that obey again;
    settled says that every servo was read back to have the goal that was sent last, and that none moves
    (None: nobody asked); bus_s is how long asking them took.
    """

    t_s: float
    position_rad: FloatArray
    velocity_rad_s: FloatArray
    load: FloatArray
    current_a: FloatArray
    voltage_v: FloatArray
    temperature_c: FloatArray
    error: NDArray[np.uint8]
    fresh: NDArray[np.bool_]
    reset: str = ""
    stopped: str = ""
    settled: bool | None = None
    bus_s: float = math.nan


class Words(NamedTuple):
    """What the recogniser heard. `t_s` is when the last word ended; partial results have final=False.
    `since_s` is when the first word was under way; NaN where that is not known."""

    text: str
    t_s: float
    confidence: float
    final: bool
    language: str
    since_s: float = math.nan


class Observation(NamedTuple):
    """What the policy is shown: one frame a camera (manifest order), the arm at the frames' time,
    the last target sent before it (J,), and the command in the manifest's words."""

    frames: tuple[Frame, ...]
    position_rad: FloatArray
    sent_rad: FloatArray
    command: str
    t_s: float


class ActionChunk(NamedTuple):
    """Joint targets as a function of time: row i of target_rad (K, J) is due at t0_s + i * dt_s.

    t0_s is the exposure time of the frame it was computed from; epoch names the command it serves
    (a chunk of an older epoch is dropped); ready_s is when it became available; infer_s is what
    the engine took. far and done are the model's own word for how far the task is and the chance that it is
    done, 0..1; NaN from a model that tells neither.
    """

    t0_s: float
    dt_s: float
    target_rad: FloatArray
    epoch: int
    ready_s: float
    infer_s: float
    far: float = math.nan
    done: float = math.nan


class Tick(NamedTuple):
    """One slot of the control loop: its number, when it was due, how late it began and how many
    slots were skipped just before it."""

    index: int  # type: ignore[assignment]  # a slot has a number; nobody searches a Tick
    t_s: float
    late_s: float
    skipped: int
