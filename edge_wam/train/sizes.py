"""`edge-wam bench sizes`: how a thought grows with the model, from nano to 1.3B, beside what limits it here.

Each configuration is built with random weights (what is multiplied by what does not change the time),
exported, and run by OpenVINO as the robot runs it: one `context` and one `act`, the one-step student's
thought. Beside the median stand the two limits of this machine, measured by think/probe.py: every
multiplication at the peak, every weight read once at the memory's bandwidth.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError
from edge_wam.think import probe
from edge_wam.think.backend import Settings, arithmetics, openvino_package, properties
from edge_wam.think.machine import machine
from edge_wam.train.graphs import graphs
from edge_wam.train.model import CONFIGS, Config, WorldActionModel
from edge_wam.train.rooflines import SIZES, STEP, Size, count

ENOUGH_S, AT_LEAST = 5.0, 3  # a size is asked for so long, and so many times
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


class Point(NamedTuple):
    """One size in one arithmetic. The two limits are the least that this machine would need."""

    config: str
    parameters: int
    gflop: float
    arithmetic: str
    ms: NDArray[np.float64]
    compute_ms: float
    memory_ms: float
    build_s: float

    @property
    def p50_ms(self) -> float:
        return float(np.median(self.ms))

    @property
    def share(self) -> float:
        """Of the limit that counts, how much is reached."""
        return max(self.compute_ms, self.memory_ms) / self.p50_ms


class _Thought:
    """A size, compiled: callable, one thought a call."""

    def __init__(self, config: Config, settings: Settings) -> None:
        openvino = openvino_package()
        torch.manual_seed(0)
        model = WorldActionModel(config).eval().requires_grad_(False)
        made, self.inputs = graphs(model), _observation(config)
        with torch.no_grad():
            context = made["context"](*self.inputs["context"])
        self.inputs["act"] = (context[0], context[1], *self.inputs["act"])
        core, self._requests = openvino.Core(), {}
        for name in STEP:
            # By way of a file: OpenVINO 2026.4 crashes on what it makes of torch's program in memory.
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{name}.onnx"
                program = torch.onnx.export(made[name], self.inputs[name], dynamo=True, verbose=False)
                assert program is not None
                program.save(path, external_data=True)
                del program
                compiled = core.compile_model(core.read_model(path), "CPU", properties(settings))
            self._requests[name] = compiled.create_infer_request()

    def __call__(self) -> None:
        seen = self._requests["context"].infer(
            [x.numpy() for x in self.inputs["context"]], share_inputs=True, share_outputs=True
        )
        acting = [seen[0], seen[1], *(x.numpy() for x in self.inputs["act"][2:])]
        self._requests["act"].infer(acting, share_inputs=True, share_outputs=True)


def _observation(config: Config) -> dict[str, tuple[torch.Tensor, ...]]:
    """What the graphs are asked: random pictures, an empty command, noise."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, config.cameras, config.image_px, config.image_px, 3)
    return {
        "context": (
            torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
            torch.zeros(1, config.words, dtype=torch.int64),
            torch.zeros(1, 2 * config.joints),
        ),
        "act": (
            torch.randn(1, config.rows, config.joints, generator=generator),
            torch.zeros(1, config.rows),
            torch.ones(1),
        ),
    }


def measure(name: str, settings: Settings, bandwidth_gb_s: float, peak_gflop_s: float) -> Point:
    """Build a size, ask it for a while, and say what it took."""
    size: Size = count(name, CONFIGS[name])
    began_s = time.perf_counter()
    thought = _Thought(CONFIGS[name], settings)
    build_s = time.perf_counter() - began_s
    thought()
    taken: list[float] = []
    while len(taken) < AT_LEAST or sum(taken) < ENOUGH_S:
        began_s = time.perf_counter()
        thought()
        taken.append(time.perf_counter() - began_s)
    gflop = sum(size.graphs[graph].flops for graph in STEP) / 1e9
    once = sum(size.numel[key] for key in frozenset().union(*(size.graphs[graph].weights for graph in STEP)))
    return Point(
        name,
        size.parameters,
        gflop,
        settings.arithmetic,
        1e3 * np.array(taken),
        1e3 * gflop / peak_gflop_s,
        1e3 * BYTES[settings.arithmetic] * once / 1e9 / bandwidth_gb_s,
        build_s,
    )


# --- telling --------------------------------------------------------------------------------


def table(points: Sequence[Point]) -> str:
    """Markdown."""
    rows = [
        "| size | parameters | GFLOP | arithmetic | p50 ms | p99 ms | compute limit ms | memory limit ms "
        "| reached | build s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {p.config} | {p.parameters:,} | {p.gflop:.2f} | {p.arithmetic} | {p.p50_ms:.2f} | "
        f"{np.percentile(p.ms, 99):.2f} | {p.compute_ms:.2f} | {p.memory_ms:.2f} | {100 * p.share:.0f} % | "
        f"{p.build_s:.1f} |"
        for p in points
    ]
    return "\n".join(rows)


def plot(points: Sequence[Point], path: Path) -> None:
    """Latency against parameters, with the limits below (PNG)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for arithmetic in dict.fromkeys(p.arithmetic for p in points):
        ours = [p for p in points if p.arithmetic == arithmetic]
        x = [p.parameters / 1e6 for p in ours]
        (line,) = axes.plot(x, [p.p50_ms for p in ours], "o-", label=f"{arithmetic}, measured (p50)")
        limits = [max(p.compute_ms, p.memory_ms) for p in ours]
        axes.plot(x, limits, ":", color=line.get_color(), label=f"{arithmetic}, this machine's limit")
        for p in ours:
            axes.annotate(p.config, (p.parameters / 1e6, p.p50_ms), (4, -10), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="parameters, millions", ylabel="one thought, ms")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)


def figures(points: Sequence[Point]) -> dict[str, Any]:
    """For the JSON line."""
    return {
        "processor": machine()["processor"],
        "sizes": [
            {
                "config": p.config,
                "parameters": p.parameters,
                "gflop": round(p.gflop, 3),
                "arithmetic": p.arithmetic,
                "p50_ms": round(p.p50_ms, 3),
                "compute_limit_ms": round(p.compute_ms, 3),
                "memory_limit_ms": round(p.memory_ms, 3),
            }
            for p in points
        ],
    }


def main(threads: int = 1, only: Sequence[str] | None = None, picture: Path | None = None) -> int:
    """The command. EdgeWamError if there is no such size."""
    from tqdm import tqdm

    only = only or SIZES
    if unknown := [name for name in only if name not in CONFIGS]:
        raise EdgeWamError(f"--only: expected sizes among {', '.join(CONFIGS)}; found {', '.join(unknown)}")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # packages that are not installed

    wanted = dict.fromkeys(("fp32", arithmetics()[-1]))  # the plainest and the fastest
    bandwidth, points = probe.bandwidth_gb_s(), []
    peaks = {name: probe.peak_gflop_s(Settings(name, threads)) for name in wanted}
    for name in tqdm(only, unit="size", desc="sizes"):
        for arithmetic in wanted:
            words = name, Settings(arithmetic, threads), bandwidth, peaks[arithmetic]
            # Each in a process of its own, for OpenVINO may be killed by one (see think/backend.py).
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                try:
                    points.append(pool.submit(measure, *words).result())
                except BrokenProcessPool:
                    tqdm.write(f"{name} in {words[1]} is left out: OpenVINO was killed by it")
    print(
        f"{machine()['processor']}, {threads} thread(s), load {os.getloadavg()[0]:.1f}; "
        f"{bandwidth:.1f} GB/s, "
        + ", ".join(f"{peak:.0f} GFLOP/s in {name}" for name, peak in peaks.items())
        + "\nA thought is one context and one act, network only, random weights.\n"
    )
    print(f"{table(points)}\n")
    if picture is not None:
        plot(points, picture)
    print(json.dumps(figures(points)))
    return 0
