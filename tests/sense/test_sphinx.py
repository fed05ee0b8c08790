"""pocketsphinx among many people: nobody waits for what is being understood, and STOP least of all."""

import threading

import numpy as np
import pytest

from edge_wam.clock import ManualClock
from edge_wam.sense import sphinx_engine
from edge_wam.sense.later import Later
from edge_wam.sense.listener import Listener
from edge_wam.sense.sound import BLOCK_S, RATE_HZ
from edge_wam.sense.sphinx_engine import SphinxRecogniser, open_understanding
from edge_wam.sense.understand import Understanding
from edge_wam.sense.wav import read_wav
from edge_wam.sim import tasks
from edge_wam.sim.microphone import SimMicrophone, sample

COMMANDS = [command.phrases["en"] for command in tasks.commands()]
PHRASES = [phrase for phrases in COMMANDS for phrase in phrases]
BESIDE = Understanding("en", COMMANDS).beside()
RED, BLUE = (tasks.command(name).phrases["en"][0] for name in ("pick_red", "pick_blue"))


def made(**kw):
    pytest.importorskip("pocketsphinx")
    return SphinxRecogniser("en", PHRASES, BESIDE, **kw)


class Ear:
    """A listener whose sounds come one after another in one time."""

    def __init__(self, recogniser):
        self._listener, self._fed_s = Listener(recogniser), 0.0

    def hear(self, *sounds, pause_s=1.5):
        quiet = np.zeros(round(pause_s * RATE_HZ), np.int16)
        tape = np.concatenate([piece for sound in sounds for piece in (sound, quiet)])
        microphone, news, t_s = SimMicrophone(tape, ManualClock()), [], self._fed_s
        microphone.start()
        while not microphone.spoken:
            block = microphone.read(2 * BLOCK_S)
            self._fed_s = t_s + block.t_s
            news += self._listener.hear(block._replace(t_s=self._fed_s))
        return news


def gated(recogniser):
    """Let it understand nothing until the event is set; what it understands is what it always would. The
    semaphore counts what it has understood."""
    gate, understood = threading.Event(), threading.Semaphore(0)
    work = open_understanding("en", PHRASES, BESIDE)

    def understand(*given):
        assert gate.wait(60)
        found = work(*given)
        understood.release()
        return found

    recogniser.later = Later(understand)
    return gate, understood


def finals(news):
    return [(words.text, stop) for words, stop in news if words.final]


def settle(ear, gate, count):
    """Open the gate, and hear silence until so many finals are there."""
    gate.set()
    news = []
    for _ in range(60):
        news += ear.hear(np.zeros(0, np.int16), pause_s=0.5)
        if len(finals(news)) >= count:
            break
        threading.Event().wait(0.05)
    return news


def test_in_a_process_beside_it_hears_what_it_hears_here(hear):
    red = read_wav(sample("en", "pick_red"))
    here, beside = made(), made(apart=True)
    news = [finals(hear(recogniser, red)) for recogniser in (here, beside)]
    assert news == [[(RED, False)]] * 2


def test_a_short_command_is_heard_after_a_long_one_in_a_process_too(hear):
    sounds = [read_wav(sample("en", name)) for name in ("put_red_on_blue", "home", "point_red", "home")]
    news = finals(hear(made(apart=True), *sounds))
    assert [text for text, _ in news[1::2]] == ["go home", "go home"]


def test_a_reply_is_one_only_where_a_question_stands_in_a_process_too(hear, say):
    beside, yes = made(apart=True), say("flite-rms", "yes")
    assert finals(hear(beside, yes)) != [("yes", False)]
    beside.expect_reply(True)
    assert finals(hear(beside, yes)) == [("yes", False)]


def test_stop_does_not_wait_for_what_is_being_understood_and_that_is_not_done_after_it(say):
    recogniser = made()
    (gate, _), ear = gated(recogniser), Ear(recogniser)
    assert ear.hear(read_wav(sample("en", "pick_red"))) == []
    news = ear.hear(say("flite-rms", "stop"))
    assert [stop for _, stop in news] == [True, True]
    assert not news[0].words.final
    assert finals(settle(ear, gate, 1)) == []


def test_what_nobody_has_time_for_is_left_out_and_the_rest_of_it_is_no_command():
    recogniser = made()
    (gate, understood), ear = gated(recogniser), Ear(recogniser)
    red, blue = (read_wav(sample("en", name)) for name in ("pick_red", "pick_blue"))
    assert ear.hear(red, blue, red) == []  # the third is one too many
    assert finals(settle(ear, gate, 2)) == [(RED, False), (BLUE, False)]
    gate.clear()
    assert ear.hear(red, blue) == []
    loud = np.flatnonzero(np.abs(red) > 600)
    assert ear.hear(red[: loud[-1]], pause_s=0.4) == []  # too many again; and soon after it:
    gate.set()
    assert all(understood.acquire(timeout=60) for _ in range(4))  # there is room again
    news = ear.hear(blue[np.flatnonzero(np.abs(blue) > 600)[0] :])
    assert finals(news + settle(ear, gate, 3 - len(finals(news)))) == [
        *((RED, False), (BLUE, False), (f"[unk] {BLUE}", False)),
    ]


def test_a_stop_ends_the_utterance_as_it_stands_without_understanding_it(say):
    recogniser = made()
    ear = Ear(recogniser)
    ear.hear(read_wav(sample("en", "pick_red")))  # it is normalised by what came before
    recogniser.later = Later(lambda *given: pytest.fail("understood"), at_once=True)
    news = ear.hear(say("flite-rms", "stop"))
    assert [(words.text, words.final, stop) for words, stop in news] == [
        ("stop", False, True),
        ("stop", True, True),
    ]


def test_where_others_understand_commands_it_hears_stop_and_nothing_else(hear, say, monkeypatch):
    monkeypatch.setattr(sphinx_engine, "open_understanding", lambda *made: pytest.fail("opened"))
    ear = made(commands=False)
    news = hear(ear, read_wav(sample("en", "pick_red")), say("flite-rms", "stop"))
    assert [(words.final, stop) for words, stop in news] == [(False, True), (True, True)]
