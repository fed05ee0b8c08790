"""The engine: a model's three graphs, checked against its golden batch before anything moves.

The graphs (train/export.py) are `context` once a frame, `act` once a denoising step, `dream` when there is
time to imagine; backend.py runs them. No torch. Shapes: K rows, J joints, C cameras, F futures, S pixels a
side.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EngineError
from edge_wam.manifest import Manifest, verify_files
from edge_wam.think.backend import GRAPHS, Backend, OpenVino, Settings
from edge_wam.think.features import Float32, pixels
from edge_wam.types import ImageArray

ROW_TOLERANCE = 0.02  # standard deviations of a row; a tenth of a millimetre at the fingertip, about
FRAME_TOLERANCE = 0.05  # unit scale: three grey levels of 256
PROGRESS_TOLERANCE = 0.02  # of how far it is, and of the chance that it is done
QUESTIONS, NANS = ("images", "tokens", "state", "noise", "committed"), ("committed",)
FILES = (*(f"{name}.onnx" for name in GRAPHS), "weights.safetensors", "golden.safetensors")


class Context(NamedTuple):
    """What one observation means to the model; opaque outside this file. images (1, C, S, S, 3) uint8."""

    images: ImageArray
    kv: Any
    hint: Any
    fine: Any
    coarse: Any
    progress: Float32 | None = None  # (2,): how far the task is, and the chance that it is done; both 0..1


class Actions(NamedTuple):
    """rows (K, J) in standard deviations (features.targets turns them into radians), and what imagining
    them needs."""

    rows: Float32
    given: tuple[Context, Float32, Float32]


class Agreement(NamedTuple):
    """Largest difference to the golden answers: rows in standard deviations, frames in unit scale, progress
    in 0..1 (0 for a model that tells none)."""

    rows: float
    frames: float
    progress: float = 0.0


class Answered(NamedTuple):
    """What a golden batch asked, by name, and the rows (N, K, J) that were answered."""

    asked: Mapping[str, NDArray[Any]]
    rows: Float32

    def to(self, asked: Mapping[str, NDArray[Any]]) -> bool:
        """Whether these were the questions."""
        return all(
            np.array_equal(self.asked[name], asked[name], equal_nan=name in NANS) for name in QUESTIONS
        )


# In INT8 a sum that ends a hair's breadth on the other side of a half rounds to the next whole number, and
# the layers after it make something of that: engine and eager torch differ by about what rounding costs.
ALLOWED = {"int8": Agreement(rows=0.1, frames=0.25, progress=0.05)}


def tolerance(precision: str, arithmetic: str = "fp32") -> Agreement:
    """What an engine may differ from the golden answers of a model of this precision."""
    usual = Agreement(ROW_TOLERANCE, FRAME_TOLERANCE, PROGRESS_TOLERANCE)
    return ALLOWED.get(precision, usual if arithmetic == "fp32" else ALLOWED["int8"])


class Engine:
    """One model, loaded and verified. Raises EngineError if it cannot be trusted."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        threads: int = 1,
        arithmetic: str = "fp32",
        compiled: Path | None = None,
        runtime: str = "openvino",
    ) -> None:
        """The graphs in `folder`; compiled: where what was compiled of them before lies (think/store.py)."""
        if unsigned := [name for name in FILES if name not in manifest.files]:
            raise EngineError(
                f"the manifest of model '{manifest.name}' states no sha256 of {', '.join(unsigned)}: "
                f"nothing says that they belong to it; try: export the model again"
            )
        verify_files(folder, manifest)
        began_s = time.monotonic()
        self.manifest, self.settings = manifest, Settings(arithmetic, threads, runtime)
        self.backend: Backend = _backend(folder, self.settings, compiled)
        self.answered: Answered | None = None
        self.agreement = self.verify(folder / "golden.safetensors")
        self.load_s = time.monotonic() - began_s

    def context(self, images: ImageArray, tokens: NDArray[np.int64], state: Float32) -> Context:
        """images (C, S, S, 3) uint8, tokens (W,), state (2 J,) -> Context."""
        batch = np.ascontiguousarray(images[None])
        out = self.backend.run("context", {"images": batch, "tokens": tokens[None], "state": state[None]})
        progress = _chance(out["progress"][0]) if "progress" in out else None
        return Context(batch, out["kv"], out["hint"], out["fine"], out["coarse"], progress)

    def act(self, context: Context, noise: Float32, steps: int, committed: Float32 | None = None) -> Actions:
        """Denoise rows from noise (K, J) in `steps` steps; committed (K, J) holds decided rows, NaN where
        undecided."""
        keep = np.zeros(len(noise), np.float32)
        x = noise.astype(np.float32, copy=True)
        if committed is not None:
            keep = (~np.isnan(committed[:, 0])).astype(np.float32)
            x = np.where(keep[:, None] > 0, committed, x).astype(np.float32)
        free = (1 - keep)[:, None]
        for step in range(steps):
            velocity = self._act_step(context, x, keep, 1 - step / steps)["velocity"][0]
            x = x - velocity * free / np.float32(steps)
        return Actions(x, (context, x, keep))

    def imagine(self, actions: Actions, noise: Float32) -> ImageArray:
        """The frames (C, F, 48, 48, 3) uint8 that the cameras will see if these actions are carried out.

        One step from noise (C, F, 3, 48, 48): the mean of what may come.
        """
        return pixels(self._imagine(actions, noise))

    def _imagine(self, actions: Actions, noise: Float32) -> Float32:
        context, rows, keep = actions.given
        act_kv = self._act_step(context, rows, keep, 0.0)["act_kv"]
        inputs = {"kv": context.kv, "act_kv": act_kv, "fine": context.fine, "coarse": context.coarse}
        inputs |= {
            "images": context.images,
            "noisy": noise[None].astype(np.float32),
            "level": np.ones(1, np.float32),
        }
        frames: Float32 = self.backend.run("dream", inputs)["frames"][0]
        return frames

    def _act_step(self, context: Context, rows: Float32, keep: Float32, level: float) -> dict[str, Any]:
        inputs = {"kv": context.kv, "hint": context.hint, "rows": rows[None], "committed": keep[None]}
        return self.backend.run("act", inputs | {"level": np.array([level], np.float32)})

    def verify(self, path: Path) -> Agreement:
        """Run the golden batch in `path`. EngineError names both differences if one is too large."""
        from safetensors.numpy import load_file

        golden = load_file(path)
        if not len(golden["tokens"]):
            raise EngineError(f"{path} is empty: nothing says that the engine computes what was trained")
        rows_error = frames_error = progress_error = 0.0
        answers = []
        for index in range(len(golden["tokens"])):
            context = self.context(golden["images"][index], golden["tokens"][index], golden["state"][index])
            actions = self.act(
                context, golden["noise"][index], self.manifest.steps, golden["committed"][index]
            )
            answers.append(actions.rows)
            frames = self._imagine(actions, golden["video_noise"][index].astype(np.float32))
            rows_error = max(rows_error, _distance(actions.rows, golden["rows"][index]))
            frames_error = max(frames_error, _distance(frames, golden["frames"][index].astype(np.float32)))
            if context.progress is not None and "progress" in golden:
                truth = _chance(golden["progress"][index])
                progress_error = max(progress_error, _distance(context.progress, truth))
        self.answered = Answered({name: golden[name] for name in QUESTIONS}, np.stack(answers))
        found, allowed = (
            Agreement(rows_error, frames_error, progress_error),
            tolerance(self.manifest.precision, self.settings.arithmetic),
        )
        if not all(ours <= most for ours, most in zip(found, allowed, strict=True)):
            said = ", ".join(
                f"{name} differ by {ours:.3g} (allowed {most:.3g})"
                for name, ours, most in zip(Agreement._fields, found, allowed, strict=True)
            )
            raise EngineError(
                f"the engine does not reproduce the golden batch of model '{self.manifest.name}': {said}; "
                f"nothing will be moved. Try: another version of openvino"
            )
        return found


def _backend(folder: Path, settings: Settings, compiled: Path | None) -> Backend:
    if settings.by_openvino:
        return OpenVino(folder, settings, compiled)
    try:
        from edge_wam.think import torch_backend
    except ImportError as error:
        raise EngineError(f"the engine '{settings.runtime}' needs torch ({error})") from None
    if settings.runtime.startswith("torch"):
        device = "cuda" if settings.runtime == "torch-cuda" else "cpu"
        return torch_backend.eager(folder, device, settings.arithmetic == "fp16", settings.threads)
    if compiled is None:
        raise EngineError("a TensorRT engine is compiled before it is run; try: edge-wam compile")
    return torch_backend.TensorRt(compiled, settings.runtime == "tensorrt-cudagraph")


def _chance(progress: Float32) -> Float32:
    """What the graph says, how far and a logit (2,), -> how far and the chance of being done."""
    far, done = progress
    return np.array([far, 1 / (1 + np.exp(-done))], np.float32)


def _distance(ours: Float32, theirs: Float32) -> float:
    """Largest difference; infinite where either is not finite."""
    worst = float(np.abs(ours - theirs).max())
    return worst if np.isfinite(worst) else float("inf")
