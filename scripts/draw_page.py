"""docs/page.png and docs/page-phone.png: the page beside a simulated robot that is told what to do.

    .venv/bin/python scripts/draw_page.py [--out docs] [--after-s 6]

Needs edge-wam[sim,voice,web], playwright and the system's Chromium. The page's talk button is held while a
recorded voice speaks, as a person would. Whether the pictures are good (the hand at its cube, dreams of both
cameras) is for eyes to say: --after-s is how long after the last command they are taken.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import multiprocessing
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect, sync_playwright

from edge_wam import config as settings
from edge_wam import manifest
from edge_wam.config import Config
from edge_wam.live import live
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.robot import Sound, Staged
from edge_wam.service.web import server
from edge_wam.sim.cue import CUE, CuedMicrophone
from edge_wam.sim.microphone import sample

PORT = 8791  # beside a page that may be open already
SAID = (
    ("pick_red", "pick up the red cube", 5.0),
    ("home", "go home", 4.0),
    ("pick_red", "pick up the red cube", 0.0),
)
START_MS, HEARD_MS = 120_000, 20_000
DESK = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 4 / 3, "color_scheme": "dark"}


def robot(config: Config, cues: str) -> None:
    """`edge-wam run`, with a voice on cue for a microphone."""
    staged = Staged(Sound(functools.partial(CuedMicrophone, cues)), "")
    live(config, manifest.load(config.model.folder), staged)


@contextlib.contextmanager
def running(main: object, *args: object) -> Iterator[None]:
    """In a process of its own, until the end of the block."""
    process = multiprocessing.get_context("spawn").Process(target=main, args=args)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def listens() -> bool:
    """Whether the page is there."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", PORT)) == 0


def say(tab: Page, cues: Mailbox, command_id: str, words: str) -> None:
    """Hold the button and play the recording, until the robot does it."""
    record = np.zeros((), CUE)
    record["wav"] = str(sample("en", command_id).resolve()).encode()
    tab.hover("#talk")
    tab.mouse.down()
    expect(tab.locator("#talk")).to_have_text("Listening …")
    cues.put(record)
    expect(tab.locator("#task")).to_have_text(words, timeout=HEARD_MS)
    tab.mouse.up()
    tab.mouse.move(5, 5)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--after-s", type=float, default=6.0)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        token = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "token"
        usual = settings.load()
        config = replace(
            usual,
            robot=replace(usual.robot, name="so101"),
            voice=replace(usual.voice, listen="push"),
            web=replace(usual.web, port=PORT, token_file=token, may_command=True),
        )
        cues = stack.enter_context(Mailbox.create(private_name("cue"), CUE))
        stack.enter_context(running(robot, config, private_name("cue")))
        stack.enter_context(running(server.main, config))
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=shutil.which("chromium")
        )
        while not listens():
            time.sleep(0.1)
        tabs = []
        for how in (DESK, PHONE):
            tab = browser.new_context(**how).new_page()
            tab.goto(f"http://127.0.0.1:{PORT}/login#{token.read_text().strip()}")
            expect(tab.locator("body")).to_have_attribute("data-robot", "live", timeout=START_MS)
            tabs.append(tab)
        desk, phone = tabs
        for command_id, words, rest_s in SAID:
            say(desk, cues, command_id, words)
            time.sleep(rest_s)
        time.sleep(arguments.after_s)
        desk.screenshot(path=arguments.out / "page.png", full_page=True)
        phone.screenshot(path=arguments.out / "page-phone.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
