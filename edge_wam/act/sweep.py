"""From a sweep by hand to a calibration: pure arithmetic on the counts of an unpowered arm.

Sweep first, offset afterwards: LeRobot wants the middle first, and a middle that was guessed wrong makes
the encoder wrap inside the range. Here the counts are followed across the wrap (4095 to 0 is one step on),
and the offset puts the middle of what was swept on 2047, so that no joint ever wraps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from edge_wam.act import feetech
from edge_wam.act.bus import IntArray
from edge_wam.act.calibration import DYNAMIXEL, FEETECH, RAD_PER_COUNT, JointCalibration
from edge_wam.errors import CalibrationError
from edge_wam.types import JOINTS

TURN = feetech.COUNTS_PER_TURN
MIDDLE = TURN // 2 - 1
# What an SO-101's joints can do, in degrees: less was not swept to both stops, more is another joint (or a
# horn that slips). From its URDF's limits, with a fifth to spare.
SPAN_DEG = {
    "shoulder_pan": (175, 265),
    "shoulder_lift": (160, 240),
    "elbow_flex": (155, 235),
    "wrist_flex": (150, 230),
    "wrist_roll": (250, 420),
    "gripper": (75, 150),
}
# An arm of Dynamixels may be of any build.
ANY_SPAN_DEG = (30, 420)
WHOLE_TURN = ("wrist_roll",)  # LeRobot gives it the whole turn, whatever was swept
LARGEST_STEP = TURN // 4  # between two samples; a joint that moves faster could be anywhere


class Span(NamedTuple):
    """What a joint has been swept through, in counts that do not wrap: now, least, most."""

    now: int
    low: int
    high: int

    @property
    def degrees(self) -> float:
        return math.degrees((self.high - self.low) * RAD_PER_COUNT)


class Sweep:
    """Follows the raw counts (J,) of an arm that is moved by hand."""

    def __init__(self, counts: IntArray) -> None:
        self._raw = np.asarray(counts, np.int64) % TURN
        self._now = self._raw.copy()
        self._low, self._high = self._now.copy(), self._now.copy()

    def add(self, counts: IntArray) -> list[int]:
        """Take in a sample; returns the joints (indices) that moved too far to be followed, and are not."""
        raw = np.asarray(counts, np.int64) % TURN
        step = (raw - self._raw + TURN // 2) % TURN - TURN // 2
        lost = np.abs(step) > LARGEST_STEP
        self._now = np.where(lost, self._now, self._now + step)
        self._raw = np.where(lost, self._raw, raw)
        self._low, self._high = np.minimum(self._low, self._now), np.maximum(self._high, self._now)
        return [int(index) for index in np.flatnonzero(lost)]

    @property
    def spans(self) -> tuple[Span, ...]:
        """One a joint."""
        return tuple(Span(*map(int, row)) for row in zip(self._now, self._low, self._high, strict=True))


def span_deg(name: str, servos: str) -> tuple[int, int]:
    """The least and the most that a joint is believed to have been swept through."""
    return ANY_SPAN_DEG if servos == DYNAMIXEL else SPAN_DEG[name]


def complaint(name: str, span: Span, servos: str = FEETECH) -> str:
    """What is wrong with a joint's sweep, and what to do; '' if nothing is."""
    least, most = span_deg(name, servos)
    whose = "an SO-101's" if servos == FEETECH else "an arm's"
    if span.degrees < least:
        return (
            f"{name} was moved through {span.degrees:.0f} degrees; {whose} goes through {least} at "
            f"least: move it to both of its stops"
        )
    if span.degrees > most:
        return (
            f"{name} was moved through {span.degrees:.0f} degrees; {whose} goes through {most} at most: "
            f"is this the servo of another joint, or does its horn slip?"
        )
    return ""


def calibrated(
    spans: tuple[Span, ...], ids: tuple[int, ...], drive_modes: tuple[int, ...], servos: str = FEETECH
) -> tuple[JointCalibration, ...]:
    """The calibration of the swept joints, in the order of JOINTS. CalibrationError with every complaint."""
    pairs = list(zip(JOINTS, spans, strict=True))
    if complaints := [text for name, span in pairs if (text := complaint(name, span, servos))]:
        raise CalibrationError("; ".join(complaints))
    sign = 1 if servos == FEETECH else -1  # present = actual - offset, or + offset
    found = []
    for (name, span), servo_id, mode in zip(pairs, ids, drive_modes, strict=True):
        offset = sign * offset_of((span.low + span.high) // 2)
        half = min((span.high - span.low) // 2, MIDDLE)
        low, high = (0, TURN - 1) if name in WHOLE_TURN else (MIDDLE - half, MIDDLE + half)
        found.append(JointCalibration(name, servo_id, mode, offset, low, high, servos))
    return tuple(found)


def offset_of(middle: int) -> int:
    """The homing offset that makes an actual count `middle` (of any turn) read 2047: present = actual - it.

    The register holds -2047..2047; the one count that it cannot hold is rounded to the next.
    """
    offset = (middle - MIDDLE + TURN // 2) % TURN - TURN // 2
    return max(feetech.HOMING_OFFSET.low, offset)
