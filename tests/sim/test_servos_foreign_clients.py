"""The servo emulator, judged by clients nobody here wrote, through a pty and their real code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from servo_stage import LivePty, Stage, eventually

from edge_wam.act import feetech
from edge_wam.act.arm import Calibration
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain

CALIBRATION = Path(__file__).parents[2] / "calibration" / "so101-sim" / "arm.json"
READY_RAD = np.array([0.1, -1.2, 0.9, 1.4, -0.3, 0.65])


class Robot(Stage):
    """Servos behind a pty, alive."""

    def __init__(self) -> None:
        self.calibration = Calibration.load(CALIBRATION)
        self.plant = KinematicPlant(READY_RAD, self.calibration.low_rad, self.calibration.high_rad)
        self.chain = ServoChain(self.plant, self.calibration)
        self._life = LivePty(self.chain, self.run)
        self.wire, self.close = self._life.wire, self._life.close

    def present(self, joint: int) -> int:
        return int(self.calibration.to_counts(self.plant.position_rad)[joint])


@pytest.fixture
def robot() -> Iterator[Robot]:
    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture
def sdk(robot: Robot, monkeypatch: pytest.MonkeyPatch):
    import scservo_sdk as scs

    # Its patience is 34 ms, too little on a machine that does other things; the setting is a constant there.
    monkeypatch.setattr("scservo_sdk.port_handler.LATENCY_TIMER", 2500)
    port = scs.PortHandler(robot.wire.path)
    assert port.openPort()
    assert port.setBaudRate(1_000_000)
    yield scs, port, scs.PacketHandler(0)
    port.closePort()


def test_vendor_sdk_pings_every_servo_and_reads_its_model(sdk, monkeypatch):
    scs, port, handler = sdk
    for servo_id in range(1, 7):
        assert handler.ping(port, servo_id) == (777, scs.COMM_SUCCESS, 0)
    monkeypatch.setattr("scservo_sdk.port_handler.LATENCY_TIMER", 16)
    _, result, _ = handler.ping(port, 7)
    assert result == scs.COMM_RX_TIMEOUT


def test_vendor_sdk_reads_positions_by_sync_read(sdk, robot):
    scs, port, handler = sdk
    group = scs.GroupSyncRead(port, handler, 56, 15)
    for servo_id in range(1, 7):
        group.addParam(servo_id)
    assert group.txRxPacket() == scs.COMM_SUCCESS
    for joint in range(6):
        assert group.isAvailable(joint + 1, 56, 2)
        assert group.getData(joint + 1, 56, 2) == robot.present(joint)
        assert group.getData(joint + 1, 62, 1) == 120


def test_vendor_sdk_moves_the_arm_by_sync_write(sdk, robot):
    scs, port, handler = sdk
    wanted = [robot.present(joint) + 40 for joint in range(6)]
    group = scs.GroupSyncWrite(port, handler, 42, 2)
    for joint, count in enumerate(wanted):
        assert group.addParam(joint + 1, [scs.SCS_LOBYTE(count), scs.SCS_HIBYTE(count)])
    assert group.txPacket() == scs.COMM_SUCCESS
    assert eventually(lambda: [robot.present(joint) for joint in range(6)] == wanted)


def test_vendor_sdk_reg_write_waits_for_action(sdk, robot):
    scs, port, handler = sdk
    before = robot.present(0)
    goal = before + 60
    data = [scs.SCS_LOBYTE(goal), scs.SCS_HIBYTE(goal)]
    assert handler.regWriteTxRx(port, 1, 42, 2, data) == (scs.COMM_SUCCESS, 0)
    assert handler.read1ByteTxRx(port, 1, 64)[0] == 1
    assert handler.read1ByteTxRx(port, 1, 66)[0] == 0  # not moving
    assert robot.present(0) == before
    handler.action(port, 1)
    assert handler.read1ByteTxRx(port, 1, 64)[0] == 0
    assert eventually(lambda: robot.present(0) == goal)


def test_vendor_sdk_sees_the_error_byte(sdk, robot):
    _, port, handler = sdk
    robot.chain.supply_v = 3.0
    assert eventually(lambda: handler.ping(port, 2)[2] == feetech.ERROR_VOLTAGE)
    assert handler.getRxPacketError(handler.ping(port, 2)[2]) == "[RxPacketError] Input voltage error!"


# --- feetech-cli: run as a person runs it -------------------------------------------------------


def feetech_cli(robot: Robot, *arguments: str, capsys) -> tuple[int, str]:
    from feetech_cli import cli

    code = cli.main(["-p", robot.wire.path, "-b", "1000000", "--max-id", "6", "--timeout", "5", *arguments])
    return code, capsys.readouterr().out


def test_feetech_cli_scan_finds_six_servos(robot, capsys):
    code, out = feetech_cli(robot, "scan", capsys=capsys)
    assert code == 0
    assert "Found 6 servo(s)" in out
    assert out.count("model   777") == 6


def test_feetech_cli_finds_the_speed_by_itself(robot, capsys, monkeypatch):
    from feetech_cli import cli

    # Two speeds of its eight: a silent one costs its patience.
    monkeypatch.setattr("feetech_cli.controller.SCAN_BAUDRATES", [500_000, 1_000_000])
    code = cli.main(["-p", robot.wire.path, "--max-id", "1", "--timeout", "0.5", "scan", "--all-baudrates"])
    out = capsys.readouterr().out
    assert code == 0
    found = [line for line in out.splitlines() if line.strip().endswith(": 1")]
    assert len(found) == 1
    assert "1.00M" in found[0]


def test_feetech_cli_info_shows_the_calibrated_eeprom(robot, capsys):
    code, out = feetech_cli(robot, "info", "3", "--all", capsys=capsys)
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "-1377" in lines["homing_offset"].split()
    assert "931" in lines["min_position_limit"].split()
    assert "3155" in lines["max_position_limit"].split()
    assert str(robot.present(2)) in lines["present_position"].split()


def test_feetech_cli_writes_eeprom_through_the_lock(robot, capsys):
    code, _ = feetech_cli(robot, "write", "4", "max_temperature_limit", "65", capsys=capsys)
    assert code == 0
    code, out = feetech_cli(robot, "read", "4", "max_temperature_limit", capsys=capsys)
    assert code == 0
    assert "65" in out
    assert robot.chain.servos[3].get(feetech.LOCK) == 1


def test_feetech_cli_switches_torque(robot, capsys):
    code, out = feetech_cli(robot, "torque", "6", "on", capsys=capsys)
    assert code == 0
    assert "is on" in out
    assert robot.plant.torque_on.tolist() == [False] * 5 + [True]
    code, _ = feetech_cli(robot, "torque", "6", "off", capsys=capsys)
    assert code == 0
    assert not robot.plant.torque_on.any()


def test_feetech_cli_selftest_passes(robot, capsys):
    code, out = feetech_cli(robot, "selftest", "1", "--span", "60", "--moves", "2", capsys=capsys)
    assert code == 0, out
    assert "PASS" in out
    assert "FAIL" not in out


def test_feetech_cli_zeroes_a_servo_without_moving_it(robot, capsys):
    before = robot.plant.position_rad.copy()
    code, out = feetech_cli(robot, "set-zero", "6", "-y", capsys=capsys)
    assert code == 0, out
    assert "now reports 2048" in out
    np.testing.assert_allclose(robot.plant.position_rad, before, atol=0.002)
