"""A model's graphs in INT8: what is multiplied lies between QuantizeLinear and DequantizeLinear.

A quantised layer is one weight and every node that uses it. The weight is stored as int8, one scale an
output channel, and widened where it is used; the input of each of its nodes is rounded to int8, one scale
for the whole tensor. Both are symmetric (zero point 0), which is the form that TensorRT takes. An engine
that knows the pattern multiplies in int8; one that does not still computes the same numbers, slowly.

The graphs are the float model's own, edited: nothing is exported twice, and what stays in float stays
as it was. All weights lie once in one new weights.safetensors, with their scales beside them:
train/weights.py makes a torch module of it, from which Torch-TensorRT builds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from edge_wam.errors import EdgeWamError
from edge_wam.think.backend import GRAPHS
from edge_wam.think.features import Float32
from edge_wam.train.export import _offsets

LEVELS = 127
WEIGHTS = "weights.safetensors"


class Layer(NamedTuple):
    """weight (out, ...) int8 times weight_scale (out,) is the float weight; an input is rounded to whole
    input_scales, after a multiplication by input_gain (in,) if there is one (SmoothQuant)."""

    weight: NDArray[np.int8]
    weight_scale: Float32
    input_scale: float
    input_gain: Float32 | None = None


def layer(weight: Float32, weight_max: Float32, input_max: float, gain: Float32 | None = None) -> Layer:
    """From a float weight (out, ...), the largest |weight| of each output channel (out,), and the largest
    |input| ever seen."""
    scale = np.maximum(weight_max.reshape(-1).astype(np.float32), 1e-8) / np.float32(LEVELS)
    whole = np.round(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return Layer(np.clip(whole, -LEVELS - 1, LEVELS).astype(np.int8), scale, input_max / LEVELS, gain)


def convert(source: Path, out: Path, layers: Mapping[str, Layer]) -> None:
    """The graphs and weights of the float model in `source`, with `layers` (by module name) in INT8."""
    import onnx

    tensors = {name: np.asarray(value) for name, value in load_file(source / WEIGHTS).items()}
    for name, made in layers.items():
        if f"{name}.weight" not in tensors:
            raise EdgeWamError(f"{source / WEIGHTS} has no weight of layer '{name}'; try: export it again")
        tensors[f"{name}.weight"] = made.weight
        tensors[f"{name}.weight_scale"] = made.weight_scale
        tensors[f"{name}.input_scale"] = np.array(made.input_scale, np.float32)
        if made.input_gain is not None:
            tensors[f"{name}.input_gain"] = made.input_gain.astype(np.float32)
    save_file(tensors, out / WEIGHTS)
    offsets = _offsets(out / WEIGHTS)
    used: set[str] = set()
    for name in GRAPHS:
        model = onnx.load(str(source / f"{name}.onnx"), load_external_data=False)
        used |= _Edit(model.graph, offsets).quantise(layers)
        onnx.save(model, str(out / f"{name}.onnx"))
        onnx.checker.check_model(str(out / f"{name}.onnx"))
    if missing := sorted(set(layers) - used):
        raise EdgeWamError(f"no graph in {source} uses the weight of {', '.join(missing)}")


class _Edit:
    """One graph being edited. offsets: where each tensor's bytes lie in the new weights file."""

    def __init__(self, graph: Any, offsets: Mapping[str, tuple[int, int]]) -> None:
        self.graph, self.offsets = graph, offsets
        self.users: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.users[name].append(node)

    def quantise(self, layers: Mapping[str, Layer]) -> set[str]:
        """Returns the names of the layers that this graph has."""
        from onnx import TensorProto

        found = set()
        for tensor in list(self.graph.initializer):
            if tensor.data_location != TensorProto.EXTERNAL:
                continue
            key = tensor.name.removeprefix("model.").removesuffix(".f16")
            name = key.removesuffix(".weight")
            if name != key and name in layers:
                self._widen(tensor, name)
                self._share(layers[name], name)
                for user in self._multiplications(tensor):
                    self._round_input(user, name, layers[name])
                found.add(name)
            else:
                self._refer(tensor, key)
        return found

    def _refer(self, tensor: Any, key: str) -> None:
        """Point an external tensor at its bytes in the new weights file."""
        from onnx import TensorProto

        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        offset, length = self.offsets[key]
        for field, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=field, value=str(value))

    def _widen(self, tensor: Any, name: str) -> None:
        """The weight becomes int8, and the Cast that widened it a DequantizeLinear."""
        from onnx import TensorProto, helper

        tensor.data_type = TensorProto.INT8
        self._refer(tensor, f"{name}.weight")
        scale = self._float(f"{name}.weight_scale", tensor.dims[:1])
        (cast,) = self.users[tensor.name]
        if cast.op_type != "Cast":
            raise EdgeWamError(f"weight {name} goes into {cast.op_type}, not into a Cast as edge-wam exports")
        cast.op_type = "DequantizeLinear"
        del cast.attribute[:]
        cast.attribute.append(helper.make_attribute("axis", 0))
        cast.input.extend([scale, self._zero(f"{name}.weight_zero", tensor.dims[:1])])

    def _share(self, made: Layer, name: str) -> None:
        """What every rounding of this layer's input refers to."""
        self._float(f"{name}.input_scale", ())
        self._zero(f"{name}.input_zero", ())
        if made.input_gain is not None:
            self._float(f"{name}.input_gain", made.input_gain.shape)

    def _float(self, key: str, dims: Sequence[int]) -> str:
        """A float tensor of the weights file, in this graph."""
        from onnx import TensorProto

        tensor = TensorProto(name=f"model.{key}", data_type=TensorProto.FLOAT, dims=dims)
        self._refer(tensor, key)
        self.graph.initializer.append(tensor)
        return str(tensor.name)

    def _zero(self, key: str, dims: Sequence[int]) -> str:
        from onnx import numpy_helper

        self.graph.initializer.append(numpy_helper.from_array(np.zeros(dims, np.int8), f"model.{key}"))
        return f"model.{key}"

    def _multiplications(self, tensor: Any) -> list[Any]:
        """The MatMul, Gemm or Conv nodes that a weight reaches, through the Transpose of a MatMul's."""
        (cast,) = self.users[tensor.name]
        found, waiting = [], list(self.users[cast.output[0]])
        while waiting:
            node = waiting.pop(0)
            if node.op_type == "Transpose":
                waiting += self.users[node.output[0]]
            elif node.op_type in ("MatMul", "Gemm", "Conv"):
                found.append(node)
            else:
                raise EdgeWamError(f"weight {tensor.name} goes into {node.op_type}: expected a product")
        return found

    def _round_input(self, user: Any, name: str, made: Layer) -> None:
        """Put the rounding of its input in front of a node."""
        from onnx import helper

        base = f"model.{name}.input.{user.output[0]}"
        value, before = user.input[0], []
        if made.input_gain is not None:
            before.append(helper.make_node("Mul", [value, f"model.{name}.input_gain"], [f"{base}_smooth"]))
            value = f"{base}_smooth"
        how = [f"model.{name}.input_scale", f"model.{name}.input_zero"]
        before += [
            helper.make_node("QuantizeLinear", [value, *how], [f"{base}_int8"]),
            helper.make_node("DequantizeLinear", [f"{base}_int8", *how], [f"{base}_rounded"]),
        ]
        user.input[0] = f"{base}_rounded"
        at = next(i for i, node in enumerate(self.graph.node) if node.output[:1] == user.output[:1])
        for node in reversed(before):
            self.graph.node.insert(at, node)
