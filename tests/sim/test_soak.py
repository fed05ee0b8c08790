"""`edge-wam soak`: it goes on after every fault, and finds what it looks for."""

from __future__ import annotations

import json

import pytest

from edge_wam import loop
from edge_wam.act.guard import Limited
from edge_wam.cli import main
from edge_wam.sim import soak
from edge_wam.sim.fault_list import FAULTS


def soaked(capsys, hours=0.02, seed=1, servos="feetech"):
    code = main(["soak", "--hours", str(hours), "--seed", str(seed), "--servos", servos])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_minute_of_faults_leaves_the_arm_safe_and_no_slot_missed(capsys):
    code, told = soaked(capsys)
    assert code == 0
    assert told["faults"] >= 4
    assert (told["unsafe"], told["missed"]) == (0, 0)
    assert 3596 <= told["ticks"] + told["stolen"] <= 3600  # starting takes a few


def test_an_unsafe_goal_is_found(capsys, monkeypatch):
    jump = next(fault for fault in FAULTS if fault.name == "jumps by 0.7 rad")
    monkeypatch.setattr(soak, "survived", lambda servos: (jump,))

    def nobody(wish_rad, sent_rad, before_rad, measured_rad, limits, period_s):
        return sent_rad if wish_rad is None else wish_rad, Limited(0, 0, 0, 0, 0)

    monkeypatch.setattr(loop, "limit", nobody)
    code, told = soaked(capsys, hours=0.003)
    assert code == 1
    assert told["unsafe"] > 0


@pytest.mark.slow
def test_a_minute_of_faults_of_dynamixel_servos(capsys):
    code, told = soaked(capsys, hours=0.015, seed=3, servos="dynamixel")
    assert (code, told["servos"], told["unsafe"], told["missed"]) == (0, "dynamixel", 0, 0)
    assert told["faults"] >= 3


def test_faults_that_end_the_loop_are_left_to_the_other_tests():
    names = {fault.name for fault in soak.survived("feetech")}
    assert "the bus cable comes out" not in names
    assert len(names) > 40
