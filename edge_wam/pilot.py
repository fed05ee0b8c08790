"""The pilot: which motion holds now. Following the plan, holding, parking, or ready to leave.

    HOLDING    the last target stays (after STOP: the pose measured at that moment)
    FOLLOWING  the plan is followed; a plan that ran out holds its last row
    PARKING    on the way to the resting pose
    PARKED     there

A policy that is dead or late needs no mechanism of its own: its plan runs out, the arm holds, and
after `park_after_s` it parks. That is latched: only a new order starts anything again, so a policy
that comes back late does not move an arm somebody has walked up to. So is a hold or a park for the
servos' sake (act/health.py): the task has ended, and is said again by a person.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import NamedTuple

import numpy as np

from edge_wam.act.guard import Limits, slowed
from edge_wam.act.health import Health, Level, Verdict
from edge_wam.act.park import Motion
from edge_wam.act.plan import Plan, Wish
from edge_wam.errors import ArmError, BusError
from edge_wam.orders import Order, Verb
from edge_wam.types import ActionChunk, FloatArray, Joints

DONE, DONE_CHUNKS = 0.9, 3  # the model's word that a task is done: how sure, how often in a row
SAG_RAD = 0.05  # how far behind what it holds an arm may hang (2.9 deg)
SETTLE_S = 0.5  # an arm that arrives late, behind its targets, before the torque goes off
PROOF_S = 2.0  # within which a STOP has to be proved
# Nobody is let go of who moves, or is elsewhere than at rest, unless that does not come true for so long.
REST_RAD, REST_RAD_S, LEAVE_S = 0.15, 0.2, 3.0


class Mode(enum.Enum):
    HOLDING = "holding"
    FOLLOWING = "following"
    PARKING = "parking"
    PARKED = "parked"


class Task(NamedTuple):
    """What the policy is to work on: the number of the command, its words, and whether to at all."""

    epoch: int
    command: str
    running: bool


class Event(NamedTuple):
    """Something a person may want to know, in one line. kind: one of telemetry.KINDS."""

    t_s: float
    text: str
    kind: str


class Patience(NamedTuple):
    """How long what may be stale before what: one number a source.

    park_after_s: no plan; joints_hold_s, joints_stop_s: a joint that does not answer.
    """

    park_after_s: float = 2.0
    joints_hold_s: float = 0.1
    joints_stop_s: float = 1.0


class Pilot:
    """Turns orders, chunks and silence into what is wished now."""

    def __init__(self, limits: Limits, patience: Patience, health: Health | None = None) -> None:
        self.plan = Plan(limits.low_rad, limits.high_rad)
        self.mode = Mode.HOLDING
        self.task = Task(0, "", False)
        self.events: deque[Event] = deque(maxlen=100)
        self._fresh: list[Event] = []
        self.limits = limits  # as slow as the servos' health asks for
        self._limits, self._patience, self._health = limits, patience, health
        self._verdict = Verdict(Level.OK, 1.0, "")
        self._hold_rad: FloatArray | None = None
        self._motion: Motion | None = None
        self._quitting_s: float | None = None
        self._answered_s: FloatArray | None = None
        self._asked_s = 0.0
        self._sure, self._done_epoch = 0, -1
        self._stopped_s: float | None = None  # when STOP was obeyed, until it is proved

    def obey(self, order: Order, t_s: float, sent_rad: FloatArray, measured_rad: FloatArray) -> None:
        """Carry out an order at `t_s`. Any order but QUIT takes back an earlier QUIT."""
        self._quitting_s = t_s if order.verb is Verb.QUIT else None
        if order.verb is Verb.DO:
            self._begin(t_s, Task(self.task.epoch + 1, order.command, True), Mode.FOLLOWING)
            self._tell(t_s, f"doing: {order.command}", "task")
        elif order.verb is Verb.STOP:
            # The measured pose: the last target may be a lead ahead, and STOP is not "go on a little".
            # But an arm that holds hangs a little low, and one more "stop" must not take it lower.
            held_rad = self._hold_rad  # None unless it holds what it stopped at
            self._stay(t_s, sent_rad, measured_rad)
            if held_rad is not None and self._hold_rad is not None:
                sags = np.abs(self._hold_rad - held_rad) < SAG_RAD
                self._hold_rad = np.where(sags, held_rad, self._hold_rad)
            self._tell(t_s, "stopped", "hold")
            self._stopped_s = t_s
        elif self.mode not in (Mode.PARKING, Mode.PARKED):
            self._park(t_s, sent_rad)

    def take(self, chunk: ActionChunk | None, t_s: float) -> ActionChunk | None:
        """Offer what the policy sent, if anything; returns it if it is followed from now on."""
        if chunk is None or not self.plan.accept(chunk, t_s):
            return None
        self._sure = self._sure + 1 if chunk.done > DONE else 0
        if self._sure == DONE_CHUNKS and chunk.epoch != self._done_epoch:
            self._done_epoch = chunk.epoch  # it goes on all the same: the model's word is not the world's
            self._tell(t_s, f"done, the model thinks: {self.task.command}", "done")
        return chunk

    def wish(self, t_s: float, sent_rad: FloatArray, seen: Joints) -> Wish:
        """What is wished at `t_s`. BusError if a joint has been silent for too long, ArmError if the arm
        must be let go."""
        if seen.reset:
            self._stop_for(
                f"the servo of {seen.reset} had restarted and was set up again", t_s, sent_rad, seen
            )
        if seen.stopped:
            self._stop_for(
                f"the bus watchdog had stopped {seen.stopped}, for control was silent",
                t_s,
                sent_rad,
                seen,
            )
        if self._health is not None:
            self._heed(self._health.judge(seen, sent_rad), t_s, sent_rad, seen)
        self._prove(t_s, seen)
        if self._silence_s(seen) > self._patience.joints_hold_s:
            return Wish(None, self.plan.at(t_s).stale_s)  # blind: not a step further
        if self.mode is Mode.FOLLOWING:
            wish = self.plan.at(t_s)
            if wish.stale_s <= self._patience.park_after_s:
                return wish
            self._tell(t_s, f"no plan for {wish.stale_s:.1f} s", "fault")
            self._park(t_s, sent_rad)
        if self._motion is not None and self.mode is Mode.PARKING and self._motion.done(t_s):
            self.mode = Mode.PARKED
            self._tell(t_s, "parked", "park")
        if self._motion is not None:
            return Wish(self._motion.at(t_s), 0.0)
        return Wish(self._hold_rad, 0.0)

    @property
    def resting(self) -> bool:
        """Whether nothing is going on: it holds, or is parked."""
        return self.mode in (Mode.HOLDING, Mode.PARKED)

    def change(self, t_s: float, limits: Limits, patience: Patience, health: Health | None) -> None:
        """From now on by these. ValueError unless it is resting."""
        if not self.resting:
            raise ValueError(f"limits change at rest, not while {self.mode.value}")
        counts, self.plan = self.plan.counts, Plan(limits.low_rad, limits.high_rad)
        self.plan.counts = counts
        self.plan.begin(self.task.epoch, t_s)
        self.limits = slowed(limits, self._verdict.scale)
        self._limits, self._patience, self._health = limits, patience, health

    def lost(self, t_s: float) -> None:
        """The arm is gone: whatever was going on has ended, and its return starts nothing."""
        self._rest(t_s, Mode.HOLDING)
        self._quitting_s = self._answered_s = None

    def finished(self, t_s: float, seen: Joints) -> bool:
        """Whether QUIT was ordered and has been carried out: the loop may let go."""
        if self._quitting_s is None:
            return False
        over_s = self._quitting_s if self._motion is None else self._motion.end_s + SETTLE_S
        if t_s < over_s:
            return False
        rests = bool((np.abs(seen.velocity_rad_s) <= REST_RAD_S).all())
        if self._motion is not None:
            rests &= bool((np.abs(seen.position_rad - self._motion.at(t_s)) <= REST_RAD).all())
        if not rests and t_s < over_s + LEAVE_S:
            return False
        if not rests:
            self._tell(t_s, "letting go, though the arm is not at rest where it should be", "fault")
        return True

    def _prove(self, t_s: float, seen: Joints) -> None:
        """Of a STOP: the goals have been read back, and nothing moves. Says so, or that it is not so."""
        if self._stopped_s is None or seen.settled is None:
            return
        if self.mode is not Mode.HOLDING:
            self._stopped_s = None
        elif seen.settled and t_s > self._stopped_s:
            self._tell(t_s, "stands: every goal read back, nothing moves", "hold")
            self._stopped_s = None
        elif t_s > self._stopped_s + PROOF_S:
            self._tell(
                t_s, "stopped, but it is not proved: a goal was not read back, or something moves", "fault"
            )
            self._stopped_s = None

    def news(self) -> list[Event]:
        """Events not yet asked for, in order."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def _heed(self, verdict: Verdict, t_s: float, sent_rad: FloatArray, seen: Joints) -> None:
        """Do what the servos' health asks for, and say so once."""
        before, self._verdict = self._verdict, verdict
        if verdict.scale != before.scale:
            self.limits = slowed(self._limits, verdict.scale)
        if verdict.level is Level.RELEASE:
            raise ArmError(f"{verdict.why}: letting go; try: let it cool, then start again")
        if verdict.level >= Level.PARK and self.mode in (Mode.FOLLOWING, Mode.HOLDING):
            if before.level < Level.PARK or self.mode is Mode.FOLLOWING:
                self._tell(t_s, verdict.why, "fault")
                self._park(t_s, sent_rad)
        elif verdict.level is Level.HOLD and self.mode in (Mode.FOLLOWING, Mode.PARKING):
            self._stop_for(verdict.why, t_s, sent_rad, seen)
        elif verdict.level in (Level.WARN, Level.DERATE) and before.level < verdict.level:
            slower = "; moving more slowly" if verdict.level is Level.DERATE else ""
            self._tell(t_s, verdict.why + slower, "fault")

    def _stop_for(self, why: str, t_s: float, sent_rad: FloatArray, seen: Joints) -> None:
        """End the task where the arm is, and say why."""
        self._tell(t_s, f"{why}: holding", "fault")
        self._stay(t_s, sent_rad, seen.position_rad)

    def _stay(self, t_s: float, sent_rad: FloatArray, measured_rad: FloatArray) -> None:
        """Hold the measured pose."""
        self._rest(t_s, Mode.HOLDING)
        self._hold_rad = np.where(np.isfinite(measured_rad), measured_rad, sent_rad)

    def _begin(self, t_s: float, task: Task, mode: Mode) -> None:
        self.task, self.mode = task, mode
        self._motion = self._hold_rad = None
        self.plan.begin(task.epoch, t_s)

    def _rest(self, t_s: float, mode: Mode) -> None:
        """A new epoch as well: a chunk under way for the old command finds nobody at home."""
        self._begin(t_s, Task(self.task.epoch + 1, "", False), mode)

    def _park(self, t_s: float, sent_rad: FloatArray) -> None:
        if self._limits.park_rad is None:
            self._rest(t_s, Mode.HOLDING)
            self._tell(t_s, "holding; this robot's limits name no pose to park in", "hold")
            return
        self._rest(t_s, Mode.PARKING)
        self._motion = Motion(sent_rad, self._limits.park_rad, self._limits, t_s)
        self._tell(t_s, "parking", "park")

    def _silence_s(self, seen: Joints) -> float:
        """How long the joint that has been silent longest has been so.

        A pause of our own, stopped or starved, is no silence of theirs: they were not asked.
        """
        if self._answered_s is None:
            self._answered_s, self._asked_s = np.full(len(self._limits.joints), seen.t_s), seen.t_s
        self._answered_s += max(0.0, seen.t_s - self._asked_s - self._patience.joints_hold_s)
        self._asked_s = seen.t_s
        self._answered_s[seen.fresh] = seen.t_s
        silence_s = seen.t_s - self._answered_s
        worst = int(silence_s.argmax())
        if silence_s[worst] > self._patience.joints_stop_s:
            raise BusError(
                f"servo {self._limits.joints[worst]} has given no credible answer for "
                f"{silence_s[worst]:.1f} s; is its cable in? try: edge-wam doctor"
            )
        return float(silence_s[worst])

    def _tell(self, t_s: float, text: str, kind: str) -> None:
        self.events.append(Event(t_s, text, kind))
        self._fresh = [*self._fresh[-99:], self.events[-1]]
