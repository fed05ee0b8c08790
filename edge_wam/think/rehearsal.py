"""Real observations to time and to try an engine with: the golden batch, as cameras would deliver it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_wam.manifest import Manifest
from edge_wam.think.engine import Engine
from edge_wam.think.policy import WamPolicy
from edge_wam.types import FloatArray, Frame, Observation


def observations(folder: Path, manifest: Manifest) -> tuple[Observation, ...]:
    """The golden batch's observations: whole frames, uint8."""
    from safetensors.numpy import load_file

    golden = load_file(folder / "golden.safetensors")
    seen: list[Observation] = []
    for images in golden["images"]:
        frames = []
        for view, image in zip(manifest.cameras, images, strict=True):
            whole = np.full((view.height, view.width, 3), 127, np.uint8)
            top, left = (view.height - view.crop_px) // 2, (view.width - view.crop_px) // 2
            large = image.repeat(view.box_px, 0).repeat(view.box_px, 1)
            whole[top : top + view.crop_px, left : left + view.crop_px] = large
            frames.append(Frame(view.name, whole, 0.0, 0))
        command = manifest.commands[len(seen) % len(manifest.commands)].tokens
        position = manifest.normalisation.position_mean_rad + 0.01 * len(seen)
        seen.append(Observation(tuple(frames), position, position + 0.01, command, 0.0))
    return tuple(seen)


def thinker(engine: Engine, steps: int = 0) -> Callable[[Observation], FloatArray]:
    """An engine exactly as the robot runs it, from frames to targets (K, J); nothing is decided yet."""
    policy, nothing = WamPolicy(engine.manifest, engine, steps), np.zeros((0, 0))
    return lambda observation: policy.infer(observation, nothing)


_Shown = TypeVar("_Shown")


def interleaved(
    contestants: Mapping[str, Callable[[_Shown], object]],
    shown: Sequence[_Shown],
    rounds: int,
    tell: Callable[[int], object] = lambda done: None,
) -> dict[str, NDArray[np.float64]]:
    """Seconds (rounds,) a call of each, turn by turn, so that a busy moment hits everybody. The first calls,
    which allocate, are not counted; tell(n) is called after each round."""
    for contestant in contestants.values():
        for observation in shown[:2]:
            contestant(observation)
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name, contestant in contestants.items():
            began_s = time.perf_counter()
            contestant(shown[turn % len(shown)])
            taken[name].append(time.perf_counter() - began_s)
        tell(turn + 1)
    return {name: np.array(seconds) for name, seconds in taken.items()}
