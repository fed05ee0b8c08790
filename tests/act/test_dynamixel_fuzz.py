"""As test_fuzz.py, for Dynamixel's bytes: rubbish, and every order of trouble."""

from __future__ import annotations

import contextlib
import os
import random

import pytest
from dynamixel_rig import KOCH, NEW, OLD, READY_RAD, load, rig
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.bus import DEADLINE_S
from edge_wam.act.dynamixel import JoinedReader, PacketReader, Status, StatusReader
from edge_wam.errors import BusError
from edge_wam.sim.dynamixel import DynamixelChain
from edge_wam.sim.kinematic import KinematicPlant

IDS = load().ids
# A CRC in Python is slower than a sum: `make fuzz` sends the ten million.
BYTES = int(os.environ.get("EDGE_WAM_FUZZ_BYTES", "1500000"))


def rubbish(generator: random.Random, count: int) -> bytes:
    """Random bytes, and packets that were right once: bits flipped, cut, doubled, run into each other."""
    made = bytearray()
    while len(made) < count:
        if generator.random() < 0.2:
            made += generator.randbytes(generator.randrange(1, 2000))
            continue
        data = bytes(generator.choice((0xFF, 0xFD, 0x00, generator.randrange(256))) for _ in range(17))
        if generator.random() < 0.3:
            answers = [Status(i, 0, data) for i in IDS]
            packet = bytearray(b"".join(dynamixel.joined(answers, 127)))
        else:
            packet = bytearray(dynamixel.status(generator.randrange(253), 0, data))
        if generator.random() < 0.7:
            packet[generator.randrange(len(packet))] ^= 1 << generator.randrange(8)
        if generator.random() < 0.5:
            packet = packet[: generator.randrange(1, len(packet) + 1)]
        made += packet * generator.randrange(1, 3)
    return bytes(made[:count])


@pytest.mark.parametrize("longest", [dynamixel.LONGEST_PARAMETERS, table.BLOCK_BYTES + 1])
def test_rubbish_gives_whole_packets_or_nothing(longest):
    generator = random.Random(longest)
    reader, packets, at = PacketReader(longest), 0, 0
    data = rubbish(generator, BYTES)
    while at < len(data):
        piece = generator.randrange(1, 4096)
        for packet in reader.feed(data[at : at + piece]):
            packets += 1
            assert packet.servo_id <= dynamixel.BROADCAST_ID
            assert len(packet.parameters) <= longest * 4 // 3 + 3
        assert reader.waiting <= 7 + 3 + longest * 4 // 3 + 3
        at += piece
    reader.finish()
    assert reader.waiting == 0
    assert packets > 100  # those that were left whole are found


def test_rubbish_gives_joined_answers_of_the_right_length_or_nothing():
    generator = random.Random(3)
    reader, answers, at = JoinedReader(17, 6), 0, 0
    data = rubbish(generator, BYTES)
    while at < len(data):
        piece = generator.randrange(1, 4096)
        for answer in reader.feed(data[at : at + piece]):
            answers += 1
            assert len(answer.parameters) == 17
            table.present(answer.parameters)
        assert reader.waiting < 21
        at += piece
    assert answers > 100


def test_servos_survive_rubbish_and_answer_in_whole_packets():
    generator = random.Random(2)
    chain = DynamixelChain(KinematicPlant(READY_RAD, READY_RAD - 1, READY_RAD + 1), load())
    data = rubbish(generator, 250_000)
    for at in range(0, len(data), 1000):
        chain.handle(data[at : at + 1000])
    chain.idle()
    for _ in range(20_000):
        code = generator.choice(list(dynamixel.Instruction))
        parameters = generator.randbytes(generator.randrange(12))
        servo_id = generator.choice((*IDS, dynamixel.BROADCAST_ID))
        if code in (dynamixel.Instruction.FAST_SYNC_READ, dynamixel.Instruction.FAST_BULK_READ):
            continue  # joined answers are another reader's
        if parameters[:1] == bytes((table.ID.address,)) or code == dynamixel.Instruction.FACTORY_RESET:
            continue  # everybody keeps his id
        out = chain.handle(dynamixel.encode(dynamixel.Packet(servo_id, code, parameters)))
        reader = StatusReader(dynamixel.LONGEST_PARAMETERS)
        reader.feed(out)
        assert (reader.waiting, reader.garbage_bytes) == (0, 0)


class Bus(RuleBasedStateMachine):
    """Any order of questions and trouble. Whatever comes back, arrays have their shape, nothing takes longer
    than a tick, and a servo's goal is one that was given or the place where it stood."""

    @initialize(mixed=st.booleans(), fast=st.booleans())
    def build(self, mixed, fast):
        kinds = {"models": KOCH, "indirect": [NEW, NEW, OLD, OLD, OLD, OLD]} if mixed else {}
        self.r = rig(fast=fast, **kinds)
        self.r.bus.prepare()
        self.allowed = {servo.get(table.GOAL_POSITION) for servo in self.r.chain.servos} | {2048, 2100}

    @rule(count=st.integers(1, 20), servo=st.sampled_from([None, *IDS]))
    def lose(self, count, servo):
        self.r.faults.drop(count, servo)

    @rule(count=st.integers(1, 20))
    def garble(self, count):
        self.r.faults.garble(count)

    @rule(count=st.integers(1, 20))
    def cut(self, count):
        self.r.faults.cut(count)

    @rule(late_s=st.floats(0.0001, 0.05), count=st.integers(1, 10))
    def delay(self, late_s, count):
        self.r.faults.delay(late_s, count)

    @rule(data=st.binary(min_size=1, max_size=80), count=st.integers(1, 10))
    def noise(self, data, count):
        self.r.faults.noise(data, count)

    @rule(out=st.booleans())
    def plug(self, out):
        self.r.faults.unplugged = out

    @rule()
    def look(self):
        began_s = self.r.clock.now_s()
        block = self.r.bus.read_block()
        assert block.position.shape == block.fresh.shape == block.limp.shape == (6,)
        assert self.r.clock.now_s() - began_s <= DEADLINE_S + 1e-9
        here = self.r.calibration.to_counts(self.r.plant.position_rad)
        assert (block.position[block.fresh] == here[block.fresh]).all()

    @rule(index=st.integers(0, 5))
    def restart(self, index):
        self.r.chain.servos[index].power_on()
        self.allowed.add(self.r.chain.servos[index].get(table.GOAL_POSITION))

    @rule(servo=st.sampled_from(IDS))
    def ask(self, servo):
        with contextlib.suppress(BusError):
            self.r.bus.read(servo, table.PRESENT_POSITION)

    @rule(goal=st.sampled_from([2048, 2100]))
    def aim(self, goal):
        self.r.bus.write_goals([goal] * 6)

    @rule()
    def prepare(self):
        with contextlib.suppress(BusError):
            self.r.bus.prepare()

    @invariant()
    def nobody_else_gave_a_goal(self):
        if hasattr(self, "r"):
            assert {servo.get(table.GOAL_POSITION) for servo in self.r.chain.servos} <= self.allowed


TestBus = Bus.TestCase
TestBus.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
