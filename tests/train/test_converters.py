"""Torch-TensorRT converts every operator of the shipped models' graphs; TensorRT builds engines of them.

The real converters and a real builder, on a machine without a GPU: tests/train/converters.py says what is
pretended. `make test-converters` installs them (tests/converters.txt) where there are wheels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_wam import manifest as manifests

ROOT = Path(__file__).parents[2]
PACKAGES = Path(os.environ.get("EDGE_WAM_CONVERTERS", Path(sys.prefix) / "converters"))
GRAPHS = ("context", "act", "dream")

pytestmark = [
    pytest.mark.converters,
    pytest.mark.skipif(
        not (PACKAGES / "torch_tensorrt").is_dir(),
        reason=f"no Torch-TensorRT in {PACKAGES}; `make test-converters` installs it on Linux x86_64",
    ),
]


def asked(folder, *options):
    words = [sys.executable, str(ROOT / "tests/train/converters.py"), str(PACKAGES), str(folder), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_graph_becomes_one_engine_with_nothing_left_to_torch():
    found = asked(ROOT / "models/so101-tabletop", "--build", "act")
    assert tuple(found) == GRAPHS
    for name, graph in found.items():
        assert graph["operators"] == graph["supported"] > 300, name
        assert (graph["engines"], graph["in_torch"], graph["rounded"]) == (1, [], 0), name
    # All three can be built (LOG.md); one is enough for every day.
    assert found["act"]["bytes"] > 5e6, found["act"].get("why")


def test_every_graph_in_int8_becomes_one_engine_with_every_rounding_in_it():
    """Converted, not built: TensorRT-RTX has no INT8 convolutions, which TensorRT on a Jetson has."""
    folder = ROOT / "models/so101-tabletop-int8"
    found = asked(folder)
    for name, graph in found.items():
        assert graph["operators"] == graph["supported"] > 300, name
        assert (graph["engines"], graph["in_torch"]) == (1, []), name
    layers = manifests.load(folder).parents["int8_layers"]
    # Two for each layer in each graph that has it: the input's and the weight's.
    assert 2 * layers <= sum(graph["rounded"] for graph in found.values()) < 6 * layers


def test_an_operator_without_a_converter_is_found():
    """The check can fail: a graph with a QR decomposition in it is not wholly TensorRT's."""
    found = asked(ROOT / "models/so101-tabletop", "--odd", "--only", "act")
    assert found["act"]["operators"] > found["act"]["supported"]
    (left,) = found["act"]["in_torch"]
    assert "linalg_qr" in left
