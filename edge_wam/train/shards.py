"""Shards on disk: small arrays in an .npz, camera frames beside it in an .npy that is read where it lies.

A shard of a kind ("episodes", "scenes") is named by its first seed. Both files are written beside and
renamed, frames first: so the .npz says that the shard is whole, and a stopped generator leaves nothing
that would be read. Frames are memory-mapped: what is trained on may be larger than the memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError
from edge_wam.types import ImageArray

Arrays = dict[str, NDArray[Any]]


def _paths(folder: Path, kind: str, seed: int) -> tuple[Path, Path]:
    return folder / f"{kind}-{seed}.npz", folder / f"{kind}-{seed}.frames.npy"


def save(folder: Path, kind: str, seed: int, frames: ImageArray, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one shard: frames (n, C, S, S, 3) uint8 and the arrays that go with them."""
    if frames.dtype != np.uint8:
        raise EdgeWamError(f"frames of a shard are uint8, not {frames.dtype}; try: frames.astype('uint8')")
    folder.mkdir(parents=True, exist_ok=True)
    whole, pictures = _paths(folder, kind, seed)
    beside = folder / f"{kind}-{seed}.{os.getpid()}.part"
    with beside.open("wb") as file:
        np.save(file, np.ascontiguousarray(frames))
    beside.rename(pictures)
    with beside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    beside.rename(whole)


def exists(folder: Path, kind: str, seed: int) -> bool:
    """Whether this shard is there and whole."""
    return all(path.is_file() for path in _paths(folder, kind, seed))


class Frames:
    """The frames of many shards as one array (n, C, S, S, 3) that stays on disk."""

    def __init__(self, maps: list[ImageArray]) -> None:
        self._maps = maps
        self._end = np.cumsum([len(part) for part in maps])
        self.shape: tuple[int, ...] = (int(self._end[-1]), *maps[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: NDArray[Any] | int) -> ImageArray:
        """Frames gathered by an index of any shape (...): (..., C, S, S, 3), copied. IndexError beyond."""
        wanted = np.asarray(index)
        flat = wanted.ravel()
        if len(flat) and (flat.min() < 0 or flat.max() >= len(self)):
            raise IndexError(f"frames {flat.min()}..{flat.max()} asked for; there are 0..{len(self) - 1}")
        out = np.empty((len(flat), *self.shape[1:]), np.uint8)
        order = np.argsort(flat, kind="stable")  # one pass a shard, in the order of the file
        ordered = flat[order]
        cuts = np.searchsorted(ordered, self._end)
        begin = 0
        for part, end, cut in zip(self._maps, self._end, cuts, strict=True):
            if cut > begin:
                out[order[begin:cut]] = part[ordered[begin:cut] - (end - len(part))]
            begin = cut
        gathered: ImageArray = out.reshape(*wanted.shape, *self.shape[1:])
        return gathered


def load(folder: Path, kind: str) -> tuple[Frames, Arrays]:
    """Every whole shard of a kind, in order of seed: (frames, arrays joined end to end).

    Raises EdgeWamError if there is none, or if shards disagree in what they hold.
    """
    paths = sorted(folder.glob(f"{kind}-*.npz"), key=lambda path: int(path.stem.split("-")[-1]))
    if not paths:
        raise EdgeWamError(
            f"no {kind} in {folder}; try: python -m edge_wam.train.data {kind} --count 1000 --out {folder}"
        )
    maps: list[ImageArray] = []
    parts: list[Arrays] = []
    for path in paths:
        pictures = path.with_suffix(".frames.npy")
        try:
            maps.append(np.load(pictures, mmap_mode="r", allow_pickle=False))
            with np.load(path, allow_pickle=False) as file:
                parts.append({name: file[name] for name in file.files})
        except (OSError, ValueError) as error:
            raise EdgeWamError(
                f"shard {path.stem} in {folder} cannot be read ({error}); try: delete it and make it again"
            ) from None
        if parts[-1].keys() != parts[0].keys() or maps[-1].shape[1:] != maps[0].shape[1:]:
            raise EdgeWamError(
                f"shard {path.stem} holds {', '.join(sorted(parts[-1]))} and frames {maps[-1].shape[1:]}, "
                f"{paths[0].stem} holds {', '.join(sorted(parts[0]))} and frames {maps[0].shape[1:]}; "
                f"try: keep shards of one version in {folder}"
            )
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Frames(maps), joined
