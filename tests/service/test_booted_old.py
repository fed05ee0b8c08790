"""Debian 11: a systemd (247) older than any Jetson's, and a Python that is too old."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import booted
import machine
import pytest
from booted import Box

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(bool(booted.lacking()), reason=booted.lacking()),
]
PROGRAMS = "/opt/edge-wam/venv/bin"
# In place of the robot: ready, fed for three seconds, then hung. notify.py itself runs on this Python.
STAND_IN = """#!/usr/bin/python3
import faulthandler, sys, time
sys.path.insert(0, "/srv/source/edge_wam/service")
from notify import Notifier
notifier = Notifier()
notifier.starting("starting the policy", 130.0)
notifier.ready("ready")
end_s = time.monotonic() + 3.0
while time.monotonic() < end_s:
    notifier.beat(time.monotonic(), "holding")
    time.sleep(0.02)
time.sleep(1000.0)
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box("bullseye") as made:
        yield made


def test_a_python_that_is_too_old_is_refused_in_one_line(box):
    done = box.run("bash", "/srv/source/scripts/install.sh", "--wheels", "/srv/shared", check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "expected Python 3.10 or newer" in done.stderr
    assert box.run("ls", "/opt").stdout == ""


def test_its_systemd_knows_every_line_of_the_unit_and_keeps_the_watch(box):
    for name, text in (("edge-wam", STAND_IN), ("edge-wam-safe-stop", "#!/bin/sh\necho '{\"ran\": true}'\n")):
        box.write(f"{PROGRAMS}/{name}", text)
        box.run("chmod", "755", f"{PROGRAMS}/{name}")
    files = "/srv/source/edge_wam/service/files"
    box.run("cp", f"{files}/edge-wam.service", "/etc/systemd/system/")
    box.run("cp", f"{files}/edge-wam.sysusers", "/usr/lib/sysusers.d/edge-wam.conf")
    box.run("systemd-sysusers", "edge-wam.conf")
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "start", "edge-wam")
    assert box.show("ActiveState") == "active"
    box.wait(lambda: box.show("StatusText") == "holding", 5.0)
    box.wait(lambda: box.show("NRestarts") == "1", 30.0)
    said = [str(entry["MESSAGE"]) for entry in box.journal("--unit=edge-wam")]
    assert any("Watchdog timeout" in text for text in said)
    assert '{"ran": true}' in said
    complaints = [text for text in said if "Unknown" in text or "ignoring" in text]
    assert complaints == []
    box.run("systemctl", "stop", "edge-wam")


def test_a_box_dies_with_the_test_that_is_killed():
    script = "with booted.Box('bullseye') as box: print(box.pid, flush=True); time.sleep(600)"
    words, here = [sys.executable, "-c", f"import booted, time\n{script}"], Path(booted.__file__).parent
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=here) as test:
        assert test.stdout is not None
        inside = Path(f"/proc/{int(test.stdout.readline())}")
        assert inside.is_dir()
        test.kill()
    end_s = time.monotonic() + 10.0
    while inside.exists() and time.monotonic() < end_s:
        time.sleep(machine.POLL_S)
    assert not inside.exists()
