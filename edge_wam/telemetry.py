"""What the robot tells other programs on its machine: the page, the recorder, whoever wants to look.

    control -> TICK     every tick: what was measured, wished, sent, limited; how late; how the servos are
    control -> EVENT    what a person may want to know: heard, task, done, hold, fault, ...
    policy  -> CHUNK    (messages.py) every chunk, as it was decided
    policy  -> SIGHT    a camera's frame, every SIGHT_EVERY_S, one box a camera
    policy  -> DREAM    the frames it imagines for the chunk in force
    anybody -> ASKED    stop, park, or do a command: for those whom the box's permissions let write
    anybody -> TALK     (messages.py) a push-to-talk button is held, told again and again, or was let go

All are mailboxes with public names (mailbox.py): the writer never waits, never knows who reads, and a reader
that is slow misses something. PLAN tells, once, what is in them (sizes, names, limits, commands), as JSON.
The readers' end is `Window`. Boxes belong to the robot's group: PUBLIC_MODE, ASKED_MODE.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from edge_wam.errors import EdgeWamError
from edge_wam.mailbox import Letter, Mailbox, RecordType, folder, public_name
from edge_wam.messages import (
    BY_BYTES,
    CHUNK,
    COMMAND_BYTES,
    TALK,
    TEXT_BYTES,
    WHY_BYTES,
    cut_text,
    encode_text,
    frame_type,
)
from edge_wam.orders import Order, Orders, Verb
from edge_wam.types import JOINTS

INSTANCE = "main"  # the name of a robot that has none
PUBLIC_MODE, ASKED_MODE = 0o640, 0o660
SIGHT_EVERY_S = 1 / 15
TICKS_KEPT, EVENTS_KEPT, CHUNKS_KEPT, FRAMES_KEPT, ASKED_KEPT = 1024, 256, 64, 16, 16
TALK_KEPT = 256  # a minute of one who holds it: they are read when a sentence was heard
ASKED_FRESH_S = 1.0  # an order older than this when it is found is nobody's wish any more
PLAN_BYTES = 65536
KINDS = ("heard", "task", "done", "hold", "park", "fault", "note")

LIMITED = ("not_finite", "lead", "range", "acceleration", "speed", "floor")  # guard.Limited's fields

_J = len(JOINTS)

TICK: RecordType = np.dtype(
    [
        ("index", np.int64),
        ("late_s", np.float64),
        ("work_s", np.float64),
        ("skipped", np.int64),
        ("misses", np.int64),  # slots skipped since the start
        ("stale_s", np.float64),  # how long the plan has had no row for now
        ("measured_s", np.float64),
        ("measured_rad", np.float64, (_J,)),
        ("wish_rad", np.float64, (_J,)),  # NaN: hold
        ("sent_rad", np.float64, (_J,)),
        ("limited", np.int16, (len(LIMITED),)),  # joints limited, by reason
        ("load", np.float32, (_J,)),
        ("current_a", np.float32, (_J,)),
        ("voltage_v", np.float32, (_J,)),
        ("temperature_c", np.float32, (_J,)),
        ("error", np.uint8, (_J,)),
        ("fresh", np.bool_, (_J,)),
        ("entered_s", np.float64),  # t0_s of a chunk first followed in this tick; NaN: none
        ("servo_s", np.float64),  # ... its exposure to servo, and what its engine took
        ("infer_s", np.float64),
        ("mode", "S12"),  # pilot.Mode
        ("epoch", np.int64),
        ("command", f"S{COMMAND_BYTES}"),  # in the manifest's words; b'': none
    ]
)

EVENT: RecordType = np.dtype(
    [
        ("kind", "S8"),  # one of KINDS
        ("text", f"S{TEXT_BYTES}"),
        ("meant", f"S{COMMAND_BYTES}"),  # heard: the command it was taken for; b'': refused
        ("why", f"S{WHY_BYTES}"),  # heard: what was made of it
        ("confidence", np.float64),  # heard: the recogniser's; NaN elsewhere
    ]
)

ASKED: RecordType = np.dtype([("verb", "S8"), ("command", f"S{COMMAND_BYTES}"), ("by", f"S{BY_BYTES}")])

PLAN: RecordType = np.dtype([("json", f"S{PLAN_BYTES}")])


def dream_type(cameras: int, futures: int, px: int) -> RecordType:
    """Imagined frames (C, F, px, px, 3); the box's t_s is that of the frame they were imagined from."""
    return np.dtype([("images", np.uint8, (cameras, futures, px, px, 3))])


class Plan(NamedTuple):
    """What is in a robot's boxes. cameras: (name, height, width) in the model's order; dream: the shape
    (C, F, px) and ahead_s (F,); joints' range (J,); commands: tokens -> what may be said for it; crops_px:
    the side of each camera's centred square that the model sees and imagines, () where that is not told;
    phrases: tokens -> all that may be said for it in `language`; push: whether voice wants a button held."""

    model: str
    control_hz: float
    dt_s: float
    joints: tuple[str, ...]
    low_rad: tuple[float, ...]
    high_rad: tuple[float, ...]
    cameras: tuple[tuple[str, int, int], ...]
    dream: tuple[int, int, int]
    ahead_s: tuple[float, ...]
    commands: dict[str, str]
    crops_px: tuple[int, ...] = ()
    phrases: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 (never changed)
    language: str = "en"
    push: bool = False

    @classmethod
    def read(cls, text: str) -> Plan:
        """From its JSON."""
        told: dict[str, Any] = json.loads(text)
        return cls(
            str(told["model"]),
            float(told["control_hz"]),
            float(told["dt_s"]),
            tuple(told["joints"]),
            tuple(told["low_rad"]),
            tuple(told["high_rad"]),
            tuple((str(name), int(height), int(width)) for name, height, width in told["cameras"]),
            (int(told["dream"][0]), int(told["dream"][1]), int(told["dream"][2])),
            tuple(told["ahead_s"]),
            dict(told["commands"]),
            tuple(map(int, told["crops_px"])),
            {str(tokens): tuple(map(str, texts)) for tokens, texts in told["phrases"].items()},
            str(told["language"]),
            bool(told["push"]),
        )


class Boxes(NamedTuple):
    """A robot's boxes, at either end. sights in the order of Plan.cameras."""

    plan: Mailbox
    ticks: Mailbox
    events: Mailbox
    chunks: Mailbox
    sights: tuple[Mailbox, ...]
    dreams: Mailbox
    asked: Mailbox
    talk: Mailbox


def create(instance: str, plan: Plan, stack: contextlib.ExitStack) -> Boxes:
    """Make all boxes of a robot; `stack` removes them. EdgeWamError if a robot of this name runs: its boxes
    would be taken from it, and STOP would reach nobody."""
    _alone(instance, stack)

    def box(what: str, dtype: RecordType, slots: int, mode: int = PUBLIC_MODE) -> Mailbox:
        return stack.enter_context(Mailbox.create(public_name(instance, what), dtype, slots, mode))

    sights = tuple(
        box(f"sight-{name}", frame_type(height, width), FRAMES_KEPT) for name, height, width in plan.cameras
    )
    boxes = Boxes(
        box("plan", PLAN, 2),
        box("ticks", TICK, TICKS_KEPT),
        box("events", EVENT, EVENTS_KEPT),
        box("chunks", CHUNK, CHUNKS_KEPT),
        sights,
        box("dreams", dream_type(*plan.dream), FRAMES_KEPT),
        box("asked", ASKED, ASKED_KEPT, ASKED_MODE),
        box("talk", TALK, TALK_KEPT, ASKED_MODE),
    )
    tell_plan(boxes, plan)  # last: who finds it finds the others
    return boxes


def tell_plan(boxes: Boxes, plan: Plan) -> None:
    """What is in the boxes; again, if limits or commands are others now."""
    record = np.zeros((), PLAN)
    record["json"] = encode_text(json.dumps(plan._asdict()), PLAN_BYTES)
    boxes.plan.put(record)


def tell_talk(box: Mailbox, held: bool, by: str) -> None:
    """Somebody holds the push-to-talk button, or has let go. May wait for another who tells just now."""
    record = np.zeros((), TALK)
    record["held"], record["by"] = held, cut_text(by, BY_BYTES)
    with box.alone():
        box.put(record)


def _alone(instance: str, stack: contextlib.ExitStack) -> None:
    """Be the only robot of this name. The kernel forgets a lock with the process that held it."""
    path = folder() / public_name(instance, "alive")
    try:
        file = stack.enter_context(os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "rb"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError:
        raise EdgeWamError(
            f"robot '{instance}' is another user's on this machine ({path}); try: another robot.name"
        ) from None
    except BlockingIOError:
        raise EdgeWamError(
            f"a robot '{instance}' runs on this machine already; try: systemctl stop edge-wam, "
            "or another robot.name in the settings"
        ) from None


def runs(instance: str) -> bool:
    """Whether a robot of this name runs on this machine, whoever's it is."""
    try:
        inode = (folder() / public_name(instance, "alive")).stat().st_ino
        with open("/proc/locks", encoding="ascii") as file:
            held = [line.split() for line in file]
    except OSError:
        return False
    return any(words[1] == "FLOCK" and words[5].rsplit(":", 1)[-1] == str(inode) for words in held)


def attach(instance: str, *, asking: bool = False, thinking: bool = False) -> tuple[Plan, Boxes]:
    """Open all boxes of a robot that runs, to read; `asking` opens ASKED to write, `thinking` what the policy
    tells (chunks, sights, dreams).

    EdgeWamError if no robot of this name runs, or if we may not.
    """
    opened: list[Mailbox] = []

    def box(what: str, dtype: RecordType, readonly: bool = True) -> Mailbox:
        opened.append(Mailbox.open(public_name(instance, what), dtype, readonly=readonly))
        return opened[-1]

    try:
        told = box("plan", PLAN)
        letter = told.get()
        if letter is None:
            raise FileNotFoundError(told.name)
        plan = Plan.read(bytes(letter.record["json"]).decode())
        sights = tuple(box(f"sight-{name}", frame_type(h, w), not thinking) for name, h, w in plan.cameras)
        return plan, Boxes(
            told,
            box("ticks", TICK),
            box("events", EVENT),
            box("chunks", CHUNK, not thinking),
            sights,
            box("dreams", dream_type(*plan.dream), not thinking),
            box("asked", ASKED, readonly=not asking),
            box("talk", TALK, readonly=not asking),
        )
    except (OSError, TypeError, ValueError, KeyError) as error:
        for one in opened:
            one.close()
        if isinstance(error, FileNotFoundError):
            raise EdgeWamError(
                f"no robot '{instance}' runs on this machine; try: systemctl start edge-wam, or edge-wam run"
            ) from None
        if isinstance(error, PermissionError):
            raise EdgeWamError(
                f"robot '{instance}' runs, but its boxes are not for this user ({error.filename}); "
                "try: the robot's group (sudo usermod -aG edge-wam $USER), then log in again"
            ) from None
        raise EdgeWamError(
            f"robot '{instance}' speaks another version than this program ({error}); try: restart both"
        ) from None


class Window:
    """The reader's end: a robot that runs, through restarts. Every call may raise EdgeWamError while there is
    none; the next call looks again."""

    def __init__(self, instance: str = INSTANCE, *, asking: bool = False) -> None:
        self._instance, self._asking = instance, asking
        self._open: tuple[Plan, Boxes] | None = None

    def look(self) -> tuple[Plan, Boxes]:
        """The robot's boxes as they are now; the same objects for as long as the robot, and its plan, are the
        same."""
        if self._open is not None and self._open[1].plan.replaced:
            self.close()
        if self._open is None:
            self._open = attach(self._instance, asking=self._asking)
            self._open[1].plan.take()
        elif (letter := self._open[1].plan.take()) is not None:  # settings were read again
            self._open = Plan.read(bytes(letter.record["json"]).decode()), self._open[1]
        return self._open

    def ask(self, verb: Verb, command: str = "", by: str = "") -> None:
        """Post an order. QUIT is not to be had from here: ValueError."""
        if verb is Verb.QUIT:
            raise ValueError("a robot is ended by its service manager, not by an order from outside")
        _, boxes = self.look()
        record = np.zeros((), ASKED)
        record["verb"], record["by"] = verb.value.encode(), cut_text(by, BY_BYTES)
        record["command"] = encode_text(command, COMMAND_BYTES)
        with boxes.asked.alone():
            boxes.asked.put(record)

    def talk(self, held: bool, by: str) -> None:
        """Hold the push-to-talk button, to be told again within LAPSE_S (sense/button.py), or let it go."""
        _, boxes = self.look()
        tell_talk(boxes.talk, held, by)

    def close(self) -> None:
        """Detach; `look` opens again."""
        if self._open is not None:
            _, boxes = self._open
            for one in (*boxes[:4], *boxes.sights, *boxes[5:]):
                assert isinstance(one, Mailbox)
                one.close()
            self._open = None


class Asked:
    """The control process's end of ASKED: passes on what was asked just now, of `commands`. Never waits."""

    def __init__(self, box: Mailbox, commands: Iterable[str], orders: Orders) -> None:
        self._box, self._orders = box, orders
        self.commands = frozenset(commands)

    def take(self) -> list[tuple[Order, str]]:
        """Give what is new to the orders, STOP last, so that nothing asked with it starts the arm again;
        returns what was given and who asked. A STOP is obeyed however late it is found; and where so many
        asked that some were lost, one of them may have asked for it."""
        letters, lost = self._box.news()
        now_s = time.monotonic()
        known = [
            (order, by)
            for letter in letters
            for order, by in [_order(letter)]
            if order is not None and self._holds(order, now_s - letter.t_s)
        ]
        if lost:
            known.append((Order(Verb.STOP), f"{lost} orders that were lost"))
        known.sort(key=lambda one: one[0].verb is Verb.STOP)
        for order, _ in known:
            self._orders.give(order)
        return known

    def _holds(self, order: Order, age_s: float) -> bool:
        """Whether an order is to be carried out."""
        if order.verb is Verb.STOP:
            return True
        return age_s < ASKED_FRESH_S and (order.verb is not Verb.DO or order.command in self.commands)


def _order(letter: Letter) -> tuple[Order | None, str]:
    record = letter.record
    by = bytes(record["by"]).decode("utf-8", "replace")
    try:
        verb = Verb(bytes(record["verb"]).decode())
    except ValueError:
        return None, by
    if verb is Verb.QUIT:
        return None, by
    return Order(verb, bytes(record["command"]).decode("utf-8", "replace")), by


def event_record(
    kind: str, text: str, meant: str = "", confidence: float = math.nan, why: str = ""
) -> np.ndarray[Any, Any]:
    """EVENT. Text beyond its field is cut at a character."""
    record = np.zeros((), EVENT)
    record["kind"], record["confidence"] = kind.encode(), confidence
    record["text"], record["meant"] = cut_text(text, TEXT_BYTES), cut_text(meant, COMMAND_BYTES)
    record["why"] = cut_text(why, WHY_BYTES)
    return record
