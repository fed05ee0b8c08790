"""An arm of STS3215 for whoever calibrates."""

from __future__ import annotations

import pytest
from person import arm_of, plug_in


@pytest.fixture
def robot(monkeypatch):
    """On the port that is opened, whichever that is."""
    made = arm_of()
    plug_in(made, monkeypatch)
    return made
