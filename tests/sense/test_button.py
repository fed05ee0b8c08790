"""Push-to-talk: what counts as held, and where it is told from. A FIFO stands in for an input device: the
same bytes, read in the same way."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edge_wam.errors import VoiceError
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.messages import TALK
from edge_wam.sense.button import (
    EVENT,
    LAPSE_S,
    LEAD_S,
    TAIL_S,
    Button,
    Source,
    examine,
    push_to_talk,
    source_of,
)
from edge_wam.telemetry import tell_talk
from edge_wam.types import Words

SPACE, PEDAL = 57, 183  # KEY_SPACE, KEY_F13: linux/input-event-codes.h
SOON_S = 10.0


def wait_for(condition):
    end_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


# --- what counts as held ------------------------------------------------------------------------


def told(*notes):
    button = Button()
    for by, held, t_s in notes:
        button.note(by, held, t_s)
    return button


def kept(by, since_s, until_s):
    """Told every quarter of a second, as a pedal's thread and the page do."""
    return [(by, True, float(t_s)) for t_s in np.arange(since_s, until_s, 0.25)]


def test_a_sentence_within_a_hold_counts_and_one_beside_it_does_not():
    button = told(*kept("pedal", 10, 13), ("pedal", False, 13.0))
    assert button.held(10.5, 12.5)
    assert button.held(10.0 - LEAD_S, 13.0 + TAIL_S)  # begun a little before; the word under way
    assert not button.held(10.0 - LEAD_S - 0.01, 12.0)
    assert not button.held(11.0, 13.0 + TAIL_S + 0.01)
    assert not button.held(5.0, 6.0)
    assert not button.held(14.0, 15.0)
    assert not button.held(8.0, 15.0)  # around it


def test_two_holds_are_not_one():
    button = told(*kept("pedal", 10, 11), ("pedal", False, 11.0), *kept("pedal", 13, 14))
    assert button.held(10.2, 11.2)
    assert button.held(13.2, 13.9)
    assert not button.held(10.2, 13.9)
    assert not button.held(11.8, 12.5)


def test_what_is_told_no_more_is_let_go_within_a_second():
    assert LAPSE_S < 1.0
    button = told(("phone", True, 10.0), ("phone", True, 10.25))
    assert button.held(10.1, 10.25 + LAPSE_S)
    assert not button.held(10.1, 10.25 + LAPSE_S + 0.01)
    button.note("phone", False, 20.0)  # its last word, late: nothing is held open by it
    assert not button.held(10.1, 12.0)
    button.note("phone", True, 20.1)
    assert not button.held(10.1, 20.1)  # and it is another hold
    assert button.held(20.0, 20.2)


def test_one_who_lets_go_does_not_let_go_for_another():
    others = [("page-b", True, 10.9), ("page-b", False, 11.0)]
    button = told(*kept("page-a", 10, 11), *others, *kept("page-a", 11, 12.2))
    assert button.held(10.2, 11.9)
    assert not told(("page-b", False, 11.0)).held(10.9, 11.1)


def test_a_time_that_runs_backwards_shortens_nothing():
    button = told(("pedal", True, 10.0), ("pedal", True, 11.0 - 0.2), ("pedal", True, 10.5))
    assert button.held(10.0, 10.8 + LAPSE_S)


# --- which button ----------------------------------------------------------------------------


def test_a_button_is_named_by_its_path_its_line_or_not_at_all():
    assert source_of("") == source_of("terminal") == Source("")
    assert source_of("/dev/input/by-id/usb-x:y-event-kbd", 57) == Source(
        "input", "/dev/input/by-id/usb-x:y-event-kbd", 57
    )
    assert source_of("gpiochip0:105") == Source("gpio", "/dev/gpiochip0", line="105")
    assert source_of("gpiochip1:PQ.06:high") == Source("gpio", "/dev/gpiochip1", line="PQ.06", high=True)
    for wrong in ("gpiochip0", "gpio0:1", "gpiochip0:", "gpiochip0:1:low", "space", "input/event0"):
        with pytest.raises(VoiceError, match=r"voice\.button: expected"):
            source_of(wrong)


# --- an input device -------------------------------------------------------------------------


class Device:
    """A FIFO, and somebody who presses keys at the other end."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path, self.said = str(path), []
        self._file = os.open(path, os.O_RDWR)

    def send(self, *events):
        for kind, code, value in events:
            os.write(self._file, EVENT.pack(0, 0, kind, code, value))

    def press(self, code, value=1):
        self.send((1, code, value), (0, 0, 0))

    def unplug(self):
        os.close(self._file)
        os.unlink(self.path)

    def plug_in(self):
        os.mkfifo(self.path)
        self._file = os.open(self.path, os.O_RDWR)


@pytest.fixture
def device(tmp_path):
    return Device(tmp_path / "event7")


@contextlib.contextmanager
def listening(device, code=0, box=""):
    """held(): whether a sentence that is just over, and took a tenth of a second, counts."""
    with push_to_talk(Source("input", device.path, code), box, device.said.append) as held:

        def ask():
            now_s = time.monotonic()
            return held(Words("go home", now_s, 1.0, True, "en", now_s - 0.1))

        yield ask


def is_let_go(held):
    """Soon, and it stays so: what is still held is told again meanwhile."""
    time.sleep(LAPSE_S + 0.2)
    assert not held()


def test_the_event_is_the_kernels():
    assert EVENT.size == 2 * struct.calcsize("l") + 8
    assert EVENT.unpack(struct.pack("@llHHi", 1, 2, 1, SPACE, 1)) == (1, 2, 1, SPACE, 1)


def test_a_pedal_is_held_from_its_pressing_to_its_letting_go(device):
    with listening(device) as held:
        assert not held()
        device.press(PEDAL)
        wait_for(held)
        time.sleep(LAPSE_S + 0.2)
        assert held()  # it sends nothing more while it is held, and is
        device.press(PEDAL, 0)
        is_let_go(held)
    assert not device.said


def test_only_the_key_that_was_named_counts(device):
    with listening(device, SPACE) as held:
        device.press(PEDAL)
        device.send((3, SPACE, 1))  # an axis
        time.sleep(0.4)
        assert not held()
        device.press(SPACE)
        wait_for(held)
        device.press(PEDAL, 0)
        time.sleep(0.4)
        assert held()


def test_two_keys_and_repetitions_are_one_hold_until_the_last_is_let_go(device):
    with listening(device) as held:
        device.press(30)
        device.press(31)
        device.press(31, 2)
        device.press(30, 0)
        wait_for(held)
        time.sleep(LAPSE_S + 0.2)
        assert held()


def test_what_the_kernel_had_no_room_for_may_have_been_a_letting_go(device):
    with listening(device) as held:
        device.press(PEDAL)
        wait_for(held)
        device.send((0, 3, 0))  # SYN_DROPPED
        is_let_go(held)


def test_an_event_that_comes_in_pieces_is_one(device):
    with listening(device) as held:
        whole = EVENT.pack(0, 0, 1, PEDAL, 1)
        os.write(device._file, whole[:7])
        time.sleep(0.4)
        assert not held()
        os.write(device._file, whole[7:])
        wait_for(held)


def test_a_device_that_is_pulled_out_lets_go_is_said_once_and_found_again(device):
    with listening(device) as held:
        device.press(PEDAL)
        wait_for(held)
        device.unplug()
        is_let_go(held)
        time.sleep(1.3)
        assert len(device.said) == 1
        assert f"{device.path} is not there" in device.said[0]
        device.plug_in()
        wait_for(lambda: len(device.said) == 2)
        assert "is back" in device.said[1]
        device.press(PEDAL)
        wait_for(held)


def test_the_thread_ends_with_the_block(device):
    with listening(device):
        assert "button" in [thread.name for thread in threading.enumerate()]
    wait_for(lambda: "button" not in [thread.name for thread in threading.enumerate()])


# --- the mailbox -----------------------------------------------------------------------------


def test_the_page_and_the_terminal_tell_by_a_mailbox():
    with (
        Mailbox.create(private_name("t"), TALK, 64) as box,
        push_to_talk(Source(""), box.name, print) as held,
    ):

        def sentence(t_s, since_s=None):
            return Words("go home", t_s, 1.0, True, "en", *(() if since_s is None else (since_s,)))

        now_s = time.monotonic()
        assert not held(sentence(now_s, now_s - 0.5))
        tell_talk(box, True, "page-a")
        tell_talk(box, True, "page-a")
        soon_s = time.monotonic() + 0.1
        assert held(sentence(soon_s, soon_s - 0.2))
        assert not held(sentence(soon_s, soon_s - 2.0))
        assert held(sentence(soon_s))  # where it is not known when it began
        tell_talk(box, False, "page-a")
        late_s = time.monotonic() + TAIL_S + 0.05
        assert not held(sentence(late_s, late_s - 0.5))


def test_a_hold_that_is_yet_to_come_is_nobodys():
    record = np.zeros((), TALK)
    record["held"], record["by"] = True, b"liar"
    with (
        Mailbox.create(private_name("t"), TALK, 64) as box,
        push_to_talk(Source(""), box.name, print) as held,
    ):
        then_s = time.monotonic() + 1000.0
        box.put(record, then_s)
        assert not held(Words("go home", then_s + 0.2, 1.0, True, "en", then_s))


# --- the doctor's look -----------------------------------------------------------------------


def test_what_is_not_there_or_not_ours_is_said_with_what_to_try(device, tmp_path, monkeypatch):
    assert examine(Source("input", device.path, SPACE)) == f"{device.path}, key 57"
    with pytest.raises(VoiceError, match=f"no {tmp_path}/event8; there is: event7"):
        examine(Source("input", str(tmp_path / "event8")))
    with pytest.raises(VoiceError, match="no /dev/gpiochip99"):
        examine(Source("gpio", "/dev/gpiochip99", line="1"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(VoiceError, match=r"sudo usermod -aG \w+ \$USER"):
        examine(Source("input", device.path))


def test_a_gpio_line_that_is_not_there_is_said_and_looked_for():
    pytest.importorskip("gpiod")
    said = []
    with push_to_talk(Source("gpio", "/dev/gpiochip99", line="105"), "", said.append) as held:
        wait_for(lambda: said)
        assert not held(Words("go home", time.monotonic(), 1.0, True, "en"))
    assert "push-to-talk: /dev/gpiochip99 is not there (No such file or directory)" in said[0]


# --- a GPIO chip, at the system calls ----------------------------------------------------------

ACTIVE_LOW, INPUT, BOTH_EDGES, PULL_UP, PULL_DOWN = 1 << 1, 1 << 2, 3 << 4, 1 << 8, 1 << 9  # linux/gpio.h


@pytest.fixture(scope="module")
def chip(tmp_path_factory):
    """What has to be preloaded for a program to find a chip."""
    pytest.importorskip("gpiod")
    compiler, folder = shutil.which("cc"), tmp_path_factory.mktemp("gpio")
    if compiler is None or not Path("/usr/include/linux/gpio.h").is_file():
        pytest.skip("no C compiler, or no linux/gpio.h; try: sudo apt-get install gcc linux-libc-dev")
    made = folder / "fake_gpio.so"
    source = Path(__file__).parent / "fake_gpio.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-o", made, source, "-ldl"], check=True)
    return made


GROUNDED, DRIVEN = ACTIVE_LOW | INPUT | BOTH_EDGES | PULL_UP, INPUT | BOTH_EDGES | PULL_DOWN


@pytest.mark.parametrize(("line", "how", "flags"), [("2", (), GROUNDED), ("PQ.02", ("high",), DRIVEN)])
def test_a_gpio_button_is_debounced_held_let_go_pulled_out_and_found_again(chip, tmp_path, line, how, flags):
    os.mkfifo(tmp_path / "events")
    (tmp_path / "gpiochip0").symlink_to("/dev/null")
    fake = {f"FAKE_{what.upper()}": str(tmp_path / what) for what in ("level", "events", "asked")}
    program = [sys.executable, str(Path(__file__).parent / "gpio_person.py"), str(tmp_path / "gpiochip0")]
    done = subprocess.run(
        [*program, line, *how],
        env=os.environ | fake | {"LD_PRELOAD": str(chip)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    said = [text for text in lines if not text.startswith("push-to-talk")]
    assert said == ["free False", "pressed True", "still True", "let go True", "gone True", "again True"]
    assert [text.split()[-1] for text in lines if text.startswith("push-to-talk")] == ["is", "back"]
    assert (tmp_path / "asked").read_text().split() == [str(flags), "10000", "2"]
