"""Muon in fp32 steps as torch's in bf16 does."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edge_wam.train.muon import Muon, orthogonal  # noqa: E402


def test_orthogonal_makes_singular_values_about_one() -> None:
    x = torch.randn(3, 20, 50, generator=torch.Generator().manual_seed(0))
    for one in orthogonal(torch.cat([x, x * 1e-3]), (3.4445, -4.7750, 2.0315), 5, 1e-7):
        values = torch.linalg.svdvals(one)
        assert values.min() > 0.6
        assert values.max() < 1.3
    tall = orthogonal(x.mT, (3.4445, -4.7750, 2.0315), 5, 1e-7)
    assert torch.allclose(tall.mT, orthogonal(x, (3.4445, -4.7750, 2.0315), 5, 1e-7), atol=1e-5)


def test_steps_are_torchs() -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = ((8, 24), (24, 8), (8, 24), (16, 16))
    ours = [torch.nn.Parameter(torch.randn(s, generator=generator)) for s in shapes]
    theirs = [torch.nn.Parameter(x.detach().clone()) for x in ours]
    settings = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}
    one, other = Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    before = [x.detach().clone() for x in ours]
    for _ in range(3):
        for x, y in zip(ours, theirs, strict=True):
            x.grad = torch.randn(x.shape, generator=generator)
            y.grad = x.grad.clone()
        one.step()
        other.step()
    for x, y, start in zip(ours, theirs, before, strict=True):
        assert (x - y).norm() < 0.03 * (x - start).norm()  # what bf16 rounds
    for key, state in other.state_dict()["state"].items():
        assert torch.allclose(state["momentum_buffer"], one.state_dict()["state"][key]["momentum_buffer"])
