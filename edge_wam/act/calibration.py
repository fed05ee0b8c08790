"""The calibration of an arm: LeRobot's file, checked, and the map between counts and radians.

    {"shoulder_pan": {"id": 1, "drive_mode": 0, "homing_offset": -12, "range_min": 741, "range_max": 3350},
     "shoulder_lift": ...}

A body joint is zero in the middle of its range, count = middle + sign * rad * 4096 / 2 pi; the gripper
is zero where it is closed (range_min; range_max when sign is -1) and opens towards positive. The homing
offset and the range live in the servo's EEPROM too. What differs between families, as LeRobot has it:

    feetech      present = actual - homing_offset, up to half a turn; sign is -1 for drive_mode 1
    dynamixel    present = actual + homing_offset, many turns; drive_mode is the servo's own, sign is 1
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_wam.act import dynamixel_table, feetech
from edge_wam.errors import CalibrationError, nearest
from edge_wam.keep import replace_file
from edge_wam.types import JOINTS, FloatArray

RAD_PER_COUNT = 2 * math.pi / feetech.COUNTS_PER_TURN
LEAST_SPAN_COUNTS = 200  # 18 degrees: less than that was never swept through
FEETECH, DYNAMIXEL = "feetech", "dynamixel"  # act/families.py
_OFFSETS = {
    FEETECH: (feetech.HOMING_OFFSET.low, feetech.HOMING_OFFSET.high),
    DYNAMIXEL: (dynamixel_table.HOMING_OFFSET.low, dynamixel_table.HOMING_OFFSET.high),
}
FIELDS = ("id", "drive_mode", "homing_offset", "range_min", "range_max")  # LeRobot's order


@dataclass(frozen=True, slots=True)
class JointCalibration:
    """One joint as LeRobot's file has it, in counts of the *present* position (offset applied)."""

    name: str
    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int
    servos: str = FEETECH

    @property
    def sign(self) -> int:
        """Which way counts grow when radians do."""
        return -1 if self.drive_mode and self.servos == FEETECH else 1

    @property
    def actual_minus_present(self) -> int:
        """What lies between the encoder's own count and the one that is reported."""
        return self.homing_offset if self.servos == FEETECH else -self.homing_offset

    @property
    def zero_count(self) -> float:
        """The count at 0 rad; half a count is possible for a body joint."""
        if self.name != "gripper":
            return (self.range_min + self.range_max) / 2
        return float(self.range_max if self.sign < 0 else self.range_min)


class Calibration:
    """All joints, in the order of JOINTS, as arrays of shape (J,)."""

    def __init__(self, joints: tuple[JointCalibration, ...], source: str = "calibration") -> None:
        self.joints = joints
        self.source = source  # for messages
        self.ids: tuple[int, ...] = tuple(joint.id for joint in joints)
        self.zero_count: FloatArray = np.array([joint.zero_count for joint in joints])
        self.rad_per_count: FloatArray = np.array([joint.sign * RAD_PER_COUNT for joint in joints])
        self._low: FloatArray = np.array([float(joint.range_min) for joint in joints])
        self._high: FloatArray = np.array([float(joint.range_max) for joint in joints])
        ends = np.stack([self.to_rad(self._low), self.to_rad(self._high)])
        self.low_rad: FloatArray = ends.min(axis=0)
        self.high_rad: FloatArray = ends.max(axis=0)

    def to_rad(self, counts: FloatArray | np.ndarray[Any, np.dtype[np.int64]]) -> FloatArray:
        """Present counts (J,) to calibrated radians (J,)."""
        rad: FloatArray = (counts - self.zero_count) * self.rad_per_count
        return rad

    def to_counts(self, rad: FloatArray) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Calibrated radians (J,) to the nearest counts (J,) within the calibrated range."""
        counts = np.rint(rad / self.rad_per_count + self.zero_count)
        inside: np.ndarray[Any, np.dtype[np.int64]] = np.minimum(
            np.maximum(counts, self._low), self._high
        ).astype(np.int64)
        return inside

    def save(self, path: str | Path) -> Path | None:
        """Write LeRobot's file, whole or not at all; what was there is kept beside it. Returns where."""
        content = {joint.name: {field: getattr(joint, field) for field in FIELDS} for joint in self.joints}
        return replace_file(Path(path), json.dumps(content, indent=4) + "\n")

    @classmethod
    def load(cls, path: str | Path, servos: str = FEETECH) -> Calibration:
        """Read LeRobot's file of an arm of `servos`. CalibrationError names the file, the joint and the field
        that is wrong."""
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CalibrationError(f"no calibration at {path}; try: scripts/calibrate.py") from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise CalibrationError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(content, dict):
            raise CalibrationError(f"{path} holds a {type(content).__name__}, not one object per joint")
        for name in content:
            if name not in JOINTS:
                raise CalibrationError(f"{path} has an unknown joint '{name}'{nearest(name, JOINTS)}")
        if missing := [name for name in JOINTS if name not in content]:
            raise CalibrationError(
                f"{path} lacks the joint{'s' if len(missing) > 1 else ''} {', '.join(missing)} "
                f"(has {', '.join(content) or 'none'}); try: scripts/calibrate.py"
            )
        joints = tuple(_joint(path, name, content[name], servos) for name in JOINTS)
        for index, joint in enumerate(joints):
            for other in joints[:index]:
                if joint.id == other.id:
                    raise CalibrationError(
                        f"{path}: {other.name} and {joint.name} both have the id {joint.id}"
                    )
        return cls(joints, str(path))


def _spans(servos: str) -> dict[str, tuple[int, int]]:
    """field -> (low, high)"""
    count = (0, feetech.COUNTS_PER_TURN - 1)
    spans = ((1, feetech.HIGHEST_ID), (0, 1), _OFFSETS[servos], count, count)
    return dict(zip(FIELDS, spans, strict=True))


def _joint(path: Path, name: str, entry: object, servos: str) -> JointCalibration:
    """One entry of the file, every field checked."""
    if not isinstance(entry, dict):
        raise CalibrationError(
            f"{path}: {name} is a {type(entry).__name__}, not an object with id, range_min, ..."
        )
    for field in entry:
        if field not in FIELDS:
            raise CalibrationError(
                f"{path}: {name} has an unknown field '{field}'{nearest(str(field), FIELDS)}"
            )
    values = []
    for field, (low, high) in _spans(servos).items():
        if field not in entry:
            raise CalibrationError(f"{path}: {name} lacks '{field}' (has {', '.join(entry) or 'nothing'})")
        value = entry[field]
        if type(value) is not int or not low <= value <= high:
            raise CalibrationError(
                f"{path}: {name}.{field} is {value!r}, not a whole number from {low} to {high}"
            )
        values.append(value)
    joint = JointCalibration(name=name, servos=servos, **dict(zip(FIELDS, values, strict=True)))
    if joint.range_max - joint.range_min < LEAST_SPAN_COUNTS:
        raise CalibrationError(
            f"{path}: {name} goes from {joint.range_min} to {joint.range_max}, less than "
            f"{LEAST_SPAN_COUNTS} counts; try: calibrate again and move the joint through its whole range"
        )
    return joint
