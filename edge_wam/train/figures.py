"""What a model is worth on data that it was not trained on, before anything moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_wam.think.features import Features, Normalisation
from edge_wam.train import flow
from edge_wam.train.dataset import Batch, Episodes, Seeing
from edge_wam.train.model import BODY, Seen, WorldActionModel
from edge_wam.train.parallel import device_of, moved
from edge_wam.train.pictures import imagination_sheet
from edge_wam.train.text import examination, is_read

LOOKED_AT = 256  # scenes or recordings


@torch.no_grad()
def reading(model: WorldActionModel) -> dict[str, float]:
    """Share of phrases that are read right: trained ones, held-out phrasings, held-out pairs."""
    groups = ("training", "held_out_phrasing", "held_out_pair")
    exams, device = {name: examination(name) for name in groups}, device_of(model)
    return {
        f"read_{name}": round(
            float(is_read(model.reader.logits(tokens.to(device)), slots.to(device)).float().mean()), 5
        )
        for name, (tokens, slots) in exams.items()
    }


def poses(model: WorldActionModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """The grasp (B, 6) and the place (B, 4) that the heads see, asked by the labels' slots."""
    seen: Seen = model.see(batch.images, batch.slots.object, batch.slots.place)
    return (
        model.key(torch.cat([seen.cube, batch.state], 1)),
        model.place(torch.cat([seen.plate, batch.state], 1)),
    )


@torch.no_grad()
def seeing(model: WorldActionModel, data: Seeing, features: Features) -> dict[str, float]:
    """Errors of both poses on single scenes, and (moving_...) on recordings of episodes."""
    rng, scales = np.random.default_rng(0), features.normalisation
    still = moved(data.scenes.batch(data.scenes.held_out[:LOOKED_AT], features, rng), device_of(model))
    found = pose_error(*poses(model, still), still, scales)
    if data.episodes is not None:
        index = data.episodes.draw(LOOKED_AT, rng, data.episodes.held_out)
        moving = moved(data.episodes.batch(index, features, rng, video=False), device_of(model))
        found |= pose_error(*poses(model, moving), moving, scales, "moving_")
    return found


@torch.no_grad()
def acting(
    model: WorldActionModel,
    data: Episodes,
    features: Features,
    sheet: Path,
    coupling: str = "action_centric",
) -> dict[str, float]:
    """Errors of rows (standard deviations; ten steps and one), of imagined frames (how many times less than
    of 'nothing changes'), of progress and of both poses; and a sheet of imagined frames."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    device = device_of(model)
    batch = moved(data.batch(data.draw(LOOKED_AT, rng, data.held_out), features, rng, video=True), device)
    context = model.context(batch.images, batch.tokens, batch.state)
    noise = torch.randn(batch.rows.shape, generator=generator).to(device)
    start = torch.randn(batch.future.shape, generator=generator).to(device)
    if coupling == "joint":
        loss, _ = flow.together_loss(model, context, batch, 0, generator)
        rows, _ = flow.sample_together(model, context, batch.images, noise, start, 10)
        naive, frames = flow.sample_together(model, context, batch.images, noise, start, 1)
    else:
        loss, _ = flow.action_loss(model, context, batch.rows, 2, generator, clean=False)
        rows, act_kv = flow.sample_actions(model, context, noise, 10)
        naive, _ = flow.sample_actions(model, context, noise, 1)
        frames = flow.sample_video(model, context, act_kv, batch.images, start, 1)
    error, still_error = flow.imagination_error(frames, batch)
    ratio = (still_error / error.clamp(min=1e-9)).tolist()
    cpu = torch.device("cpu")
    imagination_sheet(sheet, moved(batch, cpu), moved(frames, cpu))
    far, done = context["progress"][:, 0], context["progress"][:, 1] > 0
    truth = batch.progress[:, 1] > 0.5
    found = {
        "held_out_action": float(loss),
        "row_error": float((rows - batch.rows).abs().mean()),
        "row_error_1": float((naive - batch.rows).abs().mean()),
        "imagined_ratio_half": ratio[0],
        "imagined_ratio_end": ratio[1],
        "far_error": float((far - batch.progress[:, 0]).abs().mean()),
        "done_missed": float((truth & ~done).sum() / truth.sum().clamp(min=1)),
        "done_early": float((~truth & done).sum() / (~truth).sum().clamp(min=1)),
    }
    rounded = {name: round(value, 5) for name, value in found.items()}
    return rounded | pose_error(context["key"], context["place"], batch, features.normalisation)


def pose_error(
    key: Tensor, place: Tensor, batch: Batch, scales: Normalisation, prefix: str = ""
) -> dict[str, float]:
    """Median and 90th percentile error of the body joints of both poses, and the median of the grasp's roll,
    in radians, where there are labels."""
    std = torch.from_numpy(scales.position_std_rad[:BODY].astype(np.float32)).to(key.device)
    found: dict[str, float] = {}
    for name, ours, truth in (("key", key, batch.key), ("place", place, batch.place)):
        error = ((ours[:, :BODY] - truth[:, :BODY]).abs() * std).flatten()
        if len(error := error[~error.isnan()]):
            found[f"{prefix}{name}_p50_rad"] = round(float(error.median()), 5)
            found[f"{prefix}{name}_p90_rad"] = round(float(error.quantile(0.9)), 5)
    angle = torch.atan2(key[:, 5], key[:, 4]) - torch.atan2(batch.key[:, 5], batch.key[:, 4])
    roll = torch.atan2(angle.sin(), angle.cos()).abs() / 4
    if len(roll := roll[~roll.isnan()]):
        found[f"{prefix}roll_p50_rad"] = round(float(roll.median()), 5)
    return found
