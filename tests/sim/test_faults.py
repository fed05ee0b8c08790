"""Every fault of both lists, and the judge of the bytes: a judge that finds nothing wrong proves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_wam import loop
from edge_wam.act import feetech
from edge_wam.act.calibration import Calibration
from edge_wam.act.guard import Limited
from edge_wam.act.limits import load_limits
from edge_wam.cli import main
from edge_wam.sim import faults
from edge_wam.sim.dynamixel_faults import DYNAMIXEL_FAULTS
from edge_wam.sim.fault_list import FAULTS
from edge_wam.sim.faults import Fault, inject, table
from edge_wam.sim.monitor import Monitor

FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"
CALIBRATION = Calibration.load(FOLDER / "arm.json")
LIMITS = load_limits(FOLDER / "limits.toml")
PERIOD_S = 0.02
# They are in the list to show that nothing has to happen.
UNNOTICED = {
    "replies 4 ms late", "an adapter that hears itself", "is silent for 0.7 s", "floods its mailbox",
    "the date is set back by an hour",
}  # fmt: skip
UNNOTICED_BY_DYNAMIXEL = UNNOTICED - {"an adapter that hears itself"} | {
    "data that look like a header", "the alert bit, once", "answers that refuse"
}  # fmt: skip


@pytest.mark.parametrize("every", [FAULTS, DYNAMIXEL_FAULTS], ids=["feetech", "dynamixel"])
def test_there_are_at_least_forty_and_each_has_its_own_name(every):
    assert len(every) >= 40
    assert len({fault.name for fault in every}) == len(every)
    assert {fault.expected for fault in every} == set(faults.OUTCOMES)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.group}: {fault.name}")
def test_no_fault_puts_an_unsafe_goal_on_the_wire_and_each_ends_as_it_should(fault):
    judged(inject(fault, FOLDER), UNNOTICED)


# Those of their own; with the other family the others were seen, and `make test-slow` sees them again.
OWN = {fault.name for fault in DYNAMIXEL_FAULTS} - {fault.name for fault in FAULTS}
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=() if fault.name in OWN or "stopped" in fault.name else SLOW)
        for fault in DYNAMIXEL_FAULTS
    ],
    ids=lambda fault: f"{fault.group}: {fault.name}",
)
def test_nor_does_any_with_dynamixel_servos(fault):
    judged(inject(fault, FOLDER, "dynamixel"), UNNOTICED_BY_DYNAMIXEL)


def judged(row, unnoticed):
    assert row.worst.unsafe == ()
    assert row.outcome == row.fault.expected
    assert row.good
    assert np.isnan(row.noticed_ms) == (row.fault.name in unnoticed)
    if row.outcome in ("held", "let go"):
        assert row.said, "a person is told why"


# --- the judge can find something -----------------------------------------------------------------


@pytest.mark.parametrize("servos", ["feetech", "dynamixel"])
def test_without_the_guard_a_policy_that_jumps_is_found_out(monkeypatch, servos):
    def nobody(wish_rad, sent_rad, before_rad, measured_rad, limits, period_s):
        return sent_rad if wish_rad is None else wish_rad, Limited(0, 0, 0, 0, 0)

    monkeypatch.setattr(loop, "limit", nobody)
    jump = next(fault for fault in FAULTS if fault.name == "jumps by 0.7 rad")
    row = inject(jump, FOLDER, servos)
    assert row.worst.unsafe
    assert not row.good
    assert "UNSAFE" in table([row])


def test_another_end_than_expected_is_said():
    row = inject(Fault("nothing at all", "host", lambda rig: None, "parked"), FOLDER)
    assert (row.outcome, row.good) == ("went on", False)
    assert "went on (expected: parked)" in table([row])
    assert np.isnan(row.noticed_ms)


def monitor(true_rad=None):
    true_rad = np.zeros(6) if true_rad is None else true_rad
    return Monitor(CALIBRATION, LIMITS, PERIOD_S, lambda: true_rad)


def goals(rad):
    counts = [
        round(r / s + z)
        for r, s, z in zip(rad, CALIBRATION.rad_per_count, CALIBRATION.zero_count, strict=True)
    ]
    items = [
        (joint.id, feetech.pack(feetech.GOAL_POSITION, c))
        for joint, c in zip(CALIBRATION.joints, counts, strict=True)
    ]
    return feetech.sync_write(feetech.GOAL_POSITION.address, items)


MIDDLE = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
STEP = LIMITS.speed_rad_s * PERIOD_S


def seen(*poses, true_rad=MIDDLE):
    judge = monitor(true_rad)
    for pose in poses:
        judge.see(goals(pose))
    assert judge.goals == 6 * len(poses)
    return judge.worst


@pytest.mark.parametrize("joint", range(6))
def test_a_step_is_judged_from_both_sides(joint):
    far = MIDDLE.copy()
    far[joint] += 0.9 * STEP[joint]
    assert seen(MIDDLE, far).unsafe == ()
    far[joint] += 0.2 * STEP[joint]
    (said,) = seen(MIDDLE, far).unsafe
    assert f"{CALIBRATION.joints[joint].name} was sent a step of" in said


@pytest.mark.parametrize("side", [-1, 1])
def test_a_goal_beyond_the_range_is_unsafe_unless_the_joint_hangs_there(side):
    edge_rad = LIMITS.high_rad[0] if side > 0 else LIMITS.low_rad[0]

    def sent(beyond_rad, true_beyond_rad):
        goal, true = MIDDLE.copy(), MIDDLE.copy()
        goal[0], true[0] = edge_rad + side * beyond_rad, edge_rad + side * true_beyond_rad
        return seen(goal, true_rad=true).unsafe

    assert sent(0.0, 0.0) == ()
    assert "shoulder_pan was sent 0.00" in sent(0.005, 0.0)[0]
    assert "shoulder_pan was sent 0.00" in sent(0.005, -0.001)[0]
    assert sent(0.03, 0.03) == ()
    assert sent(0.03, 0.015) == ()
    assert "shoulder_pan was sent 0.0" in sent(0.06, 0.03)[0]


def test_a_goal_far_ahead_of_the_joint_is_unsafe_and_one_where_it_is_is_not():
    ahead = MIDDLE.copy()
    ahead[1] += LIMITS.lead_rad[1] + 0.15
    assert "shoulder_lift was sent 0.65 rad ahead" in seen(ahead).unsafe[0].replace("0.650", "0.65")
    assert seen(ahead, true_rad=ahead).unsafe == ()


def test_goals_are_found_in_any_pieces_and_in_longer_writes():
    judge, stream = monitor(MIDDLE), b"\x00\xff" + goals(MIDDLE) + feetech.ping(1) + goals(MIDDLE)
    for byte in stream:
        judge.see(bytes([byte]))
    assert judge.goals == 12
    joint, zero = CALIBRATION.joints[0], round(CALIBRATION.zero_count[0])
    data = bytes([1, 254]) + feetech.pack(feetech.GOAL_POSITION, zero) + bytes(4)
    judge.see(feetech.write(joint.id, feetech.TORQUE_ENABLE.address, data))
    assert judge.goals == 13


def test_a_packet_with_a_wrong_checksum_moves_nobody():
    judge, data = monitor(MIDDLE), bytearray(goals(MIDDLE + 1))
    data[-1] ^= 1
    judge.see(bytes(data))
    assert judge.goals == 0


# --- the command ----------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_json_and_draws(capsys, tmp_path):
    picture = tmp_path / "faults.png"
    assert main(["faults", "--only", "stop", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    rows = json.loads(out.splitlines()[-1])["faults"]
    assert {"STOP", "STOP a thousand times"} <= {row["fault"] for row in rows}
    assert "0 with an unsafe goal on the wire" in out
    assert picture.stat().st_size > 5000


def test_the_servos_are_the_settings_or_as_asked_for(capsys):
    assert main(["faults", "--only", "alert bit, once", "--servos", "dynamixel"]) == 0
    assert main(["faults", "--only", "alert bit, once", "--set", "robot.servos=dynamixel"]) == 0
    assert "1 faults, 0 with an unsafe goal" in capsys.readouterr().out
    assert main(["faults", "--processes", "--servos", "dynamixel"]) == 2
    assert "a robot of Feetech servos" in capsys.readouterr().err


def test_an_unknown_fault_names_the_nearest(capsys):
    assert main(["faults", "--only", "STOPPING"]) == 2
    assert "did you mean" in capsys.readouterr().err
