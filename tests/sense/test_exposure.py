"""Every kind of stamp becomes the monotonic time of the exposure."""

import random
import time

import pytest

from edge_wam.sense.exposure import ExposureClock, StampClock, read_wall_ahead_s

WALL_AHEAD_S = 1.7e9


def test_our_own_stamps_are_taken_to_the_last_bit():
    clock = ExposureClock()
    for t_s in (0.0, 1 / 3, 123456.789012345, 9e6 + 1e-7):
        stamp_ms = t_s * 1e3
        assert clock.exposure_s(stamp_ms, StampClock.OURS, arrival_s=5.0) == stamp_ms / 1e3


def test_wall_stamps_become_monotonic_through_the_difference_of_the_clocks():
    clock = ExposureClock(lambda: WALL_AHEAD_S)
    assert clock.exposure_s((WALL_AHEAD_S + 40.0) * 1e3, StampClock.WALL, 40.02) == pytest.approx(
        40.0, abs=1e-6
    )
    assert clock.impossible == 0


def test_wall_stamps_never_lie_in_the_future():
    clock = ExposureClock(lambda: WALL_AHEAD_S)
    assert clock.exposure_s((WALL_AHEAD_S + 40.001) * 1e3, StampClock.WALL, 40.0) <= 40.0


@pytest.mark.parametrize("leap_s", [3600.0, -3600.0, 0.7])
def test_a_wall_clock_that_was_just_set_leaves_the_usual_delay(leap_s):
    ahead_s = WALL_AHEAD_S
    clock = ExposureClock(lambda: ahead_s)
    for i in range(100):
        clock.exposure_s((WALL_AHEAD_S + i / 30) * 1e3, StampClock.WALL, i / 30 + 0.020)
    ahead_s += leap_s  # the stamps do not know it yet
    seen_s = clock.exposure_s((WALL_AHEAD_S + 10.0) * 1e3, StampClock.WALL, 10.025)
    assert seen_s == pytest.approx(10.025 - 0.020, abs=1e-3)
    assert clock.impossible == 1


def test_the_difference_of_the_clocks_is_read_anew_for_every_frame():
    ahead_s = WALL_AHEAD_S
    clock = ExposureClock(lambda: ahead_s)
    clock.exposure_s(WALL_AHEAD_S * 1e3, StampClock.WALL, 0.01)
    ahead_s += 5.0  # set, and the stamps have followed
    assert clock.exposure_s((ahead_s + 1.0) * 1e3, StampClock.WALL, 1.01) == pytest.approx(1.0, abs=1e-6)


def run_counter(clock, count, *, begin_s=0.0, ahead_s=777.0, drift=0.0, seed=0):
    """Frames at 30 Hz with 3 ms of transport and up to 20 ms of jitter; the errors of the last 100 in s."""
    rng = random.Random(seed)
    errors_s = []
    for i in range(count):
        true_s = begin_s + i / 30
        stamp_ms = (ahead_s + true_s * (1 + drift)) * 1e3
        seen_s = clock.exposure_s(stamp_ms, StampClock.COUNTER, true_s + 0.003 + rng.random() * 0.020)
        errors_s.append(seen_s - true_s)
    return errors_s[-100:]


def test_a_counter_is_placed_by_its_soonest_frame_and_freed_of_jitter():
    errors_s = run_counter(ExposureClock(), 400)
    assert max(errors_s) < 0.004
    assert min(errors_s) >= 0.003 - 1e-9  # late by the least transport, never early
    assert max(errors_s) - min(errors_s) < 0.0005


@pytest.mark.parametrize("drift", [50e-6, -50e-6])
def test_a_counter_that_drifts_is_followed(drift):
    errors_s = run_counter(ExposureClock(), 30 * 600, drift=drift)
    assert max(map(abs, errors_s)) < 0.006


@pytest.mark.parametrize("ahead_s", [777.0 - 4294.967296, -3000.0])
def test_a_counter_that_wraps_or_begins_anew_is_placed_anew(ahead_s):
    clock = ExposureClock()
    run_counter(clock, 300, ahead_s=777.0)
    errors_s = run_counter(clock, 300, begin_s=10.0, ahead_s=ahead_s)
    assert max(map(abs, errors_s)) < 0.005


def test_the_first_frame_of_a_counter_is_dated_when_it_arrived():
    assert ExposureClock().exposure_s(123.0, StampClock.COUNTER, 40.0) == pytest.approx(40.0)


def test_the_clocks_of_this_machine_are_read_to_a_millisecond():
    assert read_wall_ahead_s() == pytest.approx(time.time() - time.monotonic(), abs=1e-3)
