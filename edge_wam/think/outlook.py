"""The policy's end of telemetry: what it sees, decides and imagines, for whoever looks. Never waits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_wam.messages import chunk_record
from edge_wam.telemetry import SIGHT_EVERY_S, Boxes
from edge_wam.types import ActionChunk, Frame, ImageArray


class Outlook:
    """An onlooker (worker.py): frames every SIGHT_EVERY_S, chunks and imagined frames as they come."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self._records = [np.zeros((), box.dtype) for box in boxes.sights]
        self._dream = np.zeros((), boxes.dreams.dtype)
        self._seen_s = -math.inf

    def see(self, frames: Sequence[Frame]) -> None:
        """The newest frames, in the model's order, if it is time."""
        t_s = frames[0].t_s
        if t_s - self._seen_s < SIGHT_EVERY_S - 0.01:
            return
        self._seen_s = t_s
        for frame, record, box in zip(frames, self._records, self._boxes.sights, strict=True):
            record["sequence"], record["image"] = frame.sequence, frame.image
            box.put(record, frame.t_s)

    def think(self, chunk: ActionChunk, frame_age_s: float) -> None:
        """A chunk as it was decided."""
        self._boxes.chunks.put(chunk_record(chunk, frame_age_s), chunk.t0_s)

    def imagine(self, t0_s: float, frames: ImageArray) -> None:
        """What is expected to be seen (C, F, P, P, 3), imagined from the frame of t0_s."""
        self._dream["images"] = frames
        self._boxes.dreams.put(self._dream, t0_s)
