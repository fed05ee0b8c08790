"""What LeRobot wants to know of every column of a dataset: its range, its mean, its quantiles."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wam.types import ImageArray

Array = NDArray[Any]

STATS_IMAGES = 32  # of an episode, evenly spread
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


def of_column(values: Array) -> dict[str, Array]:
    """Over the first axis; what is not there (NaN) does not count."""
    known = values if values.ndim > 1 else values[:, None]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a column that is all NaN
        found = {
            "min": np.nanmin(known, axis=0),
            "max": np.nanmax(known, axis=0),
            "mean": np.nanmean(known, axis=0),
            "std": np.nanstd(known, axis=0),
        } | {name: np.nanquantile(known, part, axis=0) for name, part in QUANTILES.items()}
    return found | {"count": np.array([len(values)])}


def of_images(images: ImageArray) -> dict[str, Array]:
    """A number a channel, shape (3, 1, 1), of 0..1."""
    step = max(1, len(images) // STATS_IMAGES)
    pixels = images[::step].reshape(-1, 3) / 255.0
    found = {name: value.reshape(3, 1, 1) for name, value in of_column(pixels).items() if name != "count"}
    return found | {"count": np.array([len(images[::step])])}


def joined(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Statistics of all episodes from those of each. Quantiles are their means, weighted: an estimate."""
    keys = {name.split("/")[1] for name in rows[0] if name.startswith("stats/")}
    whole: dict[str, dict[str, Any]] = {}
    for key in sorted(keys):
        of = {
            name: np.array([row[f"stats/{key}/{name}"] for row in rows], np.float64)
            for name in ("min", "max", "mean", "std", "count", *QUANTILES)
        }
        count = of["count"].reshape(-1, *([1] * (of["mean"].ndim - 1)))
        mean = (of["mean"] * count).sum(0) / count.sum()
        variance = ((of["std"] ** 2 + (of["mean"] - mean) ** 2) * count).sum(0) / count.sum()
        whole[key] = {
            "min": of["min"].min(0).tolist(),
            "max": of["max"].max(0).tolist(),
            "mean": mean.tolist(),
            "std": np.sqrt(variance).tolist(),
            "count": [int(of["count"].sum())],
        } | {name: ((of[name] * count).sum(0) / count.sum()).tolist() for name in QUANTILES}
    return whole
