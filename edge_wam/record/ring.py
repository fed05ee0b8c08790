"""Recordings on disk: files of some minutes each, the oldest removed once they are too many.

A file that is being written is named .part and renamed once it is whole. One that its writer left behind
(killed, or the disk was full) holds everything up to its last chunk of CHUNK_BYTES; `mend` makes a whole file
of it. Nothing here knows the robot; whoever waits for the disk is the recorder's writing thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from mcap.exceptions import McapError
from mcap.records import Channel, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer
from zstandard import ZstdError

from edge_wam.keep import utc_stamp
from edge_wam.record.topics import Entry, Stamp, message_class, schema

SUFFIX, PART = ".mcap", ".mcap.part"
FAULT = "fault"
CHUNK_BYTES = 64 * 1024  # what a SIGKILL may cost, at 0.1 MB a second (LOG.md)
METADATA = "edge_wam"

Open = Callable[[Path], IO[bytes]]


def open_file(path: Path) -> IO[bytes]:
    return path.open("wb")


class McapFile:
    """One recording that is being written. OSError from any call: the disk."""

    def __init__(self, path: Path, about: dict[str, str], stamp: Stamp, opening: Open = open_file) -> None:
        """about: what there is to know of the robot; path without its .part."""
        self.path, self._stamp = path, stamp
        self._part = path.with_name(path.name + ".part")
        self._file = opening(self._part)
        fcntl.flock(self._file, fcntl.LOCK_EX)  # ours: nobody mends it
        # zstd makes little of JPEGs, but a third of the ticks.
        self._writer = Writer(self._file, CHUNK_BYTES, CompressionType.ZSTD)
        self._channels: dict[str, int] = {}
        self._writer.start(profile="", library="edge-wam")
        self._writer.add_metadata(METADATA, about | {"offset_ns": str(stamp.offset_ns)})
        self._file.flush()
        self.unsaved = 0  # messages that an abandoned file would lose

    def add(self, entries: Sequence[Entry], missed: int = 0) -> None:
        """Append messages. missed: how many lost ones the first speaks of; they are lost again if it is."""
        self.unsaved += len(entries) + max(missed - 1, 0)
        for index, entry in enumerate(entries, 1):
            before = self._file.tell()
            if (channel := self._channels.get(entry.topic)) is None:
                channel = self._channels[entry.topic] = self._register(entry.topic)
            wall_ns = self._stamp.wall_ns(entry.t_s)
            self._writer.add_message(channel, wall_ns, entry.data, wall_ns, entry.number & 0xFFFFFFFF)
            if self._file.tell() != before:  # a chunk went out, with this message
                self.unsaved = len(entries) - index
        self._file.flush()  # whole chunks; the one that is being filled stays in memory

    def _register(self, topic: str) -> int:
        kind = message_class(topic)
        number = self._writer.register_schema(kind.DESCRIPTOR.full_name, "protobuf", schema(kind))
        return self._writer.register_channel(topic, "protobuf", number)

    def finish(self) -> None:
        """Write the index and give the file its name."""
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.close()
        self._part.rename(self.path)

    def abandon(self) -> None:
        """Leave it as it is, for `mend`. Never raises."""
        with contextlib.suppress(OSError):
            self._file.close()


def records(path: Path) -> Iterator[tuple[Schema | None, Channel | None, Message | Metadata]]:
    """What is in a file, in its order, whole or cut off anywhere: metadata and messages."""
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    with path.open("rb") as file:
        reader = StreamReader(file, validate_crcs=True).records
        while True:
            try:
                record = next(reader, None)
            except (McapError, ZstdError, ValueError, struct.error):
                record = None  # cut off here, or broken
            if record is None:
                return
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Message):
                channel = channels[record.channel_id]
                yield schemas.get(channel.schema_id), channel, record
            elif isinstance(record, Metadata):
                yield None, None, record


def mend(folder: Path) -> list[Path]:
    """Make whole files of what writers left behind, and return them; what is being written is left alone.

    OSError: the disk. What holds nothing is removed.
    """
    mended = []
    for part in sorted(folder.glob(f"*{PART}")):
        with part.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            whole = part.with_suffix("")
            if _rewrite(part, whole):
                mended.append(whole)
            part.unlink()
    return mended


def _rewrite(part: Path, whole: Path) -> bool:
    beside = whole.with_name(f".{whole.name}.mending")
    known: dict[tuple[str, str], int] = {}
    with beside.open("wb") as file:
        writer = Writer(file, CHUNK_BYTES, CompressionType.ZSTD)
        writer.start(profile="", library="edge-wam")
        for kind, channel, record in records(part):
            if isinstance(record, Metadata):
                writer.add_metadata(record.name, record.metadata)
                continue
            assert kind is not None
            assert channel is not None
            key = channel.topic, kind.name
            if key not in known:
                number = writer.register_schema(kind.name, kind.encoding, kind.data)
                known[key] = writer.register_channel(channel.topic, channel.message_encoding, number)
            writer.add_message(known[key], record.log_time, record.data, record.publish_time, record.sequence)
        writer.finish()  # type: ignore[no-untyped-call]
    if not known:
        beside.unlink()
        return False
    beside.rename(whole)
    return True


class Kept(NamedTuple):
    """A recording on disk."""

    path: Path
    size_bytes: int


def kept(folder: Path) -> list[Kept]:
    """All recordings, whole ones and others, in the order in which they may go: runs from the oldest on, then
    what was kept of faults."""
    found = [path for path in folder.glob(f"*{SUFFIX}*") if path.name.endswith((SUFFIX, PART))]
    order = sorted(found, key=lambda path: (path.name.startswith(FAULT), _began(path), path.name))
    sizes = []
    for path in order:
        with contextlib.suppress(FileNotFoundError):
            sizes.append(Kept(path, path.stat().st_size))
    return sizes


def _began(path: Path) -> str:
    return path.name.removesuffix(".part").removesuffix(SUFFIX).rpartition("-")[2]


def make_room(folder: Path, most_bytes: float, writing: Path | None) -> list[Path]:
    """Remove recordings until all of them take no more than most_bytes; never the one being written. Returns
    what was removed."""
    there = kept(folder)
    total = sum(one.size_bytes for one in there)
    removed = []
    for one in there:
        if total <= most_bytes:
            break
        if writing is not None and one.path.name.startswith(writing.name):
            continue
        one.path.unlink(missing_ok=True)
        total -= one.size_bytes
        removed.append(one.path)
    return removed


def file_name(folder: Path, robot: str) -> Path:
    """`<robot>-<UTC to the millisecond>.mcap`, of which there is none yet: names are in the order of time."""
    while True:
        path = folder / f"{robot}-{utc_stamp(time.time())}{SUFFIX}"
        if not path.exists() and not path.with_name(path.name + ".part").exists():
            return path
        time.sleep(0.001)
