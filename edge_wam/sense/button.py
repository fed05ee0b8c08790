"""Push-to-talk: whether somebody held the button while a sentence was spoken.

    an input device (pedal, keyboard), a GPIO line --- watched in a thread ---.
    TALK, a mailbox: the page, the terminal ------------------------------------> Button <- the dialogue

A hold lasts for as long as it is told again. One that is told no more (a phone without a network, a thread
that died) is over after LAPSE_S: what is stale is let go.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from edge_wam.errors import VoiceError
from edge_wam.mailbox import Mailbox
from edge_wam.messages import TALK
from edge_wam.types import Words

LISTEN = ("always", "push")
TERMINAL = "terminal"
AGAIN_S = 0.25  # how often a hold is told again
LAPSE_S = 0.9  # a little less than a second, and more than the pause before a terminal repeats a key
TAIL_S = 0.6  # after the button is let go: the word under way
LEAD_S = 0.3  # before it is pressed: voice and finger are not the same moment
_HOLDS = 64
_RETRY_S = 1.0
_DEBOUNCE = timedelta(milliseconds=10)
_FUTURE_S = 0.1

EVENT = struct.Struct("llHHi")  # linux/input.h: struct input_event; s, us, type, code, value
EV_SYN, EV_KEY, SYN_DROPPED = 0, 1, 3
_GPIO = re.compile(r"(gpiochip\d+):([^:]+)(:high)?")

Note = Callable[[bool], None]
Watch = Callable[[Note, threading.Event], None]


class Button:
    """What is known of who holds what, of the last minutes. Safe from any thread."""

    def __init__(self) -> None:
        self._holds: deque[_Hold] = deque(maxlen=_HOLDS)
        self._lock = threading.Lock()

    def note(self, by: str, held: bool, t_s: float) -> None:
        """At t_s `by` holds it, still holds it, or has let go."""
        with self._lock:
            last = next((hold for hold in reversed(self._holds) if hold.by == by), None)
            if last is not None and not last.over and t_s - last.told_s <= LAPSE_S:
                last.told_s, last.over = max(t_s, last.told_s), not held
            elif held:
                self._holds.append(_Hold(by, t_s))

    def held(self, since_s: float, until_s: float) -> bool:
        """Whether somebody held it all the while, give or take LEAD_S and TAIL_S."""
        with self._lock:
            return any(hold.since_s <= since_s + LEAD_S and until_s <= hold.end_s for hold in self._holds)


class _Hold:
    """From one pressing to one letting go."""

    __slots__ = ("by", "over", "since_s", "told_s")

    def __init__(self, by: str, t_s: float) -> None:
        self.by, self.since_s, self.told_s, self.over = by, t_s, t_s, False

    @property
    def end_s(self) -> float:
        return self.told_s + (TAIL_S if self.over else LAPSE_S)


class Source(NamedTuple):
    """A button of this machine. kind: input, gpio, or "" for none; code: the key of an input device (0: any),
    line: of a GPIO chip, which a button pulls to ground unless it is `high`."""

    kind: str
    path: str = ""
    code: int = 0
    line: str = ""
    high: bool = False


def source_of(button: str, key: int = 0) -> Source:
    """The source that voice.button and voice.button_key name. VoiceError if they name none."""
    if button in ("", TERMINAL):
        return Source("")
    if button.startswith("/"):
        return Source("input", button, key)
    if (match := _GPIO.fullmatch(button)) is not None:
        return Source("gpio", f"/dev/{match[1]}", line=match[2], high=match[3] is not None)
    raise VoiceError(
        f"voice.button: expected '', '{TERMINAL}', an input device or a GPIO line, found '{button}'; "
        "try: /dev/input/by-id/..., or gpiochip0:105"
    )


@contextlib.contextmanager
def push_to_talk(source: Source, box: str, say: Callable[[str], None]) -> Iterator[Callable[[Words], bool]]:
    """In the block, what tells of a sentence whether the button was held for it. box: a TALK ('': none)."""
    button, over = Button(), threading.Event()
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(Mailbox.open(box, TALK, readonly=True)) if box else None
        if source.kind:
            watch = _watch_keys if source.kind == "input" else _line_watch()
            thread = threading.Thread(
                target=_keep_watching, args=(source, watch, button, over, say), name="button", daemon=True
            )
            thread.start()
            stack.callback(thread.join, 2 * AGAIN_S)
        stack.callback(over.set)

        def held(words: Words) -> bool:
            if told is not None:
                _take(told, button)
            since_s = words.t_s if math.isnan(words.since_s) else words.since_s
            return button.held(since_s, words.t_s)

        yield held


def _take(told: Mailbox, button: Button) -> None:
    """What the page and the terminal have told meanwhile. A time that has not come yet is nobody's."""
    now_s = time.monotonic()
    for record, t_s in told.news()[0]:
        if t_s <= now_s + _FUTURE_S:
            button.note(bytes(record["by"]).decode("utf-8", "replace"), bool(record["held"]), t_s)


def _keep_watching(
    source: Source,
    watch: Callable[[Source, Note, threading.Event], None],
    button: Button,
    over: threading.Event,
    say: Callable[[str], None],
) -> None:
    """A thread: watch the device, through unpluggings, each said once."""
    lost = ""

    def note(held: bool) -> None:
        nonlocal lost
        if lost:
            lost = ""
            say(f"push-to-talk: {source.path} is back")
        button.note(source.path, held, time.monotonic())

    while not over.is_set():
        try:
            watch(source, note, over)
        except OSError as error:
            button.note(source.path, False, time.monotonic())
            if not lost:
                lost = error.strerror or str(error)
                say(f"push-to-talk: {source.path} is not there ({lost}); commands are heard again when it is")
            over.wait(_RETRY_S)


def _watch_keys(source: Source, note: Note, over: threading.Event) -> None:
    """An input device's keys, until it is over. OSError if the device is not there, or not any more."""
    file = os.open(source.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        down: set[int] = set()
        rest = b""
        note(False)
        while not over.is_set():
            if select.select([file], [], [], AGAIN_S)[0]:
                data = os.read(file, 64 * EVENT.size)
                if not data:
                    raise OSError(0, "it has ended")
                rest += data
            whole = len(rest) - len(rest) % EVENT.size
            for _, _, kind, code, value in EVENT.iter_unpack(rest[:whole]):
                if (kind, code) == (EV_SYN, SYN_DROPPED):  # what was lost may have been a letting go
                    down.clear()
                elif kind == EV_KEY and source.code in (0, code):
                    (down.add if value else down.discard)(code)
            rest = rest[whole:]
            note(bool(down))
    finally:
        os.close(file)


def _line_watch() -> Callable[[Source, Note, threading.Event], None]:
    """What watches a GPIO line through the kernel's character device. VoiceError without the package."""
    try:
        import gpiod
        from gpiod.line import Bias, Direction, Edge, Value
    except ImportError as error:
        raise VoiceError(
            f"voice.button: a GPIO line needs '{error.name}'; try: pip install 'edge-wam[button]'"
        ) from None

    def watch(source: Source, note: Note, over: threading.Event) -> None:
        wanted = gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=Edge.BOTH,
            bias=Bias.PULL_DOWN if source.high else Bias.PULL_UP,
            active_low=not source.high,
            debounce_period=_DEBOUNCE,
        )
        line = int(source.line) if source.line.isdigit() else source.line
        try:
            with gpiod.request_lines(source.path, consumer="edge-wam", config={line: wanted}) as request:
                while not over.is_set():  # the level is the truth; an edge only wakes
                    note(request.get_value(line) is Value.ACTIVE)
                    if request.wait_edge_events(AGAIN_S):
                        request.read_edge_events()
        except ValueError as error:  # no such line on this chip
            raise OSError(0, str(error)) from None

    return watch


def examine(source: Source) -> str:
    """What there is to say about a button that can be read. VoiceError if it cannot."""
    path = Path(source.path)
    if source.kind == "gpio":
        _line_watch()
    if not path.exists():
        raise VoiceError(f"voice.button: no {path}{_others(path)}")
    if not os.access(path, os.R_OK if source.kind == "input" else os.R_OK | os.W_OK):
        group = "input" if source.kind == "input" else "gpio"
        raise VoiceError(
            f"voice.button: {path} may not be read by this user; try: sudo usermod -aG {_group(path, group)} "
            "$USER, then log in again (a service: ... edge-wam, then restart it)"
        )
    if source.kind == "gpio":
        return f"{path}, line {source.line}, {'high' if source.high else 'to ground'}"
    return f"{path}, {f'key {source.code}' if source.code else 'any key'}"


def _others(path: Path) -> str:
    names = sorted(one.name for one in path.parent.glob("*")) if path.parent.is_dir() else []
    return f"; there is: {', '.join(names)}" if names else f"; {path.parent} is empty"


def _group(path: Path, usual: str) -> str:
    """The device's group, unless that is root."""
    try:
        name = path.group()
    except (KeyError, OSError):
        return usual
    return usual if name == "root" else name
