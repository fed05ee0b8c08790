"""Settings are read again at rest, when SIGHUP asks; what is wrong changes nothing, and nothing moves."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_wam import config as configs
from edge_wam import manifest as manifests
from edge_wam.errors import ConfigError, EdgeWamError
from edge_wam.process import on_interrupt
from edge_wam.service.notify import Notifier
from edge_wam.service.reload import REST_S, Reload, read_again, settings_of
from edge_wam.sim.process_rig import ProcessRig
from edge_wam.telemetry import Window

FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"


# --- what is read -------------------------------------------------------------------------------


@pytest.fixture
def robot(tmp_path):
    """A robot's settings and folders, to be written to."""

    class Robot:
        file, limits = tmp_path / "config.toml", tmp_path / "arm" / "limits.toml"
        tasks = tmp_path / "model" / "manifest.toml"

        def write(self, **tables):
            usual = {"robot": f'calibration = "{tmp_path}/arm"', "model": f'folder = "{tmp_path}/model"'}
            self.file.write_text("".join(f"[{name}]\n{text}\n" for name, text in (usual | tables).items()))
            return self

        def load(self):
            return configs.load(self.file)

        def known(self):
            config = self.load()
            return settings_of(config, manifests.load(config.model.folder))

        def again(self, known):
            return read_again(known, self.load)

    shutil.copytree(FOLDER, tmp_path / "arm")
    (tmp_path / "model").mkdir()
    shutil.copy(configs.home() / "models" / "so101-tabletop" / "manifest.toml", tmp_path / "model")
    return Robot().write()


def change(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_limits_tasks_and_patience_are_read_again(robot):
    known = robot.known()
    change(robot.limits, "low_rad = -1.90", "low_rad = -1.50")
    change(robot.tasks, '["go home", ', '["go home now", "go home", ')
    robot.write(stale="park_after_s = 7.0", voice='confirm = "always"')
    fresh = robot.again(known)
    assert fresh.limits.low_rad[0] == fresh.plan.low_rad[0] == -1.5
    assert "go home now" in fresh.manifest.phrases("en")
    assert fresh.config.stale.patience.park_after_s == 7.0
    assert fresh.hearing.confirm == "always"
    assert fresh.stale == ()
    assert fresh.hearing != known.hearing


def test_what_wants_a_restart_is_named_and_left_alone(robot):
    known = robot.known()
    robot.write(
        robot=f'calibration = "{FOLDER}"\nport = "/dev/ttyACM3"', stale="frame_s = 0.7", web="port = 9000"
    )
    change(robot.tasks, "replan_s = 0.2", "replan_s = 0.3")
    fresh = robot.again(known)
    assert set(fresh.stale) >= {"robot.calibration", "robot.port", "stale.frame_s"}
    assert "web.port" not in fresh.stale  # the page's own affair
    assert any("the model in" in what for what in fresh.stale)
    assert fresh.config == known.config
    assert fresh.manifest.replan_s == known.manifest.replan_s


@pytest.mark.parametrize(
    ("what", "before", "after", "said"),
    [
        ("limits", "low_rad = -1.90", "low_rad = 2.90", "shoulder_pan"),
        ("tasks", '["go home", ', "[7, ", "phrases"),
        ("file", "[robot]", "[robto]", "robot"),
    ],
)
def test_what_is_wrong_is_refused_with_where_it_stands(robot, what, before, after, said):
    known = robot.known()
    change(getattr(robot, what), before, after)
    with pytest.raises(EdgeWamError, match=said):
        robot.again(known)


# --- when ---------------------------------------------------------------------------------------


class Asked:
    """A Reload on a clock of ticks, that reads when it is let."""

    def __init__(self):
        self.told, self.taken, self.sent, self.found = [], [], [], "the settings"
        self.going = threading.Event()
        self.going.set()
        notifier = Notifier({})
        notifier._send = self.sent.append
        self.reload = Reload(
            self.read, self.take, lambda kind, text: self.told.append((kind, text)), notifier
        )
        self.t_s = 0.0

    def read(self):
        assert self.going.wait(10)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def take(self, fresh):
        self.taken.append(self.t_s)
        return "limits"

    def ticks(self, seconds, resting=True):
        for _ in range(round(seconds * 50)):
            self.t_s += 0.02
            self.reload.beat(self.t_s, resting=resting)
            time.sleep(0.001)  # its thread's turn


@pytest.fixture
def asked(monkeypatch):
    class Found(str):
        stale = ("robot.port",)

    monkeypatch.setattr("edge_wam.service.reload.Settings", Found)
    made = Asked()
    made.found = Found("settings")
    made.kind = Found
    return made


def test_nothing_is_read_until_somebody_asks_and_once_when_he_does(asked):
    asked.ticks(2.0)
    assert asked.taken == []
    asked.reload.ask()
    asked.ticks(2.0)
    assert len(asked.taken) == 1
    assert asked.told == [("note", "read again: limits; a restart is wanted for robot.port")]
    assert [text.split("=")[0] for text in asked.sent] == ["RELOADING", "READY"]
    assert "MONOTONIC_USEC=" in asked.sent[0]


def test_an_arm_that_moves_is_waited_for_and_that_is_said_once(asked):
    asked.reload.ask()
    asked.ticks(2.0, resting=False)
    asked.reload.ask()
    asked.ticks(2.0, resting=False)
    assert [kind for kind, _ in asked.told] == ["note"]
    assert "at rest" in asked.told[0][1]
    asked.ticks(REST_S - 0.1)
    assert asked.sent == []
    asked.ticks(0.5)
    assert len(asked.taken) == 1


def test_a_command_that_comes_while_it_reads_goes_first(asked):
    asked.going.clear()
    asked.reload.ask()
    asked.ticks(1.0)
    asked.ticks(0.2, resting=False)
    asked.going.set()
    asked.ticks(0.4, resting=False)
    assert asked.taken == []
    asked.ticks(1.5)
    assert len(asked.taken) == 1
    assert [text.split("=")[0] for text in asked.sent] == [
        "RELOADING",
        "READY",
    ] * 2  # it never hangs in between


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (ConfigError("limits.toml: low_rad is 2."), "not reloaded: limits.toml: low_rad is 2."),
        (KeyError("x"), "not reloaded: KeyError: 'x'"),
    ],
)
def test_what_is_wrong_is_a_fault_that_changes_nothing_and_ends(asked, found, said):
    asked.found = found
    asked.reload.ask()
    asked.ticks(1.5)
    assert asked.taken == []
    assert asked.told == [("fault", said)]
    assert asked.sent[-1] == "READY=1"
    asked.found = asked.kind("mended")
    asked.reload.ask()
    asked.ticks(1.5)
    assert len(asked.taken) == 1


# --- who asks -----------------------------------------------------------------------------------


def test_only_systemd_means_reload_by_it():
    socket = {"NOTIFY_SOCKET": "/run/nobody"}
    assert Notifier(socket | {"INVOCATION_ID": "7"}).is_service
    assert not Notifier(socket).is_service
    assert not Notifier({"INVOCATION_ID": "7"}).is_service  # a terminal of a desktop


def test_a_hangup_is_no_end_where_it_means_reload():
    quits, reloads = [], []
    with on_interrupt(lambda: quits.append(1), lambda: reloads.append(1)):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        assert (quits, len(reloads)) == ([], 3)
        os.kill(os.getpid(), signal.SIGTERM)
        assert quits == [1]


@pytest.mark.slow
def test_a_robot_that_runs_takes_new_limits_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("INVOCATION_ID", "of this test")
    shutil.copytree(FOLDER, tmp_path / "arm")
    limits = tmp_path / "arm" / "limits.toml"
    config = configs.load()
    config = replace(config, robot=replace(config.robot, calibration=limits.parent))
    (tmp_path / "rig").mkdir()
    with ProcessRig(config, tmp_path / "rig", light=True) as rig:
        window = Window(rig._config.robot.name)
        plan, boxes = window.look()

        def said(text):
            return lambda: any(text in line.text for line in rig.said)

        assert rig.wait(lambda: rig.status.startswith("holding"), 10.0)
        change(limits, "low_rad = -1.90", "low_rad = -1.50")
        rig.kill("control", signal.SIGHUP)
        assert rig.wait(said("read again: limits and commands"), 10.0), rig.said
        fresh, same = window.look()
        assert (plan.low_rad[0], fresh.low_rad[0]) == (-1.9, -1.5)
        assert same is boxes
        change(limits, "low_rad = -1.50", "low_rad = 0.9")  # it stands at less, and stays
        change(limits, "park_rad = 0.00\n\n[joint.shoulder_lift]", "park_rad = 1.2\n\n[joint.shoulder_lift]")
        before_rad = rig.moments[-1].goals_rad
        rig.kill("control", signal.SIGHUP)
        assert rig.wait(lambda: window.look()[0].low_rad[0] == 0.9, 10.0)
        rig.pass_until(time.monotonic() + 1.0)
        assert np.array_equal(rig.moments[-1].goals_rad, before_rad)
        change(limits, "low_rad = 0.9", "low_rad = 2.9")
        rig.kill("control", signal.SIGHUP)
        assert rig.wait(said("not reloaded: "), 10.0), rig.said
        assert window.look()[0].low_rad[0] == 0.9
        assert rig.monitor.worst.unsafe == ()
        assert not rig.gone
        window.close()
