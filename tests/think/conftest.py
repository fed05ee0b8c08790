"""The shipped model, loaded once."""

from __future__ import annotations

import pytest

from edge_wam import manifest as manifests
from edge_wam.think.engine import Engine


@pytest.fixture(scope="session")
def shipped(model_folder):
    return manifests.load(model_folder)


@pytest.fixture(scope="session")
def engine(model_folder, shipped):
    return Engine(model_folder, shipped)
