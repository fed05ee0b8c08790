"""The servo emulator's instructions and memory, byte by byte and without a clock."""

from __future__ import annotations

import pytest

from edge_wam.act import feetech
from edge_wam.act.feetech import Instruction, Packet
from edge_wam.sim.wire import LoopPort

# --- instructions -------------------------------------------------------------------------------


def test_ping_is_answered_with_the_manuals_bytes(bench):
    assert bench.chain.handle(bytes.fromhex("FF FF 01 02 01 FB")) == bytes.fromhex("FF FF 01 02 00 FC")


def test_nobody_answers_for_an_id_that_is_not_there(bench):
    assert bench.chain.handle(feetech.ping(7)) == b""


def test_a_ping_to_everybody_is_answered_by_all_in_turn(bench):
    assert [p.servo_id for p in bench.ask(feetech.ping(feetech.BROADCAST_ID))] == [1, 2, 3, 4, 5, 6]


def test_other_broadcasts_are_obeyed_and_not_answered(bench):
    everybody = feetech.BROADCAST_ID
    assert bench.write(everybody, feetech.ACCELERATION, 33) == []
    assert [bench.read(i, feetech.ACCELERATION) for i in range(1, 7)] == [33] * 6
    assert bench.ask(feetech.read(everybody, 56, 2)) == []


def test_an_instruction_with_a_wrong_checksum_is_ignored(bench):
    good = feetech.write(1, feetech.ACCELERATION.address, b"\x21")
    assert bench.chain.handle(good[:-1] + bytes([good[-1] ^ 1])) == b""
    assert bench.chain.idle() == []
    assert bench.read(1, feetech.ACCELERATION) == 0


def test_an_unknown_instruction_is_ignored(bench):
    assert bench.ask(feetech.encode(Packet(1, 0x77, b""))) == []


def test_instructions_may_arrive_in_pieces(bench):
    packet = feetech.ping(4)
    assert [bench.chain.handle(packet[i : i + 1]) for i in range(6)] == [b""] * 5 + [feetech.status(4, 0)]


def test_a_half_sent_instruction_is_given_up_when_the_wire_is_quiet(bench):
    assert bench.chain.handle(bytes.fromhex("FF FF 01 40 03")) == b""
    assert bench.chain.idle() == []
    assert bench.ask(feetech.ping(1)) == [Packet(1, 0, b"")]


def test_sync_read_is_answered_in_the_order_asked_and_skips_the_absent(bench):
    answers = bench.ask(feetech.sync_read(5, 1, (6, 2, 9, 4)))
    assert answers == [Packet(6, 0, b"\x06"), Packet(2, 0, b"\x02"), Packet(4, 0, b"\x04")]


def test_sync_write_reaches_each_servo_with_its_own_data_and_is_not_answered(bench):
    assert bench.ask(feetech.sync_write(41, [(1, b"\x0a"), (9, b"\x0b"), (3, b"\x0c")])) == []
    assert [bench.read(i, feetech.ACCELERATION) for i in range(1, 7)] == [10, 0, 12, 0, 0, 0]


def test_a_sync_write_whose_pieces_do_not_fit_moves_nobody(bench):
    bench.ask(
        feetech.encode(Packet(feetech.BROADCAST_ID, Instruction.SYNC_WRITE, bytes([41, 2, 1, 9, 9, 2, 9])))
    )
    assert [bench.read(i, feetech.ACCELERATION) for i in (1, 2)] == [0, 0]


def test_sync_write_of_the_manual_sets_position_and_speed(bench):
    bench.chain.handle(
        bytes.fromhex(
            "FFFFFE20832A06 01000800 00E803 02000800 00E803 03000800 00E803 04000800 00E803 58".replace(
                " ", ""
            )
        )
    )
    for servo_id in (1, 2, 3, 4):
        assert bench.read(servo_id, feetech.GOAL_POSITION) == 2048
        assert bench.read(servo_id, feetech.GOAL_SPEED) == 1000
    assert bench.read(5, feetech.GOAL_SPEED) == 0


def test_reg_write_waits_for_action_also_a_broadcast_one(bench):
    goal = bench.counts()[0] + 50
    assert bench.ask(feetech.reg_write(1, 42, feetech.pack(feetech.GOAL_POSITION, goal))) == [
        Packet(1, 0, b"")
    ]
    assert bench.read(1, feetech.ASYNC_FLAG) == 1
    assert bench.read(1, feetech.GOAL_POSITION) != goal
    assert bench.ask(feetech.action()) == []
    assert bench.read(1, feetech.ASYNC_FLAG) == 0
    assert bench.read(1, feetech.GOAL_POSITION) == goal
    bench.write(1, feetech.GOAL_POSITION, goal - 9)
    bench.ask(feetech.action())  # nothing waits any more
    assert bench.read(1, feetech.GOAL_POSITION) == goal - 9


def test_one_read_gives_the_whole_table(bench):
    (answer,) = bench.ask(feetech.read(1, 0, 87))
    assert len(answer.parameters) == 87
    for register in feetech.REGISTERS:
        value = feetech.unpack(register, answer.parameters[register.address : register.end])
        assert value == bench.chain.servos[0].get(register), register.name
    assert bench.ask(feetech.read(1, 120, 20))[0].parameters == bytes(20)
    assert bench.ask(feetech.read(1, 0, 255)) == []  # more than a packet carries


def test_response_level_0_answers_only_ping_and_read(bench):
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.RESPONSE_LEVEL, 0)
    assert bench.write(1, feetech.ACCELERATION, 9) == []
    assert bench.read(1, feetech.ACCELERATION) == 9
    assert bench.ask(feetech.ping(1)) == [Packet(1, 0, b"")]


def test_return_delay_is_two_microseconds_a_step(bench):
    for steps in (0, 1, 250):
        bench.chain.servos[0].put(feetech.RETURN_DELAY, steps)
        (reply,) = bench.chain.replies(feetech.ping(1))
        assert reply.after_s == pytest.approx(steps * 2e-6)


def test_a_servo_at_another_baud_rate_hears_nothing(bench):
    bench.chain.servos[0].put(feetech.BAUD, 1)
    assert bench.chain.replies(feetech.ping(1), 1_000_000) == []
    assert len(bench.chain.replies(feetech.ping(1), 500_000)) == 1
    assert len(bench.chain.replies(feetech.ping(2), 1_000_000)) == 1


def test_replies_on_the_loop_port_take_return_delay_and_wire_time(bench):
    waited = []
    port = LoopPort(bench.chain, waited.append, wire_time=True)
    bench.chain.servos[0].put(feetech.RETURN_DELAY, 250)
    port.write(feetech.ping(1))
    assert port.in_waiting == 0
    assert port.read(6) == feetech.status(1, 0)
    assert sum(waited) == pytest.approx(500e-6 + 12 * 10e-6)
    assert port.read(1) == b""  # and nothing more: the whole timeout passed
    assert sum(waited) == pytest.approx(500e-6 + 12 * 10e-6 + port.timeout)


# --- memory -------------------------------------------------------------------------------------


def test_a_locked_eeprom_keeps_its_values_and_an_unlocked_one_survives_power(bench):
    assert bench.read(1, feetech.LOCK) == 1
    bench.write(1, feetech.MAX_TEMPERATURE, 55)
    assert bench.read(1, feetech.MAX_TEMPERATURE) == 70
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.MAX_TEMPERATURE, 55)
    bench.write(1, feetech.ACCELERATION, 44)
    bench.chain.power_cycle()
    assert bench.read(1, feetech.MAX_TEMPERATURE) == 55
    assert bench.read(1, feetech.ACCELERATION) == 0
    assert bench.read(1, feetech.LOCK) == 1


def test_unlocking_and_writing_take_two_packets(bench):
    """The lock is looked at when a write begins: one write over both areas is a locked one."""
    data = bytes(bench.chain.servos[0].memory[39:56])
    bench.ask(feetech.write(1, 39, bytes([data[0] ^ 1]) + data[1:16] + b"\0"))
    assert bench.chain.servos[0].memory[39] == data[0]
    assert bench.read(1, feetech.LOCK) == 0


def test_read_only_registers_cannot_be_written(bench):
    bench.write(1, feetech.LOCK, 0)
    for register in feetech.REGISTERS:
        if not register.writable:
            before = bench.read(1, register)
            bench.ask(feetech.write(1, register.address, bytes([before + 1 & 0xFF]) * register.size))
            assert bench.read(1, register) == before, register.name


def test_a_write_over_read_only_registers_reaches_the_others(bench):
    start = feetech.LOCK.address
    bench.ask(feetech.write(1, start, b"\x00" + b"\xaa" * 15))
    assert bench.read(1, feetech.LOCK) == 0
    assert bench.read(1, feetech.PRESENT_POSITION) == bench.counts()[0]


def test_values_are_kept_within_their_span(bench):
    bench.ask(feetech.write(1, feetech.TORQUE_LIMIT.address, (5000).to_bytes(2, "little")))
    assert bench.read(1, feetech.TORQUE_LIMIT) == 1000
    bench.ask(feetech.write(1, feetech.ACCELERATION.address, b"\xff"))
    assert bench.read(1, feetech.ACCELERATION) == 254


def test_a_write_behind_the_end_of_memory_is_harmless(bench):
    bench.ask(feetech.write(1, 120, bytes(30)))
    bench.ask(feetech.write(1, 250, bytes(3)))
    assert bench.ask(feetech.ping(1)) == [Packet(1, 0, b"")]


def test_factory_reset_keeps_the_id_alone(bench):
    bench.ask(feetech.encode(Packet(3, Instruction.FACTORY_RESET, b"")))
    assert bench.read(3, feetech.ID) == 3
    assert bench.read(3, feetech.HOMING_OFFSET) == 0
    assert bench.read(3, feetech.RETURN_DELAY) == 250
    assert bench.read(3, feetech.MAX_POSITION) == 4095


def test_reboot_is_silent_and_lets_go(bench):
    bench.write(2, feetech.TORQUE_ENABLE, 1)
    assert bench.plant.torque_on[1]
    assert bench.ask(feetech.encode(Packet(2, Instruction.REBOOT, b""))) == []
    assert not bench.plant.torque_on[1]


def test_a_servo_answers_under_its_new_id_at_once(bench):
    bench.write(1, feetech.LOCK, 0)
    bench.write(1, feetech.ID, 11)
    assert bench.ask(feetech.ping(1)) == []
    assert bench.ask(feetech.ping(11)) == [Packet(11, 0, b"")]
