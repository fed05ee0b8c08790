"""A robot made of nothing but its boxes, and whoever looks at it."""

from __future__ import annotations

import contextlib
import os

import pytest
from telemetry_rig import PLAN

from edge_wam import telemetry
from edge_wam.mailbox import folder, public_name
from edge_wam.telemetry import Window


@pytest.fixture
def name():
    """A robot that nobody else has; nothing of it is left behind."""
    made = f"test-{os.getpid()}"
    yield made
    left = [path for path in folder().glob(public_name(made, "*")) if not path.name.endswith(".alive")]
    for path in folder().glob(public_name(made, "*")):
        path.unlink()
    assert left == []


@pytest.fixture
def boxes(name):
    with contextlib.ExitStack() as stack:
        yield telemetry.create(name, PLAN, stack)


@pytest.fixture
def window(name):
    made = Window(name, asking=True)
    yield made
    made.close()
