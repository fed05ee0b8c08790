"""The question behind the goals: golden bytes; its answers picked up, late, lost, or somebody else's."""

from __future__ import annotations

import pytest
from arm_rig import rig
from bus_rig import rig as bus_rig

from edge_wam.act import feetech

ASK = (40, 10)  # everybody's settings, torque first
GOALS = [2048] * 6
IDS = [1, 2, 3, 4, 5, 6]


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
    goals = feetech.sync_write(42, [(i, feetech.pack(feetech.GOAL_POSITION, 2048)) for i in IDS])
    assert sent == [goals + bytes.fromhex("FFFF FE 0A 82 28 0A 01 02 03 04 05 06 2E")]
    assert r.arm.bus.counts.sent == before + 2


def test_its_answers_are_there_after_the_next_block_and_gone_after_the_one_after(r):
    r.arm.bus.write_goals(GOALS, ASK)
    assert not r.arm.bus.told
    before = r.arm.bus.counts.answered
    assert r.arm.bus.read_block().fresh.all()
    told = r.arm.bus.told
    assert sorted(told) == IDS
    assert {len(data) for data in told.values()} == {10}
    assert {data[2:4] for data in told.values()} == {(2048).to_bytes(2, "little")}
    assert r.arm.bus.counts.answered == tuple(count + 2 for count in before)
    r.arm.bus.read_block()
    assert not r.arm.bus.told
    assert missing(r) == (0,) * 6


def test_an_answer_that_is_lost_is_missing_and_the_rest_is_whole(r):
    r.faults.drop(1, 3)
    r.arm.bus.write_goals(GOALS, ASK)
    assert r.arm.bus.read_block().fresh.all()
    assert sorted(r.arm.bus.told) == [1, 2, 4, 5, 6]
    assert missing(r) == (0, 0, 1, 0, 0, 0)


def test_an_answer_that_is_garbled_is_not_taken_and_counted(r):
    before = r.arm.bus.counts.garbled
    r.faults.garble(1, 3)
    r.arm.bus.write_goals(GOALS, ASK)
    assert r.arm.bus.read_block().fresh.all()
    assert sorted(r.arm.bus.told) == [1, 2, 4, 5, 6]
    assert missing(r) == (0, 0, 1, 0, 0, 0)
    assert r.arm.bus.counts.garbled == before + 1


def test_noise_before_them_is_counted_and_they_are_taken_all_the_same(r):
    r.arm.bus.write_goals(GOALS, ASK)
    assert r.port.in_waiting  # the answers are here
    r.port._here[:0] = b"\x55\xff\x13"
    before = r.arm.bus.counts.noise_bytes
    r.arm.bus.read_block()
    assert sorted(r.arm.bus.told) == IDS
    assert r.arm.bus.counts.noise_bytes == before + 3


def test_answers_about_something_else_are_not_taken(r):
    r.arm.bus.write_goals(GOALS, (40, 9))
    r.arm.bus._asked = 10
    r.arm.bus.read_block()
    assert not r.arm.bus.told
    assert missing(r) == (1,) * 6


def test_the_answer_of_a_stranger_in_another_s_place_is_not_taken(r):
    r.arm.bus.write_goals(GOALS, ASK)
    assert r.port.in_waiting
    r.port._here[32:48] = feetech.status(9, 0, bytes(10))
    r.arm.bus.read_block()
    assert sorted(r.arm.bus.told) == [1, 2, 4, 5, 6]
    assert missing(r) == (0, 0, 1, 0, 0, 0)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 9, 15, 80, 95])
def test_a_byte_that_is_another_anywhere_loses_one_answer_at_most(r, at):
    r.arm.bus.write_goals(GOALS, ASK)
    assert r.port.in_waiting
    r.port._here[at] ^= 0x10
    r.arm.bus.read_block()
    assert sorted(r.arm.bus.told) == [i for i in IDS if i != 1 + at // 16]


def test_without_a_question_nothing_is_missing(r):
    r.arm.bus.write_goals(GOALS)
    r.arm.bus.read_block()
    assert not r.arm.bus.told
    assert missing(r) == (0,) * 6


def test_who_asks_again_at_once_lets_them_finish_and_loses_nothing():
    """A tick that follows a late one, or a release: on one wire a question would meet the answers."""
    r = bus_rig(wire_time=True)
    r.bus.write_goals(GOALS, ASK)
    began_s = r.clock.now_s()
    assert r.bus.read_block().fresh.all()
    assert sorted(r.bus.told) == IDS
    assert r.bus.counts.missing == r.bus.counts.late == (0,) * 6
    assert r.clock.now_s() - began_s > 2.2e-3  # both answers


def test_where_one_is_silent_the_next_tick_does_not_wait_for_it():
    r = bus_rig(wire_time=True)
    r.faults.drop(1, 3)
    r.bus.write_goals(GOALS, ASK)
    r.clock.advance(0.01)
    r.port.elapse(0.01)
    began_s = r.clock.now_s()
    assert r.bus.read_block().fresh.all()
    assert sorted(r.bus.told) == [1, 2, 4, 5, 6]
    assert r.clock.now_s() - began_s < 2e-3


def test_who_writes_goals_and_reads_nothing_does_not_drown_in_answers():
    r = bus_rig(wire_time=True)
    for _ in range(100):
        r.bus.write_goals(GOALS, ASK)
        r.clock.advance(0.02)
        r.port.elapse(0.02)
        assert r.port.in_waiting == 96
    assert r.bus.read_block().fresh.all()
    assert sorted(r.bus.told) == IDS
    assert r.bus.counts.missing == r.bus.counts.late == (0,) * 6
