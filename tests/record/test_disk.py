"""Recordings on disk: one that is full, slow or gone; the ring that makes room; kills and broken files."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from record_rig import about, entry, finished, settings_for, write

from edge_wam.record import disk as disks
from edge_wam.record import topics
from edge_wam.record.disk import RETRY_S, Disk, Run
from edge_wam.record.reading import read
from edge_wam.record.ring import McapFile, kept, make_room, mend, records
from edge_wam.record.topics import Entry, Stamp


def run_of() -> Run:
    return Run(about(), Stamp.now())


# --- the disk -----------------------------------------------------------------------------------


class Device:
    """A disk at its file objects: full when told so, or as slow as somebody likes."""

    def __init__(self) -> None:
        self.full, self.tries = False, 0
        self.going = threading.Event()
        self.going.set()
        self.reached = threading.Event()

    def open(self, path: Path) -> io.BufferedWriter:
        device = self
        self.tries += 1

        class File(io.FileIO):
            def write(self, data: object) -> int:
                if device.full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                device.reached.set()
                assert device.going.wait(30.0)
                return super().write(data)  # type: ignore[arg-type]

        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return io.BufferedWriter(File(str(path), "wb"), 1)  # type: ignore[return-value]


def drained(disk: Disk) -> None:
    end_s = time.monotonic() + 20
    while disk._waiting_bytes and time.monotonic() < end_s:
        time.sleep(0.002)
    assert not disk._waiting_bytes


def test_a_full_disk_is_said_once_and_gone_on_with_when_there_is_room(tmp_path):
    device, said, now = Device(), list[str](), [0.0]
    disk = Disk(settings_for(tmp_path), said.append, device.open, lambda: now[0])
    run = run_of()
    disk.give(run, [entry(1)], [])
    drained(disk)
    device.full = True
    for number in range(2, 400):  # one after the other; some tries come
        now[0] += RETRY_S / 50
        disk.give(run, [entry(number)] * 40, [])
        drained(disk)
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert 5 < device.tries < 15  # every RETRY_S, not every time
    device.full = False
    now[0] += RETRY_S
    disk.give(run, [entry(400)], [])
    drained(disk)
    now[0] += 1000.0
    disk.give(run, [entry(401)], [])  # another file
    drained(disk)
    flown = read(finished(tmp_path)[-1])
    assert list(flown.ticks["index"]) == [400]
    assert flown.lost["the disk"] == 1 + 398 * 40  # the first was in a chunk that was not out yet
    device.full = True
    now[0] += 1000.0
    disk.give(run, [entry(402)], [])
    drained(disk)
    assert len(said) == 2  # full again is news again
    assert disk.close(10.0)


def test_a_fault_that_cannot_be_kept_is_said_and_counts_as_no_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(disks, "BACKLOG_BYTES", 1)
    device, said, now = Device(), list[str](), [0.0]
    disk = Disk(settings_for(tmp_path), said.append, device.open, lambda: now[0])
    run = run_of()
    device.going.clear()
    disk.give(run, [entry(1)] * 4000, [])  # a chunk: its writing waits
    assert device.reached.wait(20)
    disk.give(run, [entry(2)], [], fault=True)
    assert said == [f"fault: {disks.NO_DUMP} (the disk is behind)"]
    device.going.set()
    drained(disk)
    now[0] += 1000.0
    disk.give(run, [entry(3)], [])  # another file
    drained(disk)
    device.full = True
    disk.give(run, [entry(3)] * 4000, [])
    drained(disk)
    disk.give(run, [entry(4)], [], fault=True)  # within RETRY_S
    drained(disk)
    assert said[2:] == [f"fault: {disks.NO_DUMP} (No space left on device)"]
    device.full, now[0] = False, now[0] + RETRY_S
    disk.give(run, [entry(5)], [])
    assert disk.close(10.0)
    assert read(finished(tmp_path)[-1]).lost["the disk"] == 4001


def test_a_slow_disk_keeps_nobody_waiting_and_what_it_missed_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(disks, "BACKLOG_BYTES", 30_000)
    device = Device()
    device.going.clear()
    disk = Disk(settings_for(tmp_path), lambda text: None, device.open)
    run = run_of()
    disk.give(run, [entry(0)], [])
    assert device.reached.wait(10.0)
    for number in range(1, 500):  # would wait for ever if it did wait
        disk.give(run, [entry(number)], [])
    assert disk._waiting_bytes <= 30_000
    device.going.set()
    drained(disk)
    disk.give(run, [entry(500)], [])
    drained(disk)
    assert disk.close(10.0)
    flown = read(finished(tmp_path)[0])
    assert flown.lost["the disk"] + len(flown.ticks) == 501
    assert flown.lost["the disk"] > 100
    assert flown.ticks["index"][-1] == 500


def test_files_are_of_some_minutes_each(tmp_path):
    now = [0.0]
    disk = Disk(settings_for(tmp_path, file_s=60.0), print, now_s=lambda: now[0])
    run = run_of()
    for number in range(5):
        disk.give(run, [entry(10 + number)], [entry(number)])
        drained(disk)
        now[0] += 25.0
    assert disk.close(10.0)
    assert [list(read(path).ticks["index"]) for path in finished(tmp_path)] == [[0, 10, 11, 12], [3, 13, 14]]


# --- the ring -----------------------------------------------------------------------------------


def named(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"x" * 1000)


def test_the_oldest_run_goes_first_and_faults_go_last(tmp_path):
    named(tmp_path, "rig-20260102T000000.mcap", "fault-rig-20260101T000000.mcap", "rig-20260101T000000.mcap",
          "rig-20260103T000000.mcap.part", "notes.txt", "other.mcap.zip")  # fmt: skip
    assert [one.path.name for one in kept(tmp_path)] == [
        "rig-20260101T000000.mcap",
        "rig-20260102T000000.mcap",
        "rig-20260103T000000.mcap.part",
        "fault-rig-20260101T000000.mcap",
    ]
    writing = tmp_path / "rig-20260103T000000.mcap"
    assert make_room(tmp_path, 4000, writing) == []
    assert [path.name for path in make_room(tmp_path, 3999, writing)] == ["rig-20260101T000000.mcap"]
    assert [path.name for path in make_room(tmp_path, 0, writing)] == [
        "rig-20260102T000000.mcap",
        "fault-rig-20260101T000000.mcap",
    ]
    assert (tmp_path / "notes.txt").exists()


def test_the_limit_holds_while_it_records(tmp_path):
    settings = settings_for(tmp_path, most_bytes=200_000.0, file_s=0.0)
    disk, run = Disk(settings, print), run_of()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for number in range(60):
        shot = Entry("/camera/front", float(number), number, topics.image("front", noise, 0, "png"))
        disk.give(run, [entry(number), shot], [])
        drained(disk)
        assert sum(one.size_bytes for one in kept(tmp_path)) < 200_000 + 10_000
    assert disk.close(10.0)
    assert read(finished(tmp_path)[-1]).ticks["index"][-1] == 59
    assert read(finished(tmp_path)[0]).ticks["index"][0] > 10


def test_a_recording_cut_off_anywhere_is_read_up_to_there(entries, tmp_path):
    whole = write(tmp_path / "a.mcap", entries[:400], Stamp.now())
    content, all_of = whole.read_bytes(), len(read(whole).ticks)
    counts = []
    for share in (0.1, 0.4, 0.7, 0.9, 0.999):
        cut = tmp_path / "cut.mcap"
        cut.write_bytes(content[: int(len(content) * share)])
        counts.append(sum(1 for *_, message in records(cut) if hasattr(message, "sequence")))
    assert counts == sorted(counts)
    assert len(read(cut).ticks) == all_of


def test_a_byte_that_turned_ends_a_recording_before_it(entries, tmp_path):
    content = bytearray(write(tmp_path / "a.mcap", entries[:400], Stamp.now()).read_bytes())
    before = sum(1 for _ in records(tmp_path / "a.mcap"))
    content[len(content) // 2] ^= 0x40
    (tmp_path / "a.mcap").write_bytes(content)
    assert sum(1 for _ in records(tmp_path / "a.mcap")) < before


KILLED = """
import sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from record_rig import about, entry, tick
from edge_wam.record.ring import McapFile
from edge_wam.record.topics import Stamp
import numpy as np
from edge_wam.record import topics
from edge_wam.record.topics import Entry
noise = np.random.default_rng(0).integers(0, 256, (240, 424, 3), dtype=np.uint8)
shot = topics.image("front", noise, 0, "png")
file = McapFile(Path({path!r}), about(), Stamp.now())
number = 0
while True:
    number += 1
    file.add([entry(number), Entry("/camera/front", number / 50, number, shot)])
    print(number, flush=True)
"""


def test_a_recorder_that_is_killed_leaves_all_but_the_last_chunk_and_the_next_makes_it_whole(tmp_path):
    path = tmp_path / "rig-20260101T000000.mcap"
    here = str(Path(__file__).parent)
    code = KILLED.format(here=here, path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 12:
                assert mend(tmp_path) == []  # it is being written: hands off
                process.send_signal(signal.SIGKILL)
                break
    part = path.with_name(path.name + ".part")
    assert len(read(part).ticks) >= 11  # a picture of noise is a chunk
    assert mend(tmp_path) == [path]
    assert not part.exists()
    assert list(read(path).ticks["index"]) == list(range(1, len(read(path).ticks) + 1))
    reader = pytest.importorskip("mcap.reader")
    with path.open("rb") as file:
        summary = reader.make_reader(file).get_summary()
    assert summary is not None
    assert summary.statistics.message_count == 2 * len(read(path).ticks)
    assert mend(tmp_path) == []


def test_a_file_in_which_nothing_arrived_is_removed(tmp_path):
    McapFile(tmp_path / "rig-20260101T000000.mcap", about(), Stamp.now()).abandon()
    assert mend(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
