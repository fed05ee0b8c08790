"""On a CUDA device, for real: `make test-gpu`. Builds, saves, loads in another process, judges and times.

A machine with torch and nothing else of ours (no OpenVINO, no simulator, no pip) runs it by

    python3 -m pytest --confcutdir tests/gpu tests/gpu -s -rs

Without a device everything here is skipped; without torch_tensorrt what needs it is, and says so. What needs
torch alone comes first: about a minute. What is printed (device, versions, tables) belongs into LOG.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_wam import manifest as manifests
from edge_wam.errors import EngineError
from edge_wam.think import benchmark, choice, compile, gate, machine, store, torch_backend
from edge_wam.think.engine import Engine
from edge_wam.think.rehearsal import observations, thinker

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "models" / "so101-tabletop"
MODELS = ("so101-tabletop", "so101-tabletop-int8")
DEVICE = "cuda"
SIZES = ("nano", "tiny", "50M", "300M", "1.3B")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
tensorrt = pytest.mark.skipif(
    not machine.has_tensorrt(),
    reason="no torch_tensorrt here; try: pip install 'torch-tensorrt==<the version of torch>'",
)


@pytest.fixture(scope="module", autouse=True)
def device():
    """Say what this is about."""
    print("\n" + json.dumps({"python": sys.version.split()[0]} | machine.machine(), indent=1))


@pytest.fixture(scope="module")
def eager():
    return Engine(FOLDER, manifests.load(FOLDER), arithmetic="fp16", runtime="torch-cuda")


# --- with torch alone -----------------------------------------------------------------------


def test_this_machine_is_known_to_have_a_gpu():
    """Else `edge-wam compile` would not even try."""
    assert machine.has_gpu()
    assert "compute capability" in machine.machine()["gpu"]


@pytest.mark.parametrize("model", MODELS)
def test_eager_torch_on_the_device_passes_the_gate(model):
    folder = ROOT / "models" / model
    engine = Engine(folder, manifests.load(folder), arithmetic="fp16", runtime="torch-cuda")
    verdict = gate.examine(engine, FOLDER / "golden.safetensors")
    print(f"{model}: {verdict}, {engine.agreement}")
    assert verdict.failure(gate.precision_of(engine)) == ""


def test_fp32_is_not_multiplied_in_eleven_bits(eager):
    """Islands of fp32 are what eleven bits are too few for; TF32 has as many."""
    generator = torch.Generator("cuda").manual_seed(0)
    x, y = (torch.randn(512, 512, device="cuda", generator=generator) for _ in range(2))
    image, kernel = x.view(1, 1, 512, 512), y[:3, :3].reshape(1, 1, 3, 3)
    for made, truth in (
        (x @ y, x.double() @ y.double()),
        (torch.conv2d(image, kernel), torch.conv2d(image.double(), kernel.double())),
    ):
        assert float((made - truth).norm() / truth.norm()) < 2e-6  # TF32: about 3e-4


def test_uploads_of_different_observations_do_not_mix(eager):
    """Page-locked memory is written again while the device may still read it: each thought must be of its own
    observation, to the bit, in whatever order they come."""
    shown = observations(FOLDER, eager.manifest)
    run = thinker(eager)
    truth = [run(observation) for observation in shown]
    assert len({rows.tobytes() for rows in truth}) == len(shown)
    order = np.random.default_rng(0).integers(len(shown), size=300)
    wrong = [
        int(turn) for turn, which in enumerate(order) if not np.array_equal(run(shown[which]), truth[which])
    ]
    assert wrong == []


def test_answers_outlive_the_next_inference(eager):
    asked = observations(FOLDER, eager.manifest)
    run = thinker(eager)
    first = run(asked[0])
    kept = first.copy()
    run(asked[1])
    assert np.array_equal(first, kept)


def test_the_device_is_as_fast_as_such_devices_are():
    peak, bandwidth = torch_backend.limits(half=True)
    print(f"{peak / 1e3:.1f} TFLOP/s in halves, {bandwidth:.0f} GB/s, copied")
    assert peak > 1000
    assert bandwidth > 20


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_how_a_thought_grows(size):
    """Random weights, halves, one step, eager, and replayed as a CUDA graph: what an engine could save of the
    calls' own cost. Printed; only that each runs and is finite is asserted."""
    from edge_wam.train import rooflines
    from edge_wam.train.graphs import half_graphs
    from edge_wam.train.model import CONFIGS, WorldActionModel

    try:
        with torch.device(DEVICE):
            made = half_graphs(WorldActionModel(CONFIGS[size]).eval())
    except torch.OutOfMemoryError as error:
        pytest.skip(f"{size} does not fit: {str(error).splitlines()[0]}")
    generator = torch.Generator(DEVICE).manual_seed(0)

    def filled(like):
        if like.is_floating_point():
            return torch.randn(like.shape, device=DEVICE, generator=generator)
        return torch.ones(like.shape, dtype=like.dtype, device=DEVICE)

    given = {name: filled(like) for name, like in rooflines.inputs(CONFIGS[size]).items()}
    seen = [given[name] for name in ("images", "tokens", "state")]
    noise = [given[name] for name in ("rows", "committed", "level")]

    def think():
        kv, hint, *_ = made["context"](*seen)
        return made["act"](kv, hint, *noise)[0]

    def p50_ms(task):
        taken = []
        for _ in range(30):
            torch.cuda.synchronize()
            began_s = time.perf_counter()
            task()
            torch.cuda.synchronize()
            taken.append(1e3 * (time.perf_counter() - began_s))
        return float(np.median(taken[5:]))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            velocity = think()
    torch.cuda.current_stream().wait_stream(side)
    assert torch.isfinite(velocity).all()
    graph, recorded = torch.cuda.CUDAGraph(), ""
    try:
        with torch.cuda.graph(graph):
            think()
        recorded = f"as a CUDA graph {p50_ms(graph.replay):.2f} ms"
    except RuntimeError as error:
        recorded = f"no CUDA graph ({str(error).splitlines()[0]})"
    count, most = (
        sum(p.numel() for p in made["context"].parameters()),
        torch.cuda.max_memory_allocated() / 1e6,
    )
    print(f"{size}: {count:,} parameters, eager {p50_ms(think):.2f} ms, {recorded}, {most:.0f} MB")


# --- everything that can be built here ------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """`edge-wam compile`, with everything that can be built here."""
    root, began_s = tmp_path_factory.mktemp("state"), time.monotonic()
    target, lines = compile.build(FOLDER, root, rounds=200, quiet=True)
    print(f"\nbuilt in {time.monotonic() - began_s:.0f} s\n{compile.table(lines)}")
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


@tensorrt
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["header", "middle", "tail"])
def test_a_tensorrt_engine_with_a_flipped_bit_is_not_loaded(built, where):
    target = built[1]
    key = store.key_of(store.variants(FOLDER))
    files = sorted(target.glob("*.ep"))
    if not files:
        pytest.skip("another engine was faster")
    content = files[0].read_bytes()
    at = int(where * (len(content) - 1))
    try:
        files[0].write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(EngineError, match="is not what was compiled"):
            store.read(target, key)
    finally:
        files[0].write_bytes(content)


def test_what_was_chosen_is_loaded_by_another_process_and_answers_to_the_bit(built):
    root, target, _ = built
    kept = store.read(target, store.key_of(store.variants(FOLDER)))
    words = [str(FOLDER.parent / kept.model), str(target), *map(str, kept.settings)]
    done = subprocess.run(
        [sys.executable, "-m", "edge_wam.think.gate", *words, str(FOLDER / "golden.safetensors")],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.split()[-1] == kept.measured["answer"]
    opened = choice.open_engine(FOLDER, root=root)
    assert opened.what.endswith("compiled here")


def test_another_gpu_is_refused(built, monkeypatch):
    """By its key: the engine is not even looked at, and by its record, if somebody copied it there."""
    target = built[1]
    key = store.key_of(store.variants(FOLDER))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "another card")
    machine.machine.cache_clear()
    try:
        other = store.key_of(store.variants(FOLDER))
        assert other.sha256 != key.sha256
        with pytest.raises(EngineError, match="gpu is another card"):
            store.read(target, other)
    finally:
        machine.machine.cache_clear()


def test_every_engine_is_measured_from_frames_to_targets(built, monkeypatch):
    """`bench engine`, whose table is what is wanted of a device."""
    monkeypatch.setenv("EDGE_WAM_STATE", str(built[0]))
    found = benchmark.measure(FOLDER, 1, 100, lambda done: None)
    print(f"\n{benchmark.table(found)}\n{json.dumps(benchmark.report(found))}")
    ours = [one for one in found if "cuda" in one.label or "tensorrt" in one.label]
    assert ours
    for one in ours:
        assert 0 < one.share_compute < 1, one.label
        assert 0 < one.share_memory < 1, one.label
