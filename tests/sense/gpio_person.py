"""Presses a button on a GPIO line of tests/sense/fake_gpio.c, and prints what push-to-talk makes of it: run
with that preloaded, as `python gpio_person.py CHIP LINE [high]`."""

import os
import struct
import sys
import time
from pathlib import Path

from edge_wam.sense.button import LAPSE_S, Source, push_to_talk
from edge_wam.types import Words

LEVEL, EVENTS = Path(os.environ["FAKE_LEVEL"]), os.environ["FAKE_EVENTS"]
EDGE = struct.pack("@QIIII6I", 0, 2, 0, 1, 1, *[0] * 6)  # struct gpio_v2_line_event
chip, line, *high = sys.argv[1:]
FREE, PRESSED = ("0", "1") if high else ("1", "0")


def put(level):
    LEVEL.write_text(level)
    with open(EVENTS, "wb") as file:
        file.write(EDGE)


def main():
    LEVEL.write_text(FREE)
    with push_to_talk(Source("gpio", chip, line=line, high=bool(high)), "", print) as held:

        def sentence(until_s):
            return held(Words("go home", until_s, 1.0, True, "en", until_s - 0.1))

        def wait_for(condition):
            end_s = time.monotonic() + 10
            while not condition():
                assert time.monotonic() < end_s
                time.sleep(0.01)

        time.sleep(0.5)
        print("free", sentence(time.monotonic()))
        began_s = time.monotonic()
        put(PRESSED)
        wait_for(lambda: sentence(time.monotonic()))
        print("pressed", time.monotonic() - began_s < 0.2)
        time.sleep(LAPSE_S + 0.3)
        print("still", sentence(time.monotonic()))
        put(FREE)
        time.sleep(LAPSE_S + 0.3)
        print("let go", not sentence(time.monotonic()), flush=True)
        put(PRESSED)
        wait_for(lambda: sentence(time.monotonic()))
        LEVEL.unlink()
        time.sleep(LAPSE_S + 0.3)
        print("gone", not sentence(time.monotonic()), flush=True)
        LEVEL.write_text(PRESSED)
        wait_for(lambda: sentence(time.monotonic()))
        print("again", sentence(time.monotonic()), flush=True)


main()
