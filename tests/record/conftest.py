"""One recorded flight of the rig, for all."""

from __future__ import annotations

import os

import pytest
from record_rig import NAME, flight, told, write

from edge_wam.record.topics import Stamp


@pytest.fixture(scope="session")
def entries():
    """Five seconds of the rig's flight."""
    with told(f"{NAME}-{os.getpid()}") as boxes:
        return flight(boxes, 5.5)


@pytest.fixture(scope="session")
def recorded(entries, tmp_path_factory):
    return write(tmp_path_factory.mktemp("recorded") / "rig.mcap", entries, Stamp.now())
