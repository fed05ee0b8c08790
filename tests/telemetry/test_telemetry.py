"""Who runs: a robot's boxes through restarts, and whose they are."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from telemetry_rig import PLAN

from edge_wam import telemetry
from edge_wam.errors import EdgeWamError
from edge_wam.mailbox import Mailbox, folder, public_name
from edge_wam.telemetry import Plan

ROOT = Path(__file__).parents[2]


def test_what_is_in_the_boxes_is_told_as_it_was_said(name, boxes, window):
    plan, theirs = window.look()
    assert plan == PLAN
    assert [box.dtype["image"].shape for box in theirs.sights] == [(12, 16, 3), (8, 10, 3)]
    assert theirs.dreams.dtype["images"].shape == (2, 3, 4, 4, 3)
    assert Plan.read(json.dumps(PLAN._asdict())) == PLAN


def test_where_no_robot_runs_that_is_said_and_looked_for_again(name, window):
    with pytest.raises(EdgeWamError, match=f"no robot '{name}' runs.*edge-wam run"):
        window.look()
    with contextlib.ExitStack() as stack:
        telemetry.create(name, PLAN, stack)
        assert window.look()[0] == PLAN
    with pytest.raises(EdgeWamError, match="no robot"):
        window.look()


def test_a_robot_that_was_started_again_is_another_one(name, window):
    with contextlib.ExitStack() as stack:
        telemetry.create(name, PLAN, stack)
        _, before = window.look()
        assert window.look()[1] is before
    with contextlib.ExitStack() as stack:
        again = telemetry.create(name, PLAN._replace(model="another"), stack)
        plan, after = window.look()
        assert plan.model == "another"
        again.events.put(telemetry.event_record("note", "here"))
        assert bytes(after.events.get().record["text"]) == b"here"


def test_a_plan_that_is_told_again_is_read_again_from_the_same_boxes(boxes, window):
    before, theirs = window.look()
    assert window.look()[0] is before
    telemetry.tell_plan(boxes, PLAN._replace(low_rad=(-0.5,) * 6))
    after, same = window.look()
    assert (after.low_rad[0], same) == (-0.5, theirs)
    assert window.look()[0] is after


def test_a_half_made_robot_is_none_yet(name, boxes, window):
    empty = Mailbox.create(public_name(name, "plan"), telemetry.PLAN, 2)
    with empty, pytest.raises(EdgeWamError, match="no robot"):
        window.look()


def test_another_version_is_named_as_such(name, boxes, window):
    with (
        Mailbox.create(public_name(name, "ticks"), np.dtype([("index", np.int64)])),
        pytest.raises(EdgeWamError, match=r"another version.*restart both"),
    ):
        window.look()


def test_two_robots_cannot_have_one_name(name, boxes, window):
    """The second would take the first one's boxes along when it ends, and STOP would reach nobody."""
    with contextlib.ExitStack() as stack, pytest.raises(EdgeWamError, match="runs on this machine already"):
        telemetry.create(name, PLAN, stack)
    boxes.events.put(telemetry.event_record("note", "still here"))
    assert bytes(window.look()[1].events.get().record["text"]) == b"still here"


def test_a_robot_that_was_killed_keeps_nobody_from_its_name(name):
    code = f"""
import contextlib, os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from telemetry_rig import PLAN
from edge_wam import telemetry
telemetry.create({name!r}, PLAN, contextlib.ExitStack())
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, timeout=60)
    assert done.returncode == -9
    with contextlib.ExitStack() as stack:
        telemetry.create(name, PLAN, stack)


def test_boxes_are_the_groups_to_read_and_two_of_them_to_write(name, boxes):
    for path in folder().glob(public_name(name, "*")):
        expected = {"asked": 0o660, "talk": 0o660, "alive": 0o600}.get(path.name.rpartition(".")[2], 0o640)
        assert path.stat().st_mode & 0o777 == expected, path.name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_a_stranger_is_told_which_group_he_lacks(name, boxes):
    code = f"""
import os
from edge_wam import telemetry
from edge_wam.errors import EdgeWamError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    telemetry.attach({name!r})
except EdgeWamError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert f"robot '{name}' runs, but its boxes are not for this user" in done.stdout, done.stderr
    assert "usermod" in done.stdout


def test_a_reader_writes_nothing(name, boxes):
    _, theirs = telemetry.attach(name)
    for box in (theirs.ticks, theirs.events, theirs.chunks, *theirs.sights, theirs.dreams, theirs.asked):
        with pytest.raises((TypeError, ValueError)):
            box.put(np.zeros((), box.dtype))
