"""Slots of a fixed-rate loop: absolute deadlines, late ones dropped and counted."""

from __future__ import annotations

import itertools
import time

import pytest

from edge_wam.clock import ManualClock, MonotonicClock, ticks

PERIOD_S = 0.02


def run(busy_s: list[float], start_s: float = 10.0):
    """Ticks of a loop whose i-th body takes busy_s[i]."""
    clock = ManualClock(start_s)
    seen = []
    for busy, tick in zip([*busy_s, 0.0], ticks(clock, PERIOD_S), strict=False):
        seen.append(tick)
        clock.advance(busy)
    return seen


def test_ticks_stand_on_an_absolute_grid_whatever_the_body_takes():
    seen = run([0.001, 0.019, 0.007, 0.0] * 50)
    assert [tick.index for tick in seen] == list(range(201))
    assert [tick.t_s for tick in seen] == pytest.approx([10.0 + i * PERIOD_S for i in range(201)], abs=1e-9)
    assert all(tick.late_s == pytest.approx(0.0, abs=1e-9) and tick.skipped == 0 for tick in seen)


def test_a_stall_drops_the_missed_slots_and_is_not_replayed():
    first, stalled, after, later = run([0.0, 0.055, 0.001])[:4]
    assert (first.skipped, stalled.skipped) == (0, 0)
    assert (after.index, after.skipped) == (3, 1)  # slot 2 was missed, slot 3 is 15 ms late
    assert after.late_s == pytest.approx(0.015)
    assert (later.index, later.skipped) == (4, 0)
    assert later.t_s == pytest.approx(10.0 + 4 * PERIOD_S)
    assert later.late_s == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("busy_s", "index", "skipped"),
    [(0.0199, 1, 0), (0.02, 1, 0), (0.0399, 1, 0), (0.04, 2, 1), (0.0401, 2, 1), (1.0, 50, 49)],
)
def test_lateness_at_the_edges_of_a_slot(busy_s, index, skipped):
    after = run([busy_s])[1]
    assert (after.index, after.skipped) == (index, skipped)
    assert -1e-9 <= after.late_s < PERIOD_S


def test_indices_and_skips_account_for_every_slot():
    seen = run([0.0, 0.3, 0.01, 0.021, 0.05, 0.0, 0.0])
    assert seen[-1].index + 1 == len(seen) + sum(tick.skipped for tick in seen)


def test_a_manual_clock_tells_the_world_and_never_goes_back():
    told = []
    clock = ManualClock(5.0, told.append)
    clock.sleep_until(6.0)
    clock.sleep_until(5.5)
    clock.advance(0.5)
    assert told == [6.0, 6.5]
    assert clock.now_s() == 6.5


def test_the_monotonic_clock_is_times_monotonic_and_does_not_wait_for_the_past():
    clock = MonotonicClock()
    before = time.monotonic()
    clock.sleep_until(before - 100.0)
    clock.sleep_until(before + 0.003)
    assert before + 0.003 <= clock.now_s() < before + 1.0
    assert len(list(itertools.islice(ticks(clock, 0.001), 3))) == 3
