"""The voice process, spoken to with and without its button: what reaches control, what is written down."""

from __future__ import annotations

import contextlib
import functools
import threading
import time

import numpy as np
import pytest

from edge_wam.live import written
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.messages import HEARD, TALK, Heard, HeardReader
from edge_wam.process import Child
from edge_wam.sense.button import AGAIN_S
from edge_wam.sense.sound import RATE_HZ
from edge_wam.sense.voice import VoiceSettings, voice_main
from edge_wam.sense.wav import read_wav, write_wav
from edge_wam.sim import cue, tasks
from edge_wam.sim.microphone import sample
from edge_wam.telemetry import tell_talk
from edge_wam.types import Words

SOON_S = 30.0
RED = "pick up the red cube"


class Room:
    """A voice process, who speaks to it, and what comes of it."""

    def __init__(self, cues, reader, talk):
        self._cues, self._reader, self._talk = cues, reader, talk
        self.heard = []

    def say(self, wav):
        record = np.zeros((), cue.CUE)
        record["wav"] = str(wav).encode()
        self._cues.put(record)
        sound_s = 0.2 + len(read_wav(wav)) / RATE_HZ
        time.sleep(sound_s)

    def next(self):
        """The next final result."""
        end_s = time.monotonic() + SOON_S
        while time.monotonic() < end_s:
            self.heard += [one for one in self._reader.take() if one.words.final]
            if self.heard:
                return self.heard.pop(0)
            time.sleep(0.02)
        raise AssertionError("nothing was heard")

    def holding(self):
        """The page's button, held until the event that is returned is set."""
        over = threading.Event()

        def hold():
            while not over.is_set():
                tell_talk(self._talk, True, "page-test")
                over.wait(AGAIN_S)
            tell_talk(self._talk, False, "page-test")

        threading.Thread(target=hold, daemon=True).start()
        return over


@contextlib.contextmanager
def listening(**changed):
    """A room with a voice process of these settings."""
    pytest.importorskip("pocketsphinx")
    settings = VoiceSettings(
        "pocketsphinx",
        "en",
        "",
        tuple(command.phrases["en"] for command in tasks.commands()),
        private_name("heard"),
        talk_box=private_name("talk"),
        **changed,
    )
    with (
        Mailbox.create(private_name("heard"), HEARD) as heard,
        Mailbox.create(private_name("talk"), TALK, 64) as talk,
        Mailbox.create(private_name("cue"), cue.CUE) as cues,
    ):
        microphone = functools.partial(cue.CuedMicrophone, private_name("cue"))
        child = Child("voice", voice_main, (settings, microphone))
        try:
            child.wait_ready(60.0)
            yield Room(cues, HeardReader(heard), talk)
        finally:
            child.stop()


@pytest.fixture
def room():
    with listening(push=True) as made:
        yield made


@pytest.mark.slow
def test_a_command_counts_while_the_button_is_held_and_stop_always(room, say, tmp_path):
    stop = tmp_path / "stop.wav"
    write_wav(stop, say("flite-rms", "stop"))
    red = sample("en", "pick_red")

    room.say(red)
    found = room.next()
    assert (found.words.text, found.said, found.why) == (f"[unk] {RED}", RED, "the button was not held")
    assert found.words.confidence == 1.0

    held = room.holding()
    room.say(red)
    held.set()  # with the last word: its final result comes half a second later
    assert room.next().words.text == RED

    room.say(red)
    assert room.next().why == "the button was not held"
    held = room.holding()
    held.set()
    room.say(stop)
    found = room.next()
    assert (found.stop, found.words.text) == (True, "stop")


def test_everything_heard_is_written_down_with_how_sure_it_is_and_why():
    words = Words("[unk] throw it", 1.0, 0.4567, True, "en")
    text, fields = written(Heard(words, False, "throw it", 'not understood: throw; "Hm?"'), None)
    assert text == 'heard: "throw it" (no command: not understood: throw; "Hm?")'
    why = 'not understood: throw; "Hm?"'
    assert fields == {"HEARD": "throw it", "MEANT": "", "CONFIDENCE": "0.46", "WHY": why}
    text, fields = written(Heard(words._replace(text=RED), False, "grab the red block", "understood"), RED)
    assert text == f'heard: "grab the red block": {RED}'
    assert (fields["HEARD"], fields["MEANT"], fields["WHY"]) == ("grab the red block", RED, "understood")
    text, fields = written(Heard(words._replace(text="stop"), True), "STOP")
    assert text == 'heard: "stop": STOP'
    assert fields["MEANT"] == "STOP"
