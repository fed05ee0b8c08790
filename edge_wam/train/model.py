"""The World Action Model: one transformer over context, action and future-video tokens.

What it models: p(actions, future frames | frames, joints, command), by flow matching of both streams.
Noise level s runs from 0 (clean) to 1 (noise): x_s = (1 - s) x + s e.

Three groups of tokens share one trunk, and the mask is *by construction*, not a tensor:

    context (cameras, command, arm)   sees context
    actions (one token a chunk row)   sees context and actions
    video   (patches of the future)   sees context, actions and video

Each group is run by its own function (`context`, `act`, `dream`) against the keys and values of the
groups it may see. So the context is computed once however many denoising steps follow, and actions
are bit for bit the same with and without imagining (after GigaWorld-Policy's action-centred mask,
arXiv 2607.13960). Training runs exactly these three functions.

How it sees: a small convolutional stem that is FiLM-ed by the command (the command must reach the
eyes), and from its 24 x 24 map 32 soft-argmax keypoints a camera. A head reads the grasp off the
keypoints; it is trained on single scenes first (perception is the bottleneck), and what it says is
given to the action tokens.

How it imagines: it predicts the clean future as a flow that moves the pixels of the present frame,
plus a correction where nothing that moves could explain it. A velocity of raw pixels does not fit
through a narrow trunk (LOG.md).

Shapes: B batch, C cameras, N draws of noise, L layers, D width, T context tokens, K rows, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_wam.think.features import FUTURES, IMAGINED_PX, UNIT_GREY, UNIT_LEVELS

KEY_SIZE = 6  # pan, lift, elbow, wrist flex; cos and sin of four times the wrist roll (a cube has four faces)
PATCH_PX = 12


@dataclass(frozen=True, slots=True)
class Config:
    """Sizes. Everything else follows. `nano` is the default and what is shipped."""

    width: int = 192
    layers: int = 5
    head: int = 64
    mlp: int = 3
    cameras: int = 2
    image_px: int = 96
    rows: int = 16
    joints: int = 6
    words: int = 8
    vocabulary: int = 16
    keypoints: int = 32

    @property
    def heads(self) -> int:
        return self.width // self.head


CONFIGS: dict[str, Config] = {
    "debug": Config(width=64, layers=2, head=32, keypoints=8),
    "nano": Config(),
    "micro": Config(width=256, layers=8),
    "tiny": Config(width=384, layers=8),
}


def noise_features(level: Tensor) -> Tensor:
    """Noise level (...,) in 0..1 -> (..., 16) sines and cosines."""
    frequency = torch.exp(torch.linspace(0.0, 5.0, 8, device=level.device, dtype=level.dtype))
    angle = level[..., None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Plain attention (B, h, n, d). Not F.scaled_dot_product_attention: its backward is three to
    four times slower on a CPU at these lengths."""
    weight = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return weight.softmax(dim=-1) @ value


class Modulation(nn.Module):
    """Noise level of a token group -> six vectors a layer (adaLN-zero); narrow, since it is per group."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.out = nn.Linear(64, config.layers * 6 * config.width)
        self.layers = config.layers
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, level: Tensor) -> Tensor:
        """level (B,) -> (L, 6, B, 1, D)."""
        out = self.out(self.read(noise_features(level)))
        return out.unflatten(-1, (self.layers, 6, 1, -1)).permute(1, 2, 0, 3, 4)


class Block(nn.Module):
    """Pre-norm attention and GELU MLP. Weights are shared by the three groups."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, config.mlp * width)
        self.down = nn.Linear(config.mlp * width, width)
        self.query_norm = nn.LayerNorm(config.head, elementwise_affine=False)
        self.key_norm = nn.LayerNorm(config.head, elementwise_affine=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(
        self, x: Tensor, seen: list[tuple[Tensor, Tensor]], modulation: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, n, D) attends to the (key, value) pairs in `seen` and to itself -> new x, own key, own value.

        A pair may have a smaller batch B / N than x: it is then shared by the N draws.
        """
        h = self.norm1(x)
        if modulation is not None:
            h = h * (1 + modulation[0]) + modulation[1]
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.query_norm(q), self.key_norm(k)
        keys = torch.cat([_repeat(pair[0], len(k)) for pair in seen] + [k], dim=2)
        values = torch.cat([_repeat(pair[1], len(v)) for pair in seen] + [v], dim=2)
        mixed = self.out(attend(q, keys, values).transpose(1, 2).flatten(2))
        x = x + (mixed if modulation is None else mixed * (1 + modulation[2]))
        h = self.norm2(x)
        if modulation is not None:
            h = h * (1 + modulation[3]) + modulation[4]
        h = self.down(F.gelu(self.up(h), approximate="tanh"))
        x = x + (h if modulation is None else h * (1 + modulation[5]))
        return x, k, v


def _repeat(x: Tensor, batch: int) -> Tensor:
    return x if len(x) == batch else x.repeat_interleave(batch // len(x), dim=0)


class Stem(nn.Module):
    """One camera's image -> coarse tokens, a 24 x 24 and a 48 x 48 map, keypoints."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 5, stride=2, padding=2)
        self.norm1 = nn.GroupNorm(4, 24)
        self.conv2 = nn.Conv2d(24, 48, 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(6, 48)
        self.film = nn.Linear(config.width, 96)
        self.conv3 = nn.Conv2d(48, 48, 3, padding=1)
        self.norm3 = nn.GroupNorm(6, 48)
        self.points = nn.Conv2d(48, config.keypoints, 1)
        self.temperature = nn.Parameter(torch.tensor(3.0))
        self.conv4 = nn.Conv2d(48, 96, 3, stride=2, padding=1)
        self.norm4 = nn.GroupNorm(8, 96)
        self.conv5 = nn.Conv2d(96, config.width, 3, stride=3)
        side = config.image_px // 4
        axis = torch.linspace(-1, 1, side)
        self.register_buffer(
            "grid", torch.stack([axis.repeat(side), axis.repeat_interleave(side)], 1), persistent=False
        )

    def forward(self, image: Tensor, command: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """image (B, 3, S, S) about unit scale, command (B, D) -> tokens (B, (S/24)^2, D), keypoints
        (B, 2 P) in -1..1, fine map (B, 24, S/2, S/2), map (B, 48, S/4, S/4)."""
        fine = F.gelu(self.norm1(self.conv1(image)))
        h = self.norm2(self.conv2(fine))
        scale, shift = self.film(command)[:, :, None, None].chunk(2, dim=1)
        h = F.gelu(h * (1 + scale) + shift)
        h = h + F.gelu(self.norm3(self.conv3(h)))
        heat = (self.points(h).flatten(2) * self.temperature).softmax(dim=-1)
        points = (heat @ self.grid).flatten(1)
        tokens = self.conv5(F.gelu(self.norm4(self.conv4(h)))).flatten(2).transpose(1, 2)
        return tokens, points, fine, h


class Imagination(nn.Module):
    """Video tokens and what the stem saw -> future frames: the present one moved by a flow, and corrected."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.spread = nn.Linear(config.width, 32 * 9)
        self.conv1 = nn.Conv2d(32 + 48, 48, 3, padding=1)
        self.norm1 = nn.GroupNorm(6, 48)
        self.conv2 = nn.Conv2d(48 + 24, 32, 3, padding=1)
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


class WorldActionModel(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, cameras = config.width, config.cameras
        self.words = nn.Embedding(config.vocabulary, width, padding_idx=0)
        self.command = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )
        self.stem = Stem(config)
        self.camera_place = nn.Parameter(torch.randn(cameras, (config.image_px // 24) ** 2, width) * 0.02)
        self.camera_film = nn.Parameter(torch.zeros(cameras, width))
        points = cameras * config.keypoints * 2
        state = 2 * config.joints
        self.key = nn.Sequential(
            nn.Linear(points + state + width, 256),
            nn.GELU(),
            nn.Linear(256, 256),
            nn.GELU(),
            nn.Linear(256, KEY_SIZE),
        )
        self.points_token = nn.Linear(points, width)
        self.state_token = nn.Linear(state, width)
        self.hint = nn.Sequential(nn.Linear(points + state + KEY_SIZE, 256), nn.GELU(), nn.Linear(256, width))
        self.kind = nn.Parameter(torch.randn(3, width) * 0.02)  # what a token is: points, state, command
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

        self.row_in = nn.Linear(config.joints, width)
        self.row_place = nn.Parameter(torch.randn(config.rows, width) * 0.02)
        self.committed = nn.Parameter(torch.randn(width) * 0.02)
        self.act_level = Modulation(config)
        self.act_norm = nn.LayerNorm(width)
        self.act_out = nn.Linear(width, config.joints)

        patches = (IMAGINED_PX // PATCH_PX) ** 2
        self.patch_in = nn.Linear(FUTURES * 3 * PATCH_PX**2, width)
        self.patch_place = nn.Parameter(torch.randn(cameras * patches, width) * 0.02)
        self.dream_level = Modulation(config)
        self.dream_norm = nn.LayerNorm(width)
        self.imagination = Imagination(config)

    # --- seeing -----------------------------------------------------------------------------

    def see(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """images (B, C, S, S, 3) uint8, tokens (B, W) -> command (B, D), image tokens (B, C n, D),
        keypoints (B, 2 P C), fine and coarse maps (B C, ...)."""
        embedded = self.words(tokens)
        command = self.command(embedded.sum(1) / (tokens > 0).sum(1, keepdim=True).clamp(min=1))
        x = unit(images).flatten(0, 1)
        film = (command[:, None] + self.camera_film).flatten(0, 1)
        image_tokens, points, fine, coarse = self.stem(x, film)
        image_tokens = image_tokens.unflatten(0, (-1, self.config.cameras)) + self.camera_place
        return (
            command,
            image_tokens.flatten(1, 2),
            points.unflatten(0, (-1, self.config.cameras)).flatten(1),
            fine,
            coarse,
        )

    def grasp(self, points: Tensor, state: Tensor, command: Tensor) -> Tensor:
        """The key pose (B, 6), normalised: where the arm will be when it grasps."""
        return self.key(torch.cat([points, state, command], 1))

    def context(self, images: Tensor, tokens: Tensor, state: Tensor) -> dict[str, Tensor]:
        """images uint8, tokens, state (B, 2 J) -> what acting and imagining need:

        kv (L, 2, B, h, T, d), hint (B, D), key (B, 6), fine and coarse maps.
        """
        command, image_tokens, points, fine, coarse = self.see(images, tokens)
        key = self.grasp(points, state, command)
        # What the grasp head says is advice: acting must not bend it to its own ends.
        hint = self.hint(torch.cat([points, state, key.detach()], 1))
        extra = torch.stack([self.points_token(points), self.state_token(state), command], 1) + self.kind
        x = torch.cat([image_tokens, extra], 1)
        pairs = []
        for block in self.blocks:
            x, k, v = block(x, [], None)
            pairs.append(torch.stack([k, v]))
        return {"kv": torch.stack(pairs), "hint": hint, "key": key, "fine": fine, "coarse": coarse}

    # --- acting -----------------------------------------------------------------------------

    def act(
        self, kv: Tensor, hint: Tensor, rows: Tensor, committed: Tensor, level: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Velocity (noise minus rows) of noisy rows (B N, K, J) at noise level (B N,), and the actions' kv.

        committed (B N, K) is 1 where a row is already decided and given clean; N draws of one context lie
        side by side.
        """
        x = self.row_in(rows) + self.row_place + committed[..., None] * self.committed
        x = x + _repeat(hint, len(rows))[:, None]
        modulation = self.act_level(level)
        pairs = []
        for index, block in enumerate(self.blocks):
            x, k, v = block(x, [(kv[index, 0], kv[index, 1])], modulation[index])
            pairs.append(torch.stack([k, v]))
        return self.act_out(self.act_norm(x)), torch.stack(pairs)

    # --- imagining --------------------------------------------------------------------------

    def dream(
        self,
        kv: Tensor,
        act_kv: Tensor,
        fine: Tensor,
        coarse: Tensor,
        images: Tensor,
        noisy: Tensor,
        level: Tensor,
    ) -> Tensor:
        """The clean future (B, C, F, 3, 48, 48) in unit scale, from the noisy change to the present frame.

        noisy (B, C, F, 3, 48, 48) at level (B,); images (B, C, S, S, 3) uint8 is the present.
        """
        config = self.config
        side = IMAGINED_PX // PATCH_PX
        patches = noisy.unflatten(-2, (side, PATCH_PX)).unflatten(-1, (side, PATCH_PX))
        patches = (
            patches.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4).flatten(1, 3)
        )  # (B, C side side, F 3 p p)
        x = self.patch_in(patches) + self.patch_place
        modulation = self.dream_level(level)
        for index, block in enumerate(self.blocks):
            x, _, _ = block(
                x, [(kv[index, 0], kv[index, 1]), (act_kv[index, 0], act_kv[index, 1])], modulation[index]
            )
        tokens = self.dream_norm(x).unflatten(1, (config.cameras, side * side)).flatten(0, 1)
        present = small(images).flatten(0, 1)
        return self.imagination(tokens, coarse, fine, present).unflatten(0, (-1, config.cameras))


def unit(images: Tensor) -> Tensor:
    """(..., S, S, 3) uint8 -> (..., 3, S, S) float, about unit scale around mid grey; floats pass (done)."""
    if images.is_floating_point():
        return images
    return (images.movedim(-1, -3).float() - UNIT_GREY) / UNIT_LEVELS


def small(images: Tensor) -> Tensor:
    """(B, C, S, S, 3) uint8, or already in unit scale, -> (B, C, 3, 48, 48) in unit scale."""
    x = unit(images)
    return F.avg_pool2d(x.flatten(0, 1), x.shape[-1] // IMAGINED_PX).unflatten(0, x.shape[:2])
