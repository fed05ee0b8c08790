"""The Dynamixel emulator's instructions, control table and drive."""

from __future__ import annotations

import numpy as np
import pytest
from dynamixel_bench import MIXED, READY_RAD, Bench

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.dynamixel import Status


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("mode", [table.EXTENDED_POSITION, table.CURRENT_POSITION])
def test_reversed_everything_runs_the_other_way(bench, mode):
    """e-manual, Drive Mode: bit 0 turns the direction. Nothing moves when it is written."""
    bench.write(3, table.OPERATING_MODE, mode)
    offset, before = bench.read(3, table.HOMING_OFFSET), bench.read(3, table.PRESENT_POSITION)
    assert bench.write(3, table.DRIVE_MODE, table.REVERSED) == 0
    bench.run(0.1)
    here = bench.read(3, table.PRESENT_POSITION)
    assert here == offset - (before - offset)
    assert bench.plant.position_rad[2] == pytest.approx(READY_RAD[2], abs=0.001)
    bench.write(3, table.PROFILE_VELOCITY, 20)
    bench.write(3, table.TORQUE_ENABLE, 1)
    bench.write(3, table.GOAL_POSITION, here + 200)
    bench.run(0.3)
    speed = bench.read(3, table.PRESENT_SPEED)
    assert speed == pytest.approx(20, abs=2)
    if mode == table.CURRENT_POSITION:
        bench.plant.load[2] = -0.3  # the plant's own sign: it pushes towards smaller angles
        bench.run(0.01)
        assert bench.read(3, table.PRESENT_EFFORT) > 0
    bench.run(2.0)
    assert bench.read(3, table.PRESENT_POSITION) == pytest.approx(here + 200, abs=1)
    assert bench.plant.position_rad[2] == pytest.approx(READY_RAD[2] - 200 * 2 * np.pi / 4096, abs=0.003)


def test_reversed_in_one_turn_it_stays_within_it(bench):
    bench.write(2, table.HOMING_OFFSET, 0)
    bench.write(2, table.OPERATING_MODE, table.POSITION)
    before = bench.read(2, table.PRESENT_POSITION)
    bench.write(2, table.DRIVE_MODE, table.REVERSED)
    assert bench.read(2, table.PRESENT_POSITION) == 4096 - before


# --- instructions -------------------------------------------------------------------------------


def test_ping_says_model_and_firmware(bench):
    assert bench.ask(dynamixel.ping(1)) == [Status(1, 0, b"\x24\x04\x2e")]
    assert bench.ask(dynamixel.ping(7)) == []
    assert [s.servo_id for s in bench.ask(dynamixel.ping(dynamixel.BROADCAST_ID))] == [1, 2, 3, 4, 5, 6]


def test_what_is_for_all_is_done_by_all_and_answered_by_none(bench):
    assert bench.ask(dynamixel.write(dynamixel.BROADCAST_ID, table.LED.address, b"\x01")) == []
    assert [bench.read(servo_id, table.LED) for servo_id in range(1, 7)] == [1] * 6


def test_a_wrong_crc_is_ignored(bench):
    good = dynamixel.write(1, table.LED.address, b"\x01")
    assert bench.chain.handle(good[:-1] + bytes([good[-1] ^ 1])) == b""
    assert bench.chain.idle() == []
    assert bench.read(1, table.LED) == 0


@pytest.mark.parametrize(
    ("address", "data", "code"),
    [
        (table.PRESENT_POSITION.address, b"\0\0\0\0", dynamixel.ACCESS),  # read-only
        (66, b"\0", dynamixel.ACCESS),  # nothing is there
        (300, b"\0", dynamixel.ACCESS),  # behind the table's end
        (table.GOAL_POSITION.address, b"\0\0", dynamixel.DATA_LENGTH),
        (table.TORQUE_ENABLE.address, b"\x02", dynamixel.DATA_RANGE),
        (table.BUS_WATCHDOG.address, b"\xff", dynamixel.DATA_RANGE),
        (table.GOAL_PWM.address, b"\x76\x03", dynamixel.DATA_RANGE),  # 886
        (168, b"\x3f\x00", dynamixel.DATA_RANGE),  # an indirect address of the EEPROM
        (table.LED.address, b"\x01", 0),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_manuals_number_and_changes_nothing(
    bench, address, data, code
):
    bench.ask(dynamixel.ping(1))  # present values are brought up to date when somebody asks
    before = bytes(bench.chain.servos[0].memory)
    (answer,) = bench.ask(dynamixel.write(1, address, data))
    assert answer.code == code
    assert (bytes(bench.chain.servos[0].memory) == before) is (code != 0)


def test_eeprom_is_locked_while_the_torque_is_on(bench):
    assert bench.write(1, table.MAX_TEMPERATURE, 60) == 0
    assert bench.write(1, table.TORQUE_ENABLE, 1) == 0
    assert bench.write(1, table.MAX_TEMPERATURE, 61) == dynamixel.ACCESS
    assert bench.read(1, table.MAX_TEMPERATURE) == 60


def test_a_goal_beyond_the_position_limits_is_refused_in_position_mode_only(bench):
    high = bench.read(1, table.MAX_POSITION)
    assert bench.write(1, table.GOAL_POSITION, high + 1) == 0
    bench.write(1, table.OPERATING_MODE, table.POSITION)
    assert bench.write(1, table.GOAL_POSITION, high + 1) == dynamixel.DATA_LIMIT
    assert bench.write(1, table.GOAL_POSITION, high) == 0


def test_an_xl430_has_no_goal_current():
    bench = Bench(**MIXED)
    assert bench.write(1, table.GOAL_CURRENT, 100) == dynamixel.DATA_LIMIT
    assert bench.write(3, table.GOAL_CURRENT, 100) == 0


def test_the_status_level_silences_answers(bench):
    bench.write(1, table.STATUS_LEVEL, 1)
    assert bench.ask(dynamixel.write(1, table.LED.address, b"\x01")) == []
    assert bench.read(1, table.LED) == 1
    bench.ask(dynamixel.write(1, table.STATUS_LEVEL.address, b"\x00"))
    assert bench.ask(dynamixel.read(1, 132, 4)) == []
    assert len(bench.ask(dynamixel.ping(1))) == 1


def test_indirect_data_show_and_write_what_their_addresses_say(bench):
    bench.ask(dynamixel.write(1, 168, bytes.fromhex("4100 7400 7500 7600 7700")))  # LED, goal position
    bench.ask(dynamixel.write(1, 224, bytes.fromhex("01 00080000")))
    assert (bench.read(1, table.LED), bench.read(1, table.GOAL_POSITION)) == (1, 2048)
    (answer,) = bench.ask(dynamixel.read(1, 224, 5))
    assert answer.parameters == bytes.fromhex("01 00080000")
    bench.chain.servos[0].power_on()
    (answer,) = bench.ask(dynamixel.read(1, 168, 4))
    assert answer.parameters == bytes.fromhex("E000 E100")  # 224, 225: themselves


def test_reg_write_waits_for_action(bench):
    goal = bench.read(1, table.PRESENT_POSITION) + 50
    reg_write = dynamixel.Packet(1, 4, b"\x74\x00" + dynamixel.pack(table.GOAL_POSITION, goal))
    assert bench.ask(dynamixel.encode(reg_write)) == [Status(1, 0, b"")]
    assert bench.read(1, table.REGISTERED) == 1
    assert bench.read(1, table.GOAL_POSITION) != goal
    action = dynamixel.encode(dynamixel.Packet(1, 5, b""))
    assert bench.ask(action) == [Status(1, 0, b"")]
    assert bench.read(1, table.GOAL_POSITION) == goal
    assert bench.ask(action) == [Status(1, dynamixel.INSTRUCTION_ERROR, b"")]


def test_a_fast_read_ends_at_the_first_servo_that_is_not_there(bench):
    request = dynamixel.sync_read(132, 4, (1, 9, 2), fast=True)
    reader = dynamixel.JoinedReader(4, 3)
    assert [answer.servo_id for answer in reader.feed(bench.chain.handle(request))] == [1]
    plain = bench.ask(dynamixel.sync_read(132, 4, (1, 9, 2)))
    assert [answer.servo_id for answer in plain] == [1, 2]


# --- the drive ----------------------------------------------------------------------------------


def test_a_servo_goes_to_its_goal_with_torque_and_not_without(bench):
    goal = bench.counts()[0] + 200
    bench.write(1, table.GOAL_POSITION, goal)
    bench.run(0.5)
    assert bench.counts()[0] == goal - 200
    bench.write(1, table.TORQUE_ENABLE, 1)
    bench.run(0.5)
    assert bench.counts()[0] == goal
    assert bench.read(1, table.PRESENT_POSITION) == goal


def test_an_offset_beyond_1024_is_ignored_in_position_mode(bench):
    before = bench.read(2, table.PRESENT_POSITION)  # its offset is 1233
    bench.write(2, table.OPERATING_MODE, table.POSITION)
    assert bench.read(2, table.PRESENT_POSITION) == before - 1233


def test_the_watchdog_counts_simulated_time_and_only_what_the_servo_hears(bench):
    for servo_id in (1, 2):
        bench.write(servo_id, table.TORQUE_ENABLE, 1)
        bench.write(servo_id, table.BUS_WATCHDOG, 5)  # 100 ms
    bench.run(0.09)
    bench.ask(dynamixel.ping(1))
    bench.run(0.02)
    assert bench.read(1, table.BUS_WATCHDOG) == 5
    assert bench.read(2, table.BUS_WATCHDOG) == -1
    assert bench.write(2, table.GOAL_POSITION, 2000) == dynamixel.DATA_RANGE
    assert bench.write(2, table.BUS_WATCHDOG, 5) == dynamixel.DATA_RANGE
    assert bench.write(2, table.BUS_WATCHDOG, 0) == 0
    assert bench.write(2, table.GOAL_POSITION, 2000) == 0


def test_the_watchdog_sleeps_while_the_torque_is_off(bench):
    bench.write(1, table.BUS_WATCHDOG, 5)
    bench.run(1.0)
    assert bench.read(1, table.BUS_WATCHDOG) == 5


def test_a_hardware_error_of_the_shutdown_mask_cuts_the_torque_until_a_reboot(bench):
    bench.write(1, table.TORQUE_ENABLE, 1)
    bench.plant.load[0] = 0.9
    bench.run(1.9)
    assert bench.plant.torque_on[0]
    bench.run(0.3)
    assert not bench.plant.torque_on[0]
    bench.plant.load[0] = 0.0
    bench.run(0.1)
    (answer,) = bench.ask(dynamixel.read(1, table.HARDWARE_ERROR.address, 1))
    assert (answer.code, answer.parameters) == (dynamixel.ALERT, bytes([dynamixel.ERROR_OVERLOAD]))
    bench.write(1, table.TORQUE_ENABLE, 1)
    assert not bench.plant.torque_on[0]
    assert bench.ask(dynamixel.reboot(1)) == [Status(1, 0, b"")]
    assert bench.write(1, table.TORQUE_ENABLE, 1) == 0
    assert bench.plant.torque_on[0]


def test_a_voltage_error_stands_outside_an_xl430s_mask(bench):
    bench.write(1, table.TORQUE_ENABLE, 1)
    bench.chain.supply_v = 5.0
    bench.run(0.1)
    assert bench.plant.torque_on[0]
    (answer,) = bench.ask(dynamixel.ping(1))
    assert answer.code == dynamixel.ALERT
