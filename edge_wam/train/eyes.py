"""The eyes: a camera's image -> maps that no command has touched, and looks at them for a named thing.

The trunk sees everything alike. A *look* is a question put to its map ("where is the red cube?"): the
question scales and shifts the map's channels, two 1x1 convolutions make heatmaps of it, and each heatmap
answers with one point. A command's colours go into the questions and nowhere else in the model.

Shapes: N images (batch times cameras), S pixels a side, P keypoints, D width of the model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FINE, COARSE = 24, 64  # channels of the maps at S/2 and S/4


class Stem(nn.Module):
    """Image (N, 3, S, S) about unit scale -> fine map (N, 24, S/2, S/2), coarse map (N, 64, S/4, S/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, FINE, 5, stride=2, padding=2)
        self.norm1 = nn.GroupNorm(4, FINE)
        self.conv2 = nn.Conv2d(FINE, 48, 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(6, 48)
        self.conv3 = nn.Conv2d(48, COARSE, 3, padding=1)
        self.norm3 = nn.GroupNorm(8, COARSE)
        self.conv3b = nn.Conv2d(COARSE, COARSE, 3, padding=2, dilation=2)
        self.norm3b = nn.GroupNorm(8, COARSE)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = F.gelu(self.norm1(self.conv1(image)))
        h = F.gelu(self.norm2(self.conv2(fine)))
        h = F.gelu(self.norm3(self.conv3(h)))
        return fine, h + F.gelu(self.norm3b(self.conv3b(h)))


class Look(nn.Module):
    """A question (N, D) to coarse maps (N, 64, s, s) -> P keypoints (N, 2 P), x and y in -1..1.

    Two kinds of things can be asked for, cubes and plates, by colour or by none; all looks share weights.
    """

    def __init__(self, width: int, keypoints: int, cameras: int, colours: int, side: int) -> None:
        super().__init__()
        self.kind = nn.Parameter(torch.randn(2, width) * 0.5)  # cube, plate
        self.colour = nn.Parameter(torch.randn(colours, width) * 0.5)  # none first
        self.camera = nn.Parameter(torch.zeros(cameras, width))
        self.film = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2 * COARSE))
        self.conv1 = nn.Conv2d(COARSE, COARSE, 1)
        self.conv2 = nn.Conv2d(COARSE, keypoints, 1)
        self.temperature = nn.Parameter(torch.tensor(3.0))
        axis = torch.linspace(-1, 1, side)
        grid = torch.stack([axis.repeat(side), axis.repeat_interleave(side)], 1)
        self.register_buffer("grid", grid, persistent=False)

    def question(self, kind: int, colour: Tensor) -> Tensor:
        """kind 0 (cube) or 1 (plate), colour (B, colours) probabilities -> (B C, D), cameras side by side."""
        asked = self.kind[kind] + colour @ self.colour
        return (asked[:, None] + self.camera).flatten(0, 1)

    def forward(self, coarse: Tensor, question: Tensor) -> Tensor:
        scale, shift = self.film(question)[:, :, None, None].chunk(2, dim=1)
        h = F.gelu(self.conv1(F.gelu(torch.addcmul(shift, coarse, 1 + scale))))
        heat = (self.conv2(h).flatten(2) * self.temperature).softmax(dim=-1)
        return (heat @ self.grid).flatten(1)


class ImageTokens(nn.Module):
    """Coarse map (N, 64, S/4, S/4) -> tokens (N, (S/24)^2, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv4 = nn.Conv2d(COARSE, 96, 3, stride=2, padding=1)
        self.norm4 = nn.GroupNorm(8, 96)
        self.conv5 = nn.Conv2d(96, width, 3, stride=3)

    def forward(self, coarse: Tensor) -> Tensor:
        tokens: Tensor = self.conv5(F.gelu(self.norm4(self.conv4(coarse)))).flatten(2).transpose(1, 2)
        return tokens


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers of GELU."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )
