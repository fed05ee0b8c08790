"""The policy's end of telemetry: what it sees, decides and imagines, for whoever looks. Never waits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge_wam.messages import chunk_record
from edge_wam.telemetry import SIGHT_EVERY_S, Boxes
from edge_wam.types import ActionChunk, Frame, ImageArray


class Outlook:
    """An onlooker (worker.py): frames every SIGHT_EVERY_S and those that a chunk was made of; chunks and
    imagined frames as they come. Frames seen together are put together: their records have one number."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self._records = [np.zeros((), box.dtype) for box in boxes.sights]
        self._dream = np.zeros((), boxes.dreams.dtype)
        self._seen_s = -math.inf
        self._unseen: Sequence[Frame] = ()

    def see(self, frames: Sequence[Frame]) -> None:
        """The newest frames, in the model's order, if it is time."""
        self._unseen = frames
        if frames[0].t_s - self._seen_s >= SIGHT_EVERY_S - 0.01:
            self._show()

    def _show(self) -> None:
        frames, self._unseen = self._unseen, ()
        self._seen_s = frames[0].t_s
        for frame, record, box in zip(frames, self._records, self._boxes.sights, strict=True):
            record["sequence"], record["image"] = frame.sequence, frame.image
            box.put(record, frame.t_s)

    def think(self, chunk: ActionChunk, frame_age_s: float) -> None:
        """A chunk as it was decided, from the frames seen last."""
        if self._unseen:  # what it was made of is part of what was decided: a recording can be thought again
            self._show()
        self._boxes.chunks.put(chunk_record(chunk, frame_age_s), chunk.t0_s)

    def imagine(self, t0_s: float, frames: ImageArray) -> None:
        """What is expected to be seen (C, F, P, P, 3), imagined from the frame of t0_s."""
        self._dream["images"] = frames
        self._boxes.dreams.put(self._dream, t0_s)
