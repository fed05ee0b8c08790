"""scripts/calibrate.py at a terminal: an arm is found, swept, given its ids; Ctrl-C and wrong answers."""

from __future__ import annotations

import contextlib
import re
import time

import pytest

pytest.importorskip("pexpect")

import pexpect
from calibrate_desk import Desk, ended, out
from person import HIGH_RAD, LOW_RAD, REST_RAD, SHIPPED, by_hand

from edge_wam.act import feetech
from edge_wam.act.calibration import Calibration
from edge_wam.service.eeprom import FeetechEeprom
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import PtyPort


def sweep(desk, child, way):
    """The arm along a way, by hand: on as soon as the program has asked where it is. The table is read
    meanwhile, since no terminal stands still."""
    for pose in way:
        desk.put(pose)
        until = desk.asked + 2  # the first may have been answered before
        limit_s = time.monotonic() + 30
        while desk.asked < until:
            assert time.monotonic() < limit_s
            with contextlib.suppress(pexpect.TIMEOUT):
                child.read_nonblocking(4096, 0.005)


@pytest.fixture
def desk(tmp_path):
    """The arm is moved by put."""
    plant = KinematicPlant(REST_RAD, LOW_RAD, HIGH_RAD)
    chain = ServoChain(plant, Calibration.load(SHIPPED))
    made = Desk(tmp_path)
    made.chain, made.plant, made.asked = chain, plant, 0

    def tap(data):
        made.asked += 1

    with PtyPort(chain, wire_time=False, tap=tap) as wire:
        made.port = wire.path

        def put(pose):
            plant.position_rad[:] = pose
            plant.goal_rad[:] = pose
            chain.update()

        made.put = put
        yield made


def eeprom(chain):
    return [[servo.get(register) for register in FeetechEeprom.registers] for servo in chain.servos]


@pytest.mark.slow
def test_an_arm_is_swept_after_a_joint_was_forgotten(desk):
    (desk.folder / "arm.json").write_text("the former one")
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendline("y")
    child.expect("press ENTER")
    sweep(desk, child, by_hand(only=range(5), steps=12))
    child.expect(r"shoulder_pan .* ok")  # the table that changes
    child.sendline()
    child.expect("not yet: gripper was moved through 0 degrees")
    child.expect("press ENTER")
    sweep(desk, child, by_hand(only=[5], steps=12))
    child.sendline()
    child.expect("Write this to")
    child.sendline("y")
    text, code = ended(child)
    assert code == 0, text
    assert "written: " in text
    made, true = Calibration.load(desk.folder / "arm.json"), Calibration.load(SHIPPED)
    for ours, right in zip(made.joints[:5], true.joints, strict=False):
        assert abs(ours.homing_offset - right.homing_offset) <= 40  # the wrist's stops are not symmetrical
    assert [[j.homing_offset, j.range_min, j.range_max] for j in made.joints] == eeprom(desk.chain)
    (kept,) = desk.folder.glob("*.bak")
    assert kept.read_text() == "the former one"


@pytest.mark.slow
@pytest.mark.parametrize("where", ["sweeping", "asked"])
def test_ctrl_c_leaves_servos_and_file_as_they_were(desk, where):
    (desk.folder / "arm.json").write_text("the former one")
    before = eeprom(desk.chain)
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendline("y")
    child.expect("press ENTER")
    sweep(desk, child, by_hand(steps=12))
    assert eeprom(desk.chain) != before  # blank, while they are swept
    if where == "asked":
        child.sendline()
        child.expect("Write this to")
    child.sendintr()
    text, code = ended(child)
    assert code == 130
    assert "interrupted; everything is as it was" in text
    assert "Traceback" not in text
    assert eeprom(desk.chain) == before
    assert [servo.get(feetech.LOCK) for servo in desk.chain.servos] == [1] * 6
    assert [path.name for path in desk.folder.iterdir()] == ["arm.json"]
    assert (desk.folder / "arm.json").read_text() == "the former one"


def test_a_wrong_answer_changes_nothing(desk):
    before = eeprom(desk.chain)
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendline("what?")
    text, code = ended(child)
    assert (code, eeprom(desk.chain)) == (2, before)
    assert "calibrate: nothing was changed: hold the arm" in text


def test_an_arm_is_found(desk):
    text, code = ended(desk.start("find"))
    assert code == 0
    assert len(re.findall(r"STS3215 +feetech +1000000 +12\.", text)) == 6
    assert f"next: scripts/calibrate.py arm --port {desk.port} --servos feetech --baud 1000000" in text


@pytest.mark.slow
def test_ids_are_given_to_one_servo_after_another(desk):
    servos, left = desk.chain.servos, list(reversed(desk.chain.servos))
    for servo in servos:
        servo.put(feetech.ID, 1)
        servo.put(feetech.BAUD, 5)  # 76800, which nobody tries: not connected
    child = desk.start("ids")
    for name, servo_id in zip(("gripper", "wrist_roll"), (6, 5), strict=True):
        child.expect(rf"\({name}\) alone, no other; then press ENTER")
        for servo in servos:
            servo.put(feetech.BAUD, 5)
        left.pop(0).put(feetech.BAUD, 0)
        child.sendline()
        child.expect(rf"{name} has the id {servo_id} \(it was 1\)")
    child.expect(r"\(wrist_flex\) alone")
    child.sendintr()
    assert ended(child)[1] == 130
    assert [servo.get(feetech.ID) for servo in servos] == [1, 1, 1, 1, 5, 6]


def test_nobody_at_the_terminal_is_said_in_a_line(desk):
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendeof()
    text, code = ended(child)
    assert code == 2
    assert "nobody answers" in text


def test_a_terminal_that_is_closed_while_sweeping_changes_nothing(desk):
    before = eeprom(desk.chain)
    child = desk.start("arm", *out(desk))
    child.expect("Is somebody holding it")
    child.sendline("y")
    child.expect("press ENTER")
    child.sendeof()
    text, code = ended(child)
    assert code == 2
    assert "nobody answers" in text
    assert eeprom(desk.chain) == before
