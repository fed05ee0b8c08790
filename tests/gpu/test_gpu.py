"""On a CUDA device, for real: `make test-gpu`. Builds, saves, loads in another process, judges and times.

Without a device everything here is skipped; without torch_tensorrt what needs it is, and says so. What is
printed (device, versions, table) belongs into LOG.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edge_wam import manifest as manifests
from edge_wam.think import choice, compile, gate, machine, store
from edge_wam.think.engine import Engine

ROOT = Path(__file__).parents[2]
MODELS = ("so101-tabletop", "so101-tabletop-int8")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
tensorrt = pytest.mark.skipif(
    not machine.has_tensorrt(), reason="no torch_tensorrt here; try: pip install 'torch-tensorrt==2.13.*'"
)


@pytest.fixture(scope="module", autouse=True)
def device():
    """Say what this is about."""
    print("\n" + json.dumps(machine.machine(), indent=1))


@pytest.mark.parametrize("model", MODELS)
def test_eager_torch_on_the_device_passes_the_gate(model):
    folder = ROOT / "models" / model
    engine = Engine(folder, manifests.load(folder), arithmetic="fp16", runtime="torch-cuda")
    verdict = gate.examine(engine, ROOT / "models" / MODELS[0] / "golden.safetensors")
    print(f"{model}: {verdict}")
    assert verdict.failure(gate.precision_of(engine)) == ""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """`edge-wam compile`, with everything that can be built here."""
    root = tmp_path_factory.mktemp("state")
    target, lines = compile.build(ROOT / "models" / MODELS[0], root, rounds=200)
    print("\n" + compile.table(lines))
    return root, target, lines


@tensorrt
@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-cudagraph"])
def test_tensorrt_engines_are_built_whole_and_pass_the_gate(built, runtime):
    ours = [line for line in built[2] if line.candidate.settings.runtime == runtime]
    assert {line.candidate.precision for line in ours} == {"fp16", "int8"}
    assert not [line.why for line in ours if line.candidate.precision == "fp16" and line.why]


@tensorrt
def test_a_cuda_graph_is_not_slower(built):
    p50_ms = {
        line.candidate.settings.runtime: line.p50_ms
        for line in built[2]
        if line.candidate.precision == "fp16" and not line.why
    }
    assert p50_ms["tensorrt-cudagraph"] < 1.1 * p50_ms["tensorrt"]


def test_what_was_chosen_is_loaded_by_another_process_and_answers_to_the_bit(built):
    root, target, _ = built
    folder = ROOT / "models" / MODELS[0]
    kept = store.read(target, store.key_of(store.variants(folder)))
    words = [str(folder.parent / kept.model), str(target), *map(str, kept.settings)]
    done = subprocess.run(
        [sys.executable, "-m", "edge_wam.think.gate", *words, str(folder / "golden.safetensors")],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.split()[-1] == kept.measured["answer"]
    opened = choice.open_engine(folder, root=root)
    assert opened.what.endswith("compiled here")
