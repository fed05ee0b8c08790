"""The recorder's unit, as systemd itself reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "edge_wam/service/files/edge-wam-record.service"
MOST_EXPOSED = 9  # of systemd-analyze security, in tenths
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine"
)


def exposed(unit: Path) -> subprocess.CompletedProcess[str]:
    words = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", str(unit)]
    return subprocess.run(words, capture_output=True, text=True)


@needs_systemd
def test_the_sandbox_is_tight_and_a_hole_in_it_is_seen(tmp_path):
    done = exposed(UNIT)
    assert done.returncode == 0, done.stdout[-300:]
    open_one = tmp_path / UNIT.name
    open_one.write_text(UNIT.read_text().replace("PrivateNetwork=yes", "PrivateNetwork=no"))
    assert exposed(open_one).returncode != 0


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
