"""The loop on one screen: bumpless, never waiting, always letting go. The arm is a fake at its own seam."""

from __future__ import annotations

import contextlib
import dataclasses
import math

import numpy as np
import pytest

from edge_wam.act.guard import Limits
from edge_wam.clock import ManualClock
from edge_wam.errors import BusError
from edge_wam.loop import run
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.messages import CHUNK, STATE, chunk_record, read_state
from edge_wam.orders import Order, Verb
from edge_wam.pilot import Mode, Patience, Pilot
from edge_wam.remote import RemoteThinker
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, ActionChunk, Joints

PERIOD_S = 0.02
PARK = np.array([0.0, -1.7, 1.45, 0.5, 0.0, 0.15])
START = np.array([0.2, -1.0, 1.0, 0.3, 0.1, 0.5])
LIMITS = Limits(
    JOINTS, np.full(6, -1.8), np.full(6, 1.8), np.full(6, 3.0), np.full(6, 0.5), np.full(6, 60.0), PARK
)


class FakeArm:
    """An arm that follows its goals with a lag, on a clock; `silent` joints do not answer."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.pose, self.goal = clock, START.copy(), START + 1.0
        self.torque, self.released = False, 0
        self.acted: list[np.ndarray] = []
        self.silent = np.zeros(6, bool)
        self.work_s, self.fail_at = 0.001, None

    def start(self):
        self.goal, self.torque = self.pose.copy(), True
        return self.goal.copy()

    def sense(self):
        self.clock.advance(self.work_s)
        self.pose += 0.6 * (self.goal - self.pose)
        zero = np.zeros(6)
        return Joints(
            self.clock.now_s(),
            self.pose.copy(),
            zero,
            zero,
            zero,
            zero,
            zero,
            zero.astype(np.uint8),
            ~self.silent,
            bus_s=0.0004,
        )

    def act(self, target_rad):
        if self.fail_at is not None and len(self.acted) == self.fail_at:
            raise OSError("the cable came out")
        self.goal = np.round(target_rad * 651.9) / 651.9
        self.acted.append(self.goal)
        return self.goal.copy()

    def release(self):
        self.released += 1
        self.torque = False
        return True


class FakeThinker:
    """Answers every `every` ticks with a chunk that moves all joints towards `goal` at 1 rad/s."""

    def __init__(self, clock: ManualClock, goal: np.ndarray) -> None:
        self.clock, self.goal, self.every, self.dead, self.spoil = clock, goal, 10, False, None
        self.offers = 0
        self.box: ActionChunk | None = None

    def offer(self, seen, sent_rad, task):
        self.offers += 1
        if task.running and not self.dead and self.offers % self.every == 0:
            rows = [sent_rad + np.clip(self.goal - sent_rad, -i / 30, i / 30) for i in range(16)]
            t0_s = self.clock.now_s() - 0.04
            self.box = ActionChunk(t0_s, 1 / 30, np.array(rows), task.epoch, self.clock.now_s(), 0.03)
            if self.spoil is not None:
                self.box.target_rad[-1, 0] = self.spoil

    def take(self):
        taken, self.box = self.box, None
        return taken


class Script:
    """Orders by time; `also` may do what it likes to the world."""

    def __init__(self, clock, *timed) -> None:
        self.clock, self.timed = clock, list(timed)

    def take(self):
        due = []
        while self.timed and self.timed[0][0] <= self.clock.now_s():
            what = self.timed.pop(0)[1]
            if isinstance(what, Order):
                due.append(what)
            else:
                what()
        return due


DO, STOP, PARKING, QUIT = (Order(verb) for verb in (Verb.DO, Verb.STOP, Verb.PARK, Verb.QUIT))


class Bench:
    def __init__(self, limits=LIMITS, patience=None) -> None:
        self.clock = ManualClock(100.0)
        self.arm = FakeArm(self.clock)
        self.thinker = FakeThinker(self.clock, START + 0.5)
        self.pilot = Pilot(limits, patience or Patience())
        self.log, self.limits = TickLog(6, 3000), limits

    def run(self, *timed):
        self.at = {}
        script = Script(self.clock, *((100.0 + t_s, what) for t_s, what in timed))
        run(self.arm, self.thinker, script, self.pilot, self.clock, self.log)
        return self.log.history()

    def said(self):
        return [event.text for event in self.pilot.events]


@pytest.fixture
def bench():
    return Bench()


def test_a_command_is_carried_out_and_quit_parks_and_lets_go(bench):
    history = bench.run((0.5, DO), (3.0, QUIT))
    moved = history.sent_rad[history.t_s < 103.0][-1]
    np.testing.assert_allclose(moved, START + 0.5, atol=0.01)
    np.testing.assert_allclose(history.sent_rad[-1], PARK, atol=0.001)
    np.testing.assert_allclose(bench.arm.pose, PARK, atol=0.01)
    assert bench.arm.released == 1
    assert bench.said()[-2:] == ["parking", "parked"]


def test_the_start_is_bumpless_and_without_orders_nothing_moves(bench):
    bench.run((3.0, QUIT))
    for goal in bench.arm.acted[:149]:
        np.testing.assert_allclose(goal, START, atol=0.001)


def test_every_step_obeys_the_speed_limit_whatever_happens(bench):
    history = bench.run((0.5, DO), (1.0, STOP), (1.2, DO), (2.0, PARKING), (2.3, DO), (3.0, QUIT))
    steps = np.abs(np.diff(history.sent_rad, axis=0))
    assert steps.max() <= 3.0 * PERIOD_S + 0.001


def test_a_policy_that_jumps_is_limited_in_speed_and_lead(bench):
    bench.thinker.take = lambda: ActionChunk(
        bench.clock.now_s(), 1 / 30, np.tile(START + 0.7, (16, 1)), bench.pilot.task.epoch, 0.0, 0.0
    )
    history = bench.run((0.1, DO), (1.0, QUIT))
    assert np.abs(np.diff(history.sent_rad, axis=0)).max() <= 3.0 * PERIOD_S + 0.001
    assert np.abs(history.sent_rad - history.measured_rad).max() <= 0.5
    np.testing.assert_allclose(history.sent_rad[history.t_s < 101.0][-1], START + 0.7, atol=0.001)
    assert 10 <= bench.log.figures().limited <= 15


def test_a_chunk_under_way_for_the_command_before_is_dropped(bench):
    late: list[ActionChunk] = []

    def keep():
        late.append(ActionChunk(100.9, 1 / 30, np.tile(START, (16, 1)), bench.pilot.task.epoch, 0.0, 0.0))

    def deliver():
        bench.thinker.box = late[0]

    bench.thinker.every = 10**6
    history = bench.run((0.5, DO), (0.9, keep), (1.0, DO), (1.1, deliver), (1.3, QUIT))
    assert np.ptp(history.sent_rad[history.t_s < 101.3], axis=0).max() == 0.0
    assert bench.pilot.plan.counts.other_epoch == 1


def test_quit_while_parking_goes_on_parking(bench):
    bench.run((0.2, PARKING), (0.6, QUIT), (0.8, QUIT))
    assert bench.said() == ["parking", "parked"]


def boom():
    raise RuntimeError("a defect somewhere")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_whatever_is_thrown_the_arm_is_let_go(bench, error):
    def throw():
        raise error

    with pytest.raises(error):
        bench.run((0.5, DO), (1.0, throw))
    assert bench.arm.released == 1
    assert not bench.arm.torque


def test_a_failing_bus_or_start_lets_go(bench):
    bench.arm.fail_at = 20
    with pytest.raises(OSError, match="cable"):
        bench.run((0.1, DO))
    assert bench.arm.released == 1
    broken = Bench()
    broken.arm.start = boom
    with pytest.raises(RuntimeError):
        broken.run()
    assert broken.arm.released == 1


def test_a_dead_policy_means_hold_then_park_and_that_is_latched(bench):
    def die():
        bench.thinker.dead = True

    def revive():
        bench.thinker.dead = False

    bench.thinker.goal = START + 10.0  # so that it would go on and on
    history = bench.run((0.1, DO), (0.5, die), (8.0, revive), (9.0, QUIT))
    stale = history.stale_s
    holding = (stale > 0) & (history.t_s > 100.6)
    assert np.ptp(history.sent_rad[holding], axis=0).max() < 0.001
    assert stale.max() == pytest.approx(2.0, abs=PERIOD_S)
    parked_s = next(event.t_s for event in bench.pilot.events if event.text == "parked")
    assert parked_s < 108.0
    after = history.sent_rad[history.t_s > parked_s]
    assert np.ptp(after, axis=0).max() < 0.001  # the policy's return moved nothing
    assert any(text.startswith("no plan for 2.0 s") for text in bench.said())


def test_after_the_latch_a_new_order_starts_again(bench):
    bench.thinker.dead = True

    def revive():
        bench.thinker.dead = False

    bench.run(
        (0.1, DO),
        (2.5, revive),
        (3.0, DO),
        (3.5, lambda: bench.at.update(mode=bench.pilot.mode)),
        (5.0, QUIT),
    )
    assert bench.at["mode"] is Mode.FOLLOWING
    assert bench.log.figures().chunks > 3


def test_a_policy_that_never_answers_moves_nothing_before_it_parks(bench):
    bench.thinker.dead = True
    history = bench.run((0.1, DO), (6.0, QUIT))
    early = history.sent_rad[history.t_s < 102.1]
    assert np.ptp(early, axis=0).max() == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, 50.0])
def test_broken_chunks_move_nothing_and_are_counted(bench, bad):
    bench.thinker.spoil = bad
    history = bench.run((0.1, DO), (1.5, STOP), (1.6, QUIT))
    early = history.sent_rad[history.t_s < 101.5]
    assert np.ptp(early, axis=0).max() == 0.0
    assert bench.pilot.plan.counts.broken >= 6
    assert bench.log.figures().chunks == 0


def test_stop_holds_the_measured_pose_and_chunks_under_way_move_nothing(bench):
    bench.thinker.every = 3
    bench.thinker.goal = START + 10.0
    history = bench.run((0.2, DO), (0.7, STOP), (2.0, QUIT))
    index = int(np.searchsorted(history.t_s, 100.7 - 1e-9))
    settled = history.sent_rad[(history.t_s > 100.8) & (history.t_s < 102.0)]
    assert np.ptp(settled, axis=0).max() == 0.0
    stop_pose = history.measured_rad[index : index + 2]
    assert np.abs(settled[0] - stop_pose).min(axis=0).max() < 0.002
    assert bench.pilot.plan.counts.accepted > 2


def test_stop_while_parking_stops_and_takes_back_quit(bench):
    history = bench.run((0.2, QUIT), (0.8, STOP), (3.0, QUIT))
    held = history.sent_rad[(history.t_s > 101.0) & (history.t_s < 103.0)]
    assert np.ptp(held, axis=0).max() == 0.0
    assert history.t_s[-1] > 103.0


def test_without_a_resting_pose_the_arm_holds_where_it_would_park():
    bench = Bench(limits=dataclasses.replace(LIMITS, park_rad=None))
    bench.thinker.dead = True
    history = bench.run((0.1, DO), (4.0, QUIT))
    assert np.ptp(history.sent_rad, axis=0).max() == 0.0
    assert history.t_s[-1] < 104.1
    assert any("no pose to park in" in text for text in bench.said())


def test_a_joint_that_is_silent_briefly_holds_the_arm_and_for_long_ends_the_loop(bench):
    bench.thinker.goal = START + 10.0

    def mute(on):
        bench.arm.silent[2] = on

    history = bench.run((0.1, DO), (0.6, lambda: mute(True)), (1.0, lambda: mute(False)), (1.6, QUIT))
    held = history.sent_rad[(history.t_s > 100.74) & (history.t_s < 101.0)]
    assert np.ptp(held, axis=0).max() == 0.0
    gone = Bench()
    gone.arm.silent[2] = True
    with pytest.raises(BusError, match=r"elbow_flex has given no credible answer for 1\.0"):
        gone.run((0.1, DO))
    assert gone.arm.released == 1


def test_control_that_was_stopped_in_the_middle_of_a_question_does_not_let_go(bench):
    """SIGSTOP, SIGCONT: the servos answered, and nobody was there to hear it."""

    def stopped():
        bench.arm.work_s, bench.arm.silent[:] = 3.0, True

    def goes_on():
        bench.arm.work_s, bench.arm.silent[:] = 0.001, False

    history = bench.run((0.1, DO), (1.0, stopped), (1.05, goes_on), (4.5, QUIT))
    assert np.diff(history.t_s).max() > 2.9
    at = int(np.diff(history.t_s).argmax())
    np.testing.assert_array_equal(history.sent_rad[at + 1], history.sent_rad[at])  # blind: not a step further
    assert bench.said()[-1] == "parked"


def test_a_stall_is_counted_and_its_slots_are_not_replayed(bench):
    bench.run((0.2, DO), (0.5, lambda: bench.clock.advance(0.11)), (1.0, QUIT))
    history, figures = bench.log.history(), bench.log.figures()
    assert figures.misses == history.skipped.sum() == 4
    assert np.diff(history.t_s).max() == pytest.approx(5 * PERIOD_S)
    assert np.diff(history.t_s).min() >= PERIOD_S - 1e-9


def test_figures_say_what_happened(bench):
    bench.run((0.2, DO), (1.0, QUIT))
    figures = bench.log.figures()
    assert figures.ticks == len(bench.arm.acted)
    assert figures.work_p50_ms == pytest.approx(1.0)
    assert (figures.bus_p50_ms, figures.bus_p99_ms) == pytest.approx((0.4, 0.4))
    assert figures.late_p99_ms == pytest.approx(0.0, abs=1e-6)
    assert figures.infer_p50_ms == pytest.approx(30.0)
    # exposed 40 ms before it was offered, taken a tick later, sent 1 ms into that
    assert figures.exposure_to_servo_p50_ms == pytest.approx(60.0)
    assert figures.chunks == bench.pilot.plan.counts.accepted == 3


def test_the_log_keeps_the_newest_ticks_and_counts_them_all(bench):
    bench.log = TickLog(6, capacity=20)
    history = bench.run((0.2, DO), (1.0, QUIT))
    assert len(history.t_s) == 20
    assert (np.diff(history.t_s) > 0).all()
    assert bench.log.figures().ticks == len(bench.arm.acted) > 20
    np.testing.assert_array_equal(history.sent_rad[-1], bench.arm.acted[-1])
    assert all(math.isnan(value) for value in TickLog(6, 5).figures()[2:6])


def test_the_mailbox_thinker_carries_states_and_chunks(bench):
    with (
        Mailbox.create(private_name("s"), STATE) as states,
        Mailbox.create(private_name("c"), CHUNK) as chunks,
    ):
        thinker = RemoteThinker(states, chunks)

        class Policy(FakeThinker):  # the other process's half, between the ticks
            def offer(self, seen, sent_rad, task):
                thinker.offer(seen, sent_rad, task)
                state = read_state(states.get().record)
                assert (state.epoch, state.command, state.running) == task
                np.testing.assert_array_equal(state.position_rad[-1], seen.position_rad)
                super().offer(seen, state.sent_rad[-1], task)
                if self.box is not None:
                    chunks.put(chunk_record(self.box, 0.01))

            def take(self):
                return thinker.take()

        bench.thinker = Policy(bench.clock, START + 0.5)
        history = bench.run((0.2, DO._replace(command="pick up the red cube")), (2.0, QUIT))
    np.testing.assert_allclose(history.sent_rad[history.t_s < 102.0][-1], START + 0.5, atol=0.01)


def test_the_watchdog_is_fed_by_every_tick_and_by_nothing_else():
    for fail_at, script in ((None, ((100.5, QUIT),)), (3, ())):
        b, beats = Bench(), []
        b.arm.fail_at = fail_at
        with contextlib.suppress(OSError):
            given = (b.arm, b.thinker, Script(b.clock, *script), b.pilot, b.clock, b.log)
            run(*given, 50.0, beats.append)
        assert beats == b.log.history().t_s.tolist()
        assert len(beats) == 3 or fail_at is None
