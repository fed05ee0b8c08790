"""Muted, clipped and fine, at their boundaries."""

import math

import numpy as np
import pytest

from edge_wam.sense.soundcheck import Soundcheck, level_dbfs

RATE_HZ, PIECE = 16_000, 320


def checked(*pieces):
    check = Soundcheck(RATE_HZ)
    for piece in pieces:
        check.hear(np.asarray(piece, np.float32))
    return check


def constant(value):
    return np.full(PIECE, value)


def with_full_scale(count, value=1.0):
    piece = np.linspace(-0.5, 0.5, PIECE)
    piece[:count] = value
    return piece


@pytest.mark.parametrize("value", [0.0, -1.0, 0.01])
def test_the_same_number_all_the_time_is_flat_whatever_it_is(value):
    assert checked(*[constant(value)] * 10).flat_s == pytest.approx(0.2)


def test_one_bit_of_noise_is_no_flat_line():
    piece = constant(0.0)
    piece[17] = 1 / 32768
    assert checked(constant(0.0), piece).flat_s == 0.0
    assert checked(piece, constant(0.0)).flat_s == pytest.approx(0.02)


def test_a_step_from_one_number_to_another_begins_anew():
    assert checked(constant(0.0), constant(0.0), constant(0.5)).flat_s == pytest.approx(0.02)


@pytest.mark.parametrize("value", [1.0, 32767 / 32768, -1.0, -32767 / 32768])
def test_half_a_percent_of_five_seconds_at_full_scale_is_clipping(value):
    # 250 pieces are five seconds, 400 samples half a percent of them.
    assert not checked(with_full_scale(199, value), with_full_scale(200, value)).clipped
    assert checked(with_full_scale(200, value), with_full_scale(200, value)).clipped


def test_almost_full_scale_is_loud_and_no_more():
    assert not checked(*[constant(0.999)] * 100).clipped


def test_a_clap_now_and_then_is_no_clipping():
    clap = [with_full_scale(200)] + [with_full_scale(0)] * 249
    assert not checked(*clap * 4).clipped


def test_clipping_is_remembered():
    assert checked(constant(1.0), constant(1.0), *[constant(0.1)] * 1000).clipped


def test_levels_are_those_of_full_scale_a_room_and_nothing():
    square = np.where(np.arange(16_000) % 2, 32767, -32767).astype(np.int16)
    assert level_dbfs(square) == pytest.approx(0.0, abs=0.01)
    assert level_dbfs((square // 1000).astype(np.int16)) == pytest.approx(-60.0, abs=0.3)
    assert level_dbfs(np.full(100, 12_000, np.int16)) == -math.inf
