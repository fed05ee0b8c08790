"""A model's graphs -> Torch-TensorRT engines for the GPU of this very machine.

One code for torch_tensorrt 2.8 (JetPack 6.2) to 2.14: what is wanted is filtered by the signature of the
`dynamo.compile` that is installed, and a build is refused where something that must not be lost would be.
Later versions swallow unknown arguments without a word, so nothing is passed on trust.

What the settings are for:

* `use_explicit_typing` (2.8 to 2.12): types are those of the graph, halves with islands of fp32. From 2.13
  on there is no other way, and the argument is gone; `enabled_precisions`, which meant the same once, is
  refused by 2.12 and ignored by 2.13, so it is never passed.
* `attn_bias_is_causal` (from 2.12): True by default, and then a pass replaces *our* mask by a causal one
  wherever queries and keys are equally many: wrong actions, silently. Our masks are by construction; False
  nevertheless, and a version that has no way to say so is refused.
* Caches go beside the engine: else they lie in /tmp, one folder for all users, which may be another's.
* `require_full_compilation`, and a look for `_run_on_gpu` afterwards: a node that falls back to torch is an
  error that names it, not a slow engine.
* `disable_tf32`: else what is an island of fp32 because eleven bits are too few is multiplied with eleven
  bits, from Ampere (so on an Orin) on, by default.
* `hardware_compatible` is not supported on JetPack; engines are built where they run.
"""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edge_wam.errors import EngineError
from edge_wam.think.backend import GRAPHS
from edge_wam.think.torch_backend import torch_tensorrt_package
from edge_wam.train import weights
from edge_wam.train.graphs import half_graphs
from edge_wam.train.model import WorldActionModel

WORKSPACE_BYTES = 512 << 20  # an Orin Nano shares 8 GB with everything else
WANTED: Mapping[str, Any] = {
    "use_explicit_typing": True,
    "attn_bias_is_causal": False,
    "require_full_compilation": True,
    "min_block_size": 1,
    "truncate_double": True,
    "disable_tf32": True,
    "immutable_weights": True,
    "hardware_compatible": False,
    "version_compatible": False,
    "cache_built_engines": False,
    "reuse_cached_engines": False,
    "workspace_size": WORKSPACE_BYTES,
    "offload_module_to_cpu": True,
}
REQUIRED = ("arg_inputs", "require_full_compilation", "min_block_size", "truncate_double", "disable_tf32")
SAVE_WANTED: Mapping[str, Any] = {"output_format": "exported_program", "retrace": True}
SAVE_REQUIRED = ("arg_inputs", *SAVE_WANTED)
CACHES = {
    "timing_cache_path": "timing.cache",
    "engine_cache_dir": "engines",
    "runtime_cache_path": "runtime.cache",
}


def settings(known: Collection[str], caches: Path) -> dict[str, Any]:
    """What to pass to a `dynamo.compile` that knows these arguments; what it caches lies in `caches`.
    EngineError where it would be unsafe."""
    lost = [name for name in REQUIRED if name not in known]
    # Types are explicit if one can say so, or if there is no more way to say anything else.
    if "use_explicit_typing" not in known and "enabled_precisions" in known:
        lost.append("use_explicit_typing")
    # 2.8 has neither the argument nor the pass; from 2.13 on (no enabled_precisions any more) both are there.
    if "attn_bias_is_causal" not in known and "enabled_precisions" not in known:
        lost.append("attn_bias_is_causal")
    _refuse("dynamo.compile", lost)
    wanted = {**WANTED, **{name: str(caches / file) for name, file in CACHES.items()}}
    return {name: value for name, value in wanted.items() if name in known}


def save_settings(known: Collection[str]) -> dict[str, Any]:
    """Likewise for `save`: False was the default of `retrace` in 2.8, True is from 2.12 on."""
    _refuse("save", [name for name in SAVE_REQUIRED if name not in known])
    return dict(SAVE_WANTED)


def _refuse(function: str, lost: Collection[str]) -> None:
    if lost:
        raise EngineError(
            f"this torch_tensorrt's {function} does not know {', '.join(lost)}: an engine of it would be "
            f"something else than what was asked for; try: torch_tensorrt 2.8 (JetPack 6.2) to 2.14"
        )


def fallen_back(compiled: nn.Module) -> list[str]:
    """Parts of a compiled graph that torch would run, by name."""
    return [name for name, _ in compiled.named_children() if "_run_on_gpu" in name]


def build(
    model: WorldActionModel, examples: Mapping[str, tuple[Tensor, ...]], out: Path, device: str = "cuda"
) -> list[str]:
    """Engines of the three graphs in `out`, in half precision and, if the model is rounded, INT8.

    examples: inputs of each graph (`examples_of`). Returns the files' names; EngineError names what does not
    fit.
    """
    torch_tensorrt = torch_tensorrt_package()
    compile_with = settings(inspect.signature(torch_tensorrt.dynamo.compile).parameters, out / "caches")
    save_with = save_settings(inspect.signature(torch_tensorrt.save).parameters)
    for name, program, inputs in exported(model, examples, device):
        try:
            compiled = torch_tensorrt.dynamo.compile(program, arg_inputs=inputs, **compile_with)
        except (RuntimeError, AssertionError, ValueError) as error:
            left = partition(torch_tensorrt.dynamo.compile, program, inputs, compile_with).in_torch
            said = f"{', '.join(left)} would be left to torch" if left else str(error).splitlines()[0]
            raise EngineError(f"graph {name} is not fit for TensorRT: {said}") from None
        if parts := fallen_back(compiled):
            raise EngineError(f"graph {name}: {', '.join(parts)} would fall back to torch")
        torch_tensorrt.save(compiled, str(out / f"{name}.ep"), arg_inputs=inputs, **save_with)
    return [f"{name}.ep" for name in GRAPHS]


class Partition(NamedTuple):
    """What TensorRT would take of a graph: operators, how many it knows, in how many engines; in_torch: what
    it would leave to torch, each with where it stands."""

    operators: int
    supported: int
    engines: int
    in_torch: list[str]


def partition(
    compile_program: Callable[..., Any],
    program: Any,
    inputs: tuple[Tensor, ...],
    compile_with: Mapping[str, Any],
) -> Partition:
    """Ask `dynamo.compile` for its report, which it writes without building anything."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.txt"
        how = {**compile_with, "require_full_compilation": False, "dryrun": str(path)}
        compile_program(program, arg_inputs=inputs, **how)
        said = path.read_text(encoding="utf-8")
    counts = re.search(r"(\d+) Total Operators, of which (\d+) operators", said)
    total, supported = map(int, counts.groups()) if counts else (0, 0)
    nodes = re.findall(r"^Node: (\S+), with layer location: (.*)$", said, re.MULTILINE)
    return Partition(total, supported, said.count("TRT Engine #"), [f"{op} ({at})" for op, at in nodes])


def exported(
    model: WorldActionModel, examples: Mapping[str, tuple[Tensor, ...]], device: str
) -> Iterator[tuple[str, Any, tuple[Tensor, ...]]]:
    """Each graph's name, the program that is compiled (torch.export's), and its example inputs."""
    made = half_graphs(model)
    given = carried(made, examples)
    weights.for_tensorrt(made)  # from here on traced only: to run, that would want a CUDA compiler
    for name in GRAPHS:
        inputs = tuple(x.to(device) for x in given[name])
        yield name, torch.export.export(made[name].to(device), inputs, strict=False), inputs


def examples_of(folder: Path) -> dict[str, tuple[Tensor, ...]]:
    """Inputs of each graph, as build wants them, from the golden batch of the model in `folder`."""
    golden = load_file(folder / "golden.safetensors")
    rows, frames = golden["noise"][:1], golden["video_noise"][:1].float()
    nothing = torch.empty(0)  # what comes out of another graph is filled in by `carried`
    return {
        "context": (golden["images"][:1], golden["tokens"][:1], golden["state"][:1]),
        "act": (nothing, nothing, rows, torch.zeros(rows.shape[:2]), torch.ones(1)),
        "dream": (nothing, nothing, nothing, nothing, golden["images"][:1], frames, torch.ones(1)),
    }


@torch.no_grad()
def carried(
    made: Mapping[str, nn.Module], examples: Mapping[str, tuple[Tensor, ...]]
) -> dict[str, tuple[Tensor, ...]]:
    """The examples with each graph's inputs as the graphs before it give them: in half precision."""
    images, tokens, state = examples["context"]
    kv, hint, _, fine, coarse = made["context"](images, tokens, state)
    rows, committed, level = examples["act"][2:]
    _, act_kv = made["act"](kv, hint, rows, committed, level)
    noisy = examples["dream"][5]
    return {
        "context": (images, tokens, state),
        "act": (kv, hint, rows, committed, level),
        "dream": (kv, act_kv, fine, coarse, images, noisy, level),
    }
