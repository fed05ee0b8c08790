"""The arm's cable comes out: the robot waits, obeys QUIT meanwhile, and starts anew when it is back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_wam.act.bus import open_port
from edge_wam.act.calibration import Calibration
from edge_wam.act.feetech_arm import FeetechArm
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.act.plug import Plug
from edge_wam.clock import ManualClock
from edge_wam.errors import ArmError, BusError, CalibrationError
from edge_wam.live import when_back
from edge_wam.orders import Order, Orders, Verb
from edge_wam.persist import LONGEST_PAUSE_S, persist
from edge_wam.robot import reconnect
from edge_wam.sim.kinematic import KinematicPlant
from edge_wam.sim.servos import ServoChain
from edge_wam.sim.wire import LoopPort, PtyPort

FOLDER = Path(__file__).parents[1] / "calibration" / "so101-sim"
POSE = np.array([0.1, -0.5, 0.5, 0.3, 0.0, 0.6])


class World:
    """A loop that loses the bus `losses` times, an arm that is away for `away_s`."""

    def __init__(self, losses=1, away_s=3.0, error=None):
        self.clock, self.orders, self.said, self.beats = ManualClock(), Orders(), [], []
        self.losses, self.away_s, self.error = losses, away_s, error or BusError("no arm")
        self.flights, self.asked = 0, []
        self.gone_s = 0.0

    def fly(self):
        self.flights += 1
        self.clock.advance(1.0)
        if self.flights <= self.losses:
            self.gone_s = self.clock.now_s()
            raise BusError("the bus failed; unplugged?")

    def reconnect(self):
        self.asked.append(self.clock.now_s())
        if self.clock.now_s() < self.gone_s + self.away_s:
            raise self.error

    def run(self, **more):
        persist(
            self.fly, self.reconnect, self.orders, self.clock, self.said.append, self.beats.append, **more
        )


def test_it_flies_again_when_the_arm_is_back_and_says_so():
    world = World(losses=2)
    world.run()
    assert world.flights == 3
    assert world.said.count("the arm is back, and held where it is; say the command again") == 2
    assert world.said[0] == "the bus failed; unplugged? Waiting for the arm."


def test_what_was_set_is_done_once_it_is_back_and_not_before():
    world, resumed = World(losses=2), []

    def resume():
        resumed.append((world.clock.now_s() - world.gone_s >= world.away_s, world.flights))
        return "the arm is back, and parks"

    world.run(resume=resume)
    assert resumed == [(True, 1), (True, 2)]
    assert world.said.count("the arm is back, and parks") == 2


@pytest.mark.parametrize(
    ("setting", "command", "order", "said"),
    [
        ("hold", "go home", None, "held where it is; say the command again"),
        ("park", "go home", Order(Verb.PARK), "parks"),
        ("park", "", Order(Verb.PARK), "parks"),
        ("go on", "go home", Order(Verb.DO, "go home"), "goes on: go home"),
        ("go on", "", None, "held where it is"),
    ],
)
def test_hold_park_or_go_on_by_setting(setting, command, order, said):
    ordered, text = when_back(setting, command)
    assert ordered == order
    assert text.startswith("the arm is back, and ")
    assert said in text


def test_the_watchdog_is_fed_while_it_waits_and_pauses_grow_to_a_limit():
    world = World(away_s=60.0)
    world.run()
    assert max(b - a for a, b in zip(world.beats, world.beats[1:], strict=False)) <= 0.11
    pauses = [b - a for a, b in zip(world.asked, world.asked[1:], strict=False)]
    assert pauses[0] == pytest.approx(1.0, abs=0.11)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S, abs=0.11)
    assert world.said.count("no arm") == 1  # the same reason is said once


def test_another_arm_in_its_place_is_waited_out():
    world = World(error=CalibrationError("another arm's file"))
    world.run()
    assert "another arm's file" in world.said
    assert world.flights == 2


def test_quit_ends_the_waiting_and_other_orders_are_dropped():
    world = World(away_s=1e9)
    take = world.orders.take

    def later():
        if world.clock.now_s() > 5:
            world.orders.give(Order(Verb.QUIT))
        elif world.clock.now_s() > 2:
            world.orders.give(Order(Verb.DO, "go home"))
        return take()

    world.orders.take = later
    world.run()
    assert world.flights == 1


def test_what_is_not_the_bus_s_fault_ends_it():
    world = World()

    def burn():
        raise ArmError("too hot")

    world.fly = burn
    with pytest.raises(ArmError):
        world.run()


# --- the plug -------------------------------------------------------------------------------


def test_an_adapter_is_found_again_under_another_name(tmp_path):
    device = tmp_path / "ttyACM0"
    device.touch()
    there = {"5AF7": str(device), "other": "/dev/ttyUSB3"}
    plug = Plug(str(device), lambda: there)
    assert plug.find() == str(device)
    there["5AF7"] = "/dev/ttyACM1"
    assert plug.find() == "/dev/ttyACM1"
    del there["5AF7"]
    with pytest.raises(BusError, match=r"the adapter 5AF7 of .* is not plugged in"):
        plug.find()


def test_a_link_by_id_leads_to_its_adapter(tmp_path):
    device, link = tmp_path / "ttyACM0", tmp_path / "arm"
    device.touch()
    link.symlink_to(device)
    there = {"5AF7": str(device)}
    plug = Plug(str(link), lambda: there)
    there["5AF7"] = "/dev/ttyACM7"
    assert plug.find() == "/dev/ttyACM7"


def test_a_port_without_a_serial_number_is_its_path(tmp_path):
    path = tmp_path / "pts"
    path.touch()
    plug = Plug(str(path), dict)
    assert plug.find() == str(path)
    path.unlink()
    with pytest.raises(BusError, match="is not there"):
        plug.find()


# --- the bus --------------------------------------------------------------------------------


def test_the_arm_goes_on_through_another_port_bumplessly():
    calibration = Calibration.load(FOLDER / "arm.json")
    plant = KinematicPlant(POSE, POSE - 1, POSE + 1)
    chain, clock = ServoChain(plant, calibration), ManualClock()
    first, second = LoopPort(chain), LoopPort(chain)
    bus = FeetechBus(first, calibration.ids, clock)
    arm = FeetechArm(bus, calibration)
    arm.connect()
    arm.start()
    before = bus.counts.sent
    first.close()
    with pytest.raises(BusError, match="unplugged"):
        arm.sense()
    assert arm.release() is False
    plant.position_rad += 0.2  # it sank while nobody held it
    chain.update()
    bus.reopen(second)
    arm.connect()
    held_rad = arm.start()
    np.testing.assert_allclose(held_rad, POSE + 0.2, atol=0.002)
    assert arm.sense().fresh.all()
    assert bus.counts.sent > before


def test_an_adapter_that_never_left_does_not_lock_us_out():
    """The bus cable came out: its adapter, and our own lock on the port, are still there."""
    calibration = Calibration.load(FOLDER / "arm.json")
    chain = ServoChain(KinematicPlant(POSE, POSE - 1, POSE + 1), calibration)
    with PtyPort(chain, wire_time=False) as wire:
        arm = FeetechArm(FeetechBus(open_port(wire.path), calibration.ids), calibration)
        with pytest.raises(BusError, match="another program is using it"):
            open_port(wire.path)
        for _ in range(2):
            reconnect(arm, Plug(wire.path, dict), 1_000_000)
            assert arm.sense().fresh.all()
        arm.bus.close()
