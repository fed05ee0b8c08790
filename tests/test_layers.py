"""Settings in layers: the later wins, key by key; every mistake is named with the place it was made in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_wam import config, layers
from edge_wam.cli import REAL, main
from edge_wam.errors import ConfigError


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """An /etc and a user's folder of our own."""
    system, user = tmp_path / "etc" / "config.toml", tmp_path / "user" / "edge-wam" / "config.toml"
    for path in (system, user):
        path.parent.mkdir(parents=True)
    monkeypatch.setattr(layers, "SYSTEM", system)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    return system, user


def load(*paths, flags=(), **environment):
    return layers.load(paths, flags, environment)


def test_without_anything_there_are_the_defaults(homes):
    made = load(*layers.files())
    assert made.config == config.load()
    assert made.origin == {}


def test_the_later_wins_key_by_key_and_it_is_known_which(homes):
    system, user = homes
    system.write_text('[robot]\nport = "/dev/a"\ncontrol_hz = 100\n[voice]\nlanguage = "zh"\n')
    user.write_text('[robot]\nport = "/dev/b"\n')
    made = load(*layers.files(), flags=["robot.baud_bps=500000"], EDGE_WAM_ROBOT_CONTROL_HZ="50")
    robot = made.config.robot
    assert (robot.port, robot.control_hz, robot.baud_bps) == ("/dev/b", 50.0, 500_000)
    assert made.config.voice.language == "zh"
    assert made.origin == {
        "robot.port": str(user),
        "robot.control_hz": "the environment",
        "voice.language": str(system),
        "robot.baud_bps": "--set",
    }
    assert made.config.source == f"{system}, {user}, the environment, --set"


def test_folders_are_relative_to_the_layer_they_stand_in(homes, tmp_path, monkeypatch):
    system, user = homes
    system.write_text('[robot]\ncalibration = "mine"\n[cameras]\nfront = "a.db3"\n')
    user.write_text('[model]\nfolder = "m"\n')
    monkeypatch.chdir(tmp_path)
    made = load(*layers.files(), flags=["cameras.wrist=b.db3"]).config
    assert made.robot.calibration == system.parent / "mine"
    assert made.model.folder == user.parent / "m"
    assert {c.name: c.source for c in made.cameras} == {
        "front": str(system.parent / "a.db3"),
        "wrist": str(tmp_path / "b.db3"),
    }


def test_text_stays_text_and_numbers_are_numbers():
    made = load(flags=["cameras.front=123456789012", "voice.device=2", "stale.frame_s=1"]).config
    assert made.cameras[0].source == "123456789012"
    assert made.voice.device == "2"
    assert made.stale.frame_s == 1.0


@pytest.mark.parametrize(
    ("flags", "environment", "says"),
    [
        (["robot.prot=x"], {}, r"--set: \[robot\]: unknown key 'prot' \(did you mean 'port'"),
        (["robto.port=x"], {}, r"--set: unknown table 'robto' \(did you mean 'robot'"),
        (["port=x"], {}, "expected TABLE.KEY=VALUE"),
        (["robot.control_hz=fast"], {}, r"--set: \[robot\]: control_hz"),
        ([], {"EDGE_WAM_ROBOT_PROT": "x"}, r"the environment: \[robot\]: unknown key 'prot'"),
        ([], {"EDGE_WAM_STALE_FRAME_S": "900"}, r"the environment: \[stale\]: frame_s: expected a number"),
    ],
)
def test_a_mistake_is_named_with_its_place(flags, environment, says):
    with pytest.raises(ConfigError, match=says):
        load(flags=flags, **environment)


def test_a_mistake_in_a_file_names_the_file(homes):
    homes[1].write_text("[robot]\nprot = 1\n")
    with pytest.raises(ConfigError, match=f"{homes[1]}.*unknown key 'prot'"):
        load(*layers.files())


def test_our_other_variables_are_no_settings():
    load(EDGE_WAM_HOME="/nowhere", EDGE_WAM_STATE="/nowhere", EDGE_WAM_VOSK_MODEL="/nowhere")


def test_what_is_shown_is_toml_of_every_key_with_its_origin(homes, tmp_path, capsys):
    homes[0].write_text('[robot]\nport = "/dev/arm"\n')
    assert main(["config", "--set", "robot.control_hz=100"]) == 0
    shown = capsys.readouterr().out
    port = next(line for line in shown.splitlines() if line.startswith("port"))
    assert port.endswith(f"# {homes[0]}")
    assert "# default" in shown
    again = tmp_path / "again.toml"
    again.write_text(shown)
    made = config.load(again)
    assert (made.robot.port, made.robot.control_hz) == ("/dev/arm", 100.0)
    assert config.as_tables(made) == config.as_tables(
        load(*layers.files(), flags=["robot.control_hz=100"]).config
    )


def test_the_demo_stays_simulated_on_a_robot(homes, capsys):
    homes[0].write_text('[robot]\nport = "/dev/arm"\n')
    assert "demo" not in REAL
    assert "evaluate" not in REAL
    assert main(["faults", "--only", "STOP", "--json"]) == 0  # and reads none of it
    homes[0].write_text("not toml at all [")
    assert main(["faults", "--only", "STOP", "--json"]) == 0
    assert main(["config"]) == 2


def test_a_file_of_one_s_own_stands_in_for_both(homes, tmp_path, capsys):
    homes[0].write_text('[voice]\nlanguage = "zh"\n')
    own = tmp_path / "own.toml"
    own.write_text("[robot]\ncontrol_hz = 20\n")
    assert main(["config", "--config", str(own)]) == 0
    shown = capsys.readouterr().out
    assert 'language = "en"' in shown
    assert f"# {own}" in shown
    assert Path(os.environ["XDG_CONFIG_HOME"]).is_dir()
