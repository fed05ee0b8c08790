"""What died is started again, after a pause that grows; what hangs is killed; what is stopped stays so."""

from __future__ import annotations

import os
import signal
import time

import pytest

from edge_wam.errors import EdgeWamError
from edge_wam.supervise import LIVED_S, LONGEST_PAUSE_S, PAUSE_S, Keeper, Kept


def lives(life):
    life.ready()
    while not life.wait(0.05):
        pass


def dies(life):
    raise EdgeWamError("no camera here")


def hangs(life):
    life.ready()
    life.wait(0.0)
    time.sleep(60)


@pytest.fixture
def keep(request):
    made = []

    def make(main):
        made.append(Kept("policy", main, (), 20.0))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def until(condition, timeout_s=15.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "not in time"
        time.sleep(0.02)


def test_a_killed_child_is_there_again_and_that_is_said(keep):
    one, said = keep(lives), []
    one.wait_ready()
    first = one.pid
    with Keeper([one], said.append):
        os.kill(first, signal.SIGKILL)
        until(lambda: one.restarts == 1 and one.alive)
    assert one.pid != first
    assert said == ["the policy process ended: killed by SIGKILL; again in 0.5 s"]


def test_a_child_that_does_not_ask_is_killed_and_started_again(keep):
    one, said = keep(hangs), []
    one.wait_ready()
    with Keeper([one], said.append, hang_s=0.3):
        until(lambda: one.restarts == 1)
    os.kill(one.pid, signal.SIGKILL)  # it hangs again, and would be asked for long
    assert said[0] == "the policy process hangs: killed"


def names(life, path):
    path.write_text(path.name)
    lives(life)


def test_a_child_is_renewed_with_other_arguments_and_that_is_no_death(tmp_path):
    one, said = Kept("voice", names, (tmp_path / "a",), 20.0), []
    try:
        one.wait_ready()
        before = one.pid
        with Keeper([one], said.append):
            one.renew(tmp_path / "b")
            until(lambda: (tmp_path / "b").exists())
            assert one.pid != before
            os.kill(one.pid, signal.SIGKILL)
            (tmp_path / "b").unlink()
            until(lambda: (tmp_path / "b").exists())  # from now on it is that one
        assert (said, one.restarts) == (["the voice process ended: killed by SIGKILL; again in 0.5 s"], 1)
    finally:
        one.stop()
    one.renew(tmp_path / "c")
    assert not one.alive  # what was stopped for good stays so


def test_a_child_that_is_stopped_is_not_started_again(keep):
    one, said = keep(lives), []
    one.wait_ready()
    one.stop()
    one.look(0.0, 1.0, said.append)
    assert not one.alive
    assert said == []


def test_what_never_worked_is_not_tried_again(keep):
    with pytest.raises(EdgeWamError, match="no camera here"):
        keep(dies).wait_ready()


class Mortal:
    """A child that is dead whenever it is looked at; no process."""

    alive, reason, pid = False, "gone", 1

    def silent_s(self, now_s):
        return 0.0

    def stop(self):
        return ""


def test_the_pause_grows_up_to_a_limit_and_shrinks_once_it_has_lived(monkeypatch):
    monkeypatch.setattr("edge_wam.supervise.Child", lambda *given: Mortal())
    one, said, now_s, pauses = Kept("voice", lives, (), 1.0), [], time.monotonic(), []
    for _ in range(9):
        one.look(now_s, 10.0, said.append)  # notices
        began_s, restarts = now_s, one.restarts
        while one.restarts == restarts:
            now_s += 0.05
            one.look(now_s, 10.0, said.append)
        pauses.append(now_s - began_s)
    assert pauses[:4] == pytest.approx([PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S, 8 * PAUSE_S], abs=0.06)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S, abs=0.06)
    one.look(now_s + LIVED_S + 1, 10.0, said.append)
    assert said[-1].endswith(f"again in {PAUSE_S:g} s")
