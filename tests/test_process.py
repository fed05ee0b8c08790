"""Children: ready when they say so, their own words when they fail, gone when they are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_wam.errors import EdgeWamError, VoiceError
from edge_wam.process import Child, on_interrupt

ROOT = Path(__file__).parents[1]


def good(life, path: str) -> None:
    life.ready()
    while not life.wait(10.0):
        pass
    assert life.wait(0.0)
    Path(path).write_text("clean")


def refuses(life) -> None:
    raise VoiceError("no model for 'xx'; try: edge-wam fetch-voice en")


def breaks(life) -> None:
    life.ready()
    raise ZeroDivisionError("as happens")


def vanishes(life) -> None:
    os._exit(7)


def deaf(life) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    life.ready()
    while True:
        time.sleep(10)


def test_a_child_stops_cleanly_when_asked_and_takes_no_notice_of_a_terminal(tmp_path):
    child = Child("good", good, (str(tmp_path / "a"),))
    child.wait_ready(20)
    assert Path(f"/proc/{child.pid}/comm").read_text() == "good\n"
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(child.pid, number)
    assert child.alive
    assert child.reason == ""
    assert child.stop() == "stopped"
    assert (tmp_path / "a").read_text() == "clean"
    assert not child.alive
    assert child.stop() == "stopped"


def test_sigterm_is_a_clean_stop(tmp_path):
    child = Child("good", good, (str(tmp_path / "a"),))
    child.wait_ready(20)
    os.kill(child.pid, signal.SIGTERM)
    child._process.join(10)
    assert (tmp_path / "a").read_text() == "clean"
    assert child.reason == "ended by itself (exit code 0)"


def test_an_error_for_people_arrives_in_the_childs_own_words(capfd):
    child = Child("voice", refuses)
    with pytest.raises(
        EdgeWamError, match=r"voice process ended before it was ready: no model for 'xx'; try"
    ):
        child.wait_ready(20)
    assert capfd.readouterr().err == ""
    assert child.stop().startswith("no model")


def test_a_defect_keeps_its_traceback_and_names_itself(capfd):
    child = Child("policy", breaks)
    child.wait_ready(20)
    child._process.join(10)
    assert child.reason == "ZeroDivisionError: as happens"
    assert "Traceback" in capfd.readouterr().err


def test_a_child_that_vanishes_is_noticed_at_once():
    child = Child("policy", vanishes)
    began = time.monotonic()
    with pytest.raises(EdgeWamError, match="exit code 7"):
        child.wait_ready(60)
    assert time.monotonic() - began < 20


def test_a_deaf_child_is_killed():
    child = Child("deaf", deaf)
    with pytest.raises(EdgeWamError, match="deaf process was not ready after 0 s"):
        child.wait_ready(0)
    child.wait_ready(20)
    assert child.stop(timeout_s=0.2) == "killed by SIGKILL"


def test_children_of_a_killed_parent_end_by_themselves(tmp_path):
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from edge_wam.process import Child
from test_process import good
if __name__ == "__main__":
    child = Child("good", good, ({str(tmp_path / "a")!r},))
    child.wait_ready(20)
    print("up", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=30, env=environment
    )
    assert done.stdout == "up\n"  # and the pipes ended, so the child is gone
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "a").read_text() == "clean"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_interrupt_asks_and_the_second_insists(number):
    asked = []
    before = signal.getsignal(number)
    with on_interrupt(lambda: asked.append(1)):
        os.kill(os.getpid(), number)
        assert asked == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert asked == [1]
    assert signal.getsignal(number) is before
