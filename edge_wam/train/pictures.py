"""Pictures of a training run: what was imagined beside what came, and the curves of the losses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from torch import Tensor

from edge_wam.think.features import pixels
from edge_wam.train.dataset import Batch
from edge_wam.train.model import small


def imagination_sheet(path: Path, batch: Batch, frames: Tensor, count: int = 8) -> None:
    """A sheet of `count` rows: for each camera the present, then imagined and true for each future frame."""
    from PIL import Image

    moving = (batch.future - small(batch.images)[:, :, None]).abs().mean((1, 2, 3, 4, 5)) * batch.imaginable
    rows = []
    for index in moving.argsort(descending=True)[:: max(1, len(moving) // (3 * count))][:count]:
        tiles = []
        for camera in range(frames.shape[1]):
            tiles.append(pixels(small(batch.images[index : index + 1])[0, camera].numpy()))
            for future in range(frames.shape[2]):
                tiles += [pixels(x[index, camera, future].numpy()) for x in (frames, batch.future)]
        rows.append(
            np.hstack([np.pad(tile, ((1, 1), (1, 1), (0, 0)), constant_values=255) for tile in tiles])
        )
    sheet = Image.fromarray(np.vstack(rows))
    sheet.resize((sheet.width * 3, sheet.height * 3), Image.Resampling.NEAREST).save(path)


def curves(log: Path, path: Path) -> None:
    """Every figure of a log.jsonl over the steps, on one page."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    series: dict[str, list[tuple[float, float]]] = {}
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        for name, value in entry.items():
            if name not in ("step", "seconds"):
                series.setdefault(name, []).append((entry["step"], value))
    figure, axes = pyplot.subplots(
        2, (len(series) + 1) // 2, figsize=(3.2 * ((len(series) + 1) // 2), 5.5), squeeze=False
    )
    for axis, (name, points) in zip(axes.flat, series.items(), strict=False):
        axis.plot(*np.array(points).T)
        axis.set(title=name, xlabel="step")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
