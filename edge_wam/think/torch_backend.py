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

Graph = Callable[..., "tuple[Tensor, ...] | Tensor | list[Tensor]"]


class Upload:
    """One input's way to the device: page-locked memory on this side and the device's own on the other, both
    got once, since getting them is slow. A copy out of page-locked memory keeps nobody waiting: the frames
    are under way while the next input is laid out. `pin` False: where there is no CUDA."""

    def __init__(self, like: Tensor, device: torch.device, pin: bool = True) -> None:
        self._here = torch.empty_like(like, pin_memory=pin)
        self._there = torch.empty_like(like, device=device)

    def fits(self, value: Tensor) -> bool:
        return value.shape == self._here.shape and value.dtype == self._here.dtype

    def send(self, value: Tensor) -> Tensor:
        """The device's copy, which the next `send` writes over: whatever read it has to have ended."""
        self._here.copy_(value)
        return self._there.copy_(self._here, non_blocking=True)


class TorchGraphs:
    """Graphs on a device, as think/engine.Engine wants them."""

    def __init__(self, graphs: Mapping[str, Graph], device: str) -> None:
        self._graphs, self._device = dict(graphs), torch.device(device)
        self._uploads: dict[tuple[str, str], Upload] = {}

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
        # An upload has ended before the next one of the same input begins: whoever asks for a context also
        # asks for actions, and waits for them (`_take`).
        upload = self._uploads.get(place)
        if upload is None or not upload.fits(tensor):
            upload = self._uploads[place] = Upload(tensor, self._device)
        return upload.send(tensor)

    def _take(self, key: str, value: Tensor) -> Any:
        if key in ANSWERS:
            return value.to("cpu", torch.float32, copy=True).numpy()
        return value.clone()


def eager(folder: Path, device: str, half: bool = False, threads: int = 1) -> TorchGraphs:
    """The model in `folder`, straight from its weights: the last in the chain of fallbacks."""
    if device == "cuda":
        _want_cuda()
        # fp32 is to be fp32: convolutions are in TF32 otherwise, eleven bits, as halves have.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(threads)  # all cores, if it is not told: control's, too
    from edge_wam import manifest as manifests
    from edge_wam.train.graphs import graphs, half_graphs
    from edge_wam.train.weights import load

    model = load(folder, manifests.load(folder))
    made = half_graphs(model) if half else graphs(model)
    return TorchGraphs({name: graph.to(device) for name, graph in made.items()}, device)


class TensorRt(TorchGraphs):
    """Engines that train/tensorrt.py built on this machine, from `folder`/<graph>.ep.

    cuda_graph: recorded once (by the golden batch, before anything is timed or moves) and replayed, for the
    life of the process: leaving torch_tensorrt's context manager restores the mode that was there before.
    """

    def __init__(self, folder: Path, cuda_graph: bool) -> None:
        torch_tensorrt = torch_tensorrt_package()
        _want_cuda()
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


def limits(half: bool, side: int = 4096, copied_bytes: int = 1 << 28) -> tuple[float, float]:
    """What this device does at best, in 10^9 a second: operations in one product of two matrices, and bytes
    read and written by a copy that fits no cache (as think/probe.py asks of a processor)."""
    _want_cuda()
    x = torch.randn(side, side, device="cuda", dtype=torch.half if half else torch.float32)
    source = torch.ones(copied_bytes, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    product_s, copy_s = _best_s(lambda: x @ x), _best_s(lambda: target.copy_(source))
    return 2 * side**3 / product_s / 1e9, 2 * copied_bytes / copy_s / 1e9


def _best_s(task: Callable[[], object], repeats: int = 10) -> float:
    """Seconds on the device's own clock; the first calls, which choose and load kernels, are not counted."""
    found = []
    for turn in range(repeats + 3):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        task()
        ended.record()
        ended.synchronize()
        if turn >= 3:
            found.append(began.elapsed_time(ended) / 1e3)
    return min(found)


def _want_cuda() -> None:
    """A GPU is not enough: torch may have been built without CUDA, or for another one."""
    if not torch.cuda.is_available():
        raise EngineError(f"this engine needs a CUDA device; torch {torch.__version__} sees none")


def torch_tensorrt_package() -> Any:
    """torch_tensorrt, or an EngineError that says why not: it is not there, lacks a library, or runs as a
    user without a name (it asks for that at import)."""
    try:
        import torch_tensorrt
    except (ImportError, OSError, KeyError) as error:
        hint = "; try: a user who is in /etc/passwd" if isinstance(error, KeyError) else ""
        raise EngineError(f"a TensorRT engine needs torch_tensorrt ({error}){hint}") from None
    return torch_tensorrt
