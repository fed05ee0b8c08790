"""The judge's own ears hear every way to write a goal, in any pieces, between any rubbish; nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from dynamixel_sdk import COMM_SUCCESS, GroupSyncWrite, PacketHandler

from edge_wam.act import dynamixel, feetech
from edge_wam.act import dynamixel_table as table
from edge_wam.act.calibration import Calibration
from edge_wam.act.limits import load_limits
from edge_wam.sim.monitor import Monitor
from edge_wam.sim.overheard import DynamixelGoals, FeetechGoals

FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"
AT = table.GOAL_POSITION.address
D, F = dynamixel, feetech


def goal(count):
    return dynamixel.pack(table.GOAL_POSITION, count)


def code(servo_id, instruction, parameters):
    return dynamixel.encode(dynamixel.Packet(servo_id, instruction, parameters))


DYNAMIXEL = [
    (D.write(3, AT, goal(2048)), [(3, 2048)]),
    (D.write(3, AT, goal(-4096)), [(3, -4096)]),
    (D.write(254, AT, goal(7)), [(254, 7)]),
    (code(3, 0x04, AT.to_bytes(2, "little") + goal(99)), [(3, 99)]),  # REG WRITE
    (D.write(3, 112, bytes(4) + goal(5)), [(3, 5)]),  # a longer one that holds it
    (D.sync_write(AT, [(1, goal(1)), (2, goal(2)), (6, goal(6))]), [(1, 1), (2, 2), (6, 6)]),
    (code(254, 0x93, bytes((1, AT, 0, 4, 0)) + goal(8) + bytes((2, 64, 0, 1, 0, 1))), [(1, 8)]),  # BULK WRITE
    (D.write(3, AT, b"\xff\xff\xfd\x00"), [(3, 0xFDFFFF)]),  # stuffed on the wire
    (D.write(3, AT, goal(1)[:2]), []),
    (D.write(3, 64, b"\x01"), []),
    (D.read(3, AT, 4), []),
    (D.status(3, 0, goal(3)), []),
]
FEETECH = [
    (F.write(3, 42, b"\x10\x88"), [(3, -2064)]),
    (F.reg_write(3, 42, b"\x10\x08"), [(3, 2064)]),
    (F.write(3, 40, bytes((1, 254, 1, 2, 0))), [(3, 513)]),
    (F.sync_write(42, [(1, b"\x01\x00"), (2, b"\x02\x00")]), [(1, 1), (2, 2)]),
    (F.write(3, 42, b"\x10"), []),
    (F.read(3, 42, 2), []),
]


@pytest.mark.parametrize(
    ("ears", "packet", "heard"),
    [(DynamixelGoals, *one) for one in DYNAMIXEL] + [(FeetechGoals, *one) for one in FEETECH],
)
def test_a_goal_is_heard_however_it_is_written(ears, packet, heard):
    assert list(ears().hear(packet)) == heard
    bytewise = ears()
    assert [one for byte in packet for one in bytewise.hear(bytes([byte]))] == heard
    broken = bytearray(packet)
    broken[-1] ^= 1
    assert list(ears().hear(bytes(broken))) == []
    # A packet that broke, noise, or a header that is none before it: heard all the same.
    for before in (bytes(broken), b"\x00\xff\xfd", b"\xff\xff\xfd\x00\x03\xff\xff"):
        assert list(ears().hear(before + packet)) == heard, before
    assert ears().hidden == 0


@pytest.mark.parametrize("address", [208, 224, 205])
def test_a_write_that_goes_wherever_an_indirect_address_says_is_unsafe(address):
    ears = DynamixelGoals()
    assert list(ears.hear(dynamixel.write(1, address, bytes(4)))) == []
    assert ears.hidden == 1
    assert not list(ears.hear(dynamixel.write(1, 168, bytes(34))))  # what our bus does at start
    assert ears.hidden == 1
    judge = judging()
    judge.see(dynamixel.write(1, address, bytes(4)))
    assert "nobody can see whether it is a goal" in judge.worst.unsafe[0]


def test_robotis_own_sdk_is_understood():
    class Port:
        is_using, sent = False, b""

        def clearPort(self):
            pass

        def writePort(self, packet):
            self.sent += bytes(packet)
            return len(packet)

        def setPacketTimeout(self, *_):
            pass

    port = Port()
    write = GroupSyncWrite(port, PacketHandler(2.0), AT, 4)
    for servo_id in (1, 2):
        write.addParam(servo_id, list(goal(2000 + servo_id)))
    assert write.txPacket() == COMM_SUCCESS
    assert list(DynamixelGoals().hear(port.sent)) == [(1, 2001), (2, 2002)]


@pytest.mark.parametrize(("ears", "codec"), [(DynamixelGoals, dynamixel), (FeetechGoals, feetech)])
def test_rubbish_holds_no_goal_and_hides_none(ears, codec):
    generator, one, count = random.Random(5), ears(), 0
    at, data = (AT, goal(5)) if codec is dynamixel else (42, b"\x05\x00")
    for _ in range(300):
        list(one.hear(generator.randbytes(generator.randrange(1, 300)) + bytes(1100)))
        count += len(list(one.hear(codec.write(1, at, data) + codec.ping(1))))
    assert count == 300


def judging(turns=None):
    calibration = Calibration.load(FOLDER / "arm.json", "dynamixel")
    pose = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
    limits = load_limits(FOLDER / "limits.toml")
    return Monitor(calibration, limits, 0.02, lambda: pose, servos="dynamixel", turns=turns)


def test_a_goal_a_whole_turn_away_is_unsafe_unless_the_servo_counts_that_turn():
    count = round(judging()._calibration.zero_count[0]) + 4096
    judge = judging()
    judge.see(dynamixel.write(1, AT, goal(count)))
    assert any("beyond its range" in said for said in judge.worst.unsafe)
    judge = judging(turns=lambda: [4096.0] * 6)
    judge.see(dynamixel.write(1, AT, goal(count)))
    assert judge.worst.unsafe == ()


def test_a_goal_for_everybody_is_everybody_s():
    judge = judging()
    judge.see(dynamixel.write(254, AT, goal(2048)))
    assert judge.goals == 6
