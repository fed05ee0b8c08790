"""What systemd is told and given: messages on a real socket, the unit as systemd itself reads it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess

import pytest
from units import FILES, needs_systemd, security

from edge_wam.service.notify import Notifier

MOST_EXPOSED = 25  # of systemd-analyze security, in tenths


@pytest.fixture
def manager(tmp_path):
    """A service manager's socket."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.setblocking(False)
    yield listening, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
    listening.close()


def heard(listening):
    messages = []
    while True:
        try:
            messages.append(listening.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_ready_and_stopping_are_said(manager):
    listening, environment = manager
    notifier = Notifier(environment)
    notifier.ready("ready")
    notifier.stopping()
    assert heard(listening) == ["READY=1\nSTATUS=ready", "STOPPING=1"]


def test_what_takes_long_asks_for_its_time(manager):
    listening, environment = manager
    Notifier(environment).starting("starting the\npolicy", 130.0)
    assert heard(listening) == ["EXTEND_TIMEOUT_USEC=130000000\nSTATUS=starting the policy"]


def test_an_end_without_a_loop_is_not_taken_for_a_hang(manager):
    listening, environment = manager
    Notifier(environment).ending(45.0)
    assert heard(listening) == ["WATCHDOG_USEC=45000000"]


def test_the_watchdog_is_fed_three_times_as_often_as_it_must_be(manager):
    listening, environment = manager
    notifier = Notifier(environment)
    notifier.ready("holding")
    heard(listening)
    for tick in range(251):
        notifier.beat(100.0 + tick * 0.02, "holding")
    assert heard(listening) == ["WATCHDOG=1"] * 6  # at 0 s and at each of the five that follow


def test_what_the_robot_does_is_said_when_it_changes(manager):
    listening, environment = manager
    notifier = Notifier(environment | {"WATCHDOG_USEC": "0"})
    notifier.ready("holding")
    for status in (
        "holding",
        "following: pick up\nthe red cube",
        "following: pick up\nthe red cube",
        "parking",
    ):
        notifier.beat(0.0, status)
    assert heard(listening)[1:] == ["STATUS=following: pick up the red cube", "STATUS=parking"]


def test_another_process_is_not_the_one_that_is_watched(manager):
    _, environment = manager
    assert Notifier(environment | {"WATCHDOG_PID": str(os.getpid() + 1)}).period_s == 0
    assert Notifier(environment | {"WATCHDOG_PID": str(os.getpid())}).period_s == pytest.approx(1.0)
    assert Notifier({}).period_s == 0


def test_nobody_listening_and_a_full_socket_cost_nothing(manager):
    listening, environment = manager
    Notifier({}).beat(0.0, "holding")
    full = Notifier(environment)
    for tick in range(5000):
        full.beat(2.0 * tick, f"status {tick}")  # would block, if it could
    listening.close()
    full.beat(1e6, "nobody there any more")


def test_an_abstract_address_is_understood():
    name = f"\0edge-wam-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        Notifier({"NOTIFY_SOCKET": f"@{name[1:]}"}).stopping()
        assert listening.recv(100) == b"STOPPING=1"


# --- the files ------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    """A root folder with the unit, and programs where it looks for them."""
    units, programs = tmp_path / "etc/systemd/system", tmp_path / "opt/edge-wam/venv/bin"
    units.mkdir(parents=True)
    programs.mkdir(parents=True)
    shutil.copy(FILES / "edge-wam.service", units)
    (tmp_path / "bin").mkdir()
    for program in (programs / "edge-wam", programs / "edge-wam-safe-stop", tmp_path / "bin/sh"):
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


def verified(root):
    words = ["systemd-analyze", "verify", "--recursive-errors=yes", f"--root={root}", "edge-wam.service"]
    return subprocess.run(words, capture_output=True, text=True)


@needs_systemd
def test_systemd_understands_every_line_of_the_unit(root):
    done = verified(root)
    complaints = [
        line for line in done.stderr.splitlines() if "edge-wam.service" in line and "Unit" not in line
    ]
    assert complaints == []


@needs_systemd
def test_a_misspelt_line_would_be_found(root):
    unit = root / "etc/systemd/system/edge-wam.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=10", "WatchdogSecs=10"))
    assert "WatchdogSecs" in verified(root).stderr


@needs_systemd
def test_the_sandbox_is_tight():
    done = security(FILES / "edge-wam.service", MOST_EXPOSED)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_unit_keeps_what_a_robot_needs():
    unit = (FILES / "edge-wam.service").read_text()
    lines = [line for line in unit.splitlines() if line and not line.startswith("#")]
    for wanted in (
        "Type=notify",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "KillMode=mixed",  # the policy is still wanted while control parks
        "WatchdogSec=10",
        "NoNewPrivileges=yes",
    ):
        assert wanted in lines
    assert not any(line.startswith("CPUSchedulingPolicy") for line in lines)  # it would be every thread's
    stop = next(line for line in lines if line.startswith("ExecStopPost"))
    assert "edge-wam-safe-stop" in stop
