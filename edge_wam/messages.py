"""The records that pass between processes, and their way there and back to the nouns of types.py.

    control -> policy   STATE: where the arm was lately, what was sent, which command holds
    policy -> control   CHUNK: the newest action chunk
    voice  -> control   HEARD: the last few recognition results, so that a partial result that
                        follows a final one within a tick does not wipe it out
    robot  -> policy    frame_type(height, width): one image of a (simulated) camera
    anybody -> voice    TALK: a push-to-talk button is held, or was let go

Text is UTF-8 in a fixed field. No pickles: a record is plain numbers whoever wrote it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.mailbox import Mailbox, RecordType
from edge_wam.types import JOINTS, ActionChunk, FloatArray, Words

SAMPLES = 32  # control ticks kept for the policy: 0.64 s at 50 Hz, longer than a frame may be old
ROWS_MAX = 64
HEARD_KEPT = 8
COMMAND_BYTES = 256
TEXT_BYTES = 512
WHY_BYTES = 160

_JOINT_COUNT = len(JOINTS)

STATE: RecordType = np.dtype(
    [
        ("count", np.int64),  # samples written so far; the newest is at (count - 1) % SAMPLES
        ("t_s", np.float64, (SAMPLES,)),
        ("position_rad", np.float64, (SAMPLES, _JOINT_COUNT)),
        ("sent_rad", np.float64, (SAMPLES, _JOINT_COUNT)),
        ("epoch", np.int64),
        ("command", f"S{COMMAND_BYTES}"),
        ("running", np.bool_),
    ]
)

CHUNK: RecordType = np.dtype(
    [
        ("t0_s", np.float64),
        ("dt_s", np.float64),
        ("epoch", np.int64),
        ("ready_s", np.float64),
        ("infer_s", np.float64),
        ("frame_age_s", np.float64),  # age of the oldest frame used, when the engine began
        ("far", np.float64),
        ("done", np.float64),
        ("rows", np.int32),
        ("target_rad", np.float64, (ROWS_MAX, _JOINT_COUNT)),
    ]
)

_RESULT = np.dtype(
    [
        ("text", f"S{TEXT_BYTES}"),
        ("t_s", np.float64),
        ("confidence", np.float64),
        ("final", np.bool_),
        ("language", "S16"),
        ("stop", np.bool_),
        ("said", f"S{TEXT_BYTES}"),
        ("why", f"S{WHY_BYTES}"),
    ]
)
HEARD: RecordType = np.dtype([("sequence", np.int64), ("results", _RESULT, (HEARD_KEPT,))])

BY_BYTES = 32
TALK: RecordType = np.dtype([("held", np.bool_), ("by", f"S{BY_BYTES}")])


def frame_type(height: int, width: int) -> RecordType:
    """Record of one RGB image (H, W, 3), uint8; the mailbox's t_s is the middle of its exposure."""
    return np.dtype([("sequence", np.int64), ("image", np.uint8, (height, width, 3))])


class State(NamedTuple):
    """What the control process tells the policy. N samples, oldest first.

    t_s (N,), position_rad (N, J), sent_rad (N, J); `epoch` counts commands and `command` holds the
    manifest's words ('' for none); `running` is False while no chunk is wanted.
    """

    t_s: FloatArray
    position_rad: FloatArray
    sent_rad: FloatArray
    epoch: int
    command: str
    running: bool

    def position_at(self, t_s: float) -> FloatArray:
        """Joint positions (J,) at `t_s`, interpolated; clamped to the oldest and newest sample."""
        joints = self.position_rad.shape[1]
        return np.array([np.interp(t_s, self.t_s, self.position_rad[:, j]) for j in range(joints)])

    def sent_at(self, t_s: float) -> FloatArray:
        """The last target (J,) sent before `t_s`; the oldest known if all are later.

        A sample holds what was sent right after its t_s, so one taken at `t_s` itself does not count.
        """
        index = int(np.searchsorted(self.t_s, t_s, side="left")) - 1
        sent_rad: FloatArray = self.sent_rad[max(index, 0)].copy()
        return sent_rad


class StateWriter:
    """The control loop's end of STATE: one preallocated record, a ring of samples, no garbage."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._record = np.zeros((), STATE)

    def say(self, *, epoch: int, command: str, running: bool) -> None:
        """Set the command that the next `put` carries. ValueError if its text does not fit."""
        self._record["epoch"], self._record["running"] = epoch, running
        self._record["command"] = encode_text(command, COMMAND_BYTES)

    def put(self, t_s: float, position_rad: FloatArray, sent_rad: FloatArray) -> None:
        """Add a sample (both (J,)) and publish."""
        record = self._record
        index = int(record["count"]) % SAMPLES
        record["t_s"][index] = t_s
        record["position_rad"][index] = position_rad
        record["sent_rad"][index] = sent_rad
        record["count"] += 1
        self._mailbox.put(record, t_s)


def read_state(record: np.void) -> State:
    """STATE record -> State, samples in order of time."""
    count = int(record["count"])
    order = np.arange(max(0, count - SAMPLES), count) % SAMPLES
    return State(
        record["t_s"][order],
        record["position_rad"][order],
        record["sent_rad"][order],
        int(record["epoch"]),
        bytes(record["command"]).decode("utf-8", "replace"),
        bool(record["running"]),
    )


class ChunkNews(NamedTuple):
    """A chunk as it arrived, with the age its oldest frame had when the engine began."""

    chunk: ActionChunk
    frame_age_s: float


def chunk_record(chunk: ActionChunk, frame_age_s: float) -> NDArray[np.void]:
    """ActionChunk -> CHUNK record. ValueError if it has more than ROWS_MAX rows or another J."""
    rows, joints = chunk.target_rad.shape
    if rows > ROWS_MAX or joints != _JOINT_COUNT:
        raise ValueError(f"a chunk of {rows} rows, {joints} joints; at most {ROWS_MAX} by {_JOINT_COUNT}")
    record = np.zeros((), CHUNK)
    record["t0_s"], record["dt_s"], record["epoch"] = chunk.t0_s, chunk.dt_s, chunk.epoch
    record["ready_s"], record["infer_s"], record["frame_age_s"] = chunk.ready_s, chunk.infer_s, frame_age_s
    record["far"], record["done"], record["rows"] = chunk.far, chunk.done, rows
    record["target_rad"][:rows] = chunk.target_rad
    return record


def read_chunk(record: np.void) -> ChunkNews:
    """CHUNK record -> ChunkNews."""
    rows = min(max(int(record["rows"]), 0), ROWS_MAX)
    chunk = ActionChunk(
        float(record["t0_s"]),
        float(record["dt_s"]),
        record["target_rad"][:rows].copy(),
        int(record["epoch"]),
        float(record["ready_s"]),
        float(record["infer_s"]),
        float(record["far"]),
        float(record["done"]),
    )
    return ChunkNews(chunk, float(record["frame_age_s"]))


class Heard(NamedTuple):
    """One recognition result, and whether it means STOP (also set on partial results; a partial one that does
    not is a STOP that was denied).

    The words are a command's own phrase, or none; said is what was heard instead of it, why what was made of
    it, for people; either may be ''.
    """

    words: Words
    stop: bool
    said: str = ""
    why: str = ""


class HeardWriter:
    """The voice process's end of HEARD."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        letter = mailbox.get()  # go on counting where a voice process that died left off
        self._record = np.zeros((), HEARD) if letter is None else np.array(letter.record)

    def put(self, words: Words, *, stop: bool, said: str = "", why: str = "") -> None:
        """Publish one result. Text that does not fit is cut at a character."""
        slot = self._record["results"][int(self._record["sequence"]) % HEARD_KEPT]
        slot["text"] = cut_text(words.text, TEXT_BYTES)
        slot["said"], slot["why"] = cut_text(said, TEXT_BYTES), cut_text(why, WHY_BYTES)
        slot["t_s"], slot["confidence"], slot["final"] = words.t_s, words.confidence, words.final
        slot["language"], slot["stop"] = encode_text(words.language, 16), stop
        self._record["sequence"] += 1
        self._mailbox.put(self._record, words.t_s)


class HeardReader:
    """The control process's end of HEARD: every result once, in order (the last HEARD_KEPT of them)."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._seen = 0

    def take(self) -> list[Heard]:
        """Results not yet taken, oldest first. Never waits."""
        letter = self._mailbox.take()
        if letter is None:
            return []
        sequence = int(letter.record["sequence"])
        first = max(self._seen, sequence - HEARD_KEPT)
        self._seen = sequence
        return [_heard(letter.record["results"][i % HEARD_KEPT]) for i in range(first, sequence)]


def _heard(result: np.void) -> Heard:
    words = Words(
        bytes(result["text"]).decode("utf-8", "replace"),
        float(result["t_s"]),
        float(result["confidence"]),
        bool(result["final"]),
        bytes(result["language"]).decode("utf-8", "replace"),
    )
    said, why = (bytes(result[name]).decode("utf-8", "replace") for name in ("said", "why"))
    return Heard(words, bool(result["stop"]), said, why)


def cut_text(text: str, size: int) -> bytes:
    """UTF-8 bytes of as much of `text` as fits."""
    return text.encode()[:size].decode("utf-8", "ignore").encode()


def encode_text(text: str, size: int) -> bytes:
    """UTF-8 bytes of `text`. ValueError rather than a cut: half a command is another command."""
    encoded = text.encode()
    if len(encoded) > size:
        raise ValueError(f"text of {len(encoded)} bytes does not fit in {size}: {text[:40]!r}...")
    return encoded
