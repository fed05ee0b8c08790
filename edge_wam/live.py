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
from edge_wam.orders import Order, Orders, Verb, VoiceOrders
from edge_wam.persist import persist
from edge_wam.pilot import Pilot
from edge_wam.process import on_interrupt
from edge_wam.realtime import realtime
from edge_wam.robot import Staged, check, house, meaning, microphone
from edge_wam.service.notify import Notifier
from edge_wam.teller import Teller
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, Words


def live(config: Config, manifest: Manifest, staged: Staged | None = None) -> int:
    """Run the robot of these settings. Parks and lets go on the way out."""
    remove_leftovers()
    given, log, systemd = Orders(), TickLog(len(JOINTS)), Notifier()
    name, clock, rate_hz = config.robot.name, MonotonicClock(), config.robot.control_hz

    def leave() -> None:
        systemd.stopping()
        given.give(Order(Verb.QUIT))

    sound = microphone(config.voice.device)
    with contextlib.ExitStack() as stack:
        tell = stack.enter_context(Teller())
        _, limits, _ = check(config, manifest)
        boxes = telemetry.create(name, plan_of(config, manifest, limits), stack)
        robot = stack.enter_context(
            house(config, manifest, sound=sound, staged=staged, outlet=name, say=tell)
        )
        pilot = Pilot(robot.limits, config.stale.patience, robot.health)
        outlet = Broadcast(boxes, log, pilot)
        asked = telemetry.Asked(boxes.asked, [command.tokens for command in manifest.commands], given)

        def note(words: Words, meant: str | None) -> None:
            tell(f'heard: "{words.text}"' + ("" if meant else " (no command)"))
            outlet.tell("heard", words.text, words.t_s, meant or "", words.confidence)

        orders = VoiceOrders(robot.heard, meaning(manifest), given, note)
        tell("ready; say a command, or press Ctrl-C to park and leave")
        systemd.ready("ready")

        def beat(t_s: float) -> None:
            systemd.beat(t_s, doing(pilot))
            for order, by in asked.take():
                tell(f"{by or 'somebody'} asks: {order.verb.value} {order.command}".rstrip())
            for event in pilot.news():
                tell(event.text)
                outlet.tell(event.kind, event.text, event.t_s)

        def fly() -> None:
            try:
                run(robot.arm, robot.thinker, orders, pilot, clock, outlet, rate_hz, beat)
            finally:
                pilot.lost(clock.now_s())

        with on_interrupt(leave), realtime(say=tell):
            persist(fly, robot.reconnect, orders, clock, tell, beat)
    return 0


def doing(pilot: Pilot) -> str:
    """What the robot does, in a few words."""
    return f"{pilot.mode.value}: {pilot.task.command}" if pilot.task.running else pilot.mode.value
