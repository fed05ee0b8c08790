"""The Dynamixel emulator, judged by ROBOTIS' own SDK over a pty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dynamixel_bench import MIXED, Bench
from servo_stage import LivePty, eventually

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table


class Robot(Bench):
    """Servos behind a pty, alive."""

    def __init__(self, **kinds) -> None:
        super().__init__(**kinds)
        self._life = LivePty(self.chain, self.run)
        self.wire, self.close = self._life.wire, self._life.close


@pytest.fixture(params=[{}, MIXED], ids=["XL430", "Koch"])
def robot(request) -> Iterator[Robot]:
    robot = Robot(**request.param)
    yield robot
    robot.close()


@pytest.fixture
def sdk(robot: Robot, monkeypatch: pytest.MonkeyPatch):
    import dynamixel_sdk as dxl

    # Its patience is 34 ms, too little on a machine that does other things; the setting is a constant there.
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 2500)
    port = dxl.PortHandler(robot.wire.path)
    assert port.openPort()
    assert port.setBaudRate(1_000_000)
    yield dxl, port, dxl.PacketHandler(2.0)
    port.closePort()


def test_sdk_pings_every_servo_and_reads_its_model(sdk, robot, monkeypatch):
    dxl, port, handler = sdk
    for servo_id, servo in zip(range(1, 7), robot.chain.servos, strict=True):
        assert handler.ping(port, servo_id) == (servo.get(table.MODEL), dxl.COMM_SUCCESS, 0)
    monkeypatch.setattr("dynamixel_sdk.port_handler.LATENCY_TIMER", 16)
    assert handler.ping(port, 7)[1] == dxl.COMM_RX_TIMEOUT


def test_sdk_finds_all_servos_by_one_broadcast_ping(sdk, robot):
    dxl, port, handler = sdk
    found, result = handler.broadcastPing(port)
    assert result == dxl.COMM_SUCCESS
    assert {i: model for i, (model, _) in found.items()} == {
        servo.get(table.ID): servo.get(table.MODEL) for servo in robot.chain.servos
    }


def test_sdk_reads_and_writes_registers_of_every_size(sdk, robot):
    dxl, port, handler = sdk
    assert handler.read1ByteTxRx(port, 1, 146) == (25, dxl.COMM_SUCCESS, 0)
    assert handler.read2ByteTxRx(port, 1, 144) == (120, dxl.COMM_SUCCESS, 0)
    assert handler.read4ByteTxRx(port, 3, 20) == (2**32 - 1377, dxl.COMM_SUCCESS, 0)  # the homing offset
    assert handler.write1ByteTxRx(port, 1, 65, 1) == (dxl.COMM_SUCCESS, 0)
    assert handler.write2ByteTxRx(port, 1, 100, 400) == (dxl.COMM_SUCCESS, 0)
    assert handler.write4ByteTxRx(port, 1, 112, 150) == (dxl.COMM_SUCCESS, 0)
    assert [robot.chain.servos[0].get(r) for r in (table.LED, table.GOAL_PWM, table.PROFILE_VELOCITY)] == [
        1,
        400,
        150,
    ]


def test_sdk_is_told_why_a_write_is_refused(sdk):
    dxl, port, handler = sdk
    handler.write1ByteTxRx(port, 1, 64, 1)
    result, error = handler.write1ByteTxRx(port, 1, 31, 60)
    assert (result, error) == (dxl.COMM_SUCCESS, 7)
    assert "not available to target address" in handler.getRxPacketError(error)
    assert handler.getRxPacketError(handler.write1ByteTxRx(port, 1, 98, 200)[1]).endswith("out of range!")


@pytest.mark.parametrize("fast", [False, True])
def test_sdk_reads_positions_by_sync_read(sdk, robot, fast):
    dxl, port, handler = sdk
    group = dxl.GroupSyncRead(port, handler, 132, 4)
    for servo_id in range(1, 7):
        group.addParam(servo_id)
    assert (group.fastSyncRead() if fast else group.txRxPacket()) == dxl.COMM_SUCCESS
    for joint in range(6):
        assert group.isAvailable(joint + 1, 132, 4)
        assert group.getData(joint + 1, 132, 4) == robot.counts()[joint]


@pytest.mark.parametrize("fast", [False, True])
def test_sdk_reads_the_indirect_block_by_bulk_read(sdk, robot, fast):
    dxl, port, handler = sdk
    group = dxl.GroupBulkRead(port, handler)
    for joint, servo in enumerate(robot.chain.servos):
        for slot, address in enumerate(table.BLOCK_ADDRESSES):
            assert handler.write2ByteTxRx(port, joint + 1, 168 + 2 * slot, address) == (dxl.COMM_SUCCESS, 0)
        assert group.addParam(joint + 1, servo._indirect_data, table.BLOCK_BYTES)
    assert (group.fastBulkRead() if fast else group.txRxPacket()) == dxl.COMM_SUCCESS
    for joint, servo in enumerate(robot.chain.servos):
        at = servo._indirect_data + 12
        assert group.getData(joint + 1, at - 2, 4) == robot.counts()[joint]
        assert group.getData(joint + 1, at + 2, 2) == round(10 * servo.model.supply_v)


def test_sdk_moves_the_arm_by_sync_write(sdk, robot):
    dxl, port, handler = sdk
    wanted = [count + 40 for count in robot.counts()]
    for servo_id in range(1, 7):
        handler.write1ByteTxRx(port, servo_id, 64, 1)
    group = dxl.GroupSyncWrite(port, handler, 116, 4)
    for joint, count in enumerate(wanted):
        assert group.addParam(joint + 1, list(count.to_bytes(4, "little")))
    assert group.txPacket() == dxl.COMM_SUCCESS
    assert eventually(lambda: robot.counts() == wanted)


def test_sdk_takes_the_stuffing_off(sdk, robot):
    dxl, port, handler = sdk
    handler.write4ByteTxRx(port, 1, 104, 0)
    header = [0xFF, 0xFF, 0xFD, 0xFF]
    assert handler.writeTxRx(port, 1, 116, 4, header) == (dxl.COMM_SUCCESS, 0)
    assert handler.readTxRx(port, 1, 116, 4) == (header, dxl.COMM_SUCCESS, 0)


def test_sdk_sees_the_alert_and_reboots(sdk, robot):
    _, port, handler = sdk
    robot.chain.supply_v = 3.0
    assert eventually(lambda: handler.ping(port, 2)[2] == 0x80)
    assert "Hardware error" in handler.getRxPacketError(0x80)
    assert handler.read1ByteTxRx(port, 2, 70)[0] == dynamixel.ERROR_VOLTAGE
    robot.chain.supply_v = 12.0
    assert eventually(lambda: handler.reboot(port, 2)[1] == 0 and handler.ping(port, 2)[2] == 0)


def test_sdk_finds_a_tripped_watchdog_and_clears_it(sdk, robot):
    dxl, port, handler = sdk
    handler.write1ByteTxRx(port, 1, 64, 1)
    handler.write1ByteTxRx(port, 1, 98, 2)
    assert eventually(lambda: robot.chain.servos[0].get(table.BUS_WATCHDOG) == -1)
    assert handler.read1ByteTxRx(port, 1, 98)[0] == 0xFF
    assert handler.write4ByteTxRx(port, 1, 116, 2000)[1] == 4
    assert handler.write1ByteTxRx(port, 1, 98, 0) == (dxl.COMM_SUCCESS, 0)
    assert handler.write4ByteTxRx(port, 1, 116, 2000)[1] == 0
