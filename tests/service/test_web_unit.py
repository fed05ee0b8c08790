"""The page's settings and its unit, as systemd itself reads it."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from units import FILES, needs_systemd, security

from edge_wam import config, layers
from edge_wam.errors import ConfigError

UNIT = "edge-wam-web.service"
MOST_EXPOSED = 12  # of systemd-analyze security, in tenths


def load(tmp_path, text):
    path = tmp_path / "edge-wam.toml"
    path.write_text(f"[web]\n{text}\n")
    return config.load(path).web


def test_by_default_it_is_this_machines_alone_and_may_only_stop():
    web = config.load().web
    assert (web.bind, web.may_command) == ("127.0.0.1", False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('bind = "robot.local"', "expected an IP address, found 'robot.local'"),
        ("port = 80", r"a whole number in 1024\.\.65535, found 80"),
        ("port = 65536", "found 65536"),
        ('may_command = "yes"', "expected a truth value"),
        ("may_command = 1", "expected a truth value"),
        ("may_comand = true", "did you mean 'may_command'"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, text)


def test_what_is_right_is_taken(tmp_path):
    web = load(
        tmp_path, 'bind = "::"\nport = 1024\nmay_command = true\nname = "arm.example"\ntoken_file = "t"'
    )
    assert web == config.WebConfig("::", 1024, "arm.example", tmp_path / "t", True)
    path = tmp_path / "edge-wam.toml"
    layered = layers.load([path], ["web.port=2000"], {"EDGE_WAM_WEB_MAY_COMMAND": "false"})
    assert layered.config.web == config.WebConfig("::", 2000, "arm.example", tmp_path / "t", False)


@needs_systemd
def test_systemd_understands_every_line(tmp_path):
    program = tmp_path / "opt/edge-wam/venv/bin/edge-wam"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    shutil.copy(FILES / UNIT, units)
    words = ["systemd-analyze", "verify", "--recursive-errors=yes", f"--root={tmp_path}", UNIT]

    def complaints() -> list[str]:
        done = subprocess.run(words, capture_output=True, text=True)
        return [line for line in done.stderr.splitlines() if UNIT in line and "Unit" not in line]

    assert complaints() == []
    text = (units / UNIT).read_text()
    (units / UNIT).write_text(text.replace("LoadCredential=", "LoadCredentials="))
    assert complaints() != []


@needs_systemd
def test_the_sandbox_is_tight():
    done = security(FILES / UNIT, MOST_EXPOSED)
    assert done.returncode == 0, done.stdout[-300:]


def test_it_may_ask_the_robot_and_never_disturb_it():
    lines = (FILES / UNIT).read_text().splitlines()
    for wanted in (
        "SupplementaryGroups=edge-wam",  # who may post to the robot's box of orders
        "LoadCredential=web-token:/etc/edge-wam/web-token",
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
        "DynamicUser=yes",
        "Nice=10",
        "CPUQuota=50%",
    ):
        assert wanted in lines
