"""The quick way through a tick's bytes gives what the careful one gives, or says that it cannot."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
from bus_rig import rig
from hypothesis import given
from hypothesis import strategies as st

from edge_wam.act import feetech
from edge_wam.act.feetech_blocks import Blocks, Goals
from edge_wam.act.feetech_bus import FeetechBus

IDS = (1, 2, 3, 4, 5, 6)
BLOCKS = st.lists(st.tuples(st.integers(0, 255), st.binary(min_size=15, max_size=15)), min_size=6, max_size=6)


def answers(blocks, ids=IDS):
    return b"".join(
        feetech.status(servo_id, error, data) for servo_id, (error, data) in zip(ids, blocks, strict=True)
    )


@given(BLOCKS)
def test_whole_answers_are_read_as_the_careful_reader_reads_them(blocks):
    values, errors = Blocks(IDS).decode(answers(blocks))
    for row, error, (code, data) in zip(values.T, errors, blocks, strict=True):
        shown = feetech.present(data)
        assert tuple(row) == shown
        assert error == code | shown.status


@given(BLOCKS, st.integers(0, 125), st.integers(1, 255))
def test_a_byte_that_is_another_is_the_careful_reader_s(blocks, at, other):
    data = bytearray(answers(blocks))
    data[at] ^= other
    assert Blocks(IDS).decode(bytes(data)) is None


def with_length(data, length):
    """Another LEN in the first answer, and the checksum that goes with it."""
    changed = bytearray(data)
    changed[3] = length
    changed[20] = feetech.checksum(changed[2:20])
    return bytes(changed)


def test_nor_is_anything_quick_that_is_not_in_its_place():
    made = [(0, bytes(range(15)))] * 6
    data = answers(made)
    blocks = Blocks(IDS)
    assert blocks.decode(data) is not None
    for wrong in (
        data[:-1],
        data + b"\0",
        b"\0" + data[:-1],
        answers(made, (1, 2, 4, 3, 5, 6)),
        answers(made, (1, 2, 3, 4, 5, 9)),
        answers([(0, bytes(16)), (0, bytes(14)), *made[2:]]),
        with_length(data, 16),
        with_length(data, 18),
        b"",
    ):
        assert blocks.decode(wrong) is None


@given(st.lists(st.integers(-32767, 32767), min_size=6, max_size=6))
def test_goals_are_the_codec_s(counts):
    items = [(i, feetech.pack(feetech.GOAL_POSITION, c)) for i, c in zip(IDS, counts, strict=True)]
    assert Goals(IDS).encode(counts) == feetech.sync_write(feetech.GOAL_POSITION.address, items)


@pytest.mark.parametrize("counts", [[0] * 5, [0] * 7, [0, 0, 0, 0, 0, 32768], [0, 0, -32768, 0, 0, 0]])
def test_goals_that_are_none_are_refused(counts):
    with pytest.raises(ValueError, match="goal"):
        Goals(IDS).encode(counts)


# --- the bus, by both ways ------------------------------------------------------------------------


def careful(bus: FeetechBus) -> FeetechBus:
    bus._blocks = SimpleNamespace(size=bus._blocks.size, decode=lambda data: None)
    return bus


@pytest.mark.parametrize("seed", range(20))
def test_a_bus_that_only_has_the_careful_way_tells_and_counts_the_same(seed):
    """Two arms in the same trouble, a thousand ticks in all."""
    quick, slow = rig(wire_time=True), rig(wire_time=True)
    careful(slow.bus)
    generator = random.Random(seed)
    for _ in range(50):
        for one in (quick, slow):
            one.plant.goal_rad = one.plant.position_rad + 0.02
            one.plant.step(6)
            one.chain.update()
        trouble, servo = (
            generator.choice(["", "", "drop", "garble", "cut", "noise", "late"]),
            generator.choice(IDS),
        )
        noise = generator.randbytes(generator.randrange(1, 30))
        for one in (quick, slow):
            if trouble == "noise":
                one.faults.noise(noise, 1, servo)
            elif trouble == "late":
                one.faults.delay(0.012, 1, servo)
            elif trouble:
                getattr(one.faults, trouble)(1, servo)
        seen = []
        for one in (quick, slow):
            block = one.bus.read_block()
            one.bus.write_goals([2048] * 6, (40, 10))
            one.clock.advance(0.008)
            one.port.elapse(0.008)
            seen.append((block, one.bus.counts, one.bus.told))
        (a, counts_a, told_a), (b, counts_b, told_b) = seen
        for left, right in zip(a, b, strict=True):
            np.testing.assert_array_equal(left, right)
        assert (counts_a, told_a) == (counts_b, told_b)
    assert sum(quick.bus.counts.missing) > 0


def test_a_block_keeps_what_it_showed_when_the_next_tick_goes_wrong():
    r = rig()
    first = r.bus.read_block()
    before = first.position.copy()
    r.plant.position_rad = r.plant.position_rad + 0.3
    r.chain.update()
    r.faults.drop(1, 3)
    second = r.bus.read_block()
    np.testing.assert_array_equal(first.position, before)
    assert second.position[2] == before[2]
    assert (second.position[[0, 1, 3, 4, 5]] != before[[0, 1, 3, 4, 5]]).all()
    assert second.fresh.tolist() == [True, True, False, True, True, True]
