"""Recordings as episodes of a dataset: what the arm did for one command, evenly spaced in time.

Angles in a dataset are LeRobot's for an SO-101 with use_degrees: body joints in degrees with the same zero as
ours, the gripper in percent of its calibrated range.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_wam.act.calibration import Calibration
from edge_wam.pilot import Mode
from edge_wam.record.lerobot import ACTION, STATE, Episode
from edge_wam.record.reading import Recording
from edge_wam.record.topics import pixels_of
from edge_wam.types import JOINTS, FloatArray, ImageArray

RATE_HZ = 15.0  # frames are told every fifteenth of a second (telemetry.py)
SHORTEST_S = 1.0
NAMES = tuple(f"{joint}.pos" for joint in JOINTS)
ROBOT = "so101_follower"


class Scale:
    """Radians there, LeRobot's numbers here. Both (..., J)."""

    def __init__(self, calibration: Calibration) -> None:
        top = calibration.to_rad(np.array([joint.range_max for joint in calibration.joints]))
        self._per_rad = np.full(len(JOINTS), 180 / np.pi)
        self._per_rad[-1] = 100 / top[-1]

    def out(self, rad: FloatArray) -> FloatArray:
        values: FloatArray = rad * self._per_rad
        return values

    def back(self, values: FloatArray) -> FloatArray:
        rad: FloatArray = values / self._per_rad
        return rad


def episodes_of(recording: Recording, scale: Scale) -> Iterator[Episode]:
    """One for each command that was followed for SHORTEST_S with frames of every camera.

    state is where the arm was at the frame's exposure, action the target sent at its end or right after.
    """
    ticks, t_s = recording.ticks, recording.ticks_s
    following = ticks["mode"] == Mode.FOLLOWING.value.encode()
    for epoch in dict.fromkeys(ticks["epoch"][following].tolist()):
        mine = np.flatnonzero(following & (ticks["epoch"] == epoch))
        begin_s, end_s = t_s[mine[0]], t_s[mine[-1]]
        times_s = np.arange(begin_s, end_s, 1 / RATE_HZ)
        if end_s - begin_s < SHORTEST_S or any(name not in recording.pictures for name in _names(recording)):
            continue
        shown = {name: _nearest(recording, name, times_s) for name in _names(recording)}
        first_s = next(iter(shown.values()))[0]
        position_rad = np.stack(
            [
                np.interp(first_s, ticks["measured_s"], ticks["measured_rad"][:, j])
                for j in range(len(JOINTS))
            ],
            axis=1,
        )
        after = np.minimum(np.searchsorted(t_s, times_s), len(t_s) - 1)
        yield Episode(
            bytes(ticks["command"][mine[0]]).decode(),
            {
                STATE: scale.out(position_rad).astype(np.float32),
                ACTION: scale.out(ticks["sent_rad"][after]).astype(np.float32),
            },
            {name: images for name, (_, images) in shown.items()},
        )


def _names(recording: Recording) -> list[str]:
    return [name for name, *_ in recording.plan.cameras]


def _nearest(recording: Recording, name: str, times_s: FloatArray) -> tuple[FloatArray, ImageArray]:
    """The frame of a camera nearest to each time: their own times, and pixels (n, H, W, 3)."""
    pictures = [picture for _, picture in sorted(recording.pictures[name].items())]
    there_s = np.array([picture.t_s for picture in pictures])
    index = np.abs(there_s[None] - times_s[:, None]).argmin(axis=1)
    seen = {i: pixels_of(pictures[i].data) for i in dict.fromkeys(index.tolist())}
    return there_s[index], np.stack([seen[i] for i in index.tolist()])
