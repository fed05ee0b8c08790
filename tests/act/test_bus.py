"""The bus client against the emulator, with faults only on the wire: deadlines, counts, resync."""

from __future__ import annotations

import pytest
from bus_rig import READY_RAD, rig

from edge_wam.act import feetech
from edge_wam.act.bus import DEADLINE_S
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.errors import BusError

# --- the healthy bus ----------------------------------------------------------------------------


def test_one_sync_read_brings_every_joint():
    r = rig()
    r.plant.load[:] = [0.1, -0.5, 0.0, 0.2, 0.0, 0.3]
    for _ in range(30):  # so that the protections have run
        r.plant.step()
        r.chain.update()
    block = r.bus.read_block()
    assert block.fresh.all()
    assert block.position.tolist() == r.calibration.to_counts(READY_RAD).tolist()
    assert block.voltage.tolist() == [120] * 6
    assert block.temperature.tolist() == [25] * 6
    assert not block.error.any()
    assert not block.moving.any()
    assert r.bus.counts == (1, (1,) * 6, (0,) * 6, (0,) * 6, 0, 0)


def test_goals_of_all_joints_go_out_in_one_packet_of_26_bytes():
    r = rig()
    sent = []
    r.port.write = lambda data, write=r.port.write: (sent.append(data), write(data))[1]
    r.bus.write_goals([2000, 2100, 2200, 2300, 2400, 2500])
    assert sent == [
        bytes.fromhex("FFFF FE 16 83 2A02 01D007 023408 039808 04FC08 056009 06C409")
        + bytes([feetech.checksum(sent[0][2:-1])])
    ]
    assert len(sent[0]) == 26
    assert [servo.get(feetech.GOAL_POSITION) for servo in r.chain.servos] == [
        2000,
        2100,
        2200,
        2300,
        2400,
        2500,
    ]


def test_block_time_is_the_middle_of_the_exchange():
    r = rig(wire_time=True)
    before_s = r.clock.now_s()
    block = r.bus.read_block()
    took_s = r.clock.now_s() - before_s
    assert took_s == pytest.approx(140 * 10 / 1e6)  # 14 bytes out, 6 x 21 back, ten bits each
    assert block.t_s == pytest.approx(before_s + took_s / 2)


def test_block_time_does_not_wait_for_a_silent_servo():
    r = rig(wire_time=True)
    r.faults.drop(servo_id=6)
    before_s = r.clock.now_s()
    block = r.bus.read_block()
    assert r.clock.now_s() - before_s == pytest.approx(DEADLINE_S, abs=1e-6)
    assert block.t_s - before_s < 0.001


# --- what goes wrong, is counted, and does not raise --------------------------------------------


def test_a_dropped_reply_leaves_the_last_value_and_is_counted():
    r = rig()
    first = r.bus.read_block()
    r.plant.position_rad = r.plant.position_rad + 0.05
    r.chain.update()
    r.faults.drop(servo_id=3)
    block = r.bus.read_block()
    assert block.fresh.tolist() == [True, True, False, True, True, True]
    assert block.position[2] == first.position[2]
    assert (block.position != first.position).tolist() == [True, True, False, True, True, True]
    assert r.bus.counts.missing == (0, 0, 1, 0, 0, 0)
    assert r.bus.counts.answered == (2, 2, 1, 2, 2, 2)
    assert r.bus.read_block().fresh.all()  # the next tick is the retry


@pytest.mark.parametrize("fault", ["garble", "cut"])
@pytest.mark.parametrize("servo_id", [1, 4, 6])
def test_a_broken_reply_costs_one_joint_and_no_other(fault, servo_id):
    r = rig()
    getattr(r.faults, fault)(servo_id=servo_id)
    block = r.bus.read_block()
    assert [i + 1 for i in range(6) if not block.fresh[i]] == [servo_id]
    assert r.bus.counts.noise_bytes > 0
    assert r.bus.counts.garbled == (
        1 if fault == "garble" or servo_id < 6 else 0
    )  # a cut last one never ends
    assert r.bus.read_block().fresh.all()


@pytest.mark.parametrize("noise", ["00", "FF", "FFFF", "FFFF01", "FFFF0311", "FFFF02110000", "55" * 40])
def test_noise_before_any_reply_costs_nothing(noise):
    for servo_id in range(1, 7):
        r = rig()
        r.faults.noise(bytes.fromhex(noise), servo_id=servo_id)
        block = r.bus.read_block()
        assert block.fresh.all(), servo_id
        assert block.position.tolist() == r.calibration.to_counts(READY_RAD).tolist()
        assert r.bus.counts.noise_bytes == len(bytes.fromhex(noise))


def test_a_late_reply_is_missing_then_late_and_never_taken_for_the_next_answer():
    r = rig()
    before = r.bus.read_block()
    r.faults.delay(DEADLINE_S * 1.5, servo_id=6)
    assert not r.bus.read_block().fresh[5]
    r.port.elapse(DEADLINE_S)
    r.plant.position_rad = r.plant.position_rad + 0.05
    r.chain.update()
    block = r.bus.read_block()
    assert block.fresh.all()
    assert block.position[5] != before.position[5]
    assert r.bus.counts.missing == (0, 0, 0, 0, 0, 1)
    assert r.bus.counts.late == (0, 0, 0, 0, 0, 1)


def test_no_read_takes_longer_than_its_deadline_whatever_happens():
    for trouble in (
        lambda f: f.drop(6),
        lambda f: f.delay(1.0, 6),
        lambda f: f.garble(6),
        lambda f: f.noise(b"\xff\xff\x01\x11" * 30, 6),
        lambda f: (f.noise(b"\x00" * 90, 1), f.delay(0.005, 1), f.drop(2)),
        lambda f: setattr(f, "unplugged", True),
    ):
        r = rig(wire_time=True)
        trouble(r.faults)
        before_s = r.clock.now_s()
        r.bus.read_block()
        assert r.clock.now_s() - before_s <= DEADLINE_S + 1e-9
        assert r.port.timeout == DEADLINE_S  # and is back for the next


def test_a_babbling_bus_does_not_hold_the_loop_even_on_a_frozen_clock():
    r = rig()

    class Babbler:
        timeout = 0.008

        def take(self):
            return b""

        def write(self, data):
            return len(data)

        def read(self, size=1):
            return b"\x00" * size

    bus = FeetechBus(Babbler(), r.calibration.ids, r.clock)
    assert not bus.read_block().fresh.any()


def test_a_reply_of_the_wrong_length_is_no_answer():
    r = rig()
    r.faults.drop(servo_id=2)
    r.faults.noise(feetech.status(2, 0, b"\x01\x02"), servo_id=3)
    assert r.bus.read_block().fresh.tolist() == [True, False, True, True, True, True]


def test_the_one_flip_the_checksum_cannot_see_costs_one_joint_too():
    """LEN + 1 swallows the next header's first byte and passes the checksum (test_feetech.py)."""
    r = rig()
    replies = r.chain.replies

    def bent(data, baud_bps=None):
        return [
            reply._replace(data=reply.data[:3] + bytes([reply.data[3] + 1]) + reply.data[4:])
            if reply.servo_id == 3
            else reply
            for reply in replies(data, baud_bps)
        ]

    r.chain.replies = bent
    assert r.bus.read_block().fresh.tolist() == [True, True, False, True, True, True]


def test_the_deadline_also_ends_a_bus_that_brings_noise_slowly():
    r = rig()

    class SlowNoise:
        def take(self):
            return b""

        _timeout = None

        @property
        def timeout(self):
            return self._timeout

        @timeout.setter
        def timeout(self, value):
            assert value > 0  # pyserial refuses a negative one
            self._timeout = value

        def write(self, data):
            return len(data)

        def read(self, size=1):
            r.clock.advance(DEADLINE_S)
            return b"\x00" * size

    bus = FeetechBus(SlowNoise(), r.calibration.ids, r.clock)
    before_s = r.clock.now_s()
    assert not bus.read_block().fresh.any()
    assert r.clock.now_s() - before_s == pytest.approx(DEADLINE_S)


def test_the_error_byte_reaches_the_block():
    r = rig()
    r.chain.supply_v = 3.0
    for _ in range(10):
        r.plant.step()
        r.chain.update()
    assert r.bus.read_block().error.tolist() == [feetech.ERROR_VOLTAGE] * 6


def test_one_reply_in_ten_lost_is_one_in_ten_counted():
    r = rig()
    for cycle in range(1000):
        if cycle % 10 == 0:
            r.faults.drop(servo_id=4)
        r.bus.read_block()
    assert r.bus.counts.missing == (0, 0, 0, 100, 0, 0)
    assert r.bus.counts.answered == (1000, 1000, 1000, 900, 1000, 1000)


# --- start-up traffic: checked, repeated, then an error for people -------------------------------


def test_ping_gives_the_error_byte_or_none():
    r = rig()
    assert r.bus.ping(1) == 0
    assert r.bus.ping(9) is None


def test_a_late_register_reply_is_not_taken_for_the_answer_to_the_next_question():
    """Seen on a busy machine: the homing offset, late, was read as the minimum position of the next
    question, and the arm was refused as another one's."""
    r = rig()
    expected = [r.bus.read(3, register) for register in (feetech.HOMING_OFFSET, feetech.MIN_POSITION)]
    r.faults.delay(DEADLINE_S * 2.5, servo_id=3)
    found = [r.bus.read(3, register) for register in (feetech.HOMING_OFFSET, feetech.MIN_POSITION)]
    assert found == expected
    assert sum(r.bus.counts.late) == 1


def test_a_register_read_outlives_two_lost_replies_but_not_three():
    r = rig()
    r.faults.drop(2)
    assert r.bus.read(3, feetech.HOMING_OFFSET) == -1377
    r.faults.drop(3)
    with pytest.raises(BusError, match=r"no reply from servo 3 to a read of homing_offset in 8 ms"):
        r.bus.read(3, feetech.HOMING_OFFSET)


def test_a_write_is_true_only_when_read_back():
    r = rig()
    r.bus.write(1, feetech.ACCELERATION, 77)
    assert r.chain.servos[0].get(feetech.ACCELERATION) == 77
    with pytest.raises(
        BusError, match=r"does not keep max_temperature: wrote 60, read back 70; is its EEPROM locked"
    ):
        r.bus.write(1, feetech.MAX_TEMPERATURE, 60)
    r.bus.write(1, feetech.LOCK, 0)
    r.bus.write(1, feetech.MAX_TEMPERATURE, 60)


def test_a_write_needs_no_acknowledgement():
    r = rig()
    r.bus.write(1, feetech.LOCK, 0)
    r.bus.write(1, feetech.RESPONSE_LEVEL, 0)
    r.bus.write(1, feetech.ACCELERATION, 5)
    assert r.bus.counts.missing == (0,) * 6


def test_a_block_says_how_long_it_took_and_a_silent_servo_takes_the_deadline():
    r = rig(wire_time=True)
    wire_s = (8 + 6 + 6 * (6 + 15)) * 10e-6
    assert r.bus.read_block().took_s == pytest.approx(wire_s)
    r.faults.drop(servo_id=3)
    assert r.bus.read_block().took_s == pytest.approx(DEADLINE_S, abs=1e-3)
