"""Both families of servos: swept, found, given ids; their files read by LeRobot, and LeRobot's by us."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from person import REST_RAD, ROOT, SHIPPED, Person, arm_of, by_hand, plug_in

from edge_wam.act import dynamixel_table, feetech
from edge_wam.act.calibration import DYNAMIXEL, FEETECH, Calibration
from edge_wam.act.families import FAMILIES
from edge_wam.errors import BusError, CalibrationError, EdgeWamError
from edge_wam.service import finding, sweeping
from edge_wam.service.eeprom import EEPROMS, IDS, opened
from edge_wam.service.finding import Found, advice
from edge_wam.sim import bench_lerobot
from edge_wam.sim.wire import PtyPort

BOTH = (FEETECH, DYNAMIXEL)


@pytest.fixture(params=BOTH)
def robot(request, monkeypatch):
    made = arm_of(request.param)
    plug_in(made, monkeypatch)
    return made


@pytest.fixture
def koch(monkeypatch):
    made = arm_of(DYNAMIXEL)
    plug_in(made, monkeypatch)
    return made


def eeprom(robot):
    registers = EEPROMS[robot.servos].registers
    with opened("", robot.servos, IDS, 1_000_000) as bus:
        return [[bus.read(i, register) for register in registers] for i in IDS]


def swept(robot, path, answers=("y", "y"), ways=None):
    person = Person(robot, answers, [by_hand()] if ways is None else ways)
    return sweeping.calibrate_arm(person, path, "/dev/a", 1_000_000, robot.servos)


def test_what_was_swept_is_what_the_arm_then_says(robot, tmp_path):
    made = swept(robot, tmp_path / "arm.json")
    again = Calibration.load(tmp_path / "arm.json", robot.servos)
    assert again.joints == made.joints
    robot.chain.power_cycle()
    with opened("", robot.servos, IDS, 1_000_000) as bus:
        arm = FAMILIES[robot.servos].arm(bus, again)
        arm.connect()
        # The stops of the wrist are not symmetrical, so the middle of its range is not quite its zero.
        assert np.abs(arm.sense().position_rad - REST_RAD).max() < 0.06
    # The offsets have the sign of the family.
    for ours, right in zip(made.joints[:4], robot.true.joints, strict=False):
        apart = (ours.actual_minus_present - right.actual_minus_present + 2048) % 4096 - 2048
        assert abs(apart) <= 40


@pytest.mark.parametrize("answer", ["n", KeyboardInterrupt()])
def test_whoever_does_not_say_yes_finds_everything_as_it_was(robot, tmp_path, answer):
    before = eeprom(robot)
    with pytest.raises((EdgeWamError, KeyboardInterrupt)):
        swept(robot, tmp_path / "arm.json", ("y", answer))
    assert eeprom(robot) == before
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_the_servos_as_they_were(robot, tmp_path):
    before = eeprom(robot)
    (tmp_path / "a file").write_text("")
    with pytest.raises(EdgeWamError, match=r"arm\.json cannot be written \("):
        swept(robot, tmp_path / "a file" / "arm.json")
    assert eeprom(robot) == before


def test_a_dynamixel_in_one_turn_mode_is_given_the_mode_its_offset_needs(koch, tmp_path):
    with opened("", DYNAMIXEL, IDS, 1_000_000) as bus:
        bus.write(2, dynamixel_table.OPERATING_MODE, dynamixel_table.POSITION)
        bus.write(6, dynamixel_table.OPERATING_MODE, dynamixel_table.CURRENT_POSITION)
    swept(koch, tmp_path / "arm.json")
    assert [values[0] for values in eeprom(koch)] == [4, 4, 4, 4, 4, 5]


def test_a_reversed_dynamixel_is_reversed_in_the_file(koch, tmp_path):
    with opened("", DYNAMIXEL, IDS, 1_000_000) as bus:
        bus.write(3, dynamixel_table.DRIVE_MODE, 1)
    made = swept(koch, tmp_path / "arm.json")
    assert [joint.drive_mode for joint in made.joints] == [0, 0, 1, 0, 0, 0]
    koch.put(REST_RAD)
    with opened("", DYNAMIXEL, IDS, 1_000_000) as bus:
        arm = FAMILIES[DYNAMIXEL].arm(bus, made)
        arm.connect()
        # It was built in the usual way: now the angle is measured against the joint's. Nobody can know that
        # but who sees it move (`verify`).
        apart = np.abs(arm.sense().position_rad - REST_RAD * [1, 1, -1, 1, 1, 1])
        assert apart.max() < 0.06
        bus.write(3, dynamixel_table.DRIVE_MODE, 4)  # a profile in milliseconds: another servo altogether
    with pytest.raises(BusError, match="drive_mode 4, expected 0 or 1"):
        swept(koch, tmp_path / "arm.json")


@pytest.mark.parametrize("joints", [(2,), (0, 4, 5), range(6)])
@pytest.mark.parametrize("power_cycle", [False, True])
def test_a_servo_that_sits_the_other_way_round_and_is_set_so_is_calibrated_as_any(
    tmp_path, monkeypatch, joints, power_cycle
):
    koch = arm_of(DYNAMIXEL, built_in_reversed=joints)
    plug_in(koch, monkeypatch)
    with opened("", DYNAMIXEL, IDS, 1_000_000) as bus:
        arm = FAMILIES[DYNAMIXEL].arm(bus, koch.true)
        arm.connect()
        assert np.abs(arm.sense().position_rad - REST_RAD).max() < 0.01  # by the file it came with
    made = swept(koch, tmp_path / "arm.json")
    assert [joint.drive_mode for joint in made.joints] == [int(i in joints) for i in range(6)]
    assert Calibration.load(tmp_path / "arm.json", DYNAMIXEL).joints == made.joints
    koch.put(REST_RAD)
    if power_cycle:
        koch.chain.power_cycle()
    with opened("", DYNAMIXEL, IDS, 1_000_000) as bus:
        arm = FAMILIES[DYNAMIXEL].arm(bus, made)
        arm.connect()
        assert np.abs(arm.sense().position_rad - REST_RAD).max() < 0.06
        arm.start()
        there_rad = REST_RAD + 0.2
        for _ in range(60):
            arm.act(there_rad)
            koch.sleep(0.02)
        assert np.abs(koch.plant.position_rad - there_rad).max() < 0.06  # the joint itself, the right way
        arm.release()


def test_how_a_feetech_joint_is_built_in_is_kept_from_the_former_file(tmp_path, monkeypatch):
    so101 = arm_of(FEETECH)
    plug_in(so101, monkeypatch)
    entries = json.loads(SHIPPED.read_text())
    entries["elbow_flex"]["drive_mode"] = 1
    (tmp_path / "arm.json").write_text(json.dumps(entries))
    made = swept(so101, tmp_path / "arm.json")
    assert [joint.drive_mode for joint in made.joints] == [0, 0, 1, 0, 0, 0]


def test_a_dynamixel_arm_may_be_of_another_build_but_each_joint_is_moved(koch, tmp_path):
    person = Person(koch, ["y", "y"], [by_hand(only=range(5)), by_hand(only=[5])])
    sweeping.calibrate_arm(person, tmp_path / "arm.json", "/dev/a", 1_000_000, DYNAMIXEL)
    (refused,) = [text for text in person.heard if text.startswith("not yet: ")]
    assert "gripper was moved through 0 degrees; an arm's goes through 30 at least" in refused


def test_verify_knows_both_families(robot):
    person = Person(robot, ["y"])
    assert sweeping.verify(person, SHIPPED, "/dev/a", 1_000_000, robot.servos, sleep=robot.sleep)


# --- find -----------------------------------------------------------------------------------


def test_an_arm_is_found_and_what_to_do_with_it(robot):
    person = Person(robot)
    found = finding.find(person, "/dev/a")
    assert [one.servo_id for one in found] == list(IDS)
    assert {(one.servos, one.baud_bps) for one in found} == {(robot.servos, 1_000_000)}
    assert {one.model for one in found} == {"STS3215" if robot.servos == FEETECH else "XL430-W250"}
    assert all(one.voltage_v == pytest.approx(12, abs=0.5) for one in found)
    assert (
        f"scripts/calibrate.py arm --port /dev/a --servos {robot.servos} --baud 1000000" in person.heard[-1]
    )


def test_finding_writes_nothing(robot):
    finding.find(Person(robot), "/dev/a")  # what is asked for is brought up to date
    before = [bytes(servo.memory) for servo in robot.chain.servos]
    finding.find(Person(robot), "/dev/a")
    assert [bytes(servo.memory) for servo in robot.chain.servos] == before


def test_servos_of_several_speeds_are_all_found(koch):
    for servo, baud in zip(koch.chain.servos, (0, 1, 2, 3, 4, 6), strict=True):
        servo.put(dynamixel_table.BAUD, baud)
    person = Person(koch)
    found = finding.find(person, "/dev/a")
    assert {one.servo_id: one.baud_bps for one in found} == {
        1: 9_600, 2: 57_600, 3: 115_200, 4: 1_000_000, 5: 2_000_000, 6: 4_000_000,
    }  # fmt: skip
    assert "next: scripts/calibrate.py ids" in person.heard[-1]


def test_an_id_beyond_the_usual_is_found_when_every_id_is_asked(robot):
    register = feetech.ID if robot.servos == FEETECH else dynamixel_table.ID
    robot.chain.servos[2].put(register, 200)
    assert 200 not in [one.servo_id for one in finding.find(Person(robot), "/dev/a")]
    assert 200 in [one.servo_id for one in finding.find(Person(robot), "/dev/a", finding.EVERY_ID)]


def test_a_dead_line_is_said_to_be_one(robot):
    robot.faults.unplugged = True
    with pytest.raises(BusError, match=r"no servo answers on /dev/a \(ids 0 to 20, every speed\)"):
        finding.find(Person(robot), "/dev/a")


def test_a_port_that_does_not_open_does_not_end_the_search(robot, monkeypatch):
    def opening(path, baud_bps):
        if path == "/dev/b":
            raise BusError("servo port /dev/b cannot be opened (another program is using it)")
        return robot.open(path, baud_bps)

    monkeypatch.setattr(finding, "open_port", opening)
    monkeypatch.setattr(finding, "existing_ports", lambda: ["/dev/b", "/dev/c"])
    person = Person(robot)
    assert len(finding.find(person, "")) == 6
    assert "  servo port /dev/b cannot be opened (another program is using it)" in person.heard


def test_five_servos_are_no_arm():
    five = [Found(FEETECH, 1_000_000, servo_id, "STS3215", 12.0) for servo_id in IDS[:5]]
    assert "scripts/calibrate.py ids" in advice("/dev/a", five)
    mixed = [*five, Found(FEETECH, 500_000, 6, "STS3215", 12.0)]
    assert "scripts/calibrate.py ids" in advice("/dev/a", mixed)


# --- ids ------------------------------------------------------------------------------------


def test_factory_new_servos_get_their_ids_and_their_speed(robot, monkeypatch):
    """As they come: the id 1; Dynamixels at 57600 baud, one of these STS3215 at 115200."""
    ids, bauds = (
        (feetech.ID, feetech.BAUD) if robot.servos == FEETECH else (dynamixel_table.ID, dynamixel_table.BAUD)
    )
    away, factory, wanted = (5, 4, 0) if robot.servos == FEETECH else (5, 1, 3)
    servos = robot.chain.servos
    # Whoever is not connected yet listens at a speed that nobody tries: Feetech 76800, Dynamixel 3000000.
    monkeypatch.setitem(finding.SPEEDS_BPS, DYNAMIXEL, (1_000_000, 57_600))
    for servo in servos:
        servo.put(ids, 1)
        servo.put(bauds, away)
    left = list(reversed(servos))

    def next_one(person):
        for servo in servos:
            if servo not in left:
                servo.put(bauds, away)
        left.pop(0).put(bauds, factory)
        return ""

    person = Person(robot, [next_one] * 6)
    finding.set_ids(person, "/dev/a", 1_000_000, robot.servos)
    assert [servo.get(ids) for servo in servos] == [1, 2, 3, 4, 5, 6]
    assert servos[0].get(bauds) == wanted
    speed = "115200" if robot.servos == FEETECH else "57600"
    assert f"gripper has the id 6 (it was 1 at {speed} baud)" in person.heard
    if robot.servos == FEETECH:
        assert [servo.get(feetech.LOCK) for servo in servos] == [1] * 6


# --- LeRobot --------------------------------------------------------------------------------


def lerobot(robot, what, file):
    if not (bench_lerobot.PACKAGES / "lerobot").is_dir():
        pytest.skip("LeRobot is not installed; try: make test")
    with PtyPort(robot.chain, wire_time=False) as wire:
        words = [str(ROOT / "tests/service/lerobot_bus.py"), str(bench_lerobot.PACKAGES)]
        for _ in range(6):  # their bus waits for milliseconds: on a busy machine servos are missing
            done = subprocess.run(
                [sys.executable, *words, robot.servos, wire.path, what, str(file)],
                capture_output=True, text=True, timeout=100, cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            if "ConnectionError" not in done.stderr and "Missing motor IDs" not in done.stderr:
                break
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_lerobot_takes_our_file_for_its_own(robot, tmp_path):
    made = swept(robot, tmp_path / "arm.json")
    told = lerobot(robot, "accept", tmp_path / "arm.json")
    assert told["is_calibrated"]
    # Its degrees are from the middle of the range, ours too; the gripper's are ours from where it is closed.
    body = [told["degrees"][joint.name] for joint in made.joints[:5]]
    assert np.radians(body) == pytest.approx(REST_RAD[:5], abs=0.06)


def test_we_take_lerobots_file_for_ours(robot, tmp_path):
    robot.put(np.zeros(6))
    assert lerobot(robot, "calibrate", tmp_path / "arm.json")["is_calibrated"]
    theirs = Calibration.load(tmp_path / "arm.json", robot.servos)
    with opened("", robot.servos, IDS, 1_000_000) as bus:
        arm = FAMILIES[robot.servos].arm(bus, theirs)
        arm.connect()
        assert arm.sense().position_rad[:5] == pytest.approx(np.zeros(5), abs=0.002)


def test_an_offset_of_the_other_family_is_refused(tmp_path):
    """A Dynamixel's may be many turns, an STS3215's register holds half a one."""
    entries = json.loads(SHIPPED.read_text())
    entries["gripper"]["homing_offset"] = -2953
    (tmp_path / "arm.json").write_text(json.dumps(entries))
    assert Calibration.load(tmp_path / "arm.json", DYNAMIXEL).joints[5].homing_offset == -2953
    with pytest.raises(CalibrationError, match=r"gripper\.homing_offset is -2953"):
        Calibration.load(tmp_path / "arm.json", FEETECH)
