"""Shows a model's graphs to Torch-TensorRT's converters where no GPU is; prints what they say, as JSON.

    python tests/train/converters.py FOLDER_OF_PACKAGES MODEL [--only GRAPH ...] [--build GRAPH ...] [--odd]

Three things are pretended, all of them only here: that there is a CUDA device (torch_tensorrt asks at
import), that its C++ runtime is not there (that library wants CUDA's), and that a built engine could be
loaded afterwards. Everything between is real: torch.export, the lowering passes, the partition, each
converter, and with --build TensorRT-RTX's builder, which needs no GPU to build for one that it is told of.
--odd puts an operator without a converter into one graph, to show that it is found.

Such an engine runs on a PC's RTX card, not on a Jetson: this proves that the graphs can be converted.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import tempfile
import types
import warnings
from pathlib import Path

LIBRARIES = ("libtorchtrt.so", "libtorchtrt_runtime.so")
CAPABILITY = (8, 6)  # the PC card of an Orin's generation (8.7, which RTX does not have)


def pretend():
    """Import torch_tensorrt where torch has no CUDA."""
    import torch

    card = types.SimpleNamespace(
        name="a card", major=8, minor=6, total_memory=8 << 30, multi_processor_count=8
    )
    torch._C._CudaDeviceProperties = object
    torch.cuda.get_device_properties = lambda *_: card
    torch.cuda.get_device_capability = lambda *_: CAPABILITY
    torch.cuda.get_device_name = lambda *_: card.name
    torch.cuda.current_device = lambda: 0
    torch.cuda.device_count = lambda: 1
    is_available, isfile = torch.cuda.is_available, os.path.isfile
    torch.cuda.is_available = lambda: True
    os.path.isfile = lambda path: not str(path).endswith(LIBRARIES) and isfile(path)
    try:
        import torch_tensorrt
        from torch_tensorrt.dynamo import _compiler, utils
    finally:
        os.path.isfile, torch.cuda.is_available = isfile, is_available
    _compiler.to_torch_device = utils.to_torch_device = lambda _: torch.device("cpu")
    return torch_tensorrt


def never_load():
    """Let engines be built for CAPABILITY, and be kept as the bytes that they are."""
    from torch_tensorrt.dynamo.conversion import _TRTInterpreter as interpreter

    tensorrt, populate = interpreter.trt, interpreter.TRTInterpreter._populate_trt_builder_config

    class Runtime:
        def __init__(self, *_):
            pass

        def deserialize_cuda_engine(self, engine):
            return types.SimpleNamespace(serialize=lambda: bytes(engine))

    def populated(self, *given):
        config = populate(self, *given)
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(tensorrt.ComputeCapability, "SM{}{}".format(*CAPABILITY)), 0)
        return config

    tensorrt.Runtime = Runtime
    interpreter.TRTInterpreter._populate_trt_builder_config = populated


def make_odd():
    """Let the act graph have an operator that TensorRT does not know."""
    import torch

    from edge_wam.train.graphs import ActGraph

    act = ActGraph.forward

    def forward(self, kv, hint, rows, *given):
        return act(self, kv, hint, rows + torch.linalg.qr(rows.float())[0].to(rows.dtype), *given)

    ActGraph.forward = forward


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("packages")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", default=("context", "act", "dream"))
    parser.add_argument("--build", nargs="+", default=())
    parser.add_argument("--odd", action="store_true")
    given = parser.parse_args()
    sys.path.append(given.packages)
    warnings.simplefilter("ignore")
    torch_tensorrt = pretend()
    from edge_wam import manifest as manifests
    from edge_wam.train import tensorrt, weights

    folder, dynamo = given.folder, torch_tensorrt.dynamo
    convert = dynamo.convert_exported_program_to_serialized_trt_engine
    settings = tensorrt.settings(inspect.signature(dynamo.compile).parameters, Path(tempfile.mkdtemp()))
    known = {k: v for k, v in settings.items() if k in inspect.signature(convert).parameters}
    if given.build:
        never_load()
    if given.odd:
        make_odd()
    model, found = weights.load(folder, manifests.load(folder)), {}
    for name, program, inputs in tensorrt.exported(model, tensorrt.examples_of(folder), "cpu"):
        if name not in given.only:
            continue
        found[name] = tensorrt.partition(dynamo.compile, program, inputs, settings)._asdict()
        found[name]["rounded"] = sum("quantize_op" in str(node.target) for node in program.graph.nodes)
        if name in given.build:
            try:
                found[name]["bytes"] = len(convert(program, arg_inputs=inputs, **known))
            except RuntimeError as error:
                found[name] |= {"bytes": 0, "why": str(error)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
