"""From pieces to blocks: the same sound, the same times, at any rate and in any portions."""

import itertools

import numpy as np
import pytest

from edge_wam.sense.convert import Steady, ToBlocks
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ
from edge_wam.sense.wav import resample, to_int16

RATES_HZ = (16_000, 8_000, 22_050, 32_000, 44_100, 48_000, 96_000)


def noise(rate_hz, seconds):
    """Speech-like: most of it below 4 kHz."""
    rng = np.random.default_rng(rate_hz)
    smooth = np.convolve(rng.normal(0.0, 0.2, round(rate_hz * seconds)), np.ones(rate_hz // 4000), "same")
    return (smooth / np.abs(smooth).max()).astype(np.float32)


def blocks_of(sound, rate_hz, sizes, start_s=1000.0):
    """The blocks of a sound whose sample n was heard at start_s + n / rate_hz."""
    convert, blocks, begin = ToBlocks(rate_hz), [], 0
    for size in itertools.cycle(sizes):
        piece = sound[begin : begin + size]
        begin += len(piece)
        if not len(piece):
            return blocks
        blocks += convert.add(piece, start_s + (begin - 1) / rate_hz)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("sizes", [(0.02,), (0.02, 0.013, 0.041)])
def test_what_comes_in_portions_is_what_came_at_once(rate_hz, sizes):
    sound = noise(rate_hz, 3.0)
    blocks = blocks_of(sound, rate_hz, [round(size * rate_hz) for size in sizes])
    heard = np.concatenate([block.samples for block in blocks]).astype(int)
    whole = to_int16(resample(sound, rate_hz)).astype(int)
    assert len(heard) >= (3.0 - 0.25) * RATE_HZ  # soxr keeps some back
    assert np.abs(heard - whole[: len(heard)]).max() <= 1
    assert np.abs(heard).max() > 10_000


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_block_carries_the_time_of_its_last_sample_whatever_the_resampler_kept_back(rate_hz):
    blocks = blocks_of(noise(rate_hz, 2.0), rate_hz, [round(0.02 * rate_hz)])
    times = [block.t_s for block in blocks]
    # Sample n of 16 kHz was heard at n / 16000 s; only the pace that Steady allows is between.
    wanted = [1000.0 + ((index + 1) * BLOCK_SAMPLES - 1) / RATE_HZ for index in range(len(blocks))]
    assert times == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_a_click_is_found_at_the_time_it_was_made(rate_hz):
    made_s = 1.2345
    sound = np.zeros(2 * rate_hz, np.float32)
    sound[round(made_s * rate_hz)] = 1.0
    (block,) = (b for b in blocks_of(sound, rate_hz, [round(0.02 * rate_hz)]) if b.samples.max() > 3000)
    found_s = block.t_s - 1000.0 - (BLOCK_SAMPLES - 1 - int(block.samples.argmax())) / RATE_HZ
    assert found_s == pytest.approx(made_s, abs=1.0 / RATE_HZ)


def test_pieces_that_come_in_bursts_get_even_times():
    """As through PulseAudio: two pieces at once, every 40 ms."""
    convert, blocks = ToBlocks(RATE_HZ), []
    for index in range(60):
        came_s = (index // 2 + 1) * 0.04
        blocks += convert.add(np.zeros(320, np.float32), came_s)
    steps = np.diff([block.t_s for block in blocks[2:]])
    assert steps == pytest.approx(BLOCK_S, abs=2e-4)
    assert blocks[-1].t_s == pytest.approx(60 * 0.02, abs=2e-4)


@pytest.mark.parametrize("drift", [-2e-4, 0.0, 2e-4])
def test_a_sound_card_that_runs_fast_or_slow_is_followed(drift):
    steady, rng = Steady(), np.random.default_rng(5)
    errors = []
    for index in range(50_000):  # a quarter of an hour
        true_s = index * 0.02 * (1.0 + drift)
        late_s = 0.0 if index % 10 == 0 else rng.exponential(0.005)
        errors.append(steady.time_s(true_s + late_s, 0.02) - true_s)
    assert min(errors) > -1e-9  # never before it was heard
    assert max(errors[10:]) < 0.001


def test_after_a_gap_the_time_is_that_of_arrival():
    steady = Steady()
    assert steady.time_s(1.0, 0.02) == 1.0
    assert steady.time_s(3.0, 0.02) == 3.0


def test_nothing_is_said_before_a_block_is_whole():
    convert = ToBlocks(RATE_HZ)
    assert convert.add(np.zeros(BLOCK_SAMPLES - 1, np.float32), 1.0) == []
    assert len(convert.add(np.zeros(1, np.float32), 1.1)) == 1


def test_too_loud_is_clipped_and_not_wrapped():
    (block,) = ToBlocks(RATE_HZ).add(np.full(BLOCK_SAMPLES, 1.5, np.float32), 1.0)
    assert set(block.samples) == {32767}
