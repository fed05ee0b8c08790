"""The recorder's unit, as systemd itself reads it."""

from __future__ import annotations

from units import FILES, needs_systemd, security

UNIT = FILES / "edge-wam-record.service"
MOST_EXPOSED = 9  # of systemd-analyze security, in tenths


@needs_systemd
def test_the_sandbox_is_tight_and_a_hole_in_it_is_seen(tmp_path):
    done = security(UNIT, MOST_EXPOSED)
    assert done.returncode == 0, done.stdout[-300:]
    open_one = tmp_path / UNIT.name
    open_one.write_text(UNIT.read_text().replace("PrivateNetwork=yes", "PrivateNetwork=no"))
    assert security(open_one, MOST_EXPOSED).returncode != 0


def test_it_outlives_the_robot_takes_its_boxes_nowhere_and_never_disturbs_it():
    lines = UNIT.read_text().splitlines()
    for wanted in (
        "RemoveIPC=no",  # else its end would take the robot's boxes along
        "User=edge-wam",
        "StateDirectory=edge-wam",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "IOSchedulingClass=idle",
        "MemoryMax=512M",
        "PrivateNetwork=yes",
    ):
        assert wanted in lines
    assert not [line for line in lines if line.startswith(("Requires=", "BindsTo=", "Before="))]
