"""`edge-wam run`: the robot itself. Does what its microphone hears, until Ctrl-C or SIGTERM.

Under systemd it says when it is ready, what it does, and feeds the watchdog from the loop. What a person
reads is printed by another thread: a terminal that hangs and a log on a full disk hold up nothing.
"""

from __future__ import annotations

import contextlib

from edge_wam import telemetry
from edge_wam.broadcast import Broadcast, plan_of
from edge_wam.clock import MonotonicClock
from edge_wam.config import Config
from edge_wam.loop import run
from edge_wam.mailbox import remove_leftovers
from edge_wam.manifest import Manifest
from edge_wam.messages import Heard
from edge_wam.orders import Order, Orders, Verb, VoiceOrders
from edge_wam.persist import BACK, persist
from edge_wam.pilot import Pilot
from edge_wam.process import on_interrupt
from edge_wam.realtime import realtime
from edge_wam.robot import Staged, check, house, meaning, microphone
from edge_wam.service.journal import Journal
from edge_wam.service.notify import Notifier
from edge_wam.teller import Teller
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS

ENDING_S = 45.0  # a process that is just loading takes ten seconds to end
MARGIN_S = 10.0  # beyond what a part is given to start: for what comes before the next part


def live(config: Config, manifest: Manifest, staged: Staged | None = None) -> int:
    """Run the robot of these settings. Parks and lets go on the way out."""
    remove_leftovers()
    given, log, systemd = Orders(), TickLog(len(JOINTS)), Notifier()
    name, clock, rate_hz = config.robot.name, MonotonicClock(), config.robot.control_hz
    journal = Journal(name)

    def starting(what: str, ready_s: float) -> None:
        systemd.starting(f"starting the {what}", ready_s + MARGIN_S)

    def leave() -> None:
        systemd.stopping()
        given.give(Order(Verb.QUIT))

    sound = microphone(config.voice.device)
    with contextlib.ExitStack() as stack:
        tell = stack.enter_context(Teller())
        _, limits, _ = check(config, manifest)
        boxes = telemetry.create(name, plan_of(config, manifest, limits), stack)
        robot = stack.enter_context(
            house(config, manifest, sound=sound, staged=staged, outlet=name, say=tell, starting=starting)
        )
        pilot = Pilot(robot.limits, config.stale.patience, robot.health)
        outlet = Broadcast(boxes, log, pilot)
        asked = telemetry.Asked(boxes.asked, [command.tokens for command in manifest.commands], given)

        lacking = f" (no voice: {robot.lacking})" if robot.lacking else ""

        def happened(kind: str, text: str, t_s: float) -> None:
            if not journal.event(kind, text, {}):
                tell(text)
            outlet.tell(kind, text, t_s)

        def note(news: Heard, meant: str | None) -> None:
            nonlocal lacking
            lacking, words, said = "", news.words, news.said or news.words.text
            text = f'heard: "{said}"' + (f": {meant}" if meant else f" (no command: {news.why or 'unknown'})")
            fields = {"HEARD": said, "MEANT": meant or "", "CONFIDENCE": f"{words.confidence:.2f}"}
            if not journal.event("heard", text, {**fields, "WHY": news.why}):
                tell(text)
            outlet.tell("heard", said, words.t_s, meant or "", words.confidence, news.why)

        def of_the_bus(text: str) -> None:
            happened("note" if text == BACK else "fault", text, clock.now_s())

        orders = VoiceOrders(robot.heard, meaning(manifest), given, note)
        tell("ready; say a command, or press Ctrl-C to park and leave")
        systemd.ready(f"ready{lacking}")
        if lacking:
            happened("fault", f"started{lacking}", clock.now_s())

        def beat(t_s: float) -> None:
            systemd.beat(t_s, doing(pilot) + lacking)
            for order, by in asked.take():
                text = f"{by or 'somebody'} asks: {order.verb.value} {order.command}".rstrip()
                happened("note", text, t_s)
            for event in pilot.news():
                happened(event.kind, event.text, event.t_s)

        def fly() -> None:
            try:
                run(robot.arm, robot.thinker, orders, pilot, clock, outlet, rate_hz, beat)
            finally:
                pilot.lost(clock.now_s())

        with on_interrupt(leave), realtime(say=tell):
            try:
                persist(fly, robot.reconnect, orders, clock, of_the_bus, beat)
            finally:
                systemd.ending(ENDING_S)
    return 0


def doing(pilot: Pilot) -> str:
    """What the robot does, in a few words."""
    return f"{pilot.mode.value}: {pilot.task.command}" if pilot.task.running else pilot.mode.value
