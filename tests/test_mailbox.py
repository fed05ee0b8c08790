"""Mailboxes: newest wins, never a mixture, never a wait, nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_wam import mailbox as module
from edge_wam.mailbox import SLOTS, Mailbox, private_name, remove_leftovers
from edge_wam.messages import (
    CHUNK,
    HEARD,
    HEARD_KEPT,
    SAMPLES,
    STATE,
    HeardReader,
    HeardWriter,
    StateWriter,
    chunk_record,
    read_chunk,
    read_state,
)
from edge_wam.types import ActionChunk, Words

ROOT = Path(__file__).parents[1]
NUMBERS = np.dtype([("n", np.int64), ("many", np.float64, (2000,))])


def number(n: int) -> np.ndarray:
    record = np.zeros((), NUMBERS)
    record["n"], record["many"] = n, n
    return record


@pytest.fixture
def box():
    with Mailbox.create(private_name("test"), NUMBERS) as made:
        yield made


def test_an_empty_mailbox_gives_none(box):
    assert box.get() is None
    assert box.take() is None


def test_the_newest_record_wins_and_carries_its_time(box):
    reader = Mailbox.open(box.name, NUMBERS)
    for n in range(1, 11):
        box.put(number(n), t_s=100.0 + n)
    record, t_s = reader.get()
    assert record["n"] == 10
    assert t_s == 110.0
    reader.close()


def test_take_gives_each_record_once_and_get_gives_it_again(box):
    box.put(number(1))
    assert box.take().record["n"] == 1
    assert box.take() is None
    assert box.get().record["n"] == 1
    box.put(number(2))
    assert box.take().record["n"] == 2


def test_what_get_returned_is_a_private_writable_copy(box):
    box.put(number(1))
    record, _ = box.get()
    record["many"][:] = -1
    for n in range(2, 2 + SLOTS):
        box.put(number(n))
    assert (record["many"] == -1).all()
    box.get().record["n"] = 77
    assert box.get().record["n"] == 1 + SLOTS


def test_a_record_of_another_type_is_refused(box):
    with pytest.raises(TypeError):
        box.put(np.zeros((), CHUNK))
    with pytest.raises(TypeError):
        Mailbox.open(box.name, CHUNK)


def test_opening_what_nobody_made_fails_and_bad_names_are_refused():
    with pytest.raises(FileNotFoundError):
        Mailbox.open(private_name("nobody"), NUMBERS)
    with pytest.raises(ValueError, match="letters"):
        Mailbox.create("../etc/passwd", NUMBERS)


def test_a_writer_killed_in_the_middle_leaves_the_record_before_whole(box):
    box.put(number(1))
    box._payloads[2 % SLOTS][0]["many"][:1000] = 5  # half of record 2, and head not yet moved
    assert (box.get().record["many"] == 1).all()


def test_a_slot_that_mixes_two_records_is_not_returned(box):
    box.put(number(1))
    reader = Mailbox.open(box.name, NUMBERS)
    assert reader.get().record["n"] == 1
    box.put(number(2))
    box._payloads[2 % SLOTS][0]["many"][5] = 99  # as if a store were not yet visible
    assert reader.get().record["n"] == 1  # the one before, whose time tells its age
    reader.close()


def test_a_new_creator_replaces_a_leftover_and_a_new_writer_goes_on_counting(box):
    box.put(number(1))
    writer = Mailbox.open(box.name, NUMBERS)
    writer.put(number(2))
    assert box.get().record["n"] == 2
    writer.close()
    again = Mailbox.create(box.name, NUMBERS)
    assert again.get() is None
    again.close()


def hammer(name: str, ready, stop) -> None:
    writer = Mailbox.open(name, NUMBERS)
    n = 0
    while not stop.is_set():
        n += 1
        writer.put(number(n), t_s=float(n))
        if n == 100:
            ready.set()
    writer.close()


def test_reads_are_never_torn_while_a_process_hammers(box):
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    writer = context.Process(target=hammer, args=(box.name, ready, stop))
    writer.start()
    try:
        assert ready.wait(20)
        before, different = 0, 0
        for _ in range(20000):
            record, t_s = box.get()
            n = int(record["n"])
            assert (record["many"] == n).all()
            assert t_s == n
            assert n >= before
            different += n > before
            before = n
        assert different > 20  # it did run beside us
    finally:
        stop.set()
        writer.join(20)
    assert writer.exitcode == 0


KILLS = """
import os, random, signal, sys, time
import numpy as np
from edge_wam.mailbox import Mailbox, private_name
NUMBERS = np.dtype([("n", np.int64), ("many", np.float64, (8000,))])
generator, count, before, midway = random.Random(1), int(sys.argv[1]), 0, 0
with Mailbox.create(private_name("kills"), NUMBERS) as box, Mailbox.open(box.name, NUMBERS) as reader:
    record = np.zeros((), NUMBERS)
    for k in range(count):
        writer = os.fork()
        if not writer:
            n = int(box._head[0])
            while True:
                n += 1
                record["n"] = record["many"] = n
                box.put(record, float(n))
        time.sleep(generator.uniform(0.0, 5e-4))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        head = int(box._head[0])
        half = box._payloads[(head + 1) % box._slots][0]
        midway += int(half["n"]) == head + 1 or half["many"][0] != half["many"][-1]
        del half
        letter = reader.get()
        if letter is None:
            assert head == 0
            continue
        seen = letter.record
        assert seen["n"] == head == letter.t_s >= before, (k, seen["n"], head, letter.t_s, before)
        assert (seen["many"] == head).all(), k
        before = head
print(midway)
"""


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_writer_killed_in_the_middle_of_a_write_leaves_the_record_before_it(count):
    """Each writer is killed once, at some moment; the next one goes on where it was."""
    words = [sys.executable, "-c", KILLS, str(count)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1800, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > count / 5  # many of them were in the middle


def test_nothing_is_left_behind_and_nothing_is_said():
    name = private_name("quiet")
    code = f"""
import multiprocessing, numpy as np
from edge_wam.mailbox import Mailbox
from edge_wam.messages import CHUNK
def child():
    with Mailbox.open({name!r}, CHUNK) as box:
        box.put(np.zeros((), CHUNK))
if __name__ == "__main__":
    with Mailbox.create({name!r}, CHUNK) as box:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start(); process.join()
        assert box.get() is not None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (module.folder() / name).exists()


def test_leftovers_of_dead_processes_are_removed_and_ours_are_not(box):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leftover: Path = module.folder() / f"edge-wam.{dead.pid}.test"
    leftover.write_bytes(b"")
    assert remove_leftovers() >= 1
    assert not leftover.exists()
    assert (module.folder() / box.name).exists()
    assert box.name.split(".")[1] == str(os.getpid())


def test_state_there_and_back_keeps_the_last_samples_in_order():
    with Mailbox.create(private_name("state"), STATE) as state_box:
        writer = StateWriter(state_box)
        writer.say(epoch=3, command="拿起红色方块", running=True)
        for i in range(SAMPLES + 5):
            writer.put(float(i), np.full(6, i * 0.1), np.full(6, i * 1.0))
        state = read_state(state_box.get().record)
    np.testing.assert_array_equal(state.t_s, np.arange(5, SAMPLES + 5))
    assert (state.epoch, state.command, state.running) == (3, "拿起红色方块", True)
    np.testing.assert_allclose(state.position_at(10.5), 1.05)
    np.testing.assert_array_equal(state.sent_at(10.99), np.full(6, 10.0))
    np.testing.assert_array_equal(state.sent_at(11.0), np.full(6, 10.0))
    np.testing.assert_array_equal(state.sent_at(11.001), np.full(6, 11.0))
    np.testing.assert_array_equal(state.sent_at(-1.0), np.full(6, 5.0))


def test_state_with_few_samples_has_no_zero_ones():
    with Mailbox.create(private_name("state"), STATE) as state_box:
        writer = StateWriter(state_box)
        writer.put(7.0, np.ones(6), np.ones(6))
        state = read_state(state_box.get().record)
    assert state.t_s.tolist() == [7.0]
    assert state.command == ""
    with pytest.raises(ValueError, match="does not fit"):
        writer.say(epoch=0, command="方" * 100, running=True)


def test_chunk_there_and_back():
    chunk = ActionChunk(1.5, 1 / 30, np.arange(96.0).reshape(16, 6), 4, 1.6, 0.05, 0.4, 0.9)
    news = read_chunk(chunk_record(chunk, 0.02)[()])
    np.testing.assert_array_equal(news.chunk.target_rad, chunk.target_rad)
    assert news.chunk._replace(target_rad=None) == chunk._replace(target_rad=None)
    assert news.frame_age_s == 0.02
    with pytest.raises(ValueError, match="rows"):
        chunk_record(chunk._replace(target_rad=np.zeros((65, 6))), 0.0)


def test_a_partial_result_does_not_wipe_out_the_final_one_before_it():
    with Mailbox.create(private_name("heard"), HEARD) as heard_box:
        writer, reader = HeardWriter(heard_box), HeardReader(heard_box)
        assert reader.take() == []
        final = Words("pick up the red cube", 1.0, 0.9, True, "en")
        partial = Words("停" * 400, 1.1, 0.1, False, "zh")
        writer.put(final, stop=False)
        writer.put(partial, stop=True)
        first, second = reader.take()
        assert first.words == final
        assert not first.stop
        assert second.stop
        assert partial.text.startswith(second.words.text)
        assert reader.take() == []
        again = HeardWriter(heard_box)  # the voice process was restarted
        for i in range(HEARD_KEPT + 3):
            again.put(final._replace(t_s=float(i)), stop=False)
        assert [heard.words.t_s for heard in reader.take()] == [3.0 + i for i in range(HEARD_KEPT)]


def test_what_was_said_and_why_it_was_refused_go_along_and_are_cut_at_a_character():
    with Mailbox.create(private_name("heard"), HEARD) as heard_box:
        writer, reader = HeardWriter(heard_box), HeardReader(heard_box)
        words = Words("[unk] fetch the red one", 1.0, 0.9, True, "en")
        writer.put(words, stop=False, said="fetch the red one", why="no such thing")
        writer.put(words, stop=False, why="方" * 60)
        first, second = reader.take()
    assert (first.said, first.why) == ("fetch the red one", "no such thing")
    assert (second.said, second.why) == ("", "方" * 53)
