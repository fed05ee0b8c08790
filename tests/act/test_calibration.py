"""The calibration: counts and radians there and back, and every way the file can be wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from edge_wam.act.arm import DRIVE_SPEED_RAD_S
from edge_wam.act.calibration import RAD_PER_COUNT, Calibration
from edge_wam.act.limits import load_limits
from edge_wam.errors import CalibrationError

FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"
# The SO-101's mechanical range, in calibrated radians (the MuJoCo model's joint ranges).
MECHANICAL_LOW_RAD = np.array([-1.920, -1.746, -1.690, -1.659, -2.744, 0.0])
MECHANICAL_HIGH_RAD = np.array([1.920, 1.746, 1.690, 1.659, 2.842, 1.92])


# --- counts and radians -------------------------------------------------------------------------


def flipped() -> Calibration:
    """The same arm with every drive mode reversed."""
    joints = Calibration.load(FOLDER / "arm.json").joints
    return Calibration(tuple(dataclasses.replace(joint, drive_mode=1) for joint in joints))


def test_every_count_goes_to_radians_and_back():
    for calibration in (Calibration.load(FOLDER / "arm.json"), flipped()):
        low = np.array([joint.range_min for joint in calibration.joints])
        high = np.array([joint.range_max for joint in calibration.joints])
        for share in np.linspace(0, 1, 501):
            counts = np.rint(low + share * (high - low)).astype(np.int64)
            assert (calibration.to_counts(calibration.to_rad(counts)) == counts).all()


def test_radians_come_back_within_half_a_count():
    calibration = Calibration.load(FOLDER / "arm.json")
    for share in np.linspace(0, 1, 101):
        rad = calibration.low_rad + share * (calibration.high_rad - calibration.low_rad)
        back = calibration.to_rad(calibration.to_counts(rad))
        assert np.abs(back - rad).max() <= RAD_PER_COUNT / 2 + 1e-12


def test_body_joints_are_zero_mid_range_and_the_gripper_where_it_is_closed():
    calibration = Calibration.load(FOLDER / "arm.json")
    assert calibration.zero_count.tolist() == [2047, 2055, 2043, 2048, 2047.5, 2021]
    assert flipped().zero_count.tolist() == [2047, 2055, 2043, 2048, 2047.5, 3290]
    assert calibration.low_rad[5] == 0
    assert flipped().low_rad[5] == 0
    counts = np.array([2047, 2055, 2043, 2048, 2048, 2021]) + 100
    expected = np.array([100, 100, 100, 100, 100.5, 100]) * 2 * np.pi / 4096
    np.testing.assert_allclose(calibration.to_rad(counts), expected)
    np.testing.assert_allclose(flipped().to_rad(counts)[:5], -expected[:5])


def test_radians_beyond_the_calibrated_range_end_at_its_edge():
    for calibration in (Calibration.load(FOLDER / "arm.json"), flipped()):
        for sign in (-1.0, 1.0):
            counts = calibration.to_counts(np.full(6, sign * 100.0))
            ends = [(joint.range_min, joint.range_max) for joint in calibration.joints]
            assert all(count in pair for count, pair in zip(counts.tolist(), ends, strict=True))
        np.testing.assert_allclose(
            calibration.to_rad(calibration.to_counts(np.full(6, 100.0))), calibration.high_rad
        )


def test_the_shipped_calibration_covers_the_arms_mechanical_range():
    calibration = Calibration.load(FOLDER / "arm.json")
    assert (calibration.low_rad <= MECHANICAL_LOW_RAD).all()
    assert (calibration.high_rad >= MECHANICAL_HIGH_RAD).all()


def test_the_shipped_limits_lie_inside_the_mechanical_range_and_below_the_drives_speed():
    limits = load_limits(FOLDER / "limits.toml")
    assert (limits.low_rad >= MECHANICAL_LOW_RAD).all()
    assert (limits.high_rad <= MECHANICAL_HIGH_RAD).all()
    assert (limits.speed_rad_s < DRIVE_SPEED_RAD_S).all()
    assert limits.park_rad is not None


# --- the file -----------------------------------------------------------------------------------


def edited(tmp_path, edit) -> Path:
    content = json.loads((FOLDER / "arm.json").read_text())
    edit(content)
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(content))
    return path


BAD_FILES = [
    ("a missing joint", lambda c: c.pop("elbow_flex"), r"lacks the joint elbow_flex \(has shoulder_pan, "),
    (
        "a misspelt joint",
        lambda c: c.update(wrist_rol=c.pop("wrist_roll")),
        r"'wrist_rol' \(did you mean 'wrist_roll'",
    ),
    ("a missing field", lambda c: c["gripper"].pop("range_max"), r"gripper lacks 'range_max' \(has id"),
    (
        "a misspelt field",
        lambda c: c["gripper"].update(rangemax=3),
        r"unknown field 'rangemax' \(did you mean 'range_max'",
    ),
    (
        "a fraction",
        lambda c: c["gripper"].update(range_min=10.5),
        r"gripper.range_min is 10.5, not a whole number",
    ),
    ("a boolean", lambda c: c["gripper"].update(drive_mode=True), r"gripper.drive_mode is True"),
    ("a text", lambda c: c["gripper"].update(id="6"), r"gripper.id is '6'"),
    (
        "an offset of 2048",
        lambda c: c["gripper"].update(homing_offset=2048),
        r"2048, not a whole number from -2047 to 2047",
    ),
    ("a count of 4096", lambda c: c["gripper"].update(range_max=4096), r"from 0 to 4095"),
    ("two equal ids", lambda c: c["gripper"].update(id=5), r"wrist_roll and gripper both have the id 5"),
    (
        "a range upside down",
        lambda c: c["gripper"].update(range_min=3290, range_max=2021),
        r"less than 200 counts",
    ),
    ("a range never swept", lambda c: c["gripper"].update(range_min=3100), r"gripper goes from 3100 to 3290"),
    ("a joint that is a list", lambda c: c.update(gripper=[1, 2]), r"gripper is a list, not an object"),
]


@pytest.mark.parametrize(("edit", "message"), [c[1:] for c in BAD_FILES], ids=[c[0] for c in BAD_FILES])
def test_a_bad_file_is_one_line_that_names_the_fault(tmp_path, edit, message):
    path = edited(tmp_path, edit)
    with pytest.raises(CalibrationError, match=message) as caught:
        Calibration.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_json_says_so(tmp_path):
    with pytest.raises(CalibrationError, match="no calibration at"):
        Calibration.load(tmp_path / "none.json")
    for text in ("{", "[1]", "3", '"x"'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(CalibrationError, match=r"bad\.json"):
            Calibration.load(tmp_path / "bad.json")


def test_the_least_span_is_just_enough(tmp_path):
    Calibration.load(edited(tmp_path, lambda c: c["gripper"].update(range_min=3090)))
    with pytest.raises(CalibrationError):
        Calibration.load(edited(tmp_path, lambda c: c["gripper"].update(range_min=3091)))
