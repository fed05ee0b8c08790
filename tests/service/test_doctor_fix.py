"""What the doctor finds around the robot, and its cures: each safe, each looked at again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from edge_wam import config, mailbox
from edge_wam.errors import EdgeWamError
from edge_wam.mailbox import Mailbox
from edge_wam.service import doctor, standing
from edge_wam.service.looks import Imperfect

ACTIVE = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNRestarts=2\n"
NONE = "LoadState=not-found\nActiveState=inactive\n"


def on(port):
    usual = config.load()
    return replace(usual, robot=replace(usual.robot, port=port))


@pytest.fixture
def booted(tmp_path):
    return tmp_path


def test_units_are_told_as_systemd_has_them(booted):
    def ask(words):
        return ACTIVE if "edge-wam.service" in words else NONE

    assert standing.units(ask, booted) == "edge-wam is active, enabled, restarted 2 times"
    assert "install.sh" in standing.units(lambda words: NONE, booted)
    assert standing.units(ask, booted / "nowhere") == "no systemd here"


def test_robots_by_name_are_units_too(booted):
    (booted / "settings").mkdir()
    for name in ("config", "left"):
        (booted / "settings" / f"{name}.toml").write_text("")

    def ask(words):
        return ACTIVE if words[2].startswith("edge-wam@") else NONE

    said = standing.units(ask, booted, booted / "settings")
    assert said == "edge-wam@left is active, enabled, restarted 2 times"


@pytest.mark.parametrize("state", ["failed", "activating"])
def test_a_unit_that_keeps_ending_is_a_warning(booted, state):
    with pytest.raises(Imperfect, match=f"is {state}, .*journalctl -u edge-wam -e"):
        standing.units(lambda words: ACTIVE.replace("active", state, 1), booted)


def test_one_that_starts_for_the_first_time_is_well(booted):
    said = ACTIVE.replace("ActiveState=active", "ActiveState=activating").replace("=2", "=0")
    assert "activating" in standing.units(lambda words: said, booted)


def test_a_clock_that_nobody_sets_is_said(booted, monkeypatch):
    monkeypatch.setattr(standing.shutil, "which", lambda name: "/usr/bin/" + name)
    assert standing.clock(lambda words: "yes\n", booted) == "set by the network"
    with pytest.raises(Imperfect, match="set-ntp true"):
        standing.clock(lambda words: "no\n", booted)


def test_an_engine_that_was_never_compiled_is_said_and_one_of_another_key_too(tmp_path):
    with pytest.raises(Imperfect, match="none was compiled"):
        standing.engine(config.load(), tmp_path)
    key = standing.store.key_of(standing.store.variants(config.load().model.folder))
    place = standing.store.place(tmp_path, "so101-tabletop", key)
    place.mkdir(parents=True)
    (place / standing.store.FILE).write_text("schema = 1\n")
    with pytest.raises(Imperfect, match="edge-wam compile, or --fix"):
        standing.engine(config.load(), tmp_path)


def test_mailboxes_of_the_dead_are_counted_and_removed_and_ours_stay():
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = mailbox.folder() / f"edge-wam.{dead.pid}.state"
    left.write_bytes(b"")
    with Mailbox.create(mailbox.private_name("ours"), np.dtype([("n", np.int64)])) as ours:
        with pytest.raises(Imperfect, match=r"\d+ of robots that were killed"):
            standing.leftovers()
        assert standing.remove_leftovers(config.load()).startswith("removed ")
        assert not left.exists()
        assert not ours.replaced


def timer(tmp_path, monkeypatch, wait):
    path = tmp_path / "latency_timer"
    path.write_text(f"{wait}\n")
    for module in (standing, doctor.looks):
        monkeypatch.setattr(module, "latency_timer", lambda *_: ("ttyUSB0", path))
    monkeypatch.setattr(
        doctor, "LOOKS", tuple(look for look in doctor.LOOKS if look[0] in ("adapter", "settings"))
    )
    return path


def test_fix_cures_what_is_not_well_and_looks_again(tmp_path, monkeypatch, capsys):
    path = timer(tmp_path, monkeypatch, 16)
    assert doctor.examine(on("/dev/ttyUSB0"), fix=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "fixed", "ok", "The"]
    assert path.read_text() == "1\n"


def test_without_fix_nothing_is_touched(tmp_path, monkeypatch, capsys):
    path = timer(tmp_path, monkeypatch, 16)
    doctor.examine(on("/dev/ttyUSB0"))
    assert path.read_text() == "16\n"
    assert "warn" in capsys.readouterr().out


def test_fix_leaves_alone_what_is_well(tmp_path, monkeypatch):
    path = timer(tmp_path, monkeypatch, 1)
    before_ns = os.stat(path).st_mtime_ns
    doctor.examine(on("/dev/ttyUSB0"), fix=True)
    assert os.stat(path).st_mtime_ns == before_ns


def test_a_cure_that_fails_is_a_warning_with_its_reason(tmp_path, monkeypatch, capsys):
    timer(tmp_path, monkeypatch, 16)

    def refused(config):
        raise EdgeWamError("not for you; try: sudo")

    monkeypatch.setattr(doctor, "CURES", {"adapter": refused})
    assert doctor.examine(on("/dev/ttyUSB0"), as_json=True, fix=True) == 0
    findings = {one["what"]: one for one in json.loads(capsys.readouterr().out)}
    assert findings["adapter"] == {"what": "adapter", "state": "warn", "text": "not for you; try: sudo"}
