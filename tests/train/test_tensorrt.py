"""Torch-TensorRT without a GPU: what would be passed to which version, and the graph in halves.

Which trap is held by which test (here, unless a file is named; the versions' differences are in
train/tensorrt.py):

    enabled_precisions: honoured, then refused, then swallowed every_version_gets_what_it_knows...
    use_explicit_typing: off, on, gone                     types_are_explicit_where_they_need_not_be
    an argument that is dropped in silence                 a_version_that_would_lose_something_is_refused
    use_python_runtime: a no-op later                      every_version_gets_what_it_knows...
    attn_bias_is_causal: True by default                   no_version_replaces_our_mask_by_a_causal_one
    save(retrace=): its default changed                    save_retraces_whatever_the_default_is
    caches in /tmp, 5 GB, of all users                     caches_lie_beside_the_engine
    hardware_compatible: not on a Jetson                   every_version_gets_what_it_knows...
    bool and int masks                                     every_graph_is_exported_whole_and_no_graph...
    TF32 where fp32 was asked for                          islands_of_fp32_are_not_multiplied_in_tf32
    shapes that change: CUDA graphs recorded anew          every_graph_is_exported_whole_and_no_graph...
    halves without islands                                 norms_words_and_eyes_are_islands_of_fp32
    a graph that TensorRT cannot build                     think/test_compile.py (a row of the table, and the
                                                           next engine)
    a part that falls back to torch                        an_operator_that_would_be_left...
    memory while building                                  a_build_is_bounded_in_memory
    weights rounded along another axis than 0              every_weight_is_rounded_by_output_channel
    no passwd row for the user; a library missing          think/test_torch_backend.py
    CUDA graphs end with their context manager             think/test_torch_backend.py
    outputs written over by the next inference             think/test_torch_backend.py
    another GPU, TensorRT, torch or L4T                    think/test_compile.py, think/test_machine.py
    INT8 slower than halves, or miscompiled                think/test_compile.py (measured, and judged)
    INT8 calibrated on noise                               test_quantize.py (recordings only)
    code that wants nvcc                                   test_converters.py
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

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
CACHES = Path("/state/caches")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gets_what_it_knows_and_nothing_it_would_swallow(version):
    known = SIGNATURES[version]["compile"]
    passed = tensorrt.settings(known, CACHES)
    assert set(passed) <= set(known)
    assert passed["require_full_compilation"] is True
    assert passed["min_block_size"] == 1
    assert passed["hardware_compatible"] is False
    assert "enabled_precisions" not in passed  # 2.12 refuses it, 2.13 ignores it
    assert "use_python_runtime" not in passed


@pytest.mark.parametrize(("version", "explicit"), [("2.8.0", True), ("2.12.1", True), ("2.13.0", False)])
def test_types_are_explicit_where_they_need_not_be(version, explicit):
    passed = tensorrt.settings(SIGNATURES[version]["compile"], CACHES)
    assert passed.get("use_explicit_typing", False) == explicit
    assert ("enabled_precisions" in SIGNATURES[version]["compile"]) == explicit


@pytest.mark.parametrize("version", VERSIONS)
def test_no_version_replaces_our_mask_by_a_causal_one(version):
    known = SIGNATURES[version]["compile"]
    assert ("attn_bias_is_causal" in known) == (version != "2.8.0")
    assert tensorrt.settings(known, CACHES).get("attn_bias_is_causal", False) is False
    assert "attn_bias_is_causal" in tensorrt.settings([*known, "attn_bias_is_causal"], CACHES)


@pytest.mark.parametrize("version", VERSIONS)
def test_islands_of_fp32_are_not_multiplied_in_tf32(version):
    assert tensorrt.settings(SIGNATURES[version]["compile"], CACHES)["disable_tf32"] is True


@pytest.mark.parametrize("version", VERSIONS)
def test_caches_lie_beside_the_engine(version):
    known = SIGNATURES[version]["compile"]
    passed = tensorrt.settings(known, CACHES)
    wherever = [name for name in known if name.endswith(("cache_path", "cache_dir"))]
    assert "timing_cache_path" in wherever
    for name in wherever:
        assert Path(passed[name]).parent == CACHES, name
    assert len({passed[name] for name in wherever}) == len(wherever)
    assert passed["cache_built_engines"] is passed["reuse_cached_engines"] is False


@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_is_bounded_in_memory(version):
    passed = tensorrt.settings(SIGNATURES[version]["compile"], CACHES)
    assert 0 < passed["workspace_size"] <= 1 << 30
    assert passed["offload_module_to_cpu"] is True


@pytest.mark.parametrize("version", VERSIONS)
def test_save_retraces_whatever_the_default_is(version):
    assert tensorrt.save_settings(SIGNATURES[version]["save"])["retrace"] is True


@pytest.mark.parametrize("name", [*tensorrt.REQUIRED, "use_explicit_typing"])
def test_a_version_that_would_lose_something_is_refused(name):
    known = [x for x in SIGNATURES["2.8.0"]["compile"] if x != name]
    with pytest.raises(EngineError, match=rf"does not know {name}: .* try: torch_tensorrt 2\.8"):
        tensorrt.settings(known, CACHES)


@pytest.mark.parametrize("version", ["2.13.0", "2.14.0"])
def test_a_version_that_cannot_be_told_to_leave_our_mask_alone_is_refused(version):
    known = [x for x in SIGNATURES[version]["compile"] if x != "attn_bias_is_causal"]
    with pytest.raises(EngineError, match="compile does not know attn_bias_is_causal"):
        tensorrt.settings(known, CACHES)


@pytest.mark.parametrize("name", tensorrt.SAVE_REQUIRED)
def test_a_version_that_would_save_something_else_is_refused(name):
    known = [x for x in SIGNATURES["2.14.0"]["save"] if x != name]
    with pytest.raises(EngineError, match=f"save does not know {name}: "):
        tensorrt.save_settings(known)


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


@pytest.mark.slow
def test_every_graph_is_exported_whole_and_no_graph_has_a_mask(model_folder):
    from edge_wam.train import weights

    made = graphs.half_graphs(weights.load(model_folder, manifests.load(model_folder)))
    given = tensorrt.carried(made, tensorrt.examples_of(model_folder))
    for name, graph in made.items():
        program = torch.export.export(graph, given[name], strict=False)
        with torch.no_grad():
            ours, theirs = program.module()(*given[name]), graph(*given[name])
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other)
        assert masks(program) == []
        assert not program.range_constraints  # no dimension is open: a CUDA graph is recorded once


def masks(program):
    """What in a graph would be a mask of attention: a fused one, or truths that do not become numbers."""
    found = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        truths = isinstance(value, torch.Tensor) and value.dtype == torch.bool
        used = {str(user.target) for user in node.users} - {"aten._assert_tensor_metadata.default"}
        if "scaled_dot_product" in str(node.target) or (truths and used != {"aten.to.dtype"}):
            found.append(str(node.target))
    return found


def test_a_mask_would_be_found():
    class Masked(torch.nn.Module):
        def forward(self, x):
            return x.masked_fill(x > 0, 0.0), torch.nn.functional.scaled_dot_product_attention(x, x, x)

    program = torch.export.export(Masked(), (torch.randn(1, 2, 4, 8),), strict=False)
    assert masks(program) == ["aten.gt.Scalar", "aten.scaled_dot_product_attention.default"]


def test_every_weight_is_rounded_by_output_channel():
    import onnx

    folder = Path(__file__).parents[2] / "models/so101-tabletop-int8"
    seen = 0
    for name in OUTPUTS:
        graph = onnx.load(str(folder / f"{name}.onnx"), load_external_data=False).graph
        dims = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in dims:
                (axis,) = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
                assert axis == 0
                assert dims[node.input[1]] == dims[node.input[0]][:1]
                seen += 1
    assert seen >= manifests.load(folder).parents["int8_layers"]


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
                 require_full_compilation=False, truncate_double=False, disable_tf32=False,
                 enabled_precisions=(), timing_cache_path="/tmp/timing_cache.bin", **kwargs):  # fmt: skip
        if dryrun:
            return Path(dryrun).write_text(REPORT)
        if stand_in.unfit:
            raise AssertionError(
                "require_full_compilation=True was specified, but model is not fully supported"
            )
        kwargs["timing_cache_path"] = timing_cache_path
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
    caches = {"timing_cache_path": str(tmp_path / "caches/timing.cache")}
    assert pretended == [("compile", True, True, 1, caches), ("save", "exported_program", True)] * 3
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


LARGER = [pytest.param(name, marks=pytest.mark.slow) for name in ("50M", "300M", "1.3B")]


@pytest.mark.parametrize("name", ["nano", "tiny", *LARGER])
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
