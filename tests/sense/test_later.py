"""Utterances that are understood beside: order, how many may wait, and when they are told."""

import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from edge_wam.sense.later import Later, Rests


def test_the_rest_of_a_sentence_that_was_none_is_none_and_what_was_said_before_it_is_not_its_rest():
    rests = Rests(0.8)
    assert not rests.has(0.0)
    rests.after(5.0)
    rests.after(9.0)
    began_s = [4.0, 5.0, 5.7, 5.9, 8.9, 9.0, 9.7, 9.9]
    assert [rests.has(one_s) for one_s in began_s] == [False, True, True, False, False, True, True, False]


class Gate:
    """Work that waits until it may, and knows what it was given."""

    def __init__(self):
        self.open, self.given = threading.Event(), []

    def __call__(self, sound, asked):
        assert self.open.wait(10)
        self.given.append((sound, asked))
        return sound.decode() + ("?" if asked else "")


def waited(later, count):
    found, until_s = [], time.monotonic() + 10
    while len(found) < count and time.monotonic() < until_s:
        found += later.done(0.0)
        time.sleep(0.002)
    return found


def test_what_was_put_last_can_be_taken_back_until_it_is_told():
    gate = Gate()
    later = Later(gate)
    assert later.last() is None
    later.put("first", 0.0, b"a", False)
    later.put("second", 0.0, b"b", False)
    assert later.last() == "second"
    later.take_back()
    assert later.last() == "first"
    assert later.put("third", 0.0, b"c", False)  # there is room again
    gate.open.set()
    assert waited(later, 2) == [("first", "a"), ("third", "c")]
    assert later.last() is None
    assert [sound for sound, _ in gate.given] == [b"a", b"c"]


def test_nobody_waits_and_results_come_in_order_with_what_they_are_about():
    gate = Gate()
    later = Later(gate)
    assert later.put("first", 0.0, b"a", False)
    assert later.put("second", 0.0, b"b", True)
    assert later.done(1e9) == []
    gate.open.set()
    assert waited(later, 2) == [("first", "a"), ("second", "b?")]
    assert later.done(1e9) == []


def test_of_more_than_wait_already_nothing_is_begun():
    gate = Gate()
    later = Later(gate)
    assert [later.put(n, 0.0, b"%d" % n, False) for n in range(4)] == [True, True, False, False]
    gate.open.set()
    assert waited(later, 2) == [(0, "0"), (1, "1")]
    assert later.put(5, 0.0, b"5", False)
    assert waited(later, 1) == [(5, "5")]
    assert len(gate.given) == 3


def test_what_is_not_wanted_any_more_is_not_told_when_it_is_done():
    gate = Gate()
    later = Later(gate)
    later.put("first", 0.0, b"a", False)
    later.put("second", 0.0, b"b", False)
    later.clear()
    later.put("third", 0.0, b"c", False)
    gate.open.set()
    assert waited(later, 1) == [("third", "c")]
    assert (b"b", False) not in gate.given  # nor even begun


def test_at_once_is_there_when_it_was_put():
    later = Later(lambda sound, asked: sound, at_once=True)
    later.put("first", 3.0, b"a", False)
    assert later.done(3.0) == [("first", b"a")]


def test_in_the_time_of_the_sound_it_is_told_as_much_later_as_it_took():
    def work(sound, asked):
        until_s = time.process_time() + 0.2
        while time.process_time() < until_s:
            pass
        return sound

    later = Later(work)
    later.in_time_of_sound = True
    later.put("first", 3.0, b"a", False)
    assert later.beside_s >= 0.2
    assert later.done(3.0 + 0.99 * later.beside_s) == []
    assert later.done(3.0 + later.beside_s) == [("first", b"a")]


def test_what_goes_wrong_is_raised_where_the_result_is_asked_for_and_the_next_is_worked_on():
    later = Later(lambda sound, asked: 1 // len(sound), at_once=True)
    later.put("first", 0.0, b"", False)
    with pytest.raises(ZeroDivisionError):
        later.done(0.0)
    later.put("second", 0.0, b"a", False)
    assert later.done(0.0) == [("second", 1)]


def test_the_thread_ends_with_whoever_began_it():
    def threads():
        return {one for one in threading.enumerate() if one.name == "utterances"}

    before = threads()  # some of other tests, which may end at any time
    later = Later(lambda sound, asked: sound)
    (one,) = threads() - before
    gone = weakref.ref(later)
    del later
    gc.collect()
    assert gone() is None
    one.join(10)
    assert not one.is_alive()


def test_a_process_does_not_wait_at_its_end_for_what_nobody_will_hear():
    lines = (
        "import time",
        "from edge_wam.sense.later import Later",
        "later = Later(lambda sound, asked: time.sleep(60))",
        "later.put(0, 0.0, b'', False)",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], timeout=30, check=True)
