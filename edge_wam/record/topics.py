"""What a recording holds: topics, and the messages on them.

    /tick /chunk /event      telemetry's records, number by number, as protobuf made from their dtypes
    /lost                    what the recorder came too late for, or had no room for
    /camera/<name>           foxglove.CompressedImage: what a camera saw
    /imagined/<name>         foxglove.CompressedImage: what is expected to be seen, futures side by side
    /joints/measured, /sent  foxglove.JointStates
    /log                     foxglove.Log: events and losses, for people

A message's log time is when its value was true, by the wall; `Stamp` says what the wall's time is in the
monotonic one. Everything is protobuf with its schema in the file: Foxglove and Rerun open it without plugins.
"""

from __future__ import annotations

import functools
import io
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message as Proto
from PIL import Image

from edge_wam.errors import EdgeWamError
from edge_wam.mailbox import Record, RecordType
from edge_wam.messages import CHUNK
from edge_wam.telemetry import EVENT, TICK
from edge_wam.types import JOINTS, ImageArray

VERSION = 1
TICKS, CHUNKS, EVENTS, LOSSES, LOG = "/tick", "/chunk", "/event", "/lost", "/log"
MEASURED, SENT = "/joints/measured", "/joints/sent"
CAMERA, IMAGINED = "/camera/", "/imagined/"
LOST: RecordType = np.dtype([("what", "S32"), ("count", np.int64)])
RECORDS = {TICKS: TICK, CHUNKS: CHUNK, EVENTS: EVENT, LOSSES: LOST}
JPEG_QUALITY = 90

_PACKAGE = "edge_wam"
_DEBUG, _INFO, _WARNING, _ERROR = 1, 2, 3, 4  # foxglove.Log's levels


class Entry(NamedTuple):
    """One message of a recording. t_s is monotonic; number is the record's in its box, 0 if it has none."""

    topic: str
    t_s: float
    number: int
    data: bytes


class Stamp(NamedTuple):
    """The wall's time minus the monotonic one, in ns."""

    offset_ns: int

    @classmethod
    def now(cls) -> Stamp:
        return cls(time.time_ns() - time.monotonic_ns())

    def wall_ns(self, t_s: float) -> int:
        """Unix time of a monotonic time."""
        return round(t_s * 1e9) + self.offset_ns

    def monotonic_s(self, wall_ns: int) -> float:
        """The inverse, to the nanosecond."""
        return (wall_ns - self.offset_ns) / 1e9


# --- records as protobuf ------------------------------------------------------------------------

_Field = descriptor_pb2.FieldDescriptorProto
_WIRE = {
    "f8": _Field.TYPE_DOUBLE,
    "f4": _Field.TYPE_FLOAT,
    "i8": _Field.TYPE_INT64,
    "i4": _Field.TYPE_INT32,
    "i2": _Field.TYPE_INT32,
    "u1": _Field.TYPE_UINT32,
    "b1": _Field.TYPE_BOOL,
}


@functools.cache
def record_class(topic: str) -> type[Proto]:
    """The protobuf message of a record topic: `t_s`, then the dtype's fields, arrays flattened."""
    name = topic.strip("/").capitalize()
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{_PACKAGE}/{name}.proto", package=_PACKAGE, syntax="proto3"
    )
    message = file.message_type.add(name=name)
    fields: Any = RECORDS[topic].fields
    for number, (field, (dtype, *_)) in enumerate([("t_s", (np.dtype("f8"),)), *fields.items()], start=1):
        wire = _Field.TYPE_STRING if dtype.base.kind == "S" else _WIRE[dtype.base.str[1:]]
        label = _Field.LABEL_REPEATED if dtype.shape else _Field.LABEL_OPTIONAL
        message.field.add(name=field, number=number, type=wire, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made: type[Proto] = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
    return made


def pack(topic: str, record: Record, t_s: float) -> bytes:
    """A record of RECORDS[topic] -> its message."""
    values = {field: _plain(record[field]) for field in record.dtype.names or ()}
    data: bytes = record_class(topic)(t_s=t_s, **values).SerializeToString()
    return data


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind == "S":
        return bytes(array.item()).decode("utf-8", "replace")
    return array.ravel().tolist() if array.ndim else array.item()


def unpack(topic: str, data: bytes) -> tuple[Any, float]:
    """The inverse of `pack`: (record, t_s). EdgeWamError if it was written by another version."""
    message: Any = record_class(topic).FromString(data)
    record = np.zeros((), RECORDS[topic])
    try:
        for field, (dtype, *_) in (RECORDS[topic].fields or {}).items():
            value = getattr(message, field)
            value = value.encode() if isinstance(value, str) else value
            record[field] = np.reshape(value, dtype.shape) if dtype.shape else value
    except ValueError as error:
        raise EdgeWamError(
            f"a message on {topic} is not what this version expects ({error}); "
            "try: the edge_wam it was recorded by"
        ) from None
    return record[()], float(message.t_s)  # a scalar's text has no padding


# --- foxglove's own -----------------------------------------------------------------------------


def _foxglove(name: str) -> type[Any]:
    """A class of Foxglove's schemas."""
    import importlib

    found: type[Any] = getattr(importlib.import_module(f"foxglove_schemas_protobuf.{name}_pb2"), name)
    return found


def message_class(topic: str) -> type[Proto]:
    """The protobuf message on a topic."""
    if topic in RECORDS:
        return record_class(topic)
    if topic.startswith((CAMERA, IMAGINED)):
        return _foxglove("CompressedImage")
    return _foxglove("Log") if topic == LOG else _foxglove("JointStates")


def image(name: str, pixels: ImageArray, wall_ns: int, kind: str) -> bytes:
    """A picture (H, W, 3) of a camera as foxglove.CompressedImage; kind is one of config.IMAGES."""
    file = io.BytesIO()
    if kind == "jpeg":
        Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    message = _foxglove("CompressedImage")(frame_id=name, data=file.getvalue(), format=kind)
    message.timestamp.FromNanoseconds(wall_ns)
    data: bytes = message.SerializeToString()
    return data


def pixels_of(data: bytes) -> ImageArray:
    """The inverse of `image`, as good as its kind: (H, W, 3) uint8."""
    message = _foxglove("CompressedImage").FromString(data)
    return np.asarray(Image.open(io.BytesIO(message.data)).convert("RGB"))


def joints(position_rad: Iterable[float], wall_ns: int) -> bytes:
    """A pose (J,) as foxglove.JointStates."""
    message = _foxglove("JointStates")()
    message.timestamp.FromNanoseconds(wall_ns)
    for name, angle in zip(JOINTS, position_rad, strict=True):
        message.joints.add(name=name, position=angle)
    data: bytes = message.SerializeToString()
    return data


def log(kind: str, text: str, wall_ns: int) -> bytes:
    """An event as foxglove.Log."""
    level = {"fault": _ERROR, "lost": _WARNING}.get(kind, _INFO)
    message = _foxglove("Log")(level=level, message=text, name=kind)
    message.timestamp.FromNanoseconds(wall_ns)
    data: bytes = message.SerializeToString()
    return data


def lost(what: str, count: int, t_s: float, stamp: Stamp) -> list[Entry]:
    """That `count` of something are missing before t_s: for programs, and for people."""
    record = np.zeros((), LOST)
    record["what"], record["count"] = what.encode(), count
    text = f"{count} lost of {what}"
    return [
        Entry(LOSSES, t_s, 0, pack(LOSSES, record, t_s)),
        Entry(LOG, t_s, 0, log("lost", text, stamp.wall_ns(t_s))),
    ]


def schema(message: type[Proto]) -> bytes:
    """A message's FileDescriptorSet with everything it needs, as MCAP's protobuf encoding wants it."""
    found: dict[str, Any] = {}

    def add(file: Any) -> None:
        if file.name not in found:
            for needed in file.dependencies:
                add(needed)
            found[file.name] = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(found[file.name])

    add(message.DESCRIPTOR.file)
    data: bytes = descriptor_pb2.FileDescriptorSet(file=found.values()).SerializeToString()
    return data
