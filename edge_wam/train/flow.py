"""Flow matching of actions and of future frames: losses for training, samplers for judging.

Conventions: s = 0 is clean, s = 1 is noise; x_s = (1 - s) x + s e; the actions' velocity is e - x.
The future is predicted clean, as the frame itself; its noisy input is the *change* to the present
frame (most pixels do not change), and its loss is weighted by 1 / max(s, .25)^2, the velocity's weight.

Noise is drawn on the CPU, by the generator given, and sent where the model is: the same on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edge_wam.train.dataset import Batch
from edge_wam.train.model import WorldActionModel, small

COMMITTED_MAX = 6


def committed_mask(
    count: int, rows: int, generator: torch.Generator, committed_max: int = COMMITTED_MAX
) -> Tensor:
    """(count, rows): 1 for the first d rows; d = 0 half the time, else uniform up to committed_max
    (training-time real-time chunking, arXiv 2512.05964; 0 does without)."""
    if not committed_max:
        return torch.zeros(count, rows)
    length = torch.randint(1, committed_max + 1, (count,), generator=generator)
    length = length * (torch.rand(count, generator=generator) < 0.5)
    return (torch.arange(rows)[None] < length[:, None]).float()


def video_level(count: int, generator: torch.Generator) -> Tensor:
    """Noise level of the future: Beta(7, 1) for 70 % (nearly pure noise: what one step will see), else
    uniform."""
    uniform = torch.rand(count, generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.7, uniform ** (1 / 7), uniform)


def action_loss(
    model: WorldActionModel,
    context: dict[str, Tensor],
    rows: Tensor,
    draws: int,
    generator: torch.Generator,
    clean: bool,
    committed_max: int = COMMITTED_MAX,
) -> tuple[Tensor, Tensor]:
    """Flow matching of the rows (B, K, J), `draws` draws of noise a context -> (loss, kv of the last draw).

    clean: the last draw is mostly noiseless (what the video stream sees when it imagines a decided action).
    """
    batch = len(rows)
    x = rows.repeat_interleave(draws, 0)
    level = torch.sigmoid(torch.randn(len(x), generator=generator))
    if clean:
        last = torch.arange(len(x)) % draws == draws - 1
        level = torch.where(last & (torch.rand(len(x), generator=generator) < 0.6), torch.zeros(()), level)
    noise = torch.randn(x.shape, generator=generator)
    keep = committed_mask(len(x), x.shape[1], generator, committed_max)
    level, noise, keep = (drawn.to(x.device) for drawn in (level, noise, keep))
    s = level[:, None, None] * (1 - keep[..., None])
    velocity, kv = model.act(context["kv"], context["hint"], (1 - s) * x + s * noise, keep, level)
    weight = ((1 - keep) * (level > 0)[:, None])[..., None]
    error = (velocity - (noise - x)).square() * weight
    kv_last = kv.unflatten(2, (batch, draws))[:, :, :, -1]
    return error.sum() / (weight.sum() * x.shape[-1]).clamp(min=1), kv_last


def video_loss(
    model: WorldActionModel,
    context: dict[str, Tensor],
    act_kv: Tensor,
    batch: Batch,
    generator: torch.Generator,
) -> Tensor:
    """Clean-frame prediction of the future, on the contexts that are imaginable."""
    present = small(batch.images)[:, :, None]
    change = batch.future - present
    level = video_level(len(change), generator).to(change.device)
    s = level[:, None, None, None, None, None]
    noisy = (1 - s) * change + s * torch.randn(change.shape, generator=generator).to(change.device)
    frames = model.dream(
        context["kv"], act_kv, context["fine"], context["coarse"], batch.images, noisy, level
    )
    return frame_error(frames, change, batch, level)


def frame_error(frames: Tensor, change: Tensor, batch: Batch, level: Tensor) -> Tensor:
    """Squared error of clean frames, on the contexts that are imaginable; what moves counts five times."""
    moving = (change.abs().amax(3, keepdim=True) > 0.15).float()
    error = (frames - batch.future).square() * (1.0 + 4.0 * moving)
    weight = batch.imaginable.float() / level.clamp(min=0.25).square()
    return (error.mean((1, 2, 3, 4, 5)) * weight).sum() / weight.sum().clamp(min=1e-6)


def together_loss(
    model: WorldActionModel,
    context: dict[str, Tensor],
    batch: Batch,
    pictures: int,
    generator: torch.Generator,
    committed_max: int = COMMITTED_MAX,
) -> tuple[Tensor, Tensor | None]:
    """Both losses of the joint mask, where actions see the noisy future too: one draw of each a context,
    noise levels apart. Frames are made (and judged) of the first `pictures` observations only."""
    rows, present = batch.rows, small(batch.images)[:, :, None]
    change = batch.future - present
    level = torch.sigmoid(torch.randn(len(rows), generator=generator))
    video = video_level(len(rows), generator)
    noise, video_noise = (torch.randn(x.shape, generator=generator) for x in (rows, change))
    keep = committed_mask(len(rows), rows.shape[1], generator, committed_max)
    level, video, noise, video_noise, keep = (
        x.to(rows.device) for x in (level, video, noise, video_noise, keep)
    )
    s, v = level[:, None, None] * (1 - keep[..., None]), video[:, None, None, None, None, None]
    noisy = (1 - v) * change + v * video_noise
    velocity, frames = model.together(
        context, (1 - s) * rows + s * noise, keep, level, batch.images[:pictures], noisy, video
    )
    weight = (1 - keep)[..., None]
    error = ((velocity - (noise - rows)).square() * weight).sum() / (weight.sum() * rows.shape[-1]).clamp(
        min=1
    )
    if not pictures:
        return error, None
    return error, frame_error(frames, change[:pictures], batch.part(0, pictures), video[:pictures])


@torch.no_grad()
def sample_together(
    model: WorldActionModel,
    context: dict[str, Tensor],
    images: Tensor,
    noise: Tensor,
    video_noise: Tensor,
    steps: int,
    committed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rows (B, K, J) and the future (B, C, F, 3, 48, 48) of the joint mask, denoised side by side; committed
    as for `sample_actions`."""
    present, change = small(images)[:, :, None], video_noise
    x, keep = _begun(noise, committed)
    for step in range(steps):
        level = torch.full((len(x),), 1 - step / steps, device=x.device)
        velocity, frames = model.together(context, x, keep, level, images, change, level)
        x = x - velocity * (1 - keep[..., None]) / steps
        change = change + (frames - present - change) / (steps - step)
    return x, present + change


def _begun(noise: Tensor, committed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where denoising begins (B, K, J), and 1 for the rows (B, K) that are decided (not NaN)."""
    if committed is None:
        return noise, torch.zeros_like(noise[..., 0])
    keep = (~committed[..., 0].isnan()).float()
    return torch.where(keep[..., None] > 0, committed.nan_to_num(), noise), keep


@torch.no_grad()
def sample_actions(
    model: WorldActionModel,
    context: dict[str, Tensor],
    noise: Tensor,
    steps: int,
    committed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Euler from noise (B, K, J) to rows, in `steps` steps -> (rows, kv of the finished rows).

    committed (B, K, J) holds decided rows, NaN where undecided.
    """
    x, keep = _begun(noise, committed)
    for step in range(steps):
        level = torch.full((len(x),), 1 - step / steps, device=x.device)
        velocity, _ = model.act(context["kv"], context["hint"], x, keep, level)
        x = x - velocity * (1 - keep[..., None]) / steps
    _, kv = model.act(context["kv"], context["hint"], x, keep, torch.zeros_like(x[:, 0, 0]))
    return x, kv


@torch.no_grad()
def sample_video(
    model: WorldActionModel,
    context: dict[str, Tensor],
    act_kv: Tensor,
    images: Tensor,
    noise: Tensor,
    steps: int,
) -> Tensor:
    """The future (B, C, F, 3, 48, 48) in unit scale, from noise of that shape; one step: the mean."""
    present = small(images)[:, :, None]
    x = noise
    for step in range(steps):
        s = 1 - step / steps
        level = torch.full((len(x),), s, device=x.device)
        frames = model.dream(context["kv"], act_kv, context["fine"], context["coarse"], images, x, level)
        change = frames - present
        x = x + (change - x) / (steps - step)  # Euler on the straight line to the predicted clean change
    return present + x


@torch.no_grad()
def imagination_error(frames: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Squared error on moving pixels, (F,) each: of `frames`, and of 'nothing changes'."""
    present = small(batch.images)[:, :, None]
    change = batch.future - present
    moving = (change.abs().amax(3, keepdim=True) > 0.15).float() * batch.imaginable[
        :, None, None, None, None, None
    ]
    total = moving.sum((0, 1, 3, 4, 5)).clamp(min=1) * 3
    still = (change.square() * moving).sum((0, 1, 3, 4, 5)) / total
    return ((frames - batch.future).square() * moving).sum((0, 1, 3, 4, 5)) / total, still
