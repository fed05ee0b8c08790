"""scripts/calibrate.py: a conversation with a person, and simulated servos that somebody moves by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from person import REST_RAD, SHIPPED, Person, by_hand

from edge_wam.act import feetech
from edge_wam.act.calibration import Calibration
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.errors import BusError, CalibrationError, EdgeWamError
from edge_wam.sense.camera import Mount, load_calibration
from edge_wam.service import finding, sweeping
from edge_wam.service.doctor import measured
from edge_wam.service.eeprom import IDS, FeetechEeprom
from edge_wam.types import JOINTS


def bus_of(robot):
    return FeetechBus(robot.open(""), IDS)


def eeprom(robot):
    bus = bus_of(robot)
    return [[bus.read(i, register) for register in FeetechEeprom.registers] for i in IDS]


def test_a_sweep_by_hand_finds_the_calibration_and_writes_it_everywhere(robot, tmp_path):
    person = Person(robot, ["y", "y"], [by_hand()])
    made = sweeping.calibrate_arm(person, tmp_path / "me" / "arm.json", "/dev/a", 1_000_000)
    assert [joint.id for joint in made.joints] == [1, 2, 3, 4, 5, 6]
    bus = bus_of(robot)
    present = np.array([bus.read(i, feetech.PRESENT_POSITION) for i in IDS])
    # The stops of the wrist are not symmetrical, so the middle of its range is not quite its zero.
    assert np.abs(made.to_rad(present) - REST_RAD).max() < 0.06
    assert [[j.homing_offset, j.range_min, j.range_max] for j in made.joints] == eeprom(robot)
    again = Calibration.load(tmp_path / "me" / "arm.json")
    assert again.joints == made.joints
    content = json.loads((tmp_path / "me" / "arm.json").read_text())
    assert set(content["gripper"]) == {"id", "drive_mode", "homing_offset", "range_min", "range_max"}
    bus = bus_of(robot)
    assert [bus.read(i, feetech.LOCK) for i in IDS] == [1] * 6
    assert [bus.read(i, feetech.TORQUE_ENABLE) for i in IDS] == [0] * 6


def test_what_was_there_before_is_kept(robot, tmp_path):
    path = tmp_path / "arm.json"
    path.write_text("the former one")
    sweeping.calibrate_arm(Person(robot, ["y", "y"], [by_hand()]), path, "/dev/a", 1_000_000)
    kept = [p for p in tmp_path.iterdir() if p.suffix == ".bak"]
    assert [p.read_text() for p in kept] == ["the former one"]


def test_a_joint_that_was_not_moved_is_asked_for_again(robot, tmp_path):
    person = Person(robot, ["y", "y"], [by_hand(only=range(5)), by_hand(only=[5])])
    sweeping.calibrate_arm(person, tmp_path / "arm.json", "/dev/a", 1_000_000)
    refused = [text for text in person.heard if text.startswith("not yet: ")]
    assert refused == ["not yet: gripper was moved through 0 degrees; an SO-101's goes through 75 at least: "
                       "move it to both of its stops"]  # fmt: skip


@pytest.mark.parametrize("answer", ["n", "", KeyboardInterrupt()])
def test_whoever_does_not_say_yes_finds_everything_as_it_was(robot, tmp_path, answer):
    path = tmp_path / "arm.json"
    path.write_text("the former one")
    before = eeprom(robot)
    with pytest.raises((EdgeWamError, KeyboardInterrupt)):
        sweeping.calibrate_arm(Person(robot, ["y", answer], [by_hand()]), path, "/dev/a", 1_000_000)
    assert eeprom(robot) == before
    assert path.read_text() == "the former one"
    assert list(tmp_path.iterdir()) == [path]


def test_an_arm_that_nobody_holds_is_not_let_go(robot, tmp_path):
    bus = bus_of(robot)
    for i in IDS:
        bus.write(i, feetech.TORQUE_ENABLE, 1)
    with pytest.raises(EdgeWamError, match="nothing was changed"):
        sweeping.calibrate_arm(Person(robot, ["n"]), tmp_path / "arm.json", "/dev/a", 1_000_000)
    assert [bus.read(i, feetech.TORQUE_ENABLE) for i in IDS] == [1] * 6


def test_a_cable_that_comes_out_on_the_way_says_what_could_not_be_put_back(robot, tmp_path):
    def pulled(person):
        robot.faults.unplugged = True
        return "y"

    person = Person(robot, ["y", pulled], [by_hand()])
    with pytest.raises(BusError, match=r"could not be put back .* servo 1: -412, 783, 3311"):
        sweeping.calibrate_arm(person, tmp_path / "arm.json", "/dev/a", 1_000_000)
    assert not (tmp_path / "arm.json").exists()


def test_a_jump_is_no_sweep(robot, tmp_path):
    jump = REST_RAD.copy()
    jump[0] = 1.9
    before = eeprom(robot)
    robot.put(np.where(np.arange(6) == 0, -1.9, REST_RAD))
    person = Person(robot, ["y", "y"], [[jump]])
    with pytest.raises(CalibrationError, match="shoulder_pan moved too fast"):
        sweeping.calibrate_arm(person, tmp_path / "arm.json", "/dev/a", 1_000_000)
    assert eeprom(robot) == before


def test_a_silent_servo_is_named_in_words(robot, tmp_path):
    robot.faults.drop(100, servo_id=3)
    with pytest.raises(BusError, match=r"no reply from elbow_flex \(the one at the elbow\)"):
        sweeping.calibrate_arm(Person(robot), tmp_path / "arm.json", "/dev/a", 1_000_000)


# --- verify ---------------------------------------------------------------------------------


def test_verify_moves_each_joint_a_little_and_lets_go(robot):
    person = Person(robot, ["y"])
    assert sweeping.verify(person, SHIPPED, "/dev/a", 1_000_000, sleep=robot.sleep)
    assert sum("ok" in text for text in person.heard) == len(JOINTS)
    assert np.abs(robot.plant.position_rad - REST_RAD).max() < 0.02  # it came back
    assert not robot.plant.torque_on.any()


def test_verify_finds_a_joint_that_is_stuck(robot):
    robot.plant.speed_limit_rad_s[2] = 0.0

    def sleep(seconds):
        held = robot.plant.position_rad[2]
        robot.sleep(seconds)
        robot.plant.position_rad[2] = held

    person = Person(robot, ["y"])
    assert not sweeping.verify(person, SHIPPED, "/dev/a", 1_000_000, sleep=sleep)
    (bad,) = [text for text in person.heard if "does not follow" in text]
    assert bad.startswith("elbow_flex")


def test_verify_asks_before_anything_moves(robot):
    with pytest.raises(EdgeWamError, match="nothing was moved"):
        sweeping.verify(Person(robot, [""]), SHIPPED, "/dev/a", 1_000_000, sleep=robot.sleep)
    assert not robot.plant.torque_on.any()


# --- ports and ids --------------------------------------------------------------------------


def test_the_only_port_is_taken_and_of_several_one_is_picked(robot, monkeypatch):
    there = ["/dev/serial/by-id/one", "/dev/ttyACM0", "/dev/ttyS0"]
    monkeypatch.setattr(finding, "existing_ports", lambda: there)
    assert finding.choose_port(Person(robot), "") == "/dev/serial/by-id/one"
    there.insert(1, "/dev/serial/by-id/two")
    assert finding.choose_port(Person(robot, ["2"]), "") == "/dev/serial/by-id/two"
    with pytest.raises(EdgeWamError, match=r"expected a number from 1 to 2, found 'x'; try: --port"):
        finding.choose_port(Person(robot, ["x"]), "")
    there.clear()
    with pytest.raises(BusError, match="no serial port"):
        finding.choose_port(Person(robot), "")


class OneServo:
    """A wire on which factory-new servos hang, one at a time: the others listen at a speed nobody tries."""

    def __init__(self, robot):
        self.every = robot.chain.servos
        self.left = list(reversed(self.every))
        for servo in self.every:
            servo.memory[feetech.ID.address] = 1
        self.connect([])

    def connect(self, servos):
        for servo in self.every:
            servo.memory[feetech.BAUD.address] = 0 if servo in servos else 5


def test_ids_are_given_one_by_one_from_the_gripper_on(robot):
    wire = OneServo(robot)

    def next_one(person):
        wire.connect([wire.left.pop(0)])
        return ""

    person = Person(robot, [next_one] * 6)
    finding.set_ids(person, "/dev/a", 1_000_000)
    assert [servo.memory[feetech.ID.address] for servo in wire.every] == [1, 2, 3, 4, 5, 6]
    assert "gripper has the id 6 (it was 1)" in person.heard
    assert "shoulder_pan has the id 1" in person.heard


def test_two_servos_at_once_are_not_renamed(robot):
    wire = OneServo(robot)
    wire.every[0].memory[feetech.ID.address] = 9

    def both(person):
        wire.connect(wire.every[:2])
        return ""

    with pytest.raises(BusError, match=r"2 servos answer .*\(ids 1, 9\); try: connect exactly one"):
        finding.set_ids(Person(robot, [both]), "/dev/a", 1_000_000)


# --- what the doctor makes of it ------------------------------------------------------------


def test_the_doctor_says_what_is_known_of_a_camera():
    camera = load_calibration(SHIPPED.with_name("camera.json"))[0]
    assert measured(camera) == "front: place unknown, delay unknown"
    mount = Mount("base", (0.5, 0, 0.4), (1, 0, 0, 0), 0.164)
    assert measured(camera._replace(mount=mount, delay_s=0.0435)) == "front: placed to 0.16 px, 44 ms late"
