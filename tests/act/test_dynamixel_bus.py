"""The Dynamixel bus against the emulator, with faults only on the wire."""

from __future__ import annotations

import numpy as np
import pytest
from dynamixel_rig import KOCH, NEW, OLD, READY_RAD, load, rig, run

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.bus import DEADLINE_S, open_port
from edge_wam.act.dynamixel_bus import PLAIN_TICKS, DynamixelBus
from edge_wam.errors import BusError
from edge_wam.sim.wire import PtyPort

MIXED = {"models": KOCH, "indirect": [NEW, NEW, OLD, OLD, OLD, OLD]}
OLD_XL330 = {"models": [1200] * 6, "indirect": [OLD] * 6}


def prepared(**kinds):
    r = rig(**kinds)
    r.bus.prepare()
    return r


def written(r):
    """Everything the host sends from now on."""
    sent = []
    write = r.port.write
    r.port.write = lambda data: (sent.append(bytes(data)), write(data))[1]
    return sent


# --- the healthy bus ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kinds", [{}, OLD_XL330, MIXED, {"fast": False}], ids=["new", "old", "mixed", "plain"]
)
def test_one_question_brings_every_joint(kinds):
    r = prepared(**kinds)
    sent = written(r)
    block = r.bus.read_block()
    assert len(sent) == 1
    assert block.fresh.all()
    assert block.position.tolist() == r.calibration.to_counts(READY_RAD).tolist()
    assert block.voltage.tolist() == [round(10 * model.supply_v) for model in r.bus.models]
    assert block.temperature.tolist() == [25] * 6
    assert block.limp.all()  # torque is off
    assert not block.error.any()
    assert not block.tripped.any()
    assert not block.moving.any()


def test_servos_of_one_layout_are_asked_by_fast_sync_read_and_mixed_ones_by_fast_bulk_read():
    for kinds, code, length in (
        ({}, 0x8A, 20),
        (OLD_XL330, 0x8A, 20),
        (MIXED, 0x9A, 40),
        ({"fast": False}, 0x82, 20),
    ):
        r = prepared(**kinds)
        sent = written(r)
        r.bus.read_block()
        assert (sent[0][7], len(sent[0])) == (code, length)


def test_the_indirect_data_are_found_where_the_servo_has_them_and_not_where_a_table_says():
    r = prepared(models=[1200] * 6, indirect=[OLD, NEW, OLD, NEW, OLD, NEW])
    assert r.bus._bases == (208, 224, 208, 224, 208, 224)


def test_a_servo_that_shows_something_else_there_is_refused():
    r = rig(indirect=[(230, 20)] * 6)
    with pytest.raises(BusError, match=r"servo 1 on .* does not show its registers in its indirect data"):
        r.bus.prepare()


def test_a_servo_of_another_model_is_refused_with_the_known_ones():
    r = rig()
    r.chain.servos[3].put(table.MODEL, 1020)
    with pytest.raises(BusError, match=r"servo 4 .* is of model 1020, not one of: XL430-W250 \(1060\)"):
        r.bus.prepare()


def test_a_block_before_anybody_was_asked_who_he_is_is_an_error():
    with pytest.raises(BusError, match=r"connect\(\) comes first"):
        rig().bus.read_block()


def test_goals_of_all_joints_go_out_in_one_packet_of_44_bytes():
    r = prepared()
    sent = written(r)
    goals = [2000, 2100, 2200, 2300, 2400, 2500]
    r.bus.write_goals(goals)
    assert [len(packet) for packet in sent] == [44]
    assert sent[0][:12] == bytes.fromhex("FFFFFD00 FE 2500 83 7400 0400")
    assert [servo.get(table.GOAL_POSITION) for servo in r.chain.servos] == goals


@pytest.mark.parametrize(("fast", "wire_bytes"), [(True, 20 + 8 + 6 * 21), (False, 20 + 6 * 28)])
def test_block_time_is_the_middle_of_the_exchange(fast, wire_bytes):
    r = prepared(wire_time=True, fast=fast)
    before_s = r.clock.now_s()
    block = r.bus.read_block()
    took_s = r.clock.now_s() - before_s
    assert took_s == pytest.approx(wire_bytes * 10 / 1e6)
    assert block.t_s == pytest.approx(before_s + took_s / 2)


# --- what goes wrong, is counted, and does not raise --------------------------------------------


@pytest.mark.parametrize("fault", ["drop", "garble", "cut"])
@pytest.mark.parametrize("servo_id", [1, 4, 6])
def test_a_broken_block_costs_those_behind_it_and_the_next_tick_only_one(fault, servo_id):
    r = prepared()
    for joint in range(2):
        getattr(r.faults, fault)(servo_id=servo_id)
        block = r.bus.read_block()
        lost = range(servo_id, 7) if joint == 0 else [servo_id]
        assert [i + 1 for i in range(6) if not block.fresh[i]] == list(lost)
    assert not r.bus.fast
    assert r.bus.read_block().fresh.all()


def test_fast_reads_come_back_after_as_many_whole_plain_ones():
    r = prepared()
    r.faults.drop(servo_id=2)
    r.bus.read_block()
    for tick in range(PLAIN_TICKS):
        assert not r.bus.fast, tick
        if tick == 10:  # one that is not whole does not count
            r.faults.drop(servo_id=5)
            assert r.bus.read_block().fresh.tolist() == [True] * 4 + [False, True]
        r.bus.read_block()
    assert r.bus.fast


def test_a_firmware_without_fast_reads_is_asked_plainly_for_ever():
    r = prepared(fast=False)
    for _ in range(2 * PLAIN_TICKS):
        assert not r.bus.fast
        assert r.bus.read_block().fresh.all()


@pytest.mark.parametrize("noise", ["00", "FF", "FFFF", "FFFFFD", "FFFFFD0003", "FFFFFD00FE7F00", "55" * 40])
@pytest.mark.parametrize("fast", [True, False])
def test_noise_before_the_first_answer_costs_nothing(noise, fast):
    r = prepared(fast=fast)
    lost = r.bus.counts.noise_bytes
    r.faults.noise(bytes.fromhex(noise), servo_id=1)
    assert r.bus.read_block().fresh.all()
    assert r.bus.counts.noise_bytes - lost == len(bytes.fromhex(noise))


@pytest.mark.parametrize("noise", ["00", "FF", "FFFFFD", "FFFFFD0003", "FFFFFD00031500", "55" * 40])
def test_noise_between_plain_answers_costs_nothing(noise):
    for servo_id in range(2, 7):
        r = prepared(fast=False)
        r.faults.noise(bytes.fromhex(noise), servo_id=servo_id)
        assert r.bus.read_block().fresh.all(), servo_id


def test_a_late_answer_is_missing_then_counted_and_never_taken_for_the_next():
    r = prepared(fast=False)
    before, missing = r.bus.read_block(), r.bus.counts.missing[5]
    r.faults.delay(DEADLINE_S * 1.5, servo_id=6)
    assert not r.bus.read_block().fresh[5]
    run(r, DEADLINE_S)
    r.port.elapse(DEADLINE_S)
    r.plant.position_rad = r.plant.position_rad + 0.05
    run(r, 0.01)
    block = r.bus.read_block()
    assert block.fresh.all()
    assert block.position[5] != before.position[5]
    assert r.bus.counts.missing[5] == missing + 1
    assert r.bus.counts.late == (0, 0, 0, 0, 0, 1)


def test_an_answer_of_another_servo_or_of_another_length_is_none():
    r = prepared(fast=False)
    r.faults.drop(servo_id=2)
    r.faults.noise(dynamixel.status(9, 0, bytes(17)) + dynamixel.status(2, 0, bytes(16)), servo_id=3)
    assert r.bus.read_block().fresh.tolist() == [True, False, True, True, True, True]


def test_a_refusal_is_no_answer():
    r = prepared(fast=False)
    r.faults.drop(servo_id=2)
    r.faults.noise(dynamixel.status(2, dynamixel.ACCESS), servo_id=3)
    assert not r.bus.read_block().fresh[1]


@pytest.mark.parametrize("fast", [True, False])
def test_no_block_takes_longer_than_its_deadline_whatever_happens(fast):
    for trouble in (
        lambda f: f.drop(6),
        lambda f: f.delay(1.0, 6),
        lambda f: f.garble(6),
        lambda f: f.noise(b"\xff\xff\xfd\x00\x01\x11\x00" * 30, 6),
        lambda f: (f.noise(b"\x00" * 90, 1), f.delay(0.005, 1), f.drop(2)),
        lambda f: setattr(f, "unplugged", True),
    ):
        r = prepared(wire_time=True, fast=fast)
        trouble(r.faults)
        before_s = r.clock.now_s()
        r.bus.read_block()
        assert r.clock.now_s() - before_s <= DEADLINE_S + 1e-9
        assert r.port.timeout == DEADLINE_S


@pytest.mark.parametrize("fast", [True, False])
def test_a_header_within_the_data_is_read_as_data(fast):
    """Behind a speed of -1 a position of -3 (FD FF FF FF) makes one. Plain answers are stuffed then, so
    longer than what is asked of the port at first: the last comes in two reads. Joined ones are not."""
    r = prepared(fast=fast)
    r.plant.position_rad = (-3.0 - r.calibration.zero_count) * r.calibration.rad_per_count
    r.plant.velocity_rad_s[:] = -table.SPEED_UNIT_RAD_S
    r.chain.update()
    reads, read = [], r.port.read
    r.port.read = lambda size: (reads.append(size), read(size))[1]
    block = r.bus.read_block()
    assert block.fresh.all()
    assert block.position.tolist() == [-3] * 6
    assert block.speed.tolist() == [-1] * 6
    assert (len(reads) > 1) is not fast


def test_a_hardware_error_and_the_alert_bit_reach_the_block():
    r = prepared()
    r.chain.supply_v = 3.0
    run(r, 0.1)
    block = r.bus.read_block()
    assert block.error.tolist() == [dynamixel.ERROR_VOLTAGE | dynamixel.ALERT] * 6
    assert block.voltage.tolist() == [30] * 6


def test_a_servo_that_restarted_shows_nothing_and_is_named_limp_and_not_fresh():
    r = prepared()
    before = r.bus.read_block()
    r.chain.servos[2].power_on()
    block = r.bus.read_block()
    assert block.fresh.tolist() == [True, True, False, True, True, True]
    assert block.limp[2]
    assert block.position[2] == before.position[2]
    assert r.bus.counts.missing[2] == 0  # it did answer


def test_one_answer_in_ten_lost_is_one_in_ten_counted():
    r = prepared(fast=False)
    before = np.array(r.bus.counts.missing)
    for cycle in range(200):
        if cycle % 10 == 0:
            r.faults.drop(servo_id=4)
        r.bus.read_block()
    assert (np.array(r.bus.counts.missing) - before).tolist() == [0, 0, 0, 20, 0, 0]


# --- start-up traffic ---------------------------------------------------------------------------


def test_ping_gives_the_error_byte_or_none():
    r = rig()
    assert r.bus.ping(1) == 0
    assert r.bus.ping(9) is None
    assert r.bus.present(3)
    assert not r.bus.present(9)


def test_a_register_read_outlives_two_lost_answers_but_not_three():
    r = rig()
    r.faults.drop(2)
    assert r.bus.read(3, table.HOMING_OFFSET) == -1377
    r.faults.drop(3)
    with pytest.raises(BusError, match=r"no reply from servo 3 to a read of homing_offset in 8 ms"):
        r.bus.read(3, table.HOMING_OFFSET)


def test_a_write_is_true_only_when_read_back():
    r = rig()
    r.bus.write(1, table.MAX_TEMPERATURE, 60)
    assert r.chain.servos[0].get(table.MAX_TEMPERATURE) == 60
    r.bus.write(1, table.TORQUE_ENABLE, 1)
    with pytest.raises(
        BusError, match=r"does not keep max_temperature: wrote 61, read back 60; is its torque on"
    ):
        r.bus.write(1, table.MAX_TEMPERATURE, 61)


def test_a_tripped_watchdog_is_named_when_a_goal_is_not_kept():
    r = rig()
    r.chain.servos[1].put(table.BUS_WATCHDOG, -1)
    with pytest.raises(
        BusError, match=r"servo 2 .* does not keep goal_position.*has its bus watchdog tripped"
    ):
        r.bus.write(2, table.GOAL_POSITION, 1000)


def test_a_write_needs_no_acknowledgement():
    r = rig()
    r.bus.write(1, table.STATUS_LEVEL, 1)
    r.bus.write(1, table.PROFILE_VELOCITY, 5)
    assert r.bus.counts.missing == (0,) * 6


def test_the_same_client_over_a_pty_with_pyserial():
    r = rig()
    with PtyPort(r.chain) as wire:
        bus = DynamixelBus(open_port(wire.path), load().ids, deadline_s=1.0)  # a busy test machine is slow
        bus.prepare()
        assert bus.fast
        block = bus.read_block()
        assert block.fresh.all()
        assert block.position.tolist() == r.calibration.to_counts(READY_RAD).tolist()
        wire.faults.garble(servo_id=2)
        assert bus.read_block().fresh.tolist() == [True] + [False] * 5
        wire.faults.garble(servo_id=2)
        wire.faults.noise(b"\xff\xff\xfd\x00\x05", servo_id=3)
        assert bus.read_block().fresh.tolist() == [True, False, True, True, True, True]
        assert bus.read_block().fresh.all()
        bus.close()
