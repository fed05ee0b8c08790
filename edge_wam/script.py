"""The demo's script: who does what when, as an OrderSource that the control loop asks once a tick."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import NamedTuple

from edge_wam.manifest import Command
from edge_wam.orders import Order, Verb, VoiceOrders
from edge_wam.pilot import Mode, Pilot
from edge_wam.robot import Stage, Truth

SETTLE_S, HEAR_S, SHOW_S = 0.6, 12.0, 1.2  # before the cue; until nothing was heard; before parking


class Act(enum.Enum):
    """Where in an episode we are."""

    SETTING = "setting"
    SPEAKING = "speaking"
    MOVING = "moving"
    SHOWING = "showing"
    PARKING = "parking"
    DONE = "done"


class Ending(NamedTuple):
    """How one episode ended: what was asked, what the judge saw (None: never heard), how long it took."""

    command: str
    truth: Truth | None
    seconds: float
    t_s: float

    @property
    def done(self) -> bool:
        return self.truth is not None and self.truth.success


class Script:
    """The demo's OrderSource: sets the stage, gives the cue, listens as the robot does, watches the judge."""

    def __init__(
        self,
        command: Command,
        episodes: int,
        seed: int,
        stage: Stage,
        voice: VoiceOrders,
        pilot: Pilot,
        cue: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        self._command, self._episodes, self._seed, self._stage = command, episodes, seed, stage
        self._voice, self._pilot, self._cue, self._tell = voice, pilot, cue, tell
        self._act, self._since_s, self._episode = Act.PARKING, time.monotonic(), -1
        self.endings: list[Ending] = []

    def take(self) -> list[Order]:
        """Once a tick."""
        orders = self._voice.take()
        self._follow(time.monotonic(), orders)
        for event in self._pilot.news():
            self._tell(event.text)
        return orders

    def _enter(self, act: Act, now_s: float) -> None:
        self._act, self._since_s = act, now_s

    def _follow(self, now_s: float, orders: list[Order]) -> None:
        in_act_s = now_s - self._since_s
        if any(order.verb is Verb.QUIT for order in orders):
            self._enter(Act.DONE, now_s)
        elif self._act is Act.PARKING and (self._episode < 0 or self._pilot.mode is Mode.PARKED):
            self._next(now_s, orders)
        elif self._act is Act.SETTING and in_act_s > SETTLE_S:
            self._cue()
            self._enter(Act.SPEAKING, now_s)
        elif self._act is Act.SPEAKING:
            if any(order.verb is Verb.DO for order in orders):
                self._stage.judge()
                self._enter(Act.MOVING, now_s)
            elif in_act_s > HEAR_S:
                self._tell("nothing was heard that is a command")
                self._end(None, now_s)
        elif self._act is Act.MOVING:
            truth = self._stage.verdict()
            if truth is not None and truth.over:
                self._end(truth, now_s)
        elif self._act is Act.SHOWING and in_act_s > SHOW_S:
            orders.append(Order(Verb.PARK))
            self._enter(Act.PARKING, now_s)

    def _next(self, now_s: float, orders: list[Order]) -> None:
        self._episode += 1
        if self._episode >= self._episodes:
            orders.append(Order(Verb.QUIT))
            self._enter(Act.DONE, now_s)
            return
        self._stage.lay(self._seed + self._episode, self._command.id)
        self._enter(Act.SETTING, now_s)

    def _end(self, truth: Truth | None, now_s: float) -> None:
        self.endings.append(Ending(self._command.tokens, truth, now_s - self._since_s, now_s))
        self._tell(f"judge: {outcome_text(self.endings[-1])}{table_text(truth)}")
        self._enter(Act.SHOWING, now_s)


def outcome_text(ending: Ending) -> str:
    """A few words about how an episode ended."""
    truth = ending.truth
    if truth is None:
        return f'"{ending.command}" was not heard; nothing moved'
    if truth.success:
        slip = ", but a wrong cube or plate on the way" if truth.wrong_object else ""
        return f"done after {ending.seconds:.1f} s{slip}"
    slip = "the wrong cube or plate; " if truth.wrong_object else ""
    return f"{slip}not done within {ending.seconds:.0f} s"


def table_text(truth: Truth | None) -> str:
    """What lay on the table, in brackets; "" where nothing is known."""
    if truth is None:
        return ""
    plates = f"; plates: {', '.join(truth.plates)}" if truth.plates else ""
    return f" (cubes: {', '.join(truth.cubes)}{plates})"
