"""A model's graphs run by torch: Torch-TensorRT engines on an Orin, or eager torch where nothing better is.

The only part of the runtime that imports torch, and only when it is used: a robot that runs on its CPU
never does.

What stays on the device stays there: keys, values and maps go from graph to graph as tensors; only what the
arm or a picture needs comes back. Whatever is returned is a copy: an engine may write its outputs into the
same memory next time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_wam.errors import EngineError
from edge_wam.think.backend import GRAPHS, INPUTS, OUTPUTS

ANSWERS = ("velocity", "progress", "frames")  # what leaves the device; all else is opaque
WARM_UP = 3  # passes before a CUDA graph is recorded, and before anything is timed

Graph = Callable[..., "tuple[Tensor, ...] | Tensor | list[Tensor]"]


class TorchGraphs:
    """Graphs on a device, as think/engine.Engine wants them."""

    def __init__(self, graphs: Mapping[str, Graph], device: str) -> None:
        self._graphs, self._device = dict(graphs), torch.device(device)
        self._pinned: dict[tuple[str, str], Tensor] = {}

    @torch.inference_mode()
    def run(self, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """One inference."""
        given = [self._put((name, key), inputs[key]) for key in INPUTS[name]]
        made = self._graphs[name](*given)
        outputs = (made,) if isinstance(made, Tensor) else made
        return {key: self._take(key, value) for key, value in zip(OUTPUTS[name], outputs, strict=True)}

    def _put(self, place: tuple[str, str], value: Any) -> Tensor:
        if isinstance(value, Tensor):
            return value
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        if self._device.type != "cuda":
            return tensor
        # Pinned memory is slow to get and quick to send, so each input keeps its own. An upload has ended
        # before the next one of the same input begins: every run waits for what it returns (`_take`).
        pinned = self._pinned.get(place)
        if pinned is None or pinned.shape != tensor.shape or pinned.dtype != tensor.dtype:
            pinned = self._pinned[place] = torch.empty_like(tensor, pin_memory=True)
        pinned.copy_(tensor)
        return pinned.to(self._device, non_blocking=True)

    def _take(self, key: str, value: Tensor) -> Any:
        if key in ANSWERS:
            return value.float().cpu().numpy()
        return value.clone()


def eager(folder: Path, device: str, half: bool = False, threads: int = 1) -> TorchGraphs:
    """The model in `folder`, straight from its weights: the last in the chain of fallbacks."""
    torch.set_num_threads(threads)  # all cores, if it is not told: control's, too
    from edge_wam import manifest as manifests
    from edge_wam.train.graphs import graphs, half_graphs
    from edge_wam.train.weights import load

    model = load(folder, manifests.load(folder))
    made = half_graphs(model) if half else graphs(model)
    return TorchGraphs({name: graph.to(device) for name, graph in made.items()}, device)


class TensorRt(TorchGraphs):
    """Engines that train/tensorrt.py built on this machine, from `folder`/<graph>.ep.

    cuda_graph: recorded once and replayed; for the life of the process, since leaving the context manager of
    torch_tensorrt restores the mode that was there before.
    """

    def __init__(self, folder: Path, cuda_graph: bool) -> None:
        try:
            import torch_tensorrt
        except ImportError as error:
            raise EngineError(f"the TensorRT engine needs torch_tensorrt ({error})") from None
        if not torch.cuda.is_available():
            raise EngineError("the TensorRT engine needs a CUDA device; torch sees none")
        self._held, modules = contextlib.ExitStack(), {}
        for name in GRAPHS:
            path = folder / f"{name}.ep"
            try:
                module = torch_tensorrt.load(str(path)).module()
            except (RuntimeError, OSError, ValueError) as error:
                raise EngineError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from None
            if cuda_graph:
                module = self._held.enter_context(torch_tensorrt.runtime.enable_cudagraphs(module))
            modules[name] = module
        super().__init__(modules, "cuda")

    def close(self) -> None:
        """Let go of the CUDA graphs."""
        self._held.close()
