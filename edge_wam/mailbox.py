"""Newest-wins mailboxes between processes: one record in shared memory, never a queue, never a pickle.

A control loop does not want what was said, it wants what is true now. So a mailbox holds exactly
one value, a numpy structured record, together with the monotonic time at which it was true; the
reader knows its age, and a dead writer looks like a stale value.

Layout of the shared file (all little machine words, written by one process only):

    header   magic, dtype fingerprint, slots, head (uint64: sequence number of the newest whole record)
    slot 0   sequence, t_s, crc32, payload
    ...      record number n lives in slot n % slots

The writer fills the slot *after* the newest, then moves head. So a reader copies a slot that the
writer will not touch before slots - 1 further records, and a writer killed in the middle of a
record leaves the one before it whole. The sequence number in the slot is compared with head after
the copy (a seqlock); the checksum over sequence, time and payload is there because Python has no
memory barriers and a Jetson's cores may see stores out of order: a mixture of two records cannot
pass for one.

A box made with more slots is also a short memory: `news` gives a reader who comes by now and then every
record since, and says how many it came too late for. A box with a public name (`public_name`) is for
programs of others on this machine, as the page and the recorder: they may read it, or write it if they are
let to (`mode`), and find it again when its maker was restarted.

Why not multiprocessing.shared_memory: its resource tracker (before Python 3.13) unlinks a segment
when any process that merely opened it goes away, and complains about it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import re
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError

RecordType = np.dtype[np.void]
Record = np.void | NDArray[np.void]

SLOTS = 4  # a reader is overtaken only by three whole writes during one copy
_ATTEMPTS = 64
_MAGIC = b"edgewam1"
_HEADER = struct.Struct("=8sII")  # magic, dtype fingerprint, slots; head follows at byte 16
_HEAD_AT = 16
_LINE = 64  # bytes of a cache line: writer and reader of neighbouring slots do not share one
_STAMP = struct.Struct("=Qd")  # sequence, t_s
_CRC = struct.Struct("=I")
_PAYLOAD_AT = 32
_PREFIX = "edge-wam"


class Letter(NamedTuple):
    """What a mailbox holds: a private copy of the record and the monotonic time it was true at."""

    record: np.void
    t_s: float


def private_name(what: str) -> str:
    """A mailbox name that belongs to this process: `edge-wam.<pid>.<what>`; pass it to the children."""
    return f"{_PREFIX}.{os.getpid()}.{what}"


def public_name(instance: str, what: str) -> str:
    """A mailbox name that other programs know: `edge-wam.robot-<instance>.<what>`."""
    return f"{_PREFIX}.robot-{instance}.{what}"


def leftovers() -> list[Path]:
    """The mailboxes of processes that were killed before they could remove them."""
    found = []
    for path in folder().glob(f"{_PREFIX}.*"):
        match = re.match(rf"{re.escape(_PREFIX)}\.(\d+)\.", path.name)
        if match and not Path(f"/proc/{match[1]}").exists() and Path("/proc/self").exists():
            found.append(path)
    return found


def remove_leftovers() -> int:
    """Remove them; returns how many."""
    found = leftovers()
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


class Mailbox:
    """One record in shared memory, written by one process, read by any number.

    `create` makes it (a leftover of the same name is replaced), `open` attaches to it. Whoever
    created it unlinks it; as a context manager it is closed, and unlinked by its creator.
    """

    def __init__(self, path: Path, dtype: RecordType, memory: mmap.mmap, inode: int, *, owner: bool) -> None:
        self.dtype = dtype
        *_, self._slots = _HEADER.unpack_from(memory)
        self._path, self._memory, self._inode, self._owner = path, memory, inode, owner
        self._stride = _stride(dtype)
        self._head: NDArray[np.uint64] = np.frombuffer(memory, np.uint64, count=1, offset=_HEAD_AT)
        self._payloads = [
            np.frombuffer(memory, dtype, count=1, offset=self._slot_at(i) + _PAYLOAD_AT)
            for i in range(self._slots)
        ]
        self._bytes = [payload.view(np.uint8).data for payload in self._payloads]
        self._last: Letter | None = None
        self._last_sequence = 0
        self._taken = 0
        self._read = 0  # by news

    @classmethod
    def create(cls, name: str, dtype: RecordType, slots: int = SLOTS, mode: int = 0o600) -> Mailbox:
        """Make the mailbox `name`, empty, with the file's permissions `mode`. EdgeWamError if shared memory
        is full."""
        path = _path(name)
        size = _LINE + slots * _stride(dtype)
        new = path.with_name(f"{path.name}.new{os.getpid()}")
        file = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
        try:
            os.fchmod(file, mode)  # whatever the umask
            os.posix_fallocate(file, 0, size)  # now, or it would be a SIGBUS in the middle of a put
            memory = mmap.mmap(file, size)
            memory[: _HEADER.size] = _HEADER.pack(_MAGIC, _fingerprint(dtype), slots)
            inode = os.fstat(file).st_ino
            new.rename(path)  # nobody ever opens a half-made one
        except OSError as error:
            new.unlink(missing_ok=True)
            if error.errno == errno.ENOSPC:
                raise EdgeWamError(
                    f"mailbox '{name}' needs {size} bytes in {path.parent}, which is full; "
                    f"try: make room there (df {path.parent})"
                ) from error
            raise
        finally:
            os.close(file)
        return cls(path, dtype, memory, inode, owner=True)

    @classmethod
    def open(cls, name: str, dtype: RecordType, *, readonly: bool = False) -> Mailbox:
        """Attach to a mailbox. FileNotFoundError if nobody made it, PermissionError for strangers, TypeError
        if it holds another dtype."""
        path = _path(name)
        file = os.open(path, os.O_RDONLY if readonly else os.O_RDWR)
        try:
            inode = os.fstat(file).st_ino
            memory = mmap.mmap(file, 0, access=mmap.ACCESS_READ if readonly else mmap.ACCESS_WRITE)
        finally:
            os.close(file)
        if _HEADER.unpack_from(memory)[:2] != (_MAGIC, _fingerprint(dtype)):
            memory.close()
            raise TypeError(f"mailbox '{name}' holds records of another type than {dtype}")
        return cls(path, dtype, memory, inode, owner=False)

    @property
    def name(self) -> str:
        return self._path.name

    def put(self, record: Record, t_s: float | None = None) -> None:
        """Make `record` the newest; `t_s` is when it was true (default: now). One writer only."""
        if record.dtype != self.dtype:
            raise TypeError(f"mailbox '{self.name}' takes {self.dtype}, not {record.dtype}")
        sequence = int(self._head[0]) + 1
        slot = sequence % self._slots
        self._payloads[slot][0] = record
        stamp = _STAMP.pack(sequence, time.monotonic() if t_s is None else t_s)
        at = self._slot_at(slot)
        self._memory[at : at + _STAMP.size] = stamp
        _CRC.pack_into(self._memory, at + _STAMP.size, zlib.crc32(self._bytes[slot], zlib.crc32(stamp)))
        self._head[0] = sequence

    def get(self) -> Letter | None:
        """The newest whole record, or None if nothing was ever put. Never waits.

        Should the writer overtake the copy again and again, the newest record read before is
        returned: its t_s tells its age.
        """
        self._refresh()
        return self._copy()

    def take(self) -> Letter | None:
        """Like get, but None unless it is newer than what was last taken."""
        self._refresh()
        if self._last_sequence == self._taken:
            return None
        self._taken = self._last_sequence
        return self._copy()

    def news(self) -> tuple[list[Letter], int]:
        """Every record since the last call that is still there, oldest first, and how many are not.

        The first call begins with the oldest record there is.
        """
        head = int(self._head[0])
        first = max(self._read + 1, head - self._slots + 2)  # the oldest slot is the one written next
        letters = [letter for n in range(first, head + 1) if (letter := self._number(n)) is not None]
        lost = head - self._read - len(letters) if self._read else 0
        self._read = head
        return letters, lost

    @property
    def read(self) -> int:
        """The number of the newest record that `news` went to; the box's first is 1."""
        return self._read

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """One writer at a time, where several programs may put. May wait for another's put."""
        with self._path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @property
    def replaced(self) -> bool:
        """Whether the box of this name is another one now, or gone: its maker was started again, or ended."""
        try:
            return self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def _refresh(self) -> None:
        """Read the newest record into _last, if it is not there already."""
        for _ in range(_ATTEMPTS):
            sequence = int(self._head[0])
            if sequence == self._last_sequence:
                return
            if (letter := self._number(sequence)) is not None:
                self._last, self._last_sequence = letter, sequence
                return

    def _number(self, sequence: int) -> Letter | None:
        """A copy of one record, or None if its slot holds another, or half of one."""
        at = self._slot_at(sequence % self._slots)
        raw = bytearray(self._memory[at : at + _PAYLOAD_AT + self.dtype.itemsize])
        payload = memoryview(raw)[_PAYLOAD_AT:]
        found, t_s = _STAMP.unpack_from(raw)
        (crc,) = _CRC.unpack_from(raw, _STAMP.size)
        if found != sequence or crc != zlib.crc32(payload, zlib.crc32(raw[: _STAMP.size])):
            return None
        return Letter(np.frombuffer(payload, self.dtype, count=1)[0], t_s)

    def _copy(self) -> Letter | None:
        return None if self._last is None else Letter(self._last.record.copy(), self._last.t_s)

    def close(self) -> None:
        """Detach. Harmless when done twice."""
        if self._memory.closed:
            return
        for view in self._bytes:
            view.release()
        del self._head, self._payloads, self._bytes  # numpy's views keep the memory from closing
        self._memory.close()

    def unlink(self) -> None:
        """Remove the name; those who have it open keep what they have."""
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Mailbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._owner:
            self.unlink()

    def _slot_at(self, slot: int) -> int:
        return _LINE + slot * self._stride


def folder() -> Path:
    """Where mailboxes are."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() else Path(tempfile.gettempdir())


def _path(name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ValueError(f"mailbox name {name!r}: letters, digits, '.', '_' and '-' only")
    return folder() / name


def _stride(dtype: RecordType) -> int:
    return -(-(_PAYLOAD_AT + dtype.itemsize) // _LINE) * _LINE


def _fingerprint(dtype: RecordType) -> int:
    return zlib.crc32(repr(dtype).encode())
