"""A chunk is a function of time, taken whole or not at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wam.act.plan import FUTURE_S, MARGIN_RAD, Plan, PlanCounts
from edge_wam.messages import ROWS_MAX
from edge_wam.types import ActionChunk

DT_S = 1 / 30
LOW, HIGH = np.full(6, -1.5), np.full(6, 1.5)


def chunk(t0_s=100.0, rows=16, epoch=1, slope=0.03, dt_s=DT_S) -> ActionChunk:
    """Row i is i * slope in every joint, plus a tenth of the joint's number."""
    target_rad = np.arange(rows)[:, None] * slope + np.arange(6) * 0.1
    return ActionChunk(t0_s, dt_s, target_rad, epoch, t0_s + 0.05, 0.04)


@pytest.fixture
def plan() -> Plan:
    made = Plan(LOW, HIGH)
    made.begin(1, 100.0)
    return made


def test_without_a_chunk_nothing_is_wished_and_the_plan_ages(plan):
    assert plan.at(100.0) == (None, 0.0)
    assert plan.at(101.5) == (None, 1.5)


def test_before_the_first_command_the_plan_is_older_than_any_limit():
    assert Plan(LOW, HIGH).at(3.0) == (None, math.inf)


def test_rows_are_due_at_their_times_and_linear_between(plan):
    assert plan.accept(chunk(), 100.05)
    for i in (0, 1, 7, 15):
        np.testing.assert_allclose(plan.at(100.0 + i * DT_S).target_rad, chunk().target_rad[i], atol=1e-9)
    np.testing.assert_allclose(plan.at(100.0 + 4.25 * DT_S).target_rad[0], 4.25 * 0.03, atol=1e-9)


def test_late_chunk_is_entered_at_the_right_time(plan):
    plan.accept(chunk(t0_s=99.8), 100.1)  # 9 rows late
    np.testing.assert_allclose(plan.at(100.1).target_rad[0], 9 * 0.03, atol=1e-9)


def test_before_row_0_its_pose_is_held(plan):
    plan.accept(chunk(), 100.05)
    np.testing.assert_array_equal(plan.at(99.0).target_rad, chunk().target_rad[0])


def test_when_rows_run_out_the_last_is_held_and_its_age_told(plan):
    plan.accept(chunk(), 100.05)
    end_s = 100.0 + 15 * DT_S
    assert plan.at(end_s - 0.001).stale_s == 0.0
    assert plan.at(end_s).stale_s == 0.0
    for late_s in (0.001, 0.5, 60.0):
        wish = plan.at(end_s + late_s)
        np.testing.assert_array_equal(wish.target_rad, chunk().target_rad[15])
        assert wish.stale_s == pytest.approx(late_s)


def test_a_single_row_is_a_plan(plan):
    assert plan.accept(chunk(t0_s=100.1, rows=1), 100.05)
    assert plan.at(100.2).stale_s == pytest.approx(0.1)
    np.testing.assert_array_equal(plan.at(100.2).target_rad, chunk().target_rad[0])


def test_a_newer_frame_replaces_an_older_one_and_never_the_other_way(plan):
    plan.accept(chunk(t0_s=100.1), 100.2)
    assert not plan.accept(chunk(t0_s=100.05, slope=0.06), 100.2)
    assert not plan.accept(chunk(t0_s=100.1, slope=0.06), 100.2)  # the same again
    np.testing.assert_allclose(plan.at(100.2).target_rad[0], 3 * 0.03, atol=1e-9)
    assert plan.accept(chunk(t0_s=100.15, slope=0.06), 100.2)
    np.testing.assert_allclose(plan.at(100.25).target_rad[0], 3 * 0.06, atol=1e-9)
    assert plan.counts == PlanCounts(accepted=2, overtaken=2)


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_chunk_for_another_command_is_dropped(plan, epoch):
    assert not plan.accept(chunk(epoch=epoch), 100.05)
    assert plan.at(100.1).target_rad is None
    assert plan.counts == PlanCounts(other_epoch=1)


def test_a_new_command_forgets_the_old_plan_and_starts_its_age_anew(plan):
    plan.accept(chunk(), 100.05)
    plan.begin(2, 100.2)
    assert plan.at(100.3).target_rad is None
    assert plan.at(100.3).stale_s == pytest.approx(0.1)
    assert not plan.accept(chunk(t0_s=100.1, epoch=1), 100.3)
    assert plan.accept(chunk(t0_s=99.9, epoch=2), 100.3)  # older than the old plan's frame: no matter


def test_a_chunk_that_has_run_out_is_dropped(plan):
    end_s = 100.0 + 15 * DT_S
    assert not plan.accept(chunk(), end_s)
    assert not plan.accept(chunk(), end_s + 10.0)
    assert plan.counts == PlanCounts(too_late=2)
    assert plan.accept(chunk(), end_s - 0.001)


def test_a_refused_chunk_leaves_the_old_plan_as_it_was(plan):
    plan.accept(chunk(), 100.05)
    bad = chunk(t0_s=100.1)
    bad.target_rad[15, 5] = np.nan
    before = plan.at(100.2)
    assert not plan.accept(bad, 100.15)
    after = plan.at(100.2)
    np.testing.assert_array_equal(after.target_rad, before.target_rad)
    assert after.stale_s == before.stale_s
    assert plan.at(100.7).stale_s == pytest.approx(0.2)  # still counted from the good chunk's end


@pytest.mark.parametrize(
    "bad", [np.nan, np.inf, -np.inf, 1.5 + MARGIN_RAD + 1e-6, -1.5 - MARGIN_RAD - 1e-6, 1e30]
)
@pytest.mark.parametrize("where", [(0, 0), (7, 3), (15, 5)])
def test_one_bad_number_drops_the_chunk_whole(plan, bad, where):
    broken = chunk()
    broken.target_rad[where] = bad
    assert not plan.accept(broken, 100.05)
    assert plan.at(100.1).target_rad is None
    assert plan.counts == PlanCounts(broken=1)


@pytest.mark.parametrize("edge", [1.5 + MARGIN_RAD, -1.5 - MARGIN_RAD])
def test_a_wish_a_little_beyond_the_range_is_left_to_the_guard(plan, edge):
    wide = chunk()
    wide.target_rad[3, 5] = edge
    assert plan.accept(wide, 100.05)


@pytest.mark.parametrize(
    "wrong",
    [
        chunk(t0_s=math.nan),
        chunk(t0_s=math.inf),
        chunk(t0_s=-math.inf),
        chunk(t0_s=100.05 + FUTURE_S + 0.001),
        chunk(dt_s=0.0),
        chunk(dt_s=-DT_S),
        chunk(dt_s=math.nan),
        chunk(dt_s=1.0),
        chunk(rows=0),
        chunk(rows=ROWS_MAX + 1, slope=0.0),
        chunk()._replace(target_rad=np.zeros((16, 5))),
        chunk()._replace(target_rad=np.zeros((16, 7))),
        chunk()._replace(target_rad=np.zeros(6)),
        chunk()._replace(target_rad=np.zeros((1, 16, 6))),
    ],
    ids=str,
)
def test_a_chunk_out_of_contract_is_dropped(plan, wrong):
    assert not plan.accept(wrong, 100.05)
    assert plan.counts == PlanCounts(broken=1)


def test_the_longest_chunk_and_a_frame_younger_than_the_tick_are_in_contract(plan):
    assert plan.accept(chunk(rows=ROWS_MAX, slope=0.0), 100.05)
    assert plan.accept(chunk(t0_s=100.05 + FUTURE_S - 0.001), 100.05)


@settings(deadline=None)
@given(st.floats(0, 2, allow_nan=False), st.floats(0, 2, allow_nan=False))
def test_the_plan_is_continuous_in_time(a_s, b_s):
    plan = Plan(LOW, HIGH)
    plan.begin(1, 100.0)
    plan.accept(chunk(), 100.05)
    change = plan.at(100 + a_s).target_rad - plan.at(100 + b_s).target_rad
    assert np.abs(change).max() <= abs(a_s - b_s) * 0.03 / DT_S + 1e-9
