"""`edge-wam run`: the robot itself. Does what its microphone hears, until Ctrl-C or SIGTERM."""

from __future__ import annotations

from edge_wam.clock import MonotonicClock
from edge_wam.config import Config
from edge_wam.loop import run
from edge_wam.mailbox import remove_leftovers
from edge_wam.manifest import Manifest
from edge_wam.orders import Order, Orders, Verb, VoiceOrders
from edge_wam.pilot import Pilot
from edge_wam.process import on_interrupt
from edge_wam.realtime import realtime
from edge_wam.robot import house, meaning, microphone
from edge_wam.ticklog import TickLog
from edge_wam.types import JOINTS, Words


def live(config: Config, manifest: Manifest) -> int:
    """Run the robot of these settings. Parks and lets go on the way out."""
    remove_leftovers()
    given, log = Orders(), TickLog(len(JOINTS))

    def note(words: Words, meant: str | None) -> None:
        print(f'heard: "{words.text}"' + ("" if meant else " (no command)"), flush=True)

    with house(config, manifest, sound=microphone(config.voice.device)) as robot:
        pilot = Pilot(robot.limits, config.stale.patience)
        orders = VoiceOrders(robot.heard, meaning(manifest), given, note)
        print("ready; say a command, or press Ctrl-C to park and leave", flush=True)
        with on_interrupt(lambda: given.give(Order(Verb.QUIT))), realtime(say=print):
            run(
                robot.arm,
                robot.thinker,
                orders,
                pilot,
                robot.limits,
                MonotonicClock(),
                log,
                config.robot.control_hz,
            )
    return 0
