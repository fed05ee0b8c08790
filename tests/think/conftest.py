"""The shipped model, loaded once."""

from __future__ import annotations

import pytest

from edge_wam import manifest as manifests
from edge_wam.think import compile
from edge_wam.think.engine import Engine


@pytest.fixture(scope="session")
def shipped(model_folder):
    return manifests.load(model_folder)


@pytest.fixture(scope="session")
def engine(model_folder, shipped):
    return Engine(model_folder, shipped)


@pytest.fixture(scope="session")
def built(model_folder, tmp_path_factory):
    """A state directory with an engine for the shipped model, and where in it that is."""
    root = tmp_path_factory.mktemp("state")
    target, lines = compile.build(model_folder, root, threads=1, rounds=2, quiet=True)
    assert any(not line.why for line in lines)
    return root, target
