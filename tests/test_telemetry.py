"""What the robot tells others and what they may ask: both ends of every box, through restarts."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_wam import telemetry
from edge_wam.act.guard import Limited, Limits
from edge_wam.broadcast import Broadcast
from edge_wam.errors import EdgeWamError
from edge_wam.mailbox import Mailbox, folder, public_name
from edge_wam.messages import COMMAND_BYTES, TEXT_BYTES, read_chunk
from edge_wam.orders import Order, Orders, Verb
from edge_wam.pilot import Patience, Pilot
from edge_wam.telemetry import ASKED, ASKED_FRESH_S, ASKED_KEPT, TICKS_KEPT, Asked, Plan, Window
from edge_wam.think.outlook import Outlook
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, ActionChunk, Frame, Joints, Tick

ROOT = Path(__file__).parents[1]
PLAN = Plan(
    "a-model",
    50.0,
    1 / 30,
    JOINTS,
    (-1.0,) * 6,
    (1.0,) * 6,
    (("front", 12, 16), ("wrist", 8, 10)),
    (2, 3, 4),
    (0.2, 0.4, 0.6),
    {"pick red": "pick up the red cube", "go home": "回家"},
    (8, 8),
)


@pytest.fixture
def name():
    """A robot that nobody else has; nothing of it is left behind."""
    made = f"test-{os.getpid()}"
    yield made
    left = [path for path in folder().glob(public_name(made, "*")) if not path.name.endswith(".alive")]
    for path in folder().glob(public_name(made, "*")):
        path.unlink()
    assert left == []


@pytest.fixture
def boxes(name):
    with contextlib.ExitStack() as stack:
        yield telemetry.create(name, PLAN, stack)


@pytest.fixture
def window(name):
    made = Window(name, asking=True)
    yield made
    made.close()


# --- who runs -------------------------------------------------------------------------------


def test_what_is_in_the_boxes_is_told_as_it_was_said(name, boxes, window):
    plan, theirs = window.look()
    assert plan == PLAN
    assert [box.dtype["image"].shape for box in theirs.sights] == [(12, 16, 3), (8, 10, 3)]
    assert theirs.dreams.dtype["images"].shape == (2, 3, 4, 4, 3)
    assert Plan.read(json.dumps(PLAN._asdict())) == PLAN


def test_where_no_robot_runs_that_is_said_and_looked_for_again(name, window):
    with pytest.raises(EdgeWamError, match=f"no robot '{name}' runs.*edge-wam run"):
        window.look()
    with contextlib.ExitStack() as stack:
        telemetry.create(name, PLAN, stack)
        assert window.look()[0] == PLAN
    with pytest.raises(EdgeWamError, match="no robot"):
        window.look()


def test_a_robot_that_was_started_again_is_another_one(name, window):
    with contextlib.ExitStack() as stack:
        telemetry.create(name, PLAN, stack)
        _, before = window.look()
        assert window.look()[1] is before
    with contextlib.ExitStack() as stack:
        again = telemetry.create(name, PLAN._replace(model="another"), stack)
        plan, after = window.look()
        assert plan.model == "another"
        again.events.put(telemetry.event_record("note", "here"))
        assert bytes(after.events.get().record["text"]) == b"here"


def test_a_plan_that_is_told_again_is_read_again_from_the_same_boxes(boxes, window):
    before, theirs = window.look()
    assert window.look()[0] is before
    telemetry.tell_plan(boxes, PLAN._replace(low_rad=(-0.5,) * 6))
    after, same = window.look()
    assert (after.low_rad[0], same) == (-0.5, theirs)
    assert window.look()[0] is after


def test_a_half_made_robot_is_none_yet(name, boxes, window):
    empty = Mailbox.create(public_name(name, "plan"), telemetry.PLAN, 2)
    with empty, pytest.raises(EdgeWamError, match="no robot"):
        window.look()


def test_another_version_is_named_as_such(name, boxes, window):
    with (
        Mailbox.create(public_name(name, "ticks"), np.dtype([("index", np.int64)])),
        pytest.raises(EdgeWamError, match=r"another version.*restart both"),
    ):
        window.look()


def test_two_robots_cannot_have_one_name(name, boxes, window):
    """The second would take the first one's boxes along when it ends, and STOP would reach nobody."""
    with contextlib.ExitStack() as stack, pytest.raises(EdgeWamError, match="runs on this machine already"):
        telemetry.create(name, PLAN, stack)
    boxes.events.put(telemetry.event_record("note", "still here"))
    assert bytes(window.look()[1].events.get().record["text"]) == b"still here"


def test_a_robot_that_was_killed_keeps_nobody_from_its_name(name):
    code = f"""
import contextlib, os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_telemetry import PLAN
from edge_wam import telemetry
telemetry.create({name!r}, PLAN, contextlib.ExitStack())
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, timeout=60)
    assert done.returncode == -9
    with contextlib.ExitStack() as stack:
        telemetry.create(name, PLAN, stack)


def test_boxes_are_the_groups_to_read_and_two_of_them_to_write(name, boxes):
    for path in folder().glob(public_name(name, "*")):
        expected = {"asked": 0o660, "talk": 0o660, "alive": 0o600}.get(path.name.rpartition(".")[2], 0o640)
        assert path.stat().st_mode & 0o777 == expected, path.name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_a_stranger_is_told_which_group_he_lacks(name, boxes):
    code = f"""
import os
from edge_wam import telemetry
from edge_wam.errors import EdgeWamError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    telemetry.attach({name!r})
except EdgeWamError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert f"robot '{name}' runs, but its boxes are not for this user" in done.stdout, done.stderr
    assert "usermod" in done.stdout


def test_a_reader_writes_nothing(name, boxes):
    _, theirs = telemetry.attach(name)
    for box in (theirs.ticks, theirs.events, theirs.chunks, *theirs.sights, theirs.dreams, theirs.asked):
        with pytest.raises((TypeError, ValueError)):
            box.put(np.zeros((), box.dtype))


# --- what is told ---------------------------------------------------------------------------


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


# --- what is asked --------------------------------------------------------------------------


@pytest.fixture
def asked(boxes):
    orders = Orders()
    return Asked(boxes.asked, PLAN.commands, orders), orders


def post(window, verb: bytes, command: bytes = b"", age_s: float = 0.0) -> None:
    """As a program of anybody's may."""
    record = np.zeros((), ASKED)
    record["verb"], record["command"] = verb, command
    window.look()[1].asked.put(record, time.monotonic() - age_s)


def test_an_order_arrives_with_who_asked(window, asked):
    window.ask(Verb.DO, "pick red", "the page of 红" + "红" * 30)
    taken = asked[0].take()
    assert taken == [(Order(Verb.DO, "pick red"), "the page of " + "红" * 6)]
    assert asked[1].take() == [Order(Verb.DO, "pick red")]
    assert asked[0].take() == []


def test_a_stop_comes_last_whatever_was_asked_after_it(window, asked):
    window.ask(Verb.STOP)
    window.ask(Verb.DO, "pick red")
    window.ask(Verb.PARK)
    asked[0].take()
    assert [order.verb for order in asked[1].take()] == [Verb.DO, Verb.PARK, Verb.STOP]


def test_an_order_that_is_found_too_late_is_nobodys_wish_but_a_stop_is(window, asked):
    post(window, b"do", b"pick red", ASKED_FRESH_S + 0.1)
    post(window, b"park", age_s=ASKED_FRESH_S + 0.1)
    post(window, b"stop", age_s=60.0)
    asked[0].take()
    assert asked[1].take() == [Order(Verb.STOP)]
    post(window, b"do", b"pick red", ASKED_FRESH_S / 2)
    asked[0].take()
    assert asked[1].take() == [Order(Verb.DO, "pick red")]


def test_a_stop_that_drowned_in_other_orders_is_carried_out(window, asked):
    window.ask(Verb.PARK)
    asked[0].take()
    asked[1].take()
    window.ask(Verb.STOP)
    for _ in range(ASKED_KEPT + 5):
        window.ask(Verb.DO, "pick red")
    asked[0].take()
    assert asked[1].take()[-1] == Order(Verb.STOP)


@pytest.mark.parametrize(
    ("verb", "command"),
    [
        (b"do", b"jump"),
        (b"do", b"pick up the red cube"),
        (b"do", b""),
        (b"quit", b""),
        (b"", b""),
        (b"\xff\xfe", b""),
    ],
)
def test_what_is_no_order_is_none(window, asked, verb, command):
    post(window, verb, command)
    assert asked[0].take() == []
    assert asked[1].take() == []


def test_nobody_outside_ends_the_robot(window, boxes):
    with pytest.raises(ValueError, match="service manager"):
        window.ask(Verb.QUIT)
    assert boxes.asked.get() is None


def test_half_a_command_is_not_posted(window, boxes):
    with pytest.raises(ValueError, match="does not fit"):
        window.ask(Verb.DO, "x" * (COMMAND_BYTES + 1))
    assert boxes.asked.get() is None
