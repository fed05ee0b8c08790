"""A model's three graphs as torch modules: in fp32, as they are exported to ONNX, and in half precision with
islands of fp32, as Torch-TensorRT gets them.

Islands are what eleven bits are too few for: norms (sums of squares), the angles of the noise level, the
words' slots, and the eyes' expected positions (a softmax over 576 places; a tenth of a pixel counts).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from edge_wam.think.backend import OUTPUTS
from edge_wam.train.eyes import Look
from edge_wam.train.model import Modulation, WorldActionModel, unit
from edge_wam.train.reader import Reader, Slots
from edge_wam.train.weights import Rounded


class _Graph(nn.Module):
    def __init__(self, model: WorldActionModel) -> None:
        super().__init__()
        self.model = model


class ContextGraph(_Graph):
    """images, tokens, state -> what acting and imagining need."""

    def forward(self, images: Tensor, tokens: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        made = self.model.context(images, tokens, state)
        return tuple(made[name] for name in OUTPUTS["context"])


class ActGraph(_Graph):
    """One denoising step."""

    def forward(
        self, kv: Tensor, hint: Tensor, rows: Tensor, committed: Tensor, level: Tensor
    ) -> tuple[Tensor, ...]:
        return self.model.act(kv, hint, rows, committed, level)


class DreamGraph(_Graph):
    """One step of the future's frames."""

    def forward(
        self,
        kv: Tensor,
        act_kv: Tensor,
        fine: Tensor,
        coarse: Tensor,
        images: Tensor,
        noisy: Tensor,
        level: Tensor,
    ) -> tuple[Tensor, ...]:
        return (self.model.dream(kv, act_kv, fine, coarse, images, noisy, level),)


def graphs(model: WorldActionModel) -> dict[str, nn.Module]:
    """The three, by name, ready for export."""
    made = {"context": ContextGraph(model), "act": ActGraph(model), "dream": DreamGraph(model)}
    return {name: graph.eval() for name, graph in made.items()}


# --- half precision -------------------------------------------------------------------------


class _Island(nn.Module):
    """A module in fp32 amid halves."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.float()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x.float())
        return y.half()


class _Words(nn.Module):
    """The reader in fp32; slots in half."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.inner = reader.float()

    def forward(self, tokens: Tensor) -> Slots:
        return Slots(*(slot.half() for slot in self.inner(tokens)))


class _Looking(nn.Module):
    """A look in fp32; where things are in half."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self.inner = look.float()

    def question(self, kind: int, colour: Tensor) -> Tensor:
        return self.inner.question(kind, colour.float())

    def forward(self, coarse: Tensor, question: Tensor) -> Tensor:
        points: Tensor = self.inner(coarse.float(), question)
        return points.half()


class HalfGraph(nn.Module):
    """A graph of a model in halves, with the fp32 graph's inputs: what is float is halved at the door. The
    noise level stays fp32, and frames come as bytes."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.inner = graph  # not `graph`: an exported module has one of its own

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        inputs = [_halved(x) for x in given]
        if isinstance(self.inner, (ActGraph, DreamGraph)):
            inputs[-1] = given[-1]  # the level
        made: tuple[Tensor, ...] = self.inner(*inputs)
        return made


def _halved(x: Tensor) -> Tensor:
    if x.dtype == torch.uint8:
        return unit(x).half()
    return x.half() if x.is_floating_point() else x


def half_graphs(model: WorldActionModel) -> dict[str, nn.Module]:
    """As `graphs`, of a copy of the model in half precision with its islands."""
    made: Any = copy.deepcopy(model).half()
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.LayerNorm, nn.GroupNorm)):
                setattr(parent, name, _Island(child))
        if isinstance(parent, Rounded):
            parent.keep_scales()
        if isinstance(parent, Modulation):
            setattr(parent, "read", _Island(parent.read))  # noqa: B010, for mypy
    made.reader, made.look = _Words(made.reader), _Looking(made.look)
    return {name: HalfGraph(graph).eval() for name, graph in graphs(made).items()}
