"""A model's folder -> the model as a torch module, in float or rounded to INT8 as its graphs are.

The INT8 module holds the very bytes and scales that the graphs hold (train/qdq.py), so one calibration serves
every engine: OpenVINO reads the graphs, Torch-TensorRT gets this module, and eager torch can run it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from edge_wam.errors import EdgeWamError
from edge_wam.manifest import Manifest
from edge_wam.train.model import CONFIGS, WorldActionModel

LEVELS = 127  # INT8, symmetric
FILE = "weights.safetensors"
_LIBRARY = torch.library.Library("tensorrt", "FRAGMENT")  # holds what is registered in it while it lives


class Rounded(nn.Module):
    """A product with a weight (Linear or Conv2d) of which both sides are rounded to int8."""

    input_max: Tensor
    weight_max: Tensor
    gain: Tensor | None

    def __init__(
        self, inner: nn.Linear | nn.Conv2d, weight_scale: Tensor, input_scale: Tensor, gain: Tensor | None
    ) -> None:
        """inner: with the weight as it is after rounding; weight_scale (out,), input_scale (), gain (in,)."""
        super().__init__()
        self.inner = inner
        shape = (-1, *[1] * (inner.weight.dim() - 1))
        self.register_buffer("weight_max", (weight_scale.float() * LEVELS).reshape(shape))
        self.register_buffer("input_max", input_scale.float() * LEVELS)
        self.register_buffer("gain", gain)
        self.for_tensorrt = False

    def forward(self, x: Tensor) -> Tensor:
        if self.gain is not None:
            x = x * self.gain.to(x.dtype)
        x, weight = self._round(x, self.input_max), self._round(self.inner.weight, self.weight_max)
        if isinstance(self.inner, nn.Conv2d):
            return self.inner._conv_forward(x, weight, self.inner.bias)
        return F.linear(x, weight, self.inner.bias)

    def _round(self, x: Tensor, largest: Tensor) -> Tensor:
        if self.for_tensorrt:  # the one form that Torch-TensorRT makes Q/DQ of
            made: Tensor = torch.ops.tensorrt.quantize_op(x, largest, 8, 0, False, False)
            return made
        return _rounded(x, largest)

    def keep_scales(self) -> None:
        """Scales are fp32 in a module of halves, too."""
        self.weight_max, self.input_max = self.weight_max.float(), self.input_max.float()


def _rounded(x: Tensor, largest: Tensor, *_: object) -> Tensor:
    """x in whole 127ths of the largest; what follows are the rest of modelopt's arguments."""
    scale = largest / LEVELS
    return ((x.float() / scale).round().clamp(-LEVELS - 1, LEVELS) * scale).to(x.dtype)


def load(folder: Path, manifest: Manifest) -> WorldActionModel:
    """The model in `folder`, ready to be asked. EdgeWamError if this version does not know its kind."""
    name = manifest.parents.get("config")
    if name not in CONFIGS:
        raise EdgeWamError(
            f"{folder}: the manifest says config = {name!r}; expected one of {', '.join(CONFIGS)}; "
            f"try: export the model again"
        )
    model, tensors = WorldActionModel(CONFIGS[str(name)]), load_file(folder / FILE)
    rounded = [key.removesuffix(".weight") for key, value in tensors.items() if value.dtype == torch.int8]
    scales = {layer: _scales(folder, tensors, layer) for layer in rounded}
    for layer, (weight_scale, *_) in scales.items():
        weight = tensors[f"{layer}.weight"]
        tensors[f"{layer}.weight"] = weight * weight_scale.reshape(-1, *[1] * (weight.dim() - 1))
    model.load_state_dict({key: value.float() for key, value in tensors.items()})
    for layer, given in scales.items():
        parent, _, last = layer.rpartition(".")
        setattr(model.get_submodule(parent), last, Rounded(_product(model, layer), *given))
    return model.eval().requires_grad_(False)


def _scales(folder: Path, tensors: dict[str, Tensor], layer: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Take a layer's scales out of what the file holds."""
    try:
        weight_scale, input_scale = (
            tensors.pop(f"{layer}.{name}") for name in ("weight_scale", "input_scale")
        )
    except KeyError as error:
        raise EdgeWamError(
            f"{folder / FILE} has no {error.args[0]}: an older edge-wam wrote it; try: quantise the model "
            f"again"
        ) from None
    return weight_scale, input_scale, tensors.pop(f"{layer}.input_gain", None)


def _product(model: nn.Module, layer: str) -> nn.Linear | nn.Conv2d:
    found = model.get_submodule(layer)
    assert isinstance(found, (nn.Linear, nn.Conv2d)), (
        layer
    )  # nothing else is ever rounded (quantize.candidates)
    return found


def for_tensorrt(modules: Mapping[str, nn.Module]) -> None:
    """Let every rounding in these graphs be the one that Torch-TensorRT knows (needs nvidia-modelopt)."""
    layers = [part for graph in modules.values() for part in graph.modules() if isinstance(part, Rounded)]
    if not layers:
        return
    try:
        import modelopt.torch.quantization  # noqa: F401, defines torch.ops.tensorrt.quantize_op
    except ImportError as error:
        raise EdgeWamError(f"INT8 on TensorRT needs nvidia-modelopt ({error})") from None
    # Torch-TensorRT tries to fold the rounding of weights before it asks whether it may, and modelopt's own
    # code for that is compiled by nvcc on first use: neither every Jetson nor any CPU has that.
    for device in ("CPU", "CUDA"):
        _LIBRARY.impl("quantize_op", _rounded, device, allow_override=True)
    for layer in layers:
        layer.for_tensorrt = True
