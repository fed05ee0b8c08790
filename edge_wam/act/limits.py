"""calibration/<robot>/limits.toml -> the guard's Limits (with the floor of geometry.toml beside it) and the
thresholds of act/health.py.

[joint.shoulder_pan]
low_rad = -1.9       # calibrated range the guard allows
high_rad = 1.9
speed_rad_s = 2.0    # fastest change of the target
lead_rad = 0.3       # farthest that a target may be ahead of the measured pose
acceleration_rad_s2 = 100.0  # fastest that the target's speed may grow; 100 if it is not given
park_rad = 0.0       # where to rest; in every joint or in none
stall_lead_rad = 0.3 # farther behind than this, and drawing a lot, is a stall; not watched if not given

[health]             # all optional: act/health.py says what each is, and its default
hot_c = 66
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge_wam import tomlfile
from edge_wam.act.feetech import error_text as feetech_text
from edge_wam.act.floor import load_floor
from edge_wam.act.guard import Limits
from edge_wam.act.health import UNWATCHED_RAD, Health, Thresholds
from edge_wam.errors import CalibrationError, nearest
from edge_wam.types import JOINTS, FloatArray

HEAVY = 7 / 8  # of stall_a, where heavy_a is not given
_TURN_RAD = 2 * math.pi
# Above the drives' own (act/arm.py): a policy is not slowed down by it, a jump of its wishes is.
ACCELERATION_RAD_S2 = 100.0


def load_limits(path: Path, joints: Sequence[str] = JOINTS) -> Limits:
    """The limits alone; as load_guards."""
    return load_guards(path, joints)[0]


def load_guards(
    path: Path, joints: Sequence[str] = JOINTS, error_text: Callable[[int], str] = feetech_text
) -> tuple[Limits, Health]:
    """The limits of exactly `joints`, and who watches their servos by the thresholds of the same file.
    error_text puts the servos' error byte into words (act/families.py).

    CalibrationError says which joint or number is wrong.
    """
    top = tomlfile.read(path, CalibrationError, "limits of the arm")
    table, thresholds = top.table("joint"), _thresholds(top.table("health", optional=True))
    top.done()
    for name in table.names():
        if name not in joints:
            raise CalibrationError(
                f"{path}: unknown joint '{name}'{nearest(name, joints)}; the robot has: {', '.join(joints)}"
            )
    rows, parks, stalls = [], [], []
    for name in joints:
        joint = table.table(name)
        low_rad = joint.number("low_rad", low=-_TURN_RAD, high=_TURN_RAD)
        high_rad = joint.number("high_rad", low=low_rad, high=_TURN_RAD)
        speed_rad_s = joint.number("speed_rad_s", low=0.01, high=20.0)
        lead_rad = joint.number("lead_rad", low=0.01, high=_TURN_RAD)
        acceleration_rad_s2 = joint.number("acceleration_rad_s2", ACCELERATION_RAD_S2, low=0.1, high=10_000.0)
        rows.append((low_rad, high_rad, speed_rad_s, lead_rad, acceleration_rad_s2))
        stalls.append(joint.number("stall_lead_rad", UNWATCHED_RAD, low=0.01, high=UNWATCHED_RAD))
        if "park_rad" in joint.names():
            parks.append(joint.number("park_rad", low=low_rad, high=high_rad))
        joint.done()
    if parks and len(parks) != len(joints):
        raise CalibrationError(
            f"{path}: park_rad stands in {len(parks)} of {len(joints)} joints; all or none"
        )
    low, high, speed, lead, acceleration = (_frozen(column) for column in zip(*rows, strict=True))
    park = _frozen(parks) if parks else None
    floor = load_floor(path.parent, joints)
    limits = Limits(tuple(joints), low, high, speed, lead, acceleration, park, floor)
    return limits, Health(joints, thresholds, _frozen(stalls), error_text)


def _thresholds(table: tomlfile.Table) -> Thresholds:
    usual = Thresholds()
    stall_a = table.number("stall_a", usual.stall_a, low=0.0, high=200.0)
    usual = usual._replace(heavy_a=HEAVY * stall_a)
    found = Thresholds(
        *(table.number(name, usual[i], low=0.0, high=200.0) for i, name in enumerate(usual._fields))
    )
    table.done()
    if not found.heavy_a < found.stall_a or not found.heavy_s > 0:
        raise table.wrong("heavy_a", f"less than stall_a ({found.stall_a:g}), over a heavy_s above 0",
                          found.heavy_a)  # fmt: skip
    if not found.warm_c < found.hot_c < found.release_c:
        raise table.wrong("hot_c", f"more than warm_c ({found.warm_c:g}) and less than release_c "
                          f"({found.release_c:g})", found.hot_c)  # fmt: skip
    return found


def _frozen(values: Sequence[float]) -> FloatArray:
    array = np.array(values, np.float64)
    array.setflags(write=False)
    return array
