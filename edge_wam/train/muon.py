"""Muon for processors that have no bf16: torch's, iterating in fp32, matrices of one shape together.

torch.optim.Muon iterates in bf16 whatever it runs on. Where that is emulated, it is a seventh of a step of
joint training; here a twentieth. State and hyper-parameters are torch's, so either resumes from the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """As torch.optim.Muon; closures are not supported."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for alike in shapes.values():
                self._step(group, alike)

    def _step(self, group: dict[str, Any], alike: list[Tensor]) -> None:
        for parameter in alike:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum_buffer"] for parameter in alike]
        gradients = [parameter.grad for parameter in alike if parameter.grad is not None]  # all of them
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        moved = torch.stack(torch._foreach_lerp(gradients, momenta, group["momentum"]))  # Nesterov's
        rows, columns = alike[0].shape
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
        torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
        steps = orthogonal(moved, group["ns_coefficients"], group["ns_steps"], group["eps"])
        torch._foreach_add_(alike, list(steps.unbind()), alpha=-rate)


def orthogonal(x: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Matrices (N, r, c) -> about the nearest with orthonormal rows or columns, by a quintic Newton-Schulz
    iteration (kellerjordan.github.io/posts/muon)."""
    a, b, c = coefficients
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
