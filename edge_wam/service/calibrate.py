"""scripts/calibrate.py: a person, a terminal, an arm, a camera.

    calibrate find     which servos hang on which port: ids, models, speeds
    calibrate ids      give the servos their ids, one by one
    calibrate arm      sweep every joint by hand; writes arm.json and the servos' EEPROM
    calibrate verify   move each joint a little and compare with what it says
    calibrate board    write the board that cameras are calibrated with, to be printed
    calibrate camera   size and lens from the device, its place by looking at the board; writes camera.json
    calibrate delay    move a joint, see it move: how old the camera's pictures are

Nothing is lost: the former files are kept beside the new ones, and until the last question is answered the
servos' EEPROM is put back as it was by whatever ends the program.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_wam.act.calibration import FEETECH
from edge_wam.act.families import FAMILIES
from edge_wam.errors import EdgeWamError
from edge_wam.sense.camera import BASE
from edge_wam.service import board, camera_talk, delay_talk, finding, sweeping
from edge_wam.service.terminal import Console
from edge_wam.types import JOINTS

OUT = Path("calibration/my-so101/arm.json")


def main(argv: Sequence[str] | None = None) -> int:
    """The command. 0: done; 1: verified, and something does not follow; 2: one line says what is wrong."""
    words = _parser().parse_args(argv)
    try:
        return 0 if _do(words) else 1
    except EdgeWamError as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncalibrate: interrupted; everything is as it was", file=sys.stderr)
        return 130


def _do(words: argparse.Namespace) -> bool:
    terminal = Console()
    if words.what == "board":
        board.Board().save(words.file)
        terminal.say(f"written: {words.file}; print it at 100 % and glue it onto something flat")
        return True
    if words.what == "find":
        finding.find(terminal, words.port, finding.EVERY_ID if words.every_id else finding.USUAL_IDS)
        return True
    if words.what == "camera":
        camera_talk.calibrate_camera(terminal, words)
        return True
    port = finding.choose_port(terminal, words.port)
    if words.what == "ids":
        finding.set_ids(terminal, port, words.baud, words.servos)
    elif words.what == "verify":
        return sweeping.verify(terminal, words.out, port, words.baud, words.servos)
    elif words.what == "arm":
        sweeping.calibrate_arm(terminal, words.out, port, words.baud, words.servos)
    else:
        delay_talk.calibrate_delay(terminal, words, port)
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/calibrate.py", description="Calibrate an arm and its cameras, at a terminal."
    )
    whats = parser.add_subparsers(dest="what", required=True, metavar="WHAT")

    def add(what: str, text: str, *, arm: bool = True) -> argparse.ArgumentParser:
        made = whats.add_parser(what, help=text, description=text)
        if arm:
            made.add_argument(
                "--port", default="", help="serial port (default: the only one, or you are asked)"
            )
            made.add_argument("--baud", type=int, default=1_000_000, help="default: 1000000")
            made.add_argument("--servos", choices=tuple(FAMILIES), default=FEETECH, help="default: feetech")
        return made

    def out(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--out", type=Path, default=OUT, help=f"the arm's calibration, LeRobot's file (default: {OUT})"
        )

    found = add("find", "which servos hang on which port: ids, models, speeds", arm=False)
    found.add_argument("--port", default="", help="serial port (default: all)")
    found.add_argument("--every-id", action="store_true", help="ids up to 252, not 20 (a minute longer)")
    add("ids", "for factory-new servos: their ids, one by one")
    out(add("arm", "sweep every joint by hand, then write file and servos"))
    out(add("verify", "move each joint a little, and compare"))
    page = add("board", "write the board that a camera looks at, as .pdf or .png", arm=False)
    page.add_argument("file", type=Path, nargs="?", default=Path("board.pdf"))
    for what, text in (
        ("camera", "a camera's size, lens and place; writes camera.json"),
        ("delay", "how old a camera's pictures are; writes delay_s into camera.json"),
    ):
        made = add(what, text)
        out(made)
        made.add_argument("--name", default="front", help="the model's name for the camera (default: front)")
        made.add_argument(
            "--simulated",
            nargs=2,
            metavar=("CAMERAS", "PREFIX"),
            help="the cameras of a simulated robot: their camera.json, the prefix of their mailboxes",
        )
        if what == "delay":
            made.add_argument(
                "--joint", choices=JOINTS, help="what moves (default: shoulder_pan, or gripper)"
            )
            continue
        made.add_argument(
            "--serial", default="", help="which camera (default: the only one, or you are asked)"
        )
        made.add_argument("--size", default="424x240@30", help="what the robot will ask it for: 424x240@30")
        made.add_argument("--moved-by", choices=(BASE, *JOINTS[:5]), default=BASE,
                          help="base: it stands still; wrist_roll: it is on the gripper")  # fmt: skip
        made.add_argument("--board-at", default="", metavar="X,Y,YAW",
                          help="corner A's place in mm from the base, and where B is from it in degrees, "
                          "instead of touching")  # fmt: skip
        made.add_argument("--square-mm", type=float, default=board.SQUARE_MM, help="of the printed board")
        made.add_argument("--height-mm", type=float, default=0.0, help="of the board above the table")
    return parser
