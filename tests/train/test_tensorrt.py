"""Torch-TensorRT without a GPU: what would be passed to which version, and the graph in halves."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from edge_wam import manifest as manifests
from edge_wam.errors import EngineError
from edge_wam.think import gate
from edge_wam.think.backend import OUTPUTS
from edge_wam.think.engine import Engine
from edge_wam.train import graphs, rooflines, tensorrt
from edge_wam.train.model import CONFIGS

# Names of the arguments of `dynamo.compile` and `save`, read from the wheels.
SIGNATURES = json.loads((Path(__file__).parents[1] / "think/torch_tensorrt_signatures.json").read_text())
VERSIONS = sorted(SIGNATURES)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gets_what_it_knows_and_nothing_it_would_swallow(version):
    known = SIGNATURES[version]["compile"]
    passed = tensorrt.settings(known)
    assert set(passed) <= set(known)
    assert passed["require_full_compilation"] is True
    assert passed["min_block_size"] == 1
    assert passed["hardware_compatible"] is False
    assert "enabled_precisions" not in passed  # 2.12 refuses it, 2.13 ignores it


@pytest.mark.parametrize(("version", "explicit"), [("2.8.0", True), ("2.12.1", True), ("2.13.0", False)])
def test_types_are_explicit_where_they_need_not_be(version, explicit):
    passed = tensorrt.settings(SIGNATURES[version]["compile"])
    assert passed.get("use_explicit_typing", False) == explicit
    assert ("enabled_precisions" in SIGNATURES[version]["compile"]) == explicit


@pytest.mark.parametrize("version", VERSIONS)
def test_no_version_replaces_our_mask_by_a_causal_one(version):
    known = SIGNATURES[version]["compile"]
    assert ("attn_bias_is_causal" in known) == (version != "2.8.0")
    assert tensorrt.settings(known).get("attn_bias_is_causal", False) is False
    assert "attn_bias_is_causal" in tensorrt.settings([*known, "attn_bias_is_causal"])


@pytest.mark.parametrize("version", VERSIONS)
def test_save_retraces_whatever_the_default_is(version):
    assert tensorrt.save_settings(SIGNATURES[version]["save"])["retrace"] is True


@pytest.mark.parametrize("name", [*tensorrt.REQUIRED, "use_explicit_typing"])
def test_a_version_that_would_lose_something_is_refused(name):
    known = [x for x in SIGNATURES["2.8.0"]["compile"] if x != name]
    with pytest.raises(EngineError, match=rf"does not know {name}: .* try: torch_tensorrt 2\.8"):
        tensorrt.settings(known)


def test_what_torch_would_run_is_named():
    compiled = torch.nn.Module()
    for name in ("_run_on_acc_0", "_run_on_gpu_1", "_run_on_acc_2"):
        compiled.add_module(name, torch.nn.Identity())
    assert tensorrt.fallen_back(compiled) == ["_run_on_gpu_1"]


# --- the graph in halves --------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves(model_folder):
    """The shipped model as Torch-TensorRT would get it, run by torch on this processor."""
    return Engine(model_folder, manifests.load(model_folder), arithmetic="fp16", runtime="torch")


def test_the_model_in_halves_passes_the_gate(halves, model_folder):
    verdict = gate.examine(halves, model_folder / "golden.safetensors")
    assert verdict.failure("fp16") == ""
    assert verdict.cosine < 1 - 1e-9  # it is another arithmetic


def test_the_model_in_eager_torch_passes_the_gate_as_fp32(model_folder):
    engine = Engine(model_folder, manifests.load(model_folder), runtime="torch")
    assert gate.examine(engine, model_folder / "golden.safetensors").failure("fp32") == ""


def test_norms_words_and_eyes_are_islands_of_fp32(model):
    for graph in graphs.half_graphs(model).values():
        for name, parameter in graph.named_parameters():
            island = any(part in name for part in ("norm", "reader", "look", "_level.read"))
            assert parameter.dtype == (torch.float32 if island else torch.float16), name
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())  # a copy


def test_every_graph_is_exported_whole(model_folder):
    from edge_wam.train import weights

    made = graphs.half_graphs(weights.load(model_folder, manifests.load(model_folder)))
    given = tensorrt.carried(made, tensorrt.examples_of(model_folder))
    for name, graph in made.items():
        program = torch.export.export(graph, given[name], strict=False)
        with torch.no_grad():
            ours, theirs = program.module()(*given[name]), graph(*given[name])
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other)


# --- a build, with a torch_tensorrt that only pretends -----------------------------------------

# Of a dry run of 2.13, shortened.
REPORT = """
The graph consists of 371 Total Operators, of which 369 operators are supported, 99.46% coverage

The following nodes are currently set to run in Torch:
Node: torch.ops.aten.linalg_qr.default, with layer location: inner/linalg_qr
Note: Some of the above nodes may be supported, but were not included in a TRT graph by the partitioner

    TRT Engine #1 - Submodule name: _run_on_acc_0
    TRT Engine #2 - Submodule name: _run_on_acc_2
"""


@pytest.fixture
def pretended(monkeypatch):
    """What a build asks of torch_tensorrt, on a machine that has none."""
    asked = []

    def compile_(program, *, arg_inputs=None, dryrun=False, use_explicit_typing=False, min_block_size=5,
                 require_full_compilation=False, truncate_double=False, enabled_precisions=(),
                 **kwargs):  # fmt: skip
        if dryrun:
            return Path(dryrun).write_text(REPORT)
        if stand_in.unfit:
            raise AssertionError(
                "require_full_compilation=True was specified, but model is not fully supported"
            )
        asked.append(("compile", use_explicit_typing, require_full_compilation, min_block_size, kwargs))
        return program.module()

    def save(module, file_path="", *, output_format="", arg_inputs=None, retrace=False):
        asked.append(("save", output_format, retrace))
        Path(file_path).write_bytes(b"an engine")

    stand_in = types.ModuleType("torch_tensorrt")
    stand_in.dynamo = types.SimpleNamespace(compile=compile_)
    stand_in.save, stand_in.unfit = save, False
    monkeypatch.setitem(sys.modules, "torch_tensorrt", stand_in)
    return asked


def test_a_build_compiles_and_saves_all_three_graphs(pretended, model, model_folder, tmp_path):
    examples = tensorrt.examples_of(model_folder)
    assert tensorrt.build(model, examples, tmp_path, "cpu") == ["context.ep", "act.ep", "dream.ep"]
    assert pretended == [("compile", True, True, 1, {}), ("save", "exported_program", True)] * 3
    assert {path.name for path in tmp_path.iterdir()} == {"context.ep", "act.ep", "dream.ep"}


def test_an_operator_that_would_be_left_to_torch_fails_the_build_by_name(
    pretended, model, model_folder, tmp_path
):
    sys.modules["torch_tensorrt"].unfit = True
    with pytest.raises(
        EngineError, match=r"graph context .*: torch.ops.aten.linalg_qr.default \(inner/linalg_qr\)"
    ):
        tensorrt.build(model, tensorrt.examples_of(model_folder), tmp_path, "cpu")
    assert not list(tmp_path.iterdir())


def test_a_dry_run_is_read_as_it_is_written(pretended):
    found = tensorrt.partition(sys.modules["torch_tensorrt"].dynamo.compile, None, (), {})
    assert found == (371, 369, 2, ["torch.ops.aten.linalg_qr.default (inner/linalg_qr)"])


def test_without_torch_tensorrt_a_build_says_so(model, model_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(EngineError, match="needs torch_tensorrt"):
        tensorrt.build(model, tensorrt.examples_of(model_folder), tmp_path)


def test_outputs_of_one_inference_outlive_the_next(halves, model_folder):
    golden = tensorrt.load_file(model_folder / "golden.safetensors")
    images, tokens, state = (golden[name].numpy() for name in ("images", "tokens", "state"))
    first = halves.context(images[0], tokens[0], state[0])
    kept = first.kv.clone()
    halves.context(images[1], tokens[1], state[1])
    assert torch.equal(first.kv, kept)
    assert isinstance(first.progress, np.ndarray)


@pytest.mark.parametrize("name", ["nano", "tiny", "50M", "300M", "1.3B"])
def test_every_size_is_exported_without_memory_for_its_weights(name):
    model, x = rooflines.build(CONFIGS[name]), rooflines.inputs(CONFIGS[name])
    made = graphs.graphs(model)
    seen = (x["images"], x["tokens"], x["state"])
    kv, hint, *_ = made["context"](*seen)
    acting = (kv, hint, x["rows"], x["committed"], x["level"])
    for graph, given in (("context", seen), ("act", acting)):
        program = torch.export.export(made[graph], given, strict=False)
        assert {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
        assert len(program.graph_signature.user_outputs) == len(OUTPUTS[graph])
