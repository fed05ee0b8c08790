"""What the robot tells: every tick, events, and what the policy sees, decides and imagines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from telemetry_rig import PLAN

from edge_wam import telemetry
from edge_wam.act.guard import Limited, Limits
from edge_wam.broadcast import Broadcast
from edge_wam.messages import COMMAND_BYTES, TEXT_BYTES, read_chunk
from edge_wam.orders import Order, Verb
from edge_wam.pilot import Patience, Pilot
from edge_wam.telemetry import TICKS_KEPT
from edge_wam.think.outlook import Outlook
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, ActionChunk, Frame, Joints, Tick


def joints(t_s: float) -> Joints:
    numbers = np.arange(6, dtype=np.float64)
    return Joints(
        t_s,
        numbers / 10,
        numbers * 0,
        numbers / 100,
        numbers / 5,
        numbers + 11,
        numbers + 30,
        np.array([0, 0, 0, 32, 0, 0], np.uint8),
        np.array([True, True, False, True, True, True]),
    )


@pytest.fixture
def broadcast(boxes):
    low, high, ones = np.full(6, -1.0), np.full(6, 1.0), np.ones(6)
    pilot = Pilot(Limits(JOINTS, low, high, ones, ones, 100 * ones), Patience())
    log = TickLog(len(JOINTS))
    return Broadcast(boxes, log, pilot), pilot


def test_a_tick_is_told_with_all_that_is_known_of_it(broadcast, window):
    outlet, pilot = broadcast
    pilot.obey(Order(Verb.DO, "pick red"), 9.0, np.zeros(6), np.zeros(6))
    chunk = ActionChunk(9.5, 1 / 30, np.zeros((16, 6)), 1, 9.6, 0.05)
    tick = Tick(7, 10.0, 0.002, 1)
    outlet.add(tick, joints(10.001), np.ones(6), np.ones(6) / 2, 0.1, Limited(1, 2, 3, 4, 5, 6), chunk, 10.01)
    record, t_s = window.look()[1].ticks.get()
    assert t_s == 10.0
    assert (record["index"], record["skipped"], record["epoch"]) == (7, 1, 1)
    assert record["late_s"] == 0.002
    assert record["work_s"] == pytest.approx(0.008)
    assert record["stale_s"] == 0.1
    assert record["limited"].tolist() == [1, 2, 3, 4, 5, 6]
    assert (record["entered_s"], record["infer_s"]) == (9.5, 0.05)
    assert record["servo_s"] == pytest.approx(0.51)
    assert (bytes(record["mode"]), bytes(record["command"])) == (b"following", b"pick red")
    seen = joints(10.001)
    for ours, theirs in (
        ("measured_s", seen.t_s),
        ("measured_rad", seen.position_rad),
        ("wish_rad", np.ones(6)),
        ("sent_rad", np.ones(6) / 2),
        ("load", seen.load),
        ("current_a", seen.current_a),
        ("voltage_v", seen.voltage_v),
        ("temperature_c", seen.temperature_c),
        ("error", seen.error),
        ("fresh", seen.fresh),
    ):
        np.testing.assert_allclose(record[ours], theirs, rtol=1e-6, err_msg=ours)


def test_nothing_of_the_tick_before_is_told_again(broadcast, window):
    outlet, pilot = broadcast
    pilot.obey(Order(Verb.DO, "pick red"), 9.0, np.zeros(6), np.zeros(6))
    chunk = ActionChunk(9.5, 1 / 30, np.zeros((16, 6)), 1, 9.6, 0.05)
    outlet.add(Tick(1, 10.0, 0, 0), joints(10), np.ones(6), np.ones(6), 0, Limited(0, 1, 0, 0, 0), chunk, 10)
    pilot.obey(Order(Verb.STOP), 10.01, np.zeros(6), np.zeros(6))
    none = Limited(0, 0, 0, 0, 0)
    outlet.add(Tick(2, 10.02, 0, 0), joints(10.02), None, np.ones(6), 0, none, None, 10.02)
    record, _ = window.look()[1].ticks.get()
    assert (bytes(record["mode"]), bytes(record["command"]), record["epoch"]) == (b"holding", b"", 2)
    assert np.isnan(record["wish_rad"]).all()
    assert math.isnan(record["entered_s"])
    assert math.isnan(record["infer_s"])
    assert not record["limited"].any()


def test_the_reasons_are_the_guards():
    assert Limited._fields == telemetry.LIMITED


def test_an_event_too_long_for_its_field_is_cut_at_a_character(broadcast, window):
    outlet, _ = broadcast
    outlet.tell("heard", "a" + "红" * TEXT_BYTES, 5.0, "é" * COMMAND_BYTES, 0.25, "why not")
    record, t_s = window.look()[1].events.get()
    text = bytes(record["text"]).decode()
    assert text == "a" + "红" * ((TEXT_BYTES - 1) // 3)
    assert bytes(record["meant"]).decode() == "é" * (COMMAND_BYTES // 2)
    assert (bytes(record["kind"]), record["confidence"], bytes(record["why"]), t_s) == (
        b"heard", 0.25, b"why not", 5.0,
    )  # fmt: skip


def test_every_kind_of_event_fits_its_field():
    for kind in telemetry.KINDS:
        assert bytes(telemetry.event_record(kind, "").item()[0]).decode() == kind


def test_a_reader_who_is_slow_misses_the_oldest_and_is_told_how_many(broadcast, window):
    outlet, _ = broadcast
    none, seen = Limited(0, 0, 0, 0, 0), joints(0.0)
    ticks = window.look()[1].ticks

    def more(first: int, count: int) -> None:
        for index in range(first, first + count):
            outlet.add(Tick(index, index / 50, 0, 0), seen, None, np.zeros(6), 0, none, None, index / 50)

    more(0, 3)
    letters, lost = ticks.news()
    assert ([int(letter.record["index"]) for letter in letters], lost) == ([0, 1, 2], 0)
    more(3, TICKS_KEPT + 100)
    letters, lost = ticks.news()
    found = [int(letter.record["index"]) for letter in letters]
    assert found == list(range(TICKS_KEPT + 103 - len(found), TICKS_KEPT + 103))
    assert (len(found), lost) == (TICKS_KEPT - 1, 101)
    assert ticks.news() == ([], 0)


def frames(t_s: float, level: int) -> tuple[Frame, ...]:
    return tuple(
        Frame(name, np.full((height, width, 3), level, np.uint8), t_s, level)
        for name, height, width in PLAN.cameras
    )


def test_the_policy_tells_what_it_sees_decides_and_imagines(name, boxes, window):
    outlook = Outlook(telemetry.attach(name, thinking=True)[1])
    _, theirs = window.look()
    outlook.see(frames(1.0, 10))
    outlook.see(frames(1.033, 11))  # too early for the next
    outlook.see(frames(1.0667, 12))
    for box in theirs.sights:
        letters, _ = box.news()
        assert [(letter.t_s, int(letter.record["sequence"])) for letter in letters] == [
            (1.0, 10),
            (1.0667, 12),
        ]
        assert (letters[-1].record["image"] == 12).all()
    outlook.see(frames(1.1, 13))
    chunk = ActionChunk(1.1, 1 / 30, np.arange(12.0).reshape(2, 6), 3, 1.15, 0.04, 0.5, 0.25)
    outlook.think(chunk, 0.02)
    assert int(theirs.sights[1].get().record["sequence"]) == 13  # what a chunk was made of is there
    found = read_chunk(theirs.chunks.get().record)
    assert found.frame_age_s == 0.02
    np.testing.assert_array_equal(found.chunk.target_rad, chunk.target_rad)
    dreams = np.arange(2 * 3 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 4, 3)
    outlook.imagine(1.1, dreams)
    letter = theirs.dreams.get()
    assert letter.t_s == 1.1
    np.testing.assert_array_equal(letter.record["images"], dreams)
