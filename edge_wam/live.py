"""`edge-wam run`: the robot itself. Does what its microphone hears, until Ctrl-C or SIGTERM.

Under systemd it says when it is ready, what it does, and feeds the watchdog from the loop. What a person
reads is printed by another thread: a terminal that hangs and a log on a full disk hold up nothing.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Sequence

from edge_wam import telemetry
from edge_wam.broadcast import Broadcast
from edge_wam.clock import MonotonicClock
from edge_wam.config import Config
from edge_wam.loop import run
from edge_wam.mailbox import remove_leftovers
from edge_wam.manifest import Manifest
from edge_wam.messages import Heard
from edge_wam.orders import Order, Orders, Verb, VoiceOrders
from edge_wam.persist import BACK, HELD, persist
from edge_wam.pilot import Pilot
from edge_wam.process import on_interrupt
from edge_wam.realtime import realtime
from edge_wam.robot import Sound, Staged, house, meaning, microphone
from edge_wam.sense.button import TERMINAL
from edge_wam.service.journal import Journal
from edge_wam.service.notify import Notifier
from edge_wam.service.reload import Reload, Settings, read_again, settings_of
from edge_wam.spacebar import space_bar
from edge_wam.supervise import Kept
from edge_wam.teller import Teller
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, Words

ENDING_S = 45.0  # a process that is just loading takes ten seconds to end
MARGIN_S = 10.0  # beyond what a part is given to start: for what comes before the next part


def live(
    config: Config,
    manifest: Manifest,
    staged: Staged | None = None,
    load: Callable[[], Config] | None = None,
) -> int:
    """Run the robot of these settings. Parks and lets go on the way out. load reads the settings again."""
    remove_leftovers()
    given, log, systemd = Orders(), TickLog(len(JOINTS)), Notifier()
    if systemd.is_service:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is just starting reads everything anyway
    name, clock, rate_hz = config.robot.name, MonotonicClock(), config.robot.control_hz
    journal = Journal(name)

    def starting(what: str, ready_s: float) -> None:
        systemd.starting(f"starting the {what}", ready_s + MARGIN_S)

    def leave() -> None:
        systemd.stopping()
        given.give(Order(Verb.QUIT))

    sound = microphone(config.voice.device) if staged is None else staged.sound
    with contextlib.ExitStack() as stack:
        tell = stack.enter_context(Teller())
        known = settings_of(config, manifest)
        boxes = telemetry.create(name, known.plan, stack)
        robot = stack.enter_context(
            house(config, manifest, sound=sound, staged=staged, outlet=name, say=tell, starting=starting)
        )
        if robot.stage is not None:
            robot.stage.lay(seed=0, command_id="")  # on an empty table there is nothing to be picked up
        pilot = Pilot(robot.limits, config.stale.patience, robot.health)
        outlet = Broadcast(boxes, log, pilot)
        asked = telemetry.Asked(boxes.asked, known.plan.commands, given)

        lacking = f" (no voice: {robot.lacking})" if robot.lacking else ""

        def happened(kind: str, text: str, t_s: float) -> None:
            if not journal.event(kind, text, {}):
                tell(text)
            outlet.tell(kind, text, t_s)

        def note(news: Heard, meant: str | None) -> None:
            nonlocal lacking
            lacking, (text, fields) = "", written(news, meant)
            if not journal.event("heard", text, fields):
                tell(text)
            words = news.words
            outlet.tell("heard", fields["HEARD"], words.t_s, meant or "", words.confidence, news.why)

        def of_the_bus(text: str) -> None:
            happened("note" if text.startswith(BACK) else "fault", text, clock.now_s())

        def command_of(words: Words) -> str | None:
            return meaning(known.manifest)(words)

        def take_over(fresh: Settings) -> str:
            nonlocal known
            before, known = known, fresh
            pilot.change(clock.now_s(), fresh.limits, fresh.config.stale.patience, fresh.health)
            asked.commands = frozenset(fresh.plan.commands)
            telemetry.tell_plan(boxes, fresh.plan)
            voice = ", voice" if renew_voice(before, fresh, robot.kept, sound) else ""
            return f"limits and commands{voice}"

        reload = Reload(
            lambda: read_again(known, load or (lambda: config)),
            take_over,
            lambda kind, text: happened(kind, text, clock.now_s()),
            systemd,
        )
        orders = VoiceOrders(robot.heard, command_of, given, note)
        how = "say a command"
        if config.voice.listen == "push":
            how = "say a command while the button is held"
            if config.voice.button == TERMINAL and stack.enter_context(hold_space(boxes)):
                how = "hold the space bar and say a command"
        tell(f"ready; {how}, or press Ctrl-C to park and leave")
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
            reload.beat(t_s, resting=pilot.resting)

        under_way = ""

        def fly() -> None:
            nonlocal under_way
            try:
                run(robot.arm, robot.thinker, orders, pilot, clock, outlet, rate_hz, beat)
            finally:
                under_way = pilot.task.command
                pilot.lost(clock.now_s())

        def resume() -> str:
            order, text = when_back(known.config.robot.when_back, under_way)
            if order is not None:
                given.give(order)
            return text

        with on_interrupt(leave, reload.ask if systemd.is_service else None), realtime(say=tell):
            try:
                persist(fly, robot.reconnect, orders, clock, of_the_bus, beat, resume)
            finally:
                systemd.ending(ENDING_S)
    return 0


def written(news: Heard, meant: str | None) -> tuple[str, dict[str, str]]:
    """What is written down of words that were heard: a line, and the journal's fields."""
    words, said = news.words, news.said or news.words.text
    text = f'heard: "{said}"' + (f": {meant}" if meant else f" (no command: {news.why or 'unknown'})")
    sure = f"{words.confidence:.2f}"
    return text, {"HEARD": said, "MEANT": meant or "", "CONFIDENCE": sure, "WHY": news.why}


def hold_space(boxes: telemetry.Boxes) -> contextlib.AbstractContextManager[bool]:
    """The space bar of our terminal is the push-to-talk button, where we have one."""
    held = functools.partial(telemetry.tell_talk, boxes.talk, True, TERMINAL)
    return space_bar(0, held)  # standard input


def when_back(setting: str, command: str) -> tuple[Order | None, str]:
    """What is ordered of an arm whose cable came out and is in again, and what a person is told; command:
    what it was doing, '' for nothing."""
    if setting == "park":
        return Order(Verb.PARK), f"{BACK}, and parks"
    if setting == "go on" and command:
        return Order(Verb.DO, command), f"{BACK}, and goes on: {command}"
    return None, HELD


def renew_voice(before: Settings, after: Settings, kept: Sequence[Kept], sound: Sound) -> bool:
    """Start the voice again if it is to hear otherwise now; for a few seconds nothing is heard. A thread does
    it, for the old one is asked to end first."""
    if (before.hearing, before.config.voice) == (after.hearing, after.config.voice):
        return False
    device = after.config.voice.device
    opened = sound if device == before.config.voice.device else microphone(device)
    for voice in (one for one in kept if one.name == "voice"):
        threading.Thread(target=voice.renew, args=(after.hearing, opened.open_source), daemon=True).start()
    return True


def doing(pilot: Pilot) -> str:
    """What the robot does, in a few words."""
    return f"{pilot.mode.value}: {pilot.task.command}" if pilot.task.running else pilot.mode.value
