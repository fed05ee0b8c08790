"""A recording read back: the records and frames that a robot's boxes held, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mcap.records import Metadata
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError
from edge_wam.messages import ChunkNews, read_chunk
from edge_wam.record import topics
from edge_wam.record.ring import METADATA, records
from edge_wam.record.topics import Stamp, pixels_of, unpack
from edge_wam.telemetry import TICK, Plan
from edge_wam.types import Frame


class Happened(NamedTuple):
    """An EVENT (telemetry.py)."""

    t_s: float
    kind: str
    text: str


class Picture(NamedTuple):
    """A frame as it lies in the file."""

    t_s: float
    data: bytes


class Recording(NamedTuple):
    """One file. ticks (N,) of dtype TICK and when they were due, ticks_s (N,); chunks and pictures by the
    number they had in their boxes, pictures a camera; lost: what was not written down, and how many of it."""

    path: Path
    about: dict[str, str]
    plan: Plan
    ticks: NDArray[Any]
    ticks_s: NDArray[np.float64]
    chunks: dict[int, ChunkNews]
    events: tuple[Happened, ...]
    pictures: dict[str, dict[int, Picture]]
    lost: dict[str, int]

    def frames(self, number: int) -> tuple[Frame, ...] | None:
        """What all cameras saw, in the model's order: what was put down together. None if one is missing."""
        found = []
        for name, *_ in self.plan.cameras:
            picture = self.pictures.get(name, {}).get(number)
            if picture is None:
                return None
            found.append(Frame(name, pixels_of(picture.data), picture.t_s, number))
        return tuple(found)

    def frames_of(self, t0_s: float) -> tuple[Frame, ...] | None:
        """What a chunk was made of: the frames whose oldest was exposed at t0_s, to the microsecond."""
        for pictures in self.pictures.values():
            for number, picture in pictures.items():
                if abs(picture.t_s - t0_s) > 1e-6:
                    continue
                frames = self.frames(number)
                if frames is not None and min(frame.t_s for frame in frames) == picture.t_s:
                    return frames
        return None


def read(path: Path) -> Recording:
    """A recording, whole or cut off. EdgeWamError if it is none, or another version's."""
    about: dict[str, str] = {}
    ticks: dict[int, tuple[Any, float]] = {}
    chunks: dict[int, ChunkNews] = {}
    events: dict[int, Happened] = {}
    pictures: dict[str, dict[int, Picture]] = {}
    lost: dict[str, int] = {}
    stamp = Stamp(0)
    try:
        for _, channel, found in records(path):
            if isinstance(found, Metadata):
                if found.name == METADATA:
                    about = found.metadata
                    stamp = Stamp(int(about["offset_ns"]))
                    _refuse_others(path, about)
                continue
            assert channel is not None
            topic, number = channel.topic, found.sequence
            if topic in topics.RECORDS:
                record, t_s = unpack(topic, found.data)
                if topic == topics.TICKS:
                    ticks[number] = record, t_s
                elif topic == topics.CHUNKS:
                    chunks[number] = read_chunk(record)
                elif topic == topics.EVENTS:
                    events[number] = Happened(t_s, _text(record["kind"]), _text(record["text"]))
                else:
                    what = _text(record["what"])
                    lost[what] = lost.get(what, 0) + int(record["count"])
            elif topic.startswith(topics.CAMERA):
                name = topic.removeprefix(topics.CAMERA)
                shot = Picture(stamp.monotonic_s(found.log_time), found.data)
                pictures.setdefault(name, {})[number] = shot
    except OSError as error:
        raise EdgeWamError(f"cannot read {path} ({error.strerror})") from None
    if not about or not ticks:
        raise EdgeWamError(f"{path} is no recording of edge-wam's, or holds nothing; try: edge-wam record")
    try:
        plan = Plan.read(about["plan"])
    except (KeyError, ValueError) as error:
        raise EdgeWamError(
            f"{path} tells of a robot of another version ({error}); try: edge-wam {about.get('edge_wam')}"
        ) from None
    order = sorted(ticks)
    return Recording(
        path,
        about,
        plan,
        np.array([ticks[number][0] for number in order], TICK),
        np.array([ticks[number][1] for number in order]),
        {number: chunks[number] for number in sorted(chunks)},
        tuple(events[number] for number in sorted(events)),
        pictures,
        lost,
    )


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace")


def _refuse_others(path: Path, about: dict[str, str]) -> None:
    if about.get("version") != str(topics.VERSION):
        raise EdgeWamError(
            f"{path} is of version {about.get('version', 'unknown')}, expected {topics.VERSION}; "
            f"try: edge-wam {about.get('edge_wam', 'of another version')}"
        )
