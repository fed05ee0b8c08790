"""An ear for a wake word: it calls, nothing else does; a command counts for a while after it, STOP always."""

from __future__ import annotations

import importlib.util
import math
from typing import NamedTuple

import numpy as np
import pytest
from test_push import listening

from edge_wam.sense import waker as ears
from edge_wam.sense.dialogue import ANSWER_S, Dialogue, Reply, Sign
from edge_wam.sense.listener import Listener
from edge_wam.sense.sound import BLOCK_SAMPLES, RATE_HZ, Block
from edge_wam.sense.understand import Understanding
from edge_wam.sense.voice import open_recogniser, open_waker
from edge_wam.sense.waker import PACKAGE, WAKE_WORDS, Waker
from edge_wam.sense.wav import write_wav
from edge_wam.sim import tasks
from edge_wam.types import Words

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"no {PACKAGE}; try: {ears.HOW_TO}"
)
PHRASES = [command.phrases["en"] for command in tasks.commands()]
RED, LEFT, THROW = "pick up the red cube", "push the red cube to the left", "throw the red cube to the left"
CALL = "okay nabu"


class Person:
    """Who talks to a robot that hears the wake word by itself; the clock is theirs."""

    def __init__(self, ear=True, wake="Okay Nabu", **settings):
        woken = (lambda: self.woken_s) if ear else None
        self.dialogue = Dialogue(Understanding("en", PHRASES), "en", wake=wake, woken=woken, **settings)
        self.now_s, self.woken_s = 100.0, -math.inf

    def calls(self, after_s=1.0):
        self.now_s += after_s
        self.woken_s = self.now_s

    def says(self, text, after_s=1.0):
        self.now_s += after_s
        return self.dialogue.hear(Words(text, self.now_s, 1.0, True, "en"))


def test_the_ear_calls_and_what_the_recogniser_took_for_the_word_does_not():
    person = Person()
    assert person.says(f"{CALL} {RED}") == Reply(why=f"without '{CALL}'")
    assert person.says(CALL) == Reply(why=f"without '{CALL}'")
    assert person.says(RED) == Reply(why=f"without '{CALL}'")
    person.calls()
    assert person.says(f"{CALL} {RED}").order == RED
    person.calls()
    assert person.says(CALL) == Reply(say="Yes?", why="called", sign=Sign.ASK)
    assert person.says(RED).order == RED


def test_a_call_is_for_one_command_and_for_so_long():
    person = Person()
    person.calls()
    assert person.says(RED, after_s=ANSWER_S).order == RED
    assert person.says("go home", after_s=0.1) == Reply(why=f"without '{CALL}'")
    person.calls()
    assert person.says(RED, after_s=ANSWER_S + 0.01) == Reply(why=f"without '{CALL}'")
    person.calls()
    person.says("what a lovely day")
    assert person.says(RED).order == RED  # nobody has used it yet


def test_who_called_before_a_stop_has_to_call_again():
    person = Person()
    person.calls()
    person.dialogue.stopped()
    assert person.says(RED) == Reply(why=f"without '{CALL}'")
    person.calls()
    assert person.says(RED).order == RED


@pytest.mark.parametrize("ear", [True, False])
def test_a_question_that_nobody_answered_is_not_asked_again_by_a_call(ear):
    person = Person(ear)

    def calls():
        person.calls()
        person.says(CALL, after_s=0.1)

    calls()
    assert person.says(f"{CALL} {THROW}").sign is Sign.ASK
    calls()
    assert person.says("yes").order == LEFT  # it stood
    calls()
    person.says(f"{CALL} {THROW}")
    person.now_s += 60.0
    calls()
    assert person.says("yes") == Reply(why="nothing was asked")


def test_a_button_that_is_held_needs_no_call():
    person = Person(held=lambda words: True)
    assert person.says(RED).order == RED
    assert person.says(CALL).why == "called"
    assert person.says(f"{CALL} {RED}").order == RED


def test_without_the_package_the_word_is_a_name_like_any_and_that_is_said(monkeypatch):
    said = []
    assert open_waker("robot", said.append) is None
    assert said == []
    monkeypatch.setattr(ears, "PACKAGE", "no_such_package")
    assert open_waker(" Alexa", said.append) is None
    assert said == ["voice.wake 'alexa': heard by the recogniser, as any name: no no_such_package; "
                    f"to have it: {ears.HOW_TO}"]  # fmt: skip


class Heard(NamedTuple):
    done: list[str]
    calls: int


def played(tape, ear, recogniser=None, understanding=None):
    """What is done of the sound, STOP included, and how often the ear was called."""
    dialogue = Dialogue(understanding, "en", wake=CALL, woken=lambda: ear.heard_s) if recogniser else None
    listener, done, calls = Listener(recogniser, None, ear), [], set()
    for end in range(BLOCK_SAMPLES, len(tape) + 1, BLOCK_SAMPLES):
        block = Block(tape[end - BLOCK_SAMPLES : end], end / RATE_HZ)
        if recogniser is None:
            ear.hear(block)
        else:
            for words, stop in listener.hear(block):
                if stop:
                    dialogue.stopped()
                    done.append("STOP")
                elif words.final and (order := dialogue.hear(words).order):
                    done.append(order)
        calls.add(ear.heard_s)
    return Heard(done, len(calls - {-math.inf}))


def after_silence(*sounds):
    """A tape: each sound after a second and a half of a room's noise, and as much behind."""
    room = np.random.default_rng(0).normal(0, 20, 3 * RATE_HZ // 2).astype(np.int16)
    return np.concatenate([piece for sound in sounds for piece in (room, sound)] + [room])


# Not every synthetic voice says it as people do: flite's rms and awb say all four so that they are known.
@needs_package
@pytest.mark.parametrize("word", WAKE_WORDS)
def test_each_word_is_heard_once_and_no_other(word, say):
    sounds = {text: say("flite-rms", f"{text.capitalize()}.") for text in WAKE_WORDS}
    tape = after_silence(sounds[word], sounds[word])
    assert played(tape, Waker(word)).calls == 2
    others = [sound for text, sound in sounds.items() if text != word]
    assert played(after_silence(*others, say("flite-rms", "pick up the red cube")), Waker(word)).calls == 0


@needs_package
def test_through_the_recogniser_a_command_wants_the_word_and_stop_does_not(say):
    pytest.importorskip("pocketsphinx")
    understanding = Understanding("en", PHRASES)
    every = [text for texts in PHRASES for text in texts]
    recogniser = open_recogniser("pocketsphinx", "en", every, beside=understanding.beside(CALL))

    def heard(*texts):
        tape = after_silence(*(say("flite-rms", text) for text in texts))
        return played(tape, Waker(CALL), recogniser, understanding).done

    assert heard(RED) == []
    assert heard(f"Okay Nabu, {RED}") == [RED]
    assert heard("Okay Nabu.", RED) == [RED]
    assert heard("Okay Nabu.", RED, "go home") == [RED]
    assert set(heard("stop")) == {"STOP"}
    assert set(heard("Okay Nabu, stop.")) == {"STOP"}


@needs_package
@pytest.mark.slow
def test_the_voice_process_has_the_ear(say, tmp_path):
    plain, called = tmp_path / "plain.wav", tmp_path / "called.wav"
    write_wav(plain, say("flite-rms", RED))
    write_wav(called, say("flite-rms", f"Okay Nabu, {RED}"))
    with listening(wake="Okay Nabu") as room:
        room.say(plain)
        assert room.next().why == f"without '{CALL}'"
        room.say(called)
        assert room.next().words.text == RED
        room.say(plain)
        assert room.next().why == f"without '{CALL}'"
