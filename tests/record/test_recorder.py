"""The recorder between boxes and disk: what is missed; a disk that is full, slow or gone; faults, kills."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from record_rig import CONFIG, NAME, PLAN, about, settings_for, told, write

from edge_wam import telemetry
from edge_wam.messages import CHUNK
from edge_wam.record import disk as disks
from edge_wam.record import ring, topics
from edge_wam.record.disk import RETRY_S, Disk, Run
from edge_wam.record.reading import read
from edge_wam.record.recorder import CHUNKS_BEFORE, KEPT_S, Memory, Reader, Recorder
from edge_wam.record.ring import McapFile, kept, make_room, mend, records
from edge_wam.record.topics import Entry, Stamp
from edge_wam.telemetry import EVENTS_KEPT, TICK, TICKS_KEPT, event_record, tell_plan

ROBOT = f"{NAME}-{os.getpid()}"


def tick(number: int) -> np.ndarray:
    record = np.zeros((), TICK)
    record["index"], record["mode"] = number, b"holding"
    return record


def entry(number: int, t_s: float = 0.0, size: int = 0) -> Entry:
    data = topics.pack(topics.TICKS, tick(number), t_s)
    return Entry(topics.TICKS, t_s or number / 50, number, data if not size else b"x" * size)


def finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mcap"))


def run_of() -> Run:
    return Run(about(), Stamp.now())


# --- from the boxes -----------------------------------------------------------------------------


def test_what_the_reader_was_overtaken_by_is_told_as_lost():
    with told(ROBOT) as boxes:
        reader = Reader(PLAN, boxes, "png")
        for number in range(10):
            boxes.ticks.put(tick(number), number / 50)
        assert len([e for e in reader.read() if e.topic == topics.TICKS]) == 10
        for number in range(10, 10 + 2 * TICKS_KEPT):
            boxes.ticks.put(tick(number), float(number))
        found = reader.read()
        ticks = [e for e in found if e.topic == topics.TICKS]
        losses = [topics.unpack(e.topic, e.data)[0] for e in found if e.topic == topics.LOSSES]
        assert [(bytes(loss["what"]), int(loss["count"])) for loss in losses] == [
            (b"/tick", 2 * TICKS_KEPT - len(ticks))
        ]
        assert ticks[-1].number == 10 + 2 * TICKS_KEPT
        assert [e.number for e in ticks] == list(range(ticks[0].number, ticks[-1].number + 1))
        assert len([e for e in found if e.topic == topics.LOG]) == 1
        assert reader.read() == []


def test_a_robot_found_at_work_is_recorded_from_a_second_ago_on():
    with told(ROBOT) as boxes:
        boxes.events.put(event_record("fault", "of an hour ago"), 0.0)
        boxes.chunks.put(np.zeros((), CHUNK), 1.0)
        for number in range(500):
            boxes.ticks.put(tick(number), number / 50)
        reader = Reader(PLAN, boxes, "png")
        found = reader.read()
        assert [e.number for e in found if e.topic == topics.TICKS] == list(range(450, 501))
        assert [e.t_s for e in found if e.topic == topics.CHUNKS] == [1.0]  # it may be in force still
        assert [e for e in found if e.topic in (topics.EVENTS, topics.LOG)] == []
        boxes.events.put(event_record("fault", "late to be told"), 0.0)
        assert [e.topic for e in reader.read()] == [topics.EVENTS, topics.LOG]


class Hands:
    """A recorder on a clock by hand, with a real disk's thread."""

    def __init__(self, folder: Path, **changed: object) -> None:
        self.said: list[str] = []
        self.settings = settings_for(folder, robot=ROBOT, **changed)
        self.disk = Disk(self.settings, self.said.append)
        self.recorder = Recorder(self.settings, self.disk, self.said.append)
        self.now_s = 100.0

    def step(self, after_s: float = 0.05) -> None:
        self.now_s += after_s
        self.recorder.step(self.now_s)

    def close(self) -> list[Path]:
        self.recorder.close(self.now_s)
        assert self.disk.close(20.0)
        return finished(self.settings.folder)


def test_a_robot_that_comes_goes_and_comes_again_has_a_file_a_run(tmp_path):
    hands = Hands(tmp_path)
    hands.step()  # nobody there
    for first in (0, 100):
        with told(ROBOT) as boxes:
            hands.step(1.0)
            for number in range(first, first + 30):
                boxes.ticks.put(tick(number), hands.now_s)
                hands.step()
        hands.step(1.0)
    files = hands.close()
    assert len(files) == 2
    assert [read(path).ticks["index"][0] for path in files] == [0, 100]
    assert all(len(read(path).ticks) == 30 for path in files)


def test_other_limits_begin_a_recording_of_their_own(tmp_path):
    hands = Hands(tmp_path)
    with told(ROBOT) as boxes:
        for number in range(60):
            if number == 30:
                tell_plan(boxes, PLAN._replace(low_rad=(-0.5,) * 6))
                hands.step(1.1)
            boxes.ticks.put(tick(number), hands.now_s)
            hands.step()
        hands.step(1.0)
        files = hands.close()
    assert [json.loads(read(path).about["plan"])["low_rad"][0] for path in files] == [PLAN.low_rad[0], -0.5]
    assert [list(read(path).ticks["index"][[0, -1]]) for path in files] == [[0, 29], [30, 59]]


def test_a_fault_leaves_what_was_before_and_after_it_in_a_file_of_its_own(tmp_path):
    hands = Hands(tmp_path)
    with told(ROBOT) as boxes:
        hands.step()
        for number in range(900):  # 45 s: more than is kept
            boxes.ticks.put(tick(number), hands.now_s)
            if number == 700:
                boxes.events.put(event_record("fault", "the elbow is hot"), hands.now_s)
                fault_s = hands.now_s
            if number == 705:
                boxes.events.put(event_record("fault", "still"), hands.now_s)
            hands.step()
    files = hands.close()
    dumps = [path for path in files if path.name.startswith(ring.FAULT)]
    assert len(dumps) == 1
    dump = read(dumps[0])
    assert [event.text for event in dump.events] == ["the elbow is hot", "still"]
    assert dump.ticks_s[0] == pytest.approx(fault_s + 2.0 - KEPT_S, abs=1.0)
    assert 1.5 < dump.ticks_s[-1] - fault_s < 2.6
    assert any("fault" in line and dumps[0].name in line for line in hands.said)
    assert len(read(next(path for path in files if path not in dumps)).ticks) == 900


def test_a_fault_after_another_leaves_files_that_do_not_repeat_each_other(tmp_path):
    """A cable with a loose contact is a fault a second; it is not thirty recordings."""
    hands = Hands(tmp_path)
    with told(ROBOT) as boxes:
        hands.step()
        for number in range(1400):  # 70 s
            boxes.ticks.put(tick(number), hands.now_s)
            if number % 20 == 0:
                boxes.events.put(event_record("fault", "no reply"), hands.now_s)
            hands.step()
        began_s = hands.now_s
    dumps = [read(path) for path in hands.close() if path.name.startswith(ring.FAULT)]
    assert len(dumps) == 4  # after 2, 32 and 62 seconds, and at the end
    assert all(np.ptp(dump.ticks_s) < KEPT_S + 1.0 for dump in dumps)
    assert max(dump.ticks_s[-1] for dump in dumps) == pytest.approx(began_s, abs=0.1)


def test_an_event_that_is_no_fault_leaves_none(tmp_path):
    hands = Hands(tmp_path)
    with told(ROBOT) as boxes:
        for number in range(100):
            boxes.ticks.put(tick(number), hands.now_s)
            boxes.events.put(event_record("hold", "a fault? no"), hands.now_s)
            hands.step()
    assert [path.name for path in hands.close() if path.name.startswith(ring.FAULT)] == []


def test_a_file_begins_with_the_chunks_in_force_and_a_second_of_ticks():
    memory = Memory()
    chunk = topics.pack(topics.CHUNKS, np.zeros((), CHUNK), 0.0)
    for number in range(80):
        memory.add(
            [Entry(topics.CHUNKS, number * 0.2, number, chunk), entry(number, number * 0.2 + 0.01)],
            number * 0.2,
        )
    before = memory.before(15.0)
    assert [e.number for e in before if e.topic == topics.CHUNKS] == list(range(80 - CHUNKS_BEFORE, 75))
    assert [e.number for e in before if e.topic == topics.TICKS] == [70, 71, 72, 73, 74]
    memory.add([], 1000.0)  # nothing is kept for so long but the chunks
    assert [e.topic for e in memory.before(2000.0)] == [topics.CHUNKS] * CHUNKS_BEFORE
    assert memory.all() == []


def test_large_pictures_are_remembered_for_less_long(monkeypatch):
    monkeypatch.setattr("edge_wam.record.recorder.KEPT_BYTES", 1000)
    memory = Memory()
    for _ in range(2):
        for number in range(30):
            memory.add([entry(number, number * 0.1, size=100)], number * 0.1)
        assert [e.number for e in memory.all()] == list(range(20, 30))
        memory.add([], 100.0)  # too old now: as if there had been none
        assert memory.all() == []
    memory.add([entry(1, 1.0, size=900)], 1.0)
    memory.clear()
    memory.add([entry(2, 2.0, size=900)], 2.0)
    assert [e.number for e in memory.all()] == [2]


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
from record_rig import about
from edge_wam.record.ring import McapFile
from edge_wam.record.topics import Stamp
from test_recorder import entry, tick
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


def test_the_process_records_until_it_is_told_to_stop(tmp_path):
    words = [sys.executable, "-m", "edge_wam", "record", "--set", f"robot.name={ROBOT}"]
    words += [
        "--set",
        f"record.folder={tmp_path / 'made'}",
        "--set",
        f"robot.calibration={CONFIG.robot.calibration}",
    ]
    with contextlib.ExitStack() as stack:
        boxes = stack.enter_context(told(ROBOT))
        process = stack.enter_context(subprocess.Popen(words, stderr=subprocess.PIPE, text=True))
        assert process.stderr is not None
        assert "recording robot" in process.stderr.readline()
        for number in range(20):
            boxes.ticks.put(tick(number))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    (path,) = finished(tmp_path / "made")
    assert list(read(path).ticks["index"]) == list(range(20))
    assert telemetry.EVENTS_KEPT == EVENTS_KEPT
