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

How a command composes: words become slots (reader.py). The colours of a command reach only the eyes,
as questions ("where is the red cube?"); its verb reaches only the hands. So "push the green cube" is
two things that are each known, though nobody ever showed it.

How it sees: eyes.py. From what a look answers, one head reads the joints that would grasp the named
cube, another the joints that would release over the named plate. Both are trained on single scenes
first (perception is the bottleneck); what they say is given to the action tokens as a hint.

How it imagines: it predicts the clean future as a flow that moves the pixels of the present frame,
plus a correction where nothing that moves could explain it. A velocity of raw pixels does not fit
through a narrow trunk (LOG.md).

Shapes: B batch, C cameras, N draws of noise, L layers, D width, T context tokens, K rows, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_wam.think.features import FUTURES, IMAGINED_PX, UNIT_GREY, UNIT_LEVELS
from edge_wam.train.eyes import ImageTokens, Look, Stem, head
from edge_wam.train.imagination import PATCH_PX, SIDE, Imagination, patches
from edge_wam.train.reader import Reader, Slots

BODY = 4  # pan, lift, elbow, wrist flex: the joints that say where the hand is
KEY_SIZE = BODY + 2  # and cos and sin of four times the wrist roll (a cube has four faces)
NEAR = 8.0  # tanh(NEAR x) of what is left to go: the last degrees count as much as the first
PLATES_FROM = 3  # places are: none, left, right, and a plate of each colour


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
    words: int = 12
    vocabulary: int = 128  # room for words to come: ids are what the weights know
    verbs: int = 5
    objects: int = 5  # none, and a cube of each colour
    places: int = 7
    keypoints: int = 32

    @property
    def heads(self) -> int:
        return self.width // self.head


CONFIGS: dict[str, Config] = {
    "debug": Config(width=64, layers=2, head=32, keypoints=8),
    "nano": Config(),
    "micro": Config(width=256, layers=8),
    "tiny": Config(width=384, layers=8),
    # What the same code grows to. None of these was trained; `python -m edge_wam.train.rooflines`.
    "50M": Config(width=576, layers=12, mlp=4),
    "300M": Config(width=1024, layers=24, mlp=4),
    "1.3B": Config(width=2048, layers=26, mlp=4),
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


def _layers(kv: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(L, 2, ...) -> a (key, value) pair a layer. Indexing instead would cost a whole tensor of zeros each,
    backwards."""
    return [(pair[0], pair[1]) for pair in (layer.unbind() for layer in kv.unbind())]


class Seen(NamedTuple):
    """Keypoints of the named cube and plate (B, 2 P C), 0 where none is named; fine and coarse maps of all
    cameras (B C, ...)."""

    cube: Tensor
    plate: Tensor
    fine: Tensor
    coarse: Tensor


class WorldActionModel(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width, cameras = config.width, config.cameras
        points, state = cameras * config.keypoints * 2, 2 * config.joints
        kinds = 1 + PLATES_FROM  # of place: none, left, right, a plate
        self.reader = Reader(config.vocabulary, (config.verbs, config.objects, config.places))
        self.stem = Stem()
        self.look = Look(width, config.keypoints, cameras, config.objects, config.image_px // 4)
        self.key = head(points + state, 256, KEY_SIZE)
        self.place = head(points + state, 256, BODY)

        self.image_tokens = ImageTokens(width)
        self.camera_place = nn.Parameter(torch.randn(cameras, (config.image_px // 24) ** 2, width) * 0.02)
        self.points_token = nn.Linear(points, width)
        self.state_token = nn.Linear(state, width)
        self.task_token = nn.Linear(config.verbs + kinds, width, bias=False)
        self.kind = nn.Parameter(torch.randn(4, width) * 0.02)  # a token is: cube, plate, state, task
        advice = 2 * points + state + KEY_SIZE + BODY + 4 * BODY + config.verbs + kinds
        self.hint = nn.Sequential(
            nn.Linear(advice, 2 * width), nn.GELU(), nn.Linear(2 * width, 2 * width), nn.GELU()
        )
        self.hint_out = nn.Linear(2 * width, width)
        self.progress_norm = nn.LayerNorm(width)
        self.progress = nn.Sequential(nn.Linear(3 * width, 64), nn.GELU(), nn.Linear(64, 2))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

        self.row_in = nn.Linear(config.joints, width)
        self.row_place = nn.Parameter(torch.randn(config.rows, width) * 0.02)
        self.committed = nn.Parameter(torch.randn(width) * 0.02)
        self.act_level = Modulation(config)
        self.act_norm = nn.LayerNorm(width)
        self.act_out = nn.Linear(width, config.joints)

        self.patch_in = nn.Linear(FUTURES * 3 * PATCH_PX**2, width)
        self.patch_place = nn.Parameter(torch.randn(cameras * SIDE**2, width) * 0.02)
        self.dream_level = Modulation(config)
        self.dream_norm = nn.LayerNorm(width)
        self.imagination = Imagination(width)

    # --- seeing -----------------------------------------------------------------------------

    def see(self, images: Tensor, cube: Tensor, place: Tensor) -> Seen:
        """images (B, C, S, S, 3) uint8, slots cube (B, 5) and place (B, 7) as probabilities -> Seen."""
        fine, coarse = self.stem(unit(images).flatten(0, 1))
        return Seen(self.points(coarse, 0, cube), self.points(coarse, 1, plate_of(place)), fine, coarse)

    def points(self, coarse: Tensor, kind: int, colour: Tensor) -> Tensor:
        """Where on the maps (B C, ...) a cube (kind 0) or plate (1) of that colour (B, 5) is: (B, 2 P C)."""
        answer = self.look(coarse, self.look.question(kind, colour))
        # Nothing was asked for: nothing is answered, rather than anything.
        return answer.unflatten(0, (-1, self.config.cameras)).flatten(1) * (1 - colour[:, :1])

    def context(self, images: Tensor, tokens: Tensor, state: Tensor) -> dict[str, Tensor]:
        """images uint8, tokens (B, W), state (B, 2 J) -> what acting and imagining need:

        kv (L, 2, B, h, T, d), hint (B, D), key (B, 6), place (B, 4) in the state's units, progress (B, 2:
        how far in 0..1, done as a logit), fine and coarse maps.
        """
        slots: Slots = self.reader(tokens)
        seen = self.see(images, slots.object, slots.place)
        key, place = (
            self.key(torch.cat([seen.cube, state], 1)),
            self.place(torch.cat([seen.plate, state], 1)),
        )
        kinds = torch.cat(
            [slots.place[:, :PLATES_FROM], slots.place[:, PLATES_FROM:].sum(1, keepdim=True)], 1
        )
        task = torch.cat([slots.verb, kinds], 1)
        thought = self.hint(torch.cat([self.advice(seen, state, key, place, slots, kinds), task], 1))

        extra = (self.points_token(seen.cube), self.points_token(seen.plate), self.state_token(state))
        image_tokens = self.image_tokens(seen.coarse).unflatten(0, (-1, self.config.cameras))
        x = torch.cat(
            [
                (image_tokens + self.camera_place).flatten(1, 2),
                torch.stack([*extra, self.task_token(task)], 1) + self.kind,
            ],
            1,
        )
        pairs = []
        for block in self.blocks:
            x, k, v = block(x, [], None)
            pairs.append(torch.stack([k, v]))
        progress = self.progress(torch.cat([thought, self.progress_norm(x.mean(1))], 1))
        return {
            "kv": torch.stack(pairs),
            "hint": self.hint_out(thought),
            "key": key,
            "place": place,
            "progress": torch.cat([progress[:, :1].sigmoid(), progress[:, 1:]], 1),
            "fine": seen.fine,
            "coarse": seen.coarse,
        }

    def advice(
        self, seen: Seen, state: Tensor, key: Tensor, place: Tensor, slots: Slots, kinds: Tensor
    ) -> Tensor:
        """What the hint is made of, besides the task: points, state, both poses, and how far they are."""
        # What the heads say is advice: acting must not bend it to its own ends.
        key = key.detach() * (1 - slots.object[:, :1])
        place = place.detach() * kinds[:, -1:]
        to_key = (key[:, :BODY] - state[:, :BODY]) * (1 - slots.object[:, :1])
        to_place = (place - state[:, :BODY]) * kinds[:, -1:]
        near = (torch.tanh(NEAR * to_key), torch.tanh(NEAR * to_place))
        return torch.cat([seen.cube, seen.plate, state, key, place, to_key, to_place, *near], 1)

    # --- acting -----------------------------------------------------------------------------

    def act(
        self, kv: Tensor, hint: Tensor, rows: Tensor, committed: Tensor, level: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Velocity (noise minus rows) of noisy rows (B N, K, J) at noise level (B N,), and the actions' kv.

        committed (B N, K) is 1 where a row is already decided and given clean; N draws of one context lie
        side by side.
        """
        x = self._row_tokens(hint, rows, committed)
        modulation = self.act_level(level)
        pairs = []
        for block, seen, level_of in zip(self.blocks, _layers(kv), modulation.unbind(), strict=True):
            x, k, v = block(x, [seen], level_of)
            pairs.append(torch.stack([k, v]))
        return self.act_out(self.act_norm(x)), torch.stack(pairs)

    def _row_tokens(self, hint: Tensor, rows: Tensor, committed: Tensor) -> Tensor:
        x = self.row_in(rows) + self.row_place + committed[..., None] * self.committed
        tokens: Tensor = x + _repeat(hint, len(rows))[:, None]
        return tokens

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
        x = self.patch_in(patches(noisy)) + self.patch_place
        modulation = self.dream_level(level)
        layers = zip(self.blocks, _layers(kv), _layers(act_kv), modulation.unbind(), strict=True)
        for block, seen, acted, level_of in layers:
            x, _, _ = block(x, [seen, acted], level_of)
        return self._frames(x, fine, coarse, images)

    def _frames(self, x: Tensor, fine: Tensor, coarse: Tensor, images: Tensor) -> Tensor:
        tokens = self.dream_norm(x).unflatten(1, (self.config.cameras, -1)).flatten(0, 1)
        frames: Tensor = self.imagination(tokens, coarse, fine, small(images).flatten(0, 1))
        return frames.unflatten(0, (-1, self.config.cameras))

    # --- both at once, for comparison -------------------------------------------------------

    def together(
        self,
        context: dict[str, Tensor],
        rows: Tensor,
        committed: Tensor,
        level: Tensor,
        images: Tensor,
        noisy: Tensor,
        video_level: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Velocity and clean future as of `act` and `dream`, but rows and patches see each other (the joint
        mask). Frames are made of the first len(images) observations only."""
        kv, act_level, dream_level = context["kv"], self.act_level(level), self.dream_level(video_level)
        x = self._row_tokens(context["hint"], rows, committed)
        count, video = x.shape[1], self.patch_in(patches(noisy)) + self.patch_place
        levels = torch.cat(
            [act_level.expand(-1, -1, -1, count, -1), dream_level.expand(-1, -1, -1, video.shape[1], -1)], 3
        )
        x = torch.cat([x, video], 1)
        for block, seen, level_of in zip(self.blocks, _layers(kv), levels.unbind(), strict=True):
            x, _, _ = block(x, [seen], level_of)
        few, maps = len(images), len(images) * self.config.cameras
        frames = self._frames(x[:few, count:], context["fine"][:maps], context["coarse"][:maps], images)
        return self.act_out(self.act_norm(x[:, :count])), frames


def plate_of(place: Tensor) -> Tensor:
    """Place slot (B, 7) -> the plate that is asked for (B, 5), none first."""
    return torch.cat([place[:, :PLATES_FROM].sum(1, keepdim=True), place[:, PLATES_FROM:]], 1)


def unit(images: Tensor) -> Tensor:
    """(..., S, S, 3) uint8 -> (..., 3, S, S) float, about unit scale around mid grey; floats pass (done)."""
    if images.is_floating_point():
        return images
    # Bytes become floats first: TensorRT does nothing else with bytes.
    return (images.float().movedim(-1, -3) - UNIT_GREY) / UNIT_LEVELS


def small(images: Tensor) -> Tensor:
    """(B, C, S, S, 3) uint8, or already in unit scale, -> (B, C, 3, 48, 48) in unit scale."""
    x = unit(images)
    return F.avg_pool2d(x.flatten(0, 1), x.shape[-1] // IMAGINED_PX).unflatten(0, x.shape[:2])
