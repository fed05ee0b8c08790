"""The question behind the goals: golden bytes; its answer picked up, late, lost, or somebody else's."""

from __future__ import annotations

import pytest
from arm_rig import rig

from edge_wam.act import feetech

ASK = (3, 40, 10)  # the elbow's settings, torque first
GOALS = [2048] * 6


@pytest.fixture
def r():
    return rig()


def missing(r):
    return r.arm.bus.counts.missing


def test_it_goes_out_with_the_goals_in_one_write_and_is_two_packets(r):
    sent, write = [], r.port.write
    r.port.write = lambda data: (sent.append(data), write(data))[1]
    before = r.arm.bus.counts.sent
    r.arm.bus.write_goals(GOALS, ASK)
    goals = feetech.sync_write(42, [(i, feetech.pack(feetech.GOAL_POSITION, 2048)) for i in range(1, 7)])
    assert sent == [goals + bytes.fromhex("FFFF 03 04 02 28 0A C4")]
    assert r.arm.bus.counts.sent == before + 2


def test_its_answer_is_there_after_the_next_block_and_gone_after_the_one_after(r):
    r.arm.bus.write_goals(GOALS, ASK)
    assert r.arm.bus.told is None
    before = r.arm.bus.counts.answered
    assert r.arm.bus.read_block().fresh.all()
    servo_id, data = r.arm.bus.told
    assert (servo_id, len(data)) == (3, 10)
    assert data[2:4] == (2048).to_bytes(2, "little")
    assert r.arm.bus.counts.answered[2] == before[2] + 2
    r.arm.bus.read_block()
    assert r.arm.bus.told is None
    assert missing(r) == (0,) * 6


def test_an_answer_that_is_lost_is_missing_and_the_block_is_whole(r):
    r.faults.drop(1, 3)
    r.arm.bus.write_goals(GOALS, ASK)
    assert r.arm.bus.read_block().fresh.all()
    assert r.arm.bus.told is None
    assert missing(r) == (0, 0, 1, 0, 0, 0)


def test_an_answer_that_is_garbled_is_not_taken_and_counted(r):
    before = r.arm.bus.counts.garbled
    r.faults.garble(1, 3)
    r.arm.bus.write_goals(GOALS, ASK)
    assert r.arm.bus.read_block().fresh.all()
    assert r.arm.bus.told is None
    assert missing(r) == (0, 0, 1, 0, 0, 0)
    assert r.arm.bus.counts.garbled == before + 1


def test_noise_before_it_is_counted_and_it_is_taken_all_the_same(r):
    r.arm.bus.write_goals(GOALS, ASK)
    assert r.port.in_waiting  # the answer is here
    r.port._here[:0] = b"\x55\xff\x13"
    before = r.arm.bus.counts.noise_bytes
    r.arm.bus.read_block()
    assert r.arm.bus.told is not None
    assert r.arm.bus.counts.noise_bytes == before + 3


@pytest.mark.parametrize("ask", [(4, 40, 10), (3, 40, 9)])
def test_the_answer_of_another_or_about_something_else_is_not_taken(r, ask):
    r.arm.bus.write_goals(GOALS, ask)
    r.arm.bus._asked = 3, 10
    r.arm.bus.read_block()
    assert r.arm.bus.told is None
    assert missing(r)[2] == 1


def test_without_a_question_nothing_is_missing(r):
    r.arm.bus.write_goals(GOALS)
    r.arm.bus.read_block()
    assert r.arm.bus.told is None
    assert missing(r) == (0,) * 6
