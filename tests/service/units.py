"""What systemd itself thinks of a unit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).parents[2] / "edge_wam/service/files"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine"
)


def security(unit: Path, most_exposed: int) -> subprocess.CompletedProcess[str]:
    """`systemd-analyze security`: fails above so many tenths."""
    words = ["systemd-analyze", "security", "--offline=yes", f"--threshold={most_exposed}", str(unit)]
    return subprocess.run(words, capture_output=True, text=True)
