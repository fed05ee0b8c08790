"""Faults of real processes: a few of them for real, in a light house; the judge, on a bus that is made up."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edge_wam import config
from edge_wam.act import feetech
from edge_wam.act.limits import load_limits
from edge_wam.cli import main
from edge_wam.errors import EdgeWamError
from edge_wam.sim import wiretap
from edge_wam.sim.faults import OUTCOMES
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.process_faults import (
    PLAN_S,
    PROCESS_FAULTS,
    Processes,
    ProcessFault,
    held_on,
    left_alone,
    moved_on,
    outcome_of,
)
from edge_wam.sim.process_rig import Moment, Said
from edge_wam.sim.wiretap import Wiretap, create_tap, read_tap

FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"
LIMITS = load_limits(FOLDER / "limits.toml")
POSE = np.array([0.1, -1.1, 0.7, 0.6, -0.3, 0.6])


def test_each_has_its_own_name_and_an_end_that_there_is():
    assert len({fault.name for fault in PROCESS_FAULTS}) == len(PROCESS_FAULTS) >= 20
    assert {fault.expected for fault in PROCESS_FAULTS} == set(OUTCOMES)


# --- for real ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "window_s", "says"),
    [
        ("control killed", 1.5, "safe stop: confirmed"),
        ("a terminal hangs (Ctrl-S) as the policy dies", 3.3, ""),
    ],
)
def test_a_house_of_processes_survives(name, window_s, says):
    fault = next(fault for fault in PROCESS_FAULTS if fault.name == name)
    row = Processes(config.load(), light=True).inject(fault._replace(window_s=window_s))
    assert row.worst.unsafe == ()
    assert (row.outcome, row.broken) == (fault.expected, ())
    assert row.good
    assert any(line.startswith(says) for line in row.said) or not says


def test_a_house_that_cannot_be_built_is_a_fault_of_its_own(tmp_path):
    usual = config.load()
    bare = dataclasses.replace(usual, robot=dataclasses.replace(usual.robot, calibration=tmp_path))
    row = Processes(bare, light=True).inject(PROCESS_FAULTS[0])
    assert not row.good
    assert "limits.toml" in row.broken[0]


# --- the judge --------------------------------------------------------------------------------


def bus(*moments, said=(), status="following: go home", torque_on=True):
    """A rig that saw (t_s, offset of the goals or None where nobody wrote, offset of the joints)."""
    seen = [
        Moment(t_s, POSE + (goal or 0.0), POSE + true, torque_on, goal is not None)
        for t_s, goal, true in moments
    ]
    return SimpleNamespace(moments=seen, said=[Said(*one) for one in said], status=status, limits=LIMITS)


DIES = ProcessFault("policy killed", lambda rig: None, "parked", still_s=PLAN_S)


def test_goals_that_move_on_without_a_plan_are_found_out_until_the_arm_parks():
    ticks = [(10 + 0.02 * i, 0.001 * i, 0.0) for i in range(200)]
    (said,) = moved_on(bus(*ticks), DIES, 10.0)
    assert "moved on by 0.16" in said
    still = [(t_s, min(goal, 0.03), 0.0) for t_s, goal, _ in ticks]
    assert moved_on(bus(*still), DIES, 10.0) == []
    parks = [(t_s, goal if t_s > 12.5 else 0.0, 0.0) for t_s, goal, _ in ticks]
    assert moved_on(bus(*parks, said=[(12.52, "parking")]), DIES, 10.0) == []
    assert moved_on(bus(*parks), DIES, 10.0) != []
    assert moved_on(bus(*ticks), DIES._replace(still_s=float("inf")), 10.0) == []


@pytest.mark.parametrize(
    ("status", "torque_on", "outcome"),
    [
        ("following: go home", True, "went on"),
        ("holding", True, "held"),
        ("parking", True, "parked"),
        ("parked", True, "parked"),
        ("following: go home", False, "let go"),
    ],
)
def test_the_torque_is_asked_before_anybody_s_words(status, torque_on, outcome):
    assert outcome_of(bus((1.0, 0.0, 0.0), status=status, torque_on=torque_on)) == outcome


def test_words_are_held_against_the_bus():
    moves = [(0.02 * i, 0.01 * i, 0.0) for i in range(100)]
    stands = [(t_s, 0.5, 0.0) for t_s, _, _ in moves]
    silent = [*moves, (5.0, None, 0.0)]
    assert held_on(bus(*moves), "held") != []
    assert held_on(bus(*stands), "held") == []
    for outcome in ("went on", "held", "parked"):
        assert held_on(bus(*silent), outcome) == [f"it says that it {outcome}, and writes no goals"]
    assert held_on(bus(*silent), "let go") == []
    assert held_on(bus(*moves), "went on") == []


def test_how_far_it_went_unattended_is_measured_and_too_far_is_said():
    ticks = [(0.02 * i, 0.0, 0.0) for i in range(50)]
    alone = [(1.0 + 0.02 * i, None, min(0.01 * i, 0.2)) for i in range(100)]
    text, far = left_alone(bus(*ticks, *alone), 0.5)
    assert text.startswith("unattended for 2.0 s: went 0.200 rad")
    assert far == []
    text, far = left_alone(bus(*ticks, *[(t_s, None, 8 * true) for t_s, _, true in alone]), 0.5)
    assert far == ["went 1.60 rad unattended"]
    assert left_alone(bus(*ticks), 0.5) == ("", [])
    limp = [(t_s, None, 8 * true) for t_s, _, true in alone]
    assert left_alone(bus(*ticks, *limp, torque_on=False), 0.5) == ("", [])


# --- the tap ----------------------------------------------------------------------------------


def test_what_was_written_is_read_in_order_whoever_wrote_it(tmp_path):
    path, plant = tmp_path / "tap.npy", KinematicPlant(POSE, POSE - 1, POSE + 1)
    create_tap(path)
    assert len(read_tap(path)) == 0
    packet = feetech.ping(1)
    first = Wiretap(path, plant)
    first.see(packet)
    first.look()
    plant.position_rad[:] += 0.5
    plant.torque_on[2] = False
    long = bytes(range(256)) * 2
    Wiretap(path, plant).see(long)  # after the first was killed
    rows = read_tap(path)
    assert [int(row["size"]) for row in rows] == [len(packet), 0, 192, 192, 128]
    assert rows[0]["data"][: len(packet)].tobytes() == packet
    assert b"".join(row["data"][: row["size"]].tobytes() for row in rows[2:]) == long
    np.testing.assert_array_equal(rows[1]["true_rad"], POSE)
    np.testing.assert_array_equal(rows[2]["true_rad"], POSE + 0.5)
    assert rows[0]["torque_on"].all()
    assert not rows[2]["torque_on"][2]
    assert (np.diff(rows["t_s"]) >= 0).all()
    assert len(read_tap(path, 3)) == 2
    assert len(read_tap(path, 5)) == 0


def test_a_full_tap_says_so_and_is_read_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(wiretap, "ROWS", 5)
    monkeypatch.setattr(wiretap, "_BATCH", 3)
    path = tmp_path / "tap.npy"
    create_tap(path)
    tap = Wiretap(path, KinematicPlant(POSE, POSE - 1, POSE + 1))
    for _ in range(5):
        tap.look()
    assert (len(read_tap(path)), len(read_tap(path, 3))) == (3, 2)
    with pytest.raises(EdgeWamError, match="full after 5 rows"):
        tap.look()


def test_without_processes_there_is_none_of_these(capsys):
    assert main(["faults", "--only", "policy killed"]) == 2
    assert "no fault is called" in capsys.readouterr().err
