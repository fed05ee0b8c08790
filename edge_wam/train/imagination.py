"""From thought to pictures: how the video stream's tokens become frames.

Shapes: N pictures (batch times cameras), D width, F futures.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_wam.think.features import FUTURES, IMAGINED_PX
from edge_wam.train.eyes import COARSE, FINE

PATCH_PX = 12
SIDE = IMAGINED_PX // PATCH_PX  # patches along a side


def patches(noisy: Tensor) -> Tensor:
    """Pictures (B, C, F, 3, 48, 48) -> patches (B, C 16, F 3 12 12), a camera's side by side."""
    cut = noisy.unflatten(-2, (SIDE, PATCH_PX)).unflatten(-1, (SIDE, PATCH_PX))
    return cut.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4).flatten(1, 3)


class Imagination(nn.Module):
    """Video tokens and what the stem saw -> future frames: the present one moved by a flow, and corrected."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = nn.Linear(width, 32 * 9)
        self.conv1 = nn.Conv2d(32 + COARSE, 48, 3, padding=1)
        self.norm1 = nn.GroupNorm(6, 48)
        self.conv2 = nn.Conv2d(48 + FINE, 32, 3, padding=1)
        self.norm2 = nn.GroupNorm(4, 32)
        self.out = nn.Conv2d(32, FUTURES * 6, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)
        axis = (torch.arange(IMAGINED_PX) + 0.5) / IMAGINED_PX * 2 - 1
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("base", torch.stack([columns, rows], -1)[None], persistent=False)

    def forward(self, tokens: Tensor, coarse: Tensor, fine: Tensor, present: Tensor) -> Tensor:
        """tokens (B, 16, D), stem maps, present (B, 3, 48, 48) -> (B, F, 3, 48, 48) in present's scale."""
        side = int(tokens.shape[1] ** 0.5)
        h = self.spread(tokens).transpose(1, 2).unflatten(1, (32, 3, 3)).unflatten(-1, (side, side))
        h = h.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)  # (B, 32, 12, 12)
        h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        h = F.gelu(self.norm1(self.conv1(torch.cat([h, coarse], 1))))
        h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        h = F.gelu(self.norm2(self.conv2(torch.cat([h, fine], 1))))
        out = self.out(h).unflatten(1, (FUTURES, 6))
        frames = []
        for index in range(FUTURES):
            flow, colour, mask = out[:, index, :2], out[:, index, 2:5], torch.sigmoid(out[:, index, 5:] - 2)
            grid = self.base + flow.permute(0, 2, 3, 1)
            moved = F.grid_sample(present, grid, padding_mode="border", align_corners=False)
            frames.append(moved * (1 - mask) + colour * mask)
        return torch.stack(frames, 1)
