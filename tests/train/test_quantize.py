"""INT8: what is rounded, what that costs, and that the engine computes what was judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError, EngineError
from edge_wam.think.backend import GRAPHS
from edge_wam.think.engine import Engine, tolerance
from edge_wam.train import export, flow, qdq, quantize, weights
from edge_wam.train.dataset import Episodes

pytest.importorskip("modelopt.torch.quantization")

# --- numbers ---------------------------------------------------------------------------------


def _adds_bytes_exactly() -> bool:
    """Whether this processor adds products of bytes in 32 bits. AVX2 alone has 16, which saturate:
    there an INT8 engine is refused by its golden batch (LOG.md, 2026-11-29)."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.exists() else []
    return "avx2" not in flags or any(one in flags for one in ("avx512_vnni", "avx_vnni", "amx_int8"))


exact = pytest.mark.skipif(not _adds_bytes_exactly(), reason="INT8 saturates on this processor: no VNNI")


def test_a_weight_comes_back_within_half_a_level_of_each_channel():
    weight = np.random.default_rng(0).normal(size=(5, 7, 3, 3)).astype(np.float32)
    weight *= np.array([0.01, 1, 1, 1, 50], np.float32).reshape(5, 1, 1, 1)
    largest = np.abs(weight).max((1, 2, 3))
    made = qdq.layer(weight, largest, 3.81)
    back = made.weight * made.weight_scale.reshape(5, 1, 1, 1)
    assert made.weight.dtype == np.int8
    assert (np.abs(made.weight).max((1, 2, 3)) == 127).all()
    assert (np.abs(back - weight).max((1, 2, 3)) <= largest / 254 * 1.0001).all()
    assert made.input_scale == pytest.approx(0.03)


def test_an_empty_channel_is_nothing_and_not_nan():
    made = qdq.layer(np.zeros((2, 3), np.float32), np.zeros(2, np.float32), 1.0)
    assert not made.weight.any()
    assert np.isfinite(made.weight_scale).all()


def answers(rows, frames):
    return quantize.Answers(torch.tensor(rows), torch.tensor(frames))


def test_an_error_is_that_of_rows_and_of_frames():
    error = quantize.difference(answers([[0.0, 1.0]], [[0.0]]), answers([[0.0, 0.0]], [[0.02]]))
    assert error == pytest.approx((0.5, 0.99, 1.0, 0.02))
    assert error.cost == pytest.approx(0.5 / quantize.ROWS_GOAL + 0.02 / quantize.FRAMES_GOAL)


# --- a whole model ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def floats(model, drawn_data, tmp_path_factory):
    """The small model with random weights, exported in float for two steps."""
    import copy

    out, data = tmp_path_factory.mktemp("float"), Episodes.load(drawn_data)
    scales = data.normalisation()
    batch = export.golden_batch(data, scales, 2, seed=0)
    export.export_model(copy.deepcopy(model), scales, batch, out, {"config": "debug"}, steps=2)
    return out


@pytest.fixture(scope="module")
def folder(floats, drawn_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8")
    quantize.quantise(floats, drawn_data, out, recordings=(8, 4))
    return out


@pytest.fixture(scope="module")
def manifest(folder):
    return manifests.load(folder)


@pytest.fixture(scope="module")
def report(folder):
    return json.loads((folder / "sensitivity.json").read_text())


def graphs(folder):
    return {name: onnx.load(str(folder / f"{name}.onnx"), load_external_data=False).graph for name in GRAPHS}


def int8_names(report):
    return {line["name"] for line in report["layers"] if line["precision"] == "int8"}


@pytest.mark.slow
@exact
def test_the_engine_computes_what_was_judged(folder, manifest, floats):
    assert manifest.precision == "int8"
    engine = Engine(folder, manifest)
    allowed = tolerance("int8")
    assert engine.agreement.rows < allowed.rows
    assert engine.agreement.frames < allowed.frames
    # The golden answers are the rounded model's own, not the float one's.
    ours, theirs = (load_file(f / "golden.safetensors")["rows"] for f in (folder, floats))
    assert 0 < np.abs(ours[:2] - theirs[:2]).max() < 0.5


@pytest.mark.slow
def test_the_engine_multiplies_in_int8(folder):
    """Not only rounds: an engine that does not know the pattern would compute the same numbers in float."""
    kernels = quantize.kernels(folder)
    assert kernels["context"]["int8"] >= 8
    assert kernels["act"]["int8"] >= 4


@pytest.mark.slow
def test_a_wrong_engine_is_still_found(folder, manifest, tmp_path):
    golden = load_file(folder / "golden.safetensors")
    golden["rows"] = golden["rows"] * np.float32(0.7)
    save_file(golden, tmp_path / "golden.safetensors")
    with pytest.raises(EngineError, match="rows differ by"):
        Engine(folder, manifest).verify(tmp_path / "golden.safetensors")


@pytest.mark.slow
def test_each_weight_lies_once_and_the_rounded_ones_as_bytes(folder, floats, report):
    tensors, before = (load_file(f / "weights.safetensors") for f in (folder, floats))
    rounded = int8_names(report)
    assert rounded
    for name in before:
        layer = name.removesuffix(".weight")
        assert tensors[name].dtype == (np.int8 if layer in rounded and layer != name else np.float16), name
    scales = ("weight_scale", "input_scale")
    assert set(tensors) - set(before) == {f"{name}.{scale}" for name in rounded for scale in scales}
    for name, graph in graphs(folder).items():
        inside = [t for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL]
        assert max((int(np.prod(t.dims)) for t in inside), default=0) <= 48 * 48 * 2 * 2, name


@pytest.mark.slow
def test_the_graphs_have_the_form_that_tensorrt_takes(folder, report):
    """Symmetric; weights by output channel, inputs by tensor; every rounded layer between two of them."""
    products = 0
    for graph in graphs(folder).values():
        inside = {t.name: t for t in graph.initializer}
        made_by = {node.output[0]: node for node in graph.node}
        for node in graph.node:
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                continue
            zero, scale = inside[node.input[2]], inside[node.input[1]]
            assert not numpy_helper.to_array(zero).any()
            assert zero.data_type == onnx.TensorProto.INT8
            if node.input[0] in inside:  # a weight
                assert node.op_type == "DequantizeLinear"
                assert list(scale.dims) == list(inside[node.input[0]].dims[:1])
                assert node.attribute[0].i == 0
            else:
                assert not scale.dims
        for node in graph.node:
            if node.op_type in ("MatMul", "Gemm", "Conv"):
                sources = [made_by.get(name) for name in node.input[:2]]
                while sources[1] is not None and sources[1].op_type == "Transpose":
                    sources[1] = made_by.get(sources[1].input[0])
                kinds = [s is not None and s.op_type == "DequantizeLinear" for s in sources]
                assert kinds[0] == kinds[1], node.name
                products += kinds[0]
    assert products >= len(int8_names(report))


@pytest.mark.slow
def test_the_table_has_every_layer_and_keeps_the_small_ones_in_float(folder, report, model, manifest):
    lines = {line["name"]: line for line in report["layers"]}
    assert set(lines) == set(quantize.candidates(model))
    assert sum(line["share"] for line in lines.values()) == pytest.approx(1)
    small = {name for name, line in lines.items() if line["share"] < quantize.WORTH}
    assert {"state_token", "row_in", "act_level.read.0", "imagination.conv1", "patch_in"} <= small
    assert lines["imagination.conv1"]["share"] == 0
    assert not small & int8_names(report)
    assert manifest.parents["int8_layers"] == len(int8_names(report))
    text = (folder / "sensitivity.md").read_text()
    assert all(f"| {name} |" in text for name in lines)
    assert all(line["error"]["rows_mean"] >= 0 for line in lines.values())


@pytest.mark.slow
def test_a_model_in_int8_is_not_rounded_again(folder, drawn_data, tmp_path):
    with pytest.raises(EdgeWamError, match="is a model in int8; try: the float model"):
        quantize.quantise(folder, drawn_data, tmp_path)


@pytest.mark.slow
def test_a_layer_that_no_graph_has_is_named(floats, tmp_path):
    made = qdq.layer(np.ones((2, 2), np.float32), np.ones(2, np.float32), 1.0)
    with pytest.raises(EdgeWamError, match="has no weight of layer 'nose'"):
        qdq.convert(floats, tmp_path, {"nose": made})


@pytest.mark.slow
@exact
def test_smoothed_layers_answer_the_same_in_the_engine(floats, drawn_data, tmp_path):
    quantize.quantise(floats, drawn_data, tmp_path, smooth=True, recordings=(8, 4))
    assert any(node.op_type == "Mul" and "_gain" in node.input[1] for node in graphs(tmp_path)["act"].node)
    Engine(tmp_path, manifests.load(tmp_path))


@pytest.mark.slow
def test_the_module_made_of_the_folder_is_what_was_judged(folder, manifest):
    """In eager torch, from the bytes and scales that the graphs hold."""
    golden = {
        name: torch.from_numpy(value) for name, value in load_file(folder / "golden.safetensors").items()
    }
    model = weights.load(folder, manifest)
    assert (
        sum(isinstance(part, weights.Rounded) for part in model.modules()) == manifest.parents["int8_layers"]
    )
    context = model.context(golden["images"], golden["tokens"], golden["state"])
    rows, _ = flow.sample_actions(model, context, golden["noise"], manifest.steps, golden["committed"])
    assert float((rows - golden["rows"]).abs().max()) < 0.02


@pytest.mark.slow
def test_a_folder_of_an_older_version_is_refused_with_what_is_missing(folder, manifest, tmp_path):
    tensors = load_file(folder / "weights.safetensors")
    gone = next(name for name in tensors if name.endswith(".input_scale"))
    save_file(
        {name: value for name, value in tensors.items() if name != gone}, tmp_path / "weights.safetensors"
    )
    with pytest.raises(EdgeWamError, match=rf"has no {gone}: .* try: quantise the model again"):
        weights.load(tmp_path, manifest)
