"""Rows already decided, and how long a chunk takes: the arithmetic of following while thinking."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.act.plan import Plan
from edge_wam.think.policy import Delay, committed_rows
from edge_wam.types import ActionChunk

DT_S = 1 / 30
K = 16
WIDE = np.full(6, 10.0)
START_S = 5000.0  # the monotonic clock of a machine that has been up for a while


def chunk(epoch=1, t0_s=START_S, dt_s=DT_S, rows=K):
    target_rad = np.random.default_rng(2).uniform(-1, 1, (rows, 6))
    return ActionChunk(t0_s, dt_s, target_rad, epoch, t0_s + 0.05, 0.05)


def committed(previous, *, epoch=1, after_s=0.2, delay_s=0.08, most=6, dt_s=DT_S):
    return committed_rows(previous, epoch, START_S + after_s, dt_s, delay_s, most)


def test_nothing_is_committed_without_a_chunk_in_force():
    assert len(committed(None)) == 0


def test_nothing_is_committed_after_a_change_of_command():
    assert len(committed(chunk(epoch=1), epoch=2)) == 0
    assert len(committed(chunk(epoch=1), epoch=1)) > 0


def test_nothing_is_committed_for_a_frame_older_than_the_chunk_in_force():
    assert len(committed(chunk(), after_s=-0.01)) == 0


@pytest.mark.parametrize(
    ("delay_s", "count"), [(0.0, 1), (0.001, 2), (1.01 * DT_S, 3), (2.5 * DT_S, 4), (4.5 * DT_S, 6), (9.0, 6)]
)
def test_rows_are_committed_until_the_new_chunk_can_be_there_and_one_more(delay_s, count):
    assert len(committed(chunk(), delay_s=delay_s)) == count


def test_no_more_rows_are_committed_than_the_model_was_trained_with():
    assert len(committed(chunk(), delay_s=1.0, most=3)) == 3
    assert len(committed(chunk(), delay_s=1.0, most=0)) == 0


@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.21, 0.3141])
@pytest.mark.parametrize("dt_s", [DT_S, 0.05, 0.011])
def test_committed_rows_are_what_the_arm_follows_meanwhile(after_s, dt_s):
    """The plan of the control process is the judge."""
    previous = chunk()
    plan = Plan(-WIDE, WIDE)
    plan.begin(1, START_S)
    assert plan.accept(previous, START_S)
    rows = committed(previous, after_s=after_s, dt_s=dt_s)
    assert rows.shape[1] == 6
    for index, row in enumerate(rows):
        assert np.allclose(row, plan.at(START_S + after_s + index * dt_s).target_rad, atol=1e-6)


def test_rows_between_two_rows_of_the_old_chunk_are_interpolated():
    previous = chunk()
    rows = committed(previous, after_s=2.25 * DT_S)
    assert np.allclose(rows[0], 0.75 * previous.target_rad[2] + 0.25 * previous.target_rad[3], atol=1e-6)


def test_the_old_chunk_is_not_continued_beyond_its_last_row():
    """To hold the last row for ever is the plan's emergency, not something to teach the model."""
    previous = chunk()
    assert len(committed(previous, after_s=13.5 * DT_S, delay_s=1.0)) == 2  # rows 13.5 and 14.5
    assert len(committed(previous, after_s=15.5 * DT_S)) == 0
    assert len(committed(previous, after_s=60.0)) == 0


def test_the_delay_is_the_slow_end_of_what_was_seen():
    delay = Delay(0.08, window=50)
    assert delay.p99_s == pytest.approx(0.08)
    for _ in range(49):
        delay.note(0.03)
    assert 0.03 < delay.p99_s <= 0.08


def test_one_hiccup_does_not_slow_the_arm_for_ever():
    delay = Delay(2.0, window=50)
    for _ in range(50):
        delay.note(0.03)
    assert delay.p99_s == pytest.approx(0.03)
    delay.note(0.5)
    assert delay.p99_s > 0.2
    for _ in range(50):
        delay.note(0.03)
    assert delay.p99_s == pytest.approx(0.03)
