"""A sweep by hand: followed across the wrap, complained of where it is no joint's, undone by its offset."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wam.act import feetech
from edge_wam.act.calibration import LEAST_SPAN_COUNTS
from edge_wam.act.sweep import MIDDLE, SPAN_DEG, TURN, Span, Sweep, calibrated, complaint, offset_of
from edge_wam.errors import CalibrationError
from edge_wam.types import JOINTS

USUAL = {"shoulder_pan": 2528, "shoulder_lift": 2300, "elbow_flex": 2224, "wrist_flex": 2180,
         "wrist_roll": 3611, "gripper": 1269}  # fmt: skip


def spans(**other):
    return tuple(Span(0, 100, 100 + other.get(name, USUAL[name])) for name in JOINTS)


def made(given_spans):
    return calibrated(given_spans, (1, 2, 3, 4, 5, 6), (0,) * 6)


@settings(deadline=None)
@given(low=st.integers(0, TURN - 1), span=st.integers(300, 3900), step=st.integers(20, 900))
def test_a_sweep_is_followed_across_the_wrap_and_its_offset_undoes_it(low, span, step):
    """Wherever the encoder's zero lies, what is written makes the whole range read without a wrap."""
    actual = [*range(low, low + span, step), low + span, low]
    sweep = Sweep(np.array([actual[0] % TURN]))
    for before, count in itertools.pairwise(actual):
        for between in np.linspace(before, count, abs(count - before) // 1000 + 2)[1:]:
            assert sweep.add(np.array([round(between) % TURN])) == []
    (found,) = sweep.spans
    assert found.high - found.low == span
    offset = offset_of((found.low + found.high) // 2)
    assert feetech.HOMING_OFFSET.low <= offset <= feetech.HOMING_OFFSET.high
    present = [(count - offset) % TURN for count in range(low, low + span + 1)]
    assert all(0 <= b - a <= 1 for a, b in itertools.pairwise(present))  # nowhere a wrap
    assert abs((present[0] + present[-1]) / 2 - MIDDLE) <= 1.5


def test_a_joint_that_moves_too_fast_is_lost_and_said_so():
    sweep = Sweep(np.array([100, 100]))
    assert sweep.add(np.array([100 + TURN // 2 - 1, 150])) == [0]
    assert sweep.spans[0] == Span(100, 100, 100)
    assert sweep.spans[1] == Span(150, 100, 150)


@pytest.mark.parametrize("name", JOINTS)
def test_too_little_and_too_much_are_complained_of(name):
    least, most = (round(degrees / 360 * TURN) for degrees in SPAN_DEG[name])
    assert complaint(name, Span(0, 0, USUAL[name])) == ""
    assert "move it to both of its stops" in complaint(name, Span(0, 0, least - 5))
    assert "another joint" in complaint(name, Span(0, 0, most + 5))
    assert complaint(name, Span(0, 0, least + 5)) == complaint(name, Span(0, 0, most - 5)) == ""
    assert least > LEAST_SPAN_COUNTS


def test_every_complaint_is_made_at_once():
    with pytest.raises(CalibrationError) as error:
        made(spans(elbow_flex=30, gripper=3000))
    assert "elbow_flex was moved through 3 degrees" in str(error.value)
    assert "gripper was moved through 264 degrees" in str(error.value)


def test_the_range_is_what_was_swept_but_for_the_wrist_that_turns_round():
    for joint, span in zip(made(spans()), spans(), strict=True):
        if joint.name == "wrist_roll":
            assert (joint.range_min, joint.range_max) == (0, TURN - 1)
        else:
            assert abs(joint.range_max - joint.range_min - (span.high - span.low)) <= 1
            assert (joint.range_min + joint.range_max) / 2 == MIDDLE


def test_the_one_offset_that_the_register_cannot_hold_is_rounded():
    assert offset_of(MIDDLE) == 0
    assert offset_of(MIDDLE + 2048) == feetech.HOMING_OFFSET.low
    assert offset_of(MIDDLE + 2047) == feetech.HOMING_OFFSET.high
    assert offset_of(MIDDLE + 10 + 3 * TURN) == 10
