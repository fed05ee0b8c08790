"""The recorder at the boxes: what is missed, robots that come and go, faults."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from record_rig import CONFIG, NAME, PLAN, entry, finished, settings_for, tick, told

from edge_wam import telemetry
from edge_wam.messages import CHUNK
from edge_wam.record import ring, topics
from edge_wam.record.disk import Disk
from edge_wam.record.reading import read
from edge_wam.record.recorder import CHUNKS_BEFORE, KEPT_S, Memory, Reader, Recorder
from edge_wam.record.topics import Entry
from edge_wam.telemetry import EVENTS_KEPT, TICKS_KEPT, event_record, tell_plan

ROBOT = f"{NAME}-{os.getpid()}"


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
