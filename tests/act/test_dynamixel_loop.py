"""The whole control loop on Dynamixel servos: it runs, and a stall that trips their watchdogs ends a task."""

from __future__ import annotations

import numpy as np
import pytest
from dynamixel_rig import FILE, READY_RAD, rig

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.limits import load_guards
from edge_wam.loop import run
from edge_wam.orders import Order, Orders, Verb
from edge_wam.pilot import Mode, Patience, Pilot
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, ActionChunk

PERIOD_S = 0.02
LIMITS = FILE.parent / "limits.toml"


class Swing:
    """A policy: the shoulder goes to and fro, a new chunk whenever the loop asks and there is a task."""

    def __init__(self, clock) -> None:
        self._clock, self._task, self._taken_s = clock, None, -1.0

    def offer(self, seen, sent_rad, task) -> None:
        self._task = task

    def take(self):
        now_s = self._clock.now_s()
        if self._task is None or not self._task.running or now_s - self._taken_s < 0.1:
            return None
        self._taken_s = now_s
        times_s = now_s + np.arange(16) / 30
        target_rad = np.tile(READY_RAD, (16, 1))
        target_rad[:, 0] += 0.5 * np.sin(2 * times_s)
        return ActionChunk(now_s, 1 / 30, target_rad, self._task.epoch, now_s, 0.01)


def flight(trouble=lambda r: None, **kinds):
    """Four seconds of loop; two seconds into it there is `trouble`, once."""
    r = rig(wire_time=True, **kinds)
    limits, health = load_guards(LIMITS, error_text=dynamixel.error_text)
    pilot, orders, log = Pilot(limits, Patience(), health), Orders(), TickLog(len(JOINTS), 1000)
    orders.give(Order(Verb.DO, "swing"))
    start_s, troubled = r.clock.now_s(), []

    def beat(t_s: float) -> None:
        if t_s - start_s > 2.0 and not troubled:
            troubled.append(t_s)
            trouble(r)
        if t_s - start_s > 4.0:
            raise KeyboardInterrupt

    r.arm.connect()
    with pytest.raises(KeyboardInterrupt):
        run(r.arm, Swing(r.clock), orders, pilot, r.clock, log, 1 / PERIOD_S, beat)
    return r, pilot


def texts(pilot) -> list[str]:
    return [event.text for event in pilot.events]


@pytest.mark.parametrize("kinds", [{}, {"fast": False}], ids=["fast", "plain"])
def test_the_loop_swings_an_arm_and_no_watchdog_bites(kinds):
    r, pilot = flight(**kinds)
    assert texts(pilot) == ["doing: swing"]
    assert pilot.mode is Mode.FOLLOWING
    assert np.ptp([servo.get(table.PRESENT_POSITION) for servo in r.chain.servos]) > 0
    assert not r.plant.torque_on.any()  # let go in the end
    assert [servo.get(table.BUS_WATCHDOG) for servo in r.chain.servos] == [0] * 6


def test_a_stall_that_trips_the_watchdogs_ends_the_task_where_the_arm_is():
    _, pilot = flight(lambda r: r.clock.advance(0.5))
    assert texts(pilot)[1].startswith("the bus watchdog had stopped shoulder_pan, shoulder_lift, ")
    assert texts(pilot)[1].endswith("for control was silent: holding")
    assert len(texts(pilot)) == 2
    assert pilot.mode is Mode.HOLDING


def test_a_servo_that_restarts_in_flight_is_set_up_again_and_named():
    def dips(r) -> None:
        r.chain.servos[1].power_on()

    _, pilot = flight(dips)
    assert texts(pilot)[1] == "the servo of shoulder_lift had restarted and was set up again: holding"


def test_a_servos_hardware_error_is_put_into_dynamixels_words():
    def shock(r) -> None:
        servo = r.chain.servos[3]
        servo.put(table.HARDWARE_ERROR, dynamixel.ERROR_SHOCK)

    _, pilot = flight(shock)
    assert "wrist_flex reports electrical shock and alert (0x90): holding" in texts(pilot)
