"""Limits that change while the robot runs: at rest, whole, and for the next command as well."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge_wam.act.guard import Limits
from edge_wam.act.plan import MARGIN_RAD
from edge_wam.orders import Order, Verb
from edge_wam.pilot import SAG_RAD, Mode, Patience, Pilot
from edge_wam.types import JOINTS, ActionChunk, Joints

PARK = np.array([0.0, -1.0, 1.0, 0.5, 0.0, 0.1])
LIMITS = Limits(
    JOINTS, np.full(6, -1.5), np.full(6, 1.5), np.full(6, 3.0), np.full(6, 0.5), np.full(6, 60.0), PARK
)
WIDER = dataclasses.replace(LIMITS, low_rad=np.full(6, -3.0), high_rad=np.full(6, 3.0), park_rad=PARK + 0.2)
HERE = np.zeros(6)


def seen(t_s, **told):
    zero = np.zeros(6)
    joints = Joints(t_s, HERE, zero, zero, zero, zero, zero, zero.astype(np.uint8), np.ones(6, bool))
    return joints._replace(**told)


def chunk(pilot, t_s, reach_rad):
    return ActionChunk(t_s, 0.1, np.full((8, 6), reach_rad), pilot.task.epoch, t_s, 0.0)


@pytest.fixture
def pilot():
    return Pilot(LIMITS, Patience())


def test_an_arm_at_work_keeps_the_limits_it_began_with(pilot):
    for verb in (Verb.DO, Verb.PARK):
        pilot.obey(Order(verb, "go"), 1.0, HERE, HERE)
        assert not pilot.resting
        with pytest.raises(ValueError, match="at rest"):
            pilot.change(1.1, WIDER, Patience(), None)
        assert pilot.limits is LIMITS
        pilot.obey(Order(Verb.STOP), 1.2, HERE, HERE)
        assert pilot.resting


def test_an_arm_told_to_stop_again_and_again_does_not_sink(pilot):
    """It hangs a little below what it holds; what was pushed away is held where it is now."""
    pilot.obey(Order(Verb.DO, "go"), 1.0, HERE, HERE)
    stopped_rad = HERE + 0.3
    pilot.obey(Order(Verb.STOP), 1.1, HERE + 0.5, stopped_rad)
    for k in range(10):
        held_rad = pilot.wish(1.2 + k, stopped_rad, seen(1.2 + k)).target_rad
        assert held_rad == pytest.approx(stopped_rad)
        pilot.obey(Order(Verb.STOP), 1.2 + k, held_rad, held_rad - 0.9 * SAG_RAD)
    pushed_rad = stopped_rad - np.array([0, 0, 2, 0, 0, 0]) * SAG_RAD
    pilot.obey(Order(Verb.STOP), 12.0, stopped_rad, pushed_rad)
    assert pilot.wish(12.0, stopped_rad, seen(12.0)).target_rad == pytest.approx(pushed_rad)
    pilot.obey(Order(Verb.DO, "go"), 13.0, HERE, HERE)
    pilot.obey(Order(Verb.STOP), 13.1, HERE, HERE + 0.01)  # at work: where it is, to the last bit
    assert pilot.wish(13.1, HERE, seen(13.1)).target_rad == pytest.approx(HERE + 0.01)


def test_new_limits_hold_for_the_plan_the_guard_and_the_way_home(pilot):
    far_rad = 1.5 + MARGIN_RAD + 0.1
    pilot.obey(Order(Verb.DO, "go"), 1.0, HERE, HERE)
    assert pilot.take(chunk(pilot, 1.0, far_rad), 1.1) is None  # out of contract
    pilot.obey(Order(Verb.STOP), 1.2, HERE, HERE)
    pilot.change(1.3, WIDER, Patience(park_after_s=0.5), None)
    assert (pilot.limits.high_rad == 3.0).all()
    assert pilot.plan.counts.broken == 1  # what was counted stays
    pilot.obey(Order(Verb.DO, "go"), 1.4, HERE, HERE)
    assert pilot.take(chunk(pilot, 1.45, far_rad), 1.5) is not None
    assert pilot.wish(1.5, HERE, seen(1.5)).target_rad == pytest.approx(np.full(6, far_rad))
    pilot.wish(1.45 + 0.7 + 0.6, HERE, seen(2.75))  # 0.6 s without a plan
    assert pilot.mode is Mode.PARKING
    assert pilot.wish(60.0, HERE, seen(60.0)).target_rad == pytest.approx(PARK + 0.2)


def test_what_was_thought_before_the_change_finds_nobody_at_home(pilot):
    pilot.obey(Order(Verb.DO, "go"), 1.0, HERE, HERE)
    old = chunk(pilot, 1.0, 0.5)
    pilot.obey(Order(Verb.STOP), 1.1, HERE, HERE)
    pilot.change(1.2, WIDER, Patience(), None)
    assert pilot.take(old, 1.3) is None
    assert pilot.wish(1.3, HERE, seen(1.3)).target_rad == pytest.approx(HERE)


# --- STOP is proved, and nobody is let go of who moves --------------------------------------------------


def told(pilot):
    return [event.text for event in pilot.news()]


def stopped(pilot, settled, until_s=5.0):
    pilot.obey(Order(Verb.DO, "go"), 1.0, HERE, HERE)
    pilot.obey(Order(Verb.STOP), 1.1, HERE, HERE)
    told(pilot)
    said = []
    for t_s in np.arange(1.1, until_s, 0.02):
        pilot.wish(t_s, HERE, seen(t_s, settled=settled(t_s)))
        said += [(round(t_s, 2), text) for text in told(pilot)]
    return said


def test_a_stop_is_proved_once_and_not_by_what_was_so_before_it(pilot):
    assert stopped(pilot, lambda t_s: t_s > 1.31) == [(1.32, "stands: every goal read back, nothing moves")]
    assert pilot.mode is Mode.HOLDING
    at_once = stopped(Pilot(LIMITS, Patience()), lambda t_s: True)
    assert at_once == [(1.12, "stands: every goal read back, nothing moves")]


def test_a_stop_that_cannot_be_proved_is_said_and_where_nobody_asks_nothing_is(pilot):
    ((t_s, text),) = stopped(pilot, lambda t_s: False)
    assert t_s == pytest.approx(3.12, abs=0.03)
    assert "not proved" in text
    assert stopped(Pilot(LIMITS, Patience()), lambda t_s: None) == []


def test_who_goes_on_needs_no_proof(pilot):
    pilot.obey(Order(Verb.STOP), 1.0, HERE, HERE)
    pilot.obey(Order(Verb.DO, "go"), 1.1, HERE, HERE)
    told(pilot)
    for t_s in (1.2, 2.9, 3.1):
        pilot.wish(t_s, HERE, seen(t_s, settled=False))
    assert [text for text in told(pilot) if "proved" in text or "stands" in text] == []


def parked_s(pilot):
    pilot.obey(Order(Verb.QUIT), 1.0, HERE, HERE)
    return next(
        t_s for t_s in np.arange(1.0, 20.0, 0.02) if pilot.finished(t_s, seen(t_s, position_rad=PARK))
    )


def test_it_is_let_go_of_at_rest_in_the_park_pose(pilot):
    over_s = parked_s(pilot)
    for wrong in ({"velocity_rad_s": np.full(6, 0.3), "position_rad": PARK}, {"position_rad": PARK + 0.2}):
        other = Pilot(LIMITS, Patience())
        other.obey(Order(Verb.QUIT), 1.0, HERE, HERE)
        assert not other.finished(over_s, seen(over_s, **wrong))
        assert not other.finished(over_s + 2.9, seen(over_s, **wrong))
        assert other.finished(over_s + 3.1, seen(over_s, **wrong))  # it may be held by something for ever
        assert "letting go, though the arm is not at rest where it should be" in told(other)
    assert "letting go, though the arm is not at rest where it should be" not in told(pilot)


def test_without_a_park_pose_it_is_let_go_of_once_it_stands():
    pilot = Pilot(dataclasses.replace(LIMITS, park_rad=None), Patience())
    pilot.obey(Order(Verb.QUIT), 1.0, HERE, HERE)
    assert not pilot.finished(1.0, seen(1.0, velocity_rad_s=np.full(6, -0.3)))
    assert pilot.finished(1.02, seen(1.02))
