"""Ten million bytes of rubbish, and every order of trouble: no exception, no hang, no goal nobody gave."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_wam.act import feetech
from edge_wam.act.calibration import Calibration
from edge_wam.act.feetech import PacketReader
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.act.limits import load_limits
from edge_wam.clock import ManualClock
from edge_wam.errors import BusError
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.monitor import Monitor
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import LoopPort

FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"
CALIBRATION, LIMITS = Calibration.load(FOLDER / "arm.json"), load_limits(FOLDER / "limits.toml")
POSE = np.array([0.1, -0.5, 0.5, 0.3, 0.0, 0.6])
BYTES = int(os.environ.get("EDGE_WAM_FUZZ_BYTES", "10000000"))  # as `make fuzz` says


def rubbish(generator: random.Random, count: int) -> bytes:
    """Random bytes, and packets that were right once: bits flipped, cut, doubled, run into each other."""
    made = bytearray()
    while len(made) < count:
        if generator.random() < 0.2:
            made += generator.randbytes(generator.randrange(1, 2000))
            continue
        packet = bytearray(feetech.status(generator.randrange(254), 0, generator.randbytes(15)))
        if generator.random() < 0.7:
            packet[generator.randrange(len(packet))] ^= 1 << generator.randrange(8)
        made += packet[: generator.randrange(1, len(packet) + 1)] * generator.randrange(1, 3)
    return bytes(made[:count])


@pytest.mark.parametrize("longest", [feetech.LONGEST_PARAMETERS, feetech.BLOCK_BYTES])
def test_ten_million_bytes_of_rubbish_give_whole_packets_or_nothing(longest):
    generator = random.Random(longest)
    reader, packets, done = PacketReader(longest), 0, 0
    while done < BYTES // 2:
        data = rubbish(generator, 1_000_000)
        at = 0
        while at < len(data):
            piece = generator.randrange(1, 4096)
            for packet in reader.feed(data[at : at + piece]):
                packets += 1
                assert len(packet.parameters) <= longest
                assert packet.servo_id <= feetech.BROADCAST_ID
                if len(packet.parameters) == feetech.BLOCK_BYTES:
                    feetech.present(packet.parameters)
            assert reader.waiting <= longest + 6
            at += piece
        done += len(data)
    reader.finish()
    assert reader.waiting == 0
    assert packets > 100  # those that were left whole are found


def test_servos_and_the_judge_of_the_bytes_survive_a_million():
    generator = random.Random(2)
    plant = KinematicPlant(POSE, POSE - 1, POSE + 1)
    chain, judge = ServoChain(plant, CALIBRATION), Monitor(CALIBRATION, LIMITS, 0.02, lambda: POSE)
    data = rubbish(generator, 1_000_000)
    for at in range(0, len(data), 1000):
        chain.handle(data[at : at + 1000])
        judge.see(data[at : at + 1000])


class Bus(RuleBasedStateMachine):
    """Any order of questions and trouble. Whatever comes back, arrays have their shape, and only goals that
    were given are on the wire."""

    def __init__(self):
        super().__init__()
        self.clock = ManualClock()
        self.plant = KinematicPlant(POSE, POSE - 1, POSE + 1)
        chain = ServoChain(self.plant, CALIBRATION)
        self.port = LoopPort(chain, self.clock.advance)
        self.monitor = Monitor(CALIBRATION, LIMITS, 0.02, lambda: self.plant.position_rad)
        write = self.port.write

        def watched(data: bytes) -> int:
            self.monitor.see(data)
            return write(data)

        self.port.write = watched
        self.bus = FeetechBus(self.port, CALIBRATION.ids, self.clock)
        self.goals = 0

    @rule(count=st.integers(1, 20), servo=st.sampled_from([None, *CALIBRATION.ids]))
    def lose(self, count, servo):
        self.port.faults.drop(count, servo)

    @rule(count=st.integers(1, 20))
    def garble(self, count):
        self.port.faults.garble(count)

    @rule(count=st.integers(1, 20))
    def cut(self, count):
        self.port.faults.cut(count)

    @rule(late_s=st.floats(0.0001, 0.05), count=st.integers(1, 10))
    def delay(self, late_s, count):
        self.port.faults.delay(late_s, count)

    @rule(data=st.binary(min_size=1, max_size=80), count=st.integers(1, 10))
    def noise(self, data, count):
        self.port.faults.noise(data, count)

    @rule(out=st.booleans())
    def plug(self, out):
        self.port.faults.unplugged = out

    @rule()
    def look(self):
        began_s = self.clock.now_s()
        block = self.bus.read_block()
        assert block.position.shape == block.fresh.shape == (6,)
        assert self.clock.now_s() - began_s < 0.02  # within a tick

    @rule(servo=st.sampled_from(CALIBRATION.ids))
    def peek(self, servo):
        found = self.bus.peek(servo, 40, 10)
        assert found is None or len(found) == 10

    @rule(servo=st.sampled_from(CALIBRATION.ids))
    def ask(self, servo):
        with contextlib.suppress(BusError):
            self.bus.read(servo, feetech.PRESENT_POSITION)

    @rule()
    def aim(self):
        self.bus.write_goals([2048] * 6)
        self.goals += 6

    @invariant()
    def nobody_else_gave_a_goal(self):
        assert self.monitor.goals == self.goals


TestBus = Bus.TestCase
TestBus.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
