"""`edge-wam bench engine`: every engine this machine can run, in one run, beside what it could do at best.

All take turns on real frames, from frames to joint targets, so trust the ratios. Beside the latencies: which
share of a thought is the network's (the rest is cropping, scaling and copying), how much of the processor's
peak and of its memory's bandwidth that share reaches (both measured by probe.py), how long a fresh process
takes until it is ready and how much memory it then holds, and energy, where the machine tells (energy.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError, EngineError
from edge_wam.manifest import Manifest
from edge_wam.think import compile as compiling
from edge_wam.think import energy, gate, probe, store
from edge_wam.think.backend import OpenVino, Settings
from edge_wam.think.compile import Candidate
from edge_wam.think.engine import Engine
from edge_wam.think.machine import machine
from edge_wam.think.policy import features_of
from edge_wam.think.rehearsal import interleaved, observations
from edge_wam.types import FloatArray, Observation

WORSE = 1.15  # times slower against the reference than the baseline says: more than noise
FORMAT = 1
ENERGY_THOUGHTS, ENERGY_S = 50, 2.0  # at least so many, for so long: rails are sampled


class Figures(NamedTuple):
    """One engine. network_ms is the graphs alone (median); share_* of the limits and joules_thought are NaN
    where unknown."""

    label: str
    ms: NDArray[np.float64]
    network_ms: float
    share_compute: float
    share_memory: float
    ready_s: float
    busy_s: float
    resident_mb: float
    joules_thought: float
    verdict: gate.Verdict
    why: str


class Parts:
    """A policy whose graphs are timed apart from the rest."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.features = engine, features_of(engine.manifest)
        shape = (engine.manifest.rows, len(engine.manifest.joints))
        self.noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        self.network_s: list[float] = []

    def __call__(self, observation: Observation) -> FloatArray:
        """Targets (K, J)."""
        features, position = self.features, observation.position_rad
        images = features.images([frame.image for frame in observation.frames])
        tokens = features.tokens(observation.command)
        state = features.state(position, observation.sent_rad)
        began_s = time.perf_counter()
        context = self.engine.context(images, tokens, state)
        rows = self.engine.act(context, self.noise, self.engine.manifest.steps).rows
        self.network_s.append(time.perf_counter() - began_s)
        return features.targets(rows, position)


# --- measuring ------------------------------------------------------------------------------


def measure(folder: Path, threads: int, rounds: int, tell: Callable[[int], object]) -> list[Figures]:
    """Every candidate of `edge-wam compile`, and eager torch where it is installed."""
    every = store.variants(folder)
    base, golden = folder.resolve().parent, folder / "golden.safetensors"
    shown = observations(folder, every[folder.name])
    runnable = [*compiling.candidates(every, "", threads), *_eager(folder.name)]
    stored, where = _stored(folder, every)
    wanted = [one for one in runnable if not one.settings.runtime.startswith("tensorrt") or one == stored]
    engines: dict[str, tuple[Candidate, Engine, gate.Verdict]] = {}
    for one in wanted:
        try:
            one, engine = compiling.opened(one, base, every[one.model], where if one == stored else None)
        except EngineError as error:
            print(f"{one.label} is left out: {error}", file=sys.stderr)
            continue
        engines[one.label] = one, engine, gate.examine(engine, golden)
    parts = {label: Parts(engine) for label, (_, engine, _) in engines.items()}
    seconds = interleaved(parts, shown, rounds, tell)
    bandwidth = probe.bandwidth_gb_s()
    found = []
    for label, (one, engine, verdict) in engines.items():
        network_s = float(np.median(parts[label].network_s[-rounds:]))
        found.append(
            Figures(
                label,
                1e3 * seconds[label],
                1e3 * network_s,
                *_shares(engine.manifest, one, network_s, bandwidth),
                *_started(engine, base / one.model, golden, where if one == stored else None),
                _joules(parts[label], shown),
                verdict,
                verdict.failure(one.precision),
            )
        )
    return found


def _stored(folder: Path, every: Mapping[str, Manifest]) -> tuple[Candidate | None, Path | None]:
    """The TensorRT engine that `edge-wam compile` chose here, if it did: another takes minutes to build."""
    key = store.key_of(every)
    where = store.place(store.state(), folder.name, key)
    try:
        choice = store.read(where, key)
    except EdgeWamError:
        return None, None
    if choice.model not in every or not choice.settings.runtime.startswith("tensorrt"):
        return None, None
    precision = every[choice.model].precision
    what = choice.settings.arithmetic if precision == "fp32" else precision
    return Candidate(choice.model, choice.settings, what), where


def _eager(model: str) -> list[Candidate]:
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        return []
    return [Candidate(model, Settings("fp32", 1, "torch"), "fp32")]


def _shares(
    manifest: Manifest, one: Candidate, network_s: float, bandwidth_gb_s: float
) -> tuple[float, float]:
    """Of the peak and of the bandwidth: what the multiplications and the weights take at the very least,
    against what was measured."""
    context, act = (manifest.parents.get(f"{name}_gflop") for name in ("context", "act"))
    parameters = manifest.parents.get("parameters")
    if not all(isinstance(value, (int, float)) for value in (context, act, parameters)):
        return float("nan"), float("nan")
    gflop = float(context) + manifest.steps * float(act)  # type: ignore[arg-type]
    weight_bytes = {"fp32": 4, "int8": 1}.get(one.precision, 2) * float(parameters)  # type: ignore[arg-type]
    if one.settings.runtime.startswith(("torch-cuda", "tensorrt")):
        from edge_wam.think.torch_backend import limits

        peak, bandwidth_gb_s = limits(half=True)
    else:
        how = one.settings if one.settings.by_openvino else Settings("fp32", one.settings.threads)
        try:
            peak = probe.peak_gflop_s(how, int8=one.precision == "int8")
        except EngineError:  # there is no OpenVINO to ask
            peak = float("nan")
    return gflop / peak / network_s, weight_bytes / 1e9 / bandwidth_gb_s / network_s


_FRESH = """
import sys, time
from pathlib import Path
from edge_wam import manifest as manifests
from edge_wam.think import gate, worker
from edge_wam.think.engine import Engine
folder, arithmetic, threads, runtime, golden, *compiled = sys.argv[1:]
where = Path(compiled[0]) if compiled else None
engine = Engine(Path(folder), manifests.load(Path(folder)), int(threads), arithmetic, where, runtime)
gate.examine(engine, Path(golden))
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
print(time.process_time(), next((line.split()[1] for line in lines if line.startswith("VmRSS")), "nan"))
"""


class Start(NamedTuple):
    """From nothing to an engine that has passed the gate: seconds on the clock, seconds of processors (which
    a busy machine changes less), and the MB that the process then holds."""

    ready_s: float
    busy_s: float
    resident_mb: float


def fresh(folder: Path, settings: Settings, golden: Path, compiled: Path | None = None) -> Start:
    """A process of its own that does what the policy process does before it says that it is ready."""
    words = [sys.executable, "-c", _FRESH, *map(str, (folder, *settings, golden))]
    words += [] if compiled is None else [str(compiled)]
    began_s = time.perf_counter()
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = child.stdout.readline()  # not its end: that takes time, too, which no robot waits for
    ready_s = time.perf_counter() - began_s
    _, complaint = child.communicate(timeout=600)
    if child.returncode or not said:
        raise EngineError(f"a fresh process cannot load {folder}: {complaint.strip().splitlines()[-1]}")
    busy_s, resident_kb = map(float, said.split())
    return Start(ready_s, busy_s, resident_kb / 1024)


def _started(engine: Engine, folder: Path, golden: Path, where: Path | None) -> Start:
    """The start of an engine, from what was compiled of it (`where`, if that is known), as on a robot."""
    if not isinstance(engine.backend, OpenVino):
        return fresh(folder, engine.settings, golden, where)
    with tempfile.TemporaryDirectory() as compiled:
        engine.backend.save(Path(compiled))
        return fresh(folder, engine.settings, golden, Path(compiled))


def _joules(run: Parts, shown: Sequence[Observation]) -> float:
    """Joules a thought, of all that hangs on the supply (energy.py); NaN where nobody tells."""
    if not energy.told():
        return float("nan")
    with energy.measured() as spent:
        count, began_s = 0, time.perf_counter()
        while count < ENERGY_THOUGHTS or (count < 100 * ENERGY_THOUGHTS and _since(began_s) < ENERGY_S):
            run(shown[count % len(shown)])
            count += 1
    return spent.joules / count


def _since(began_s: float) -> float:
    return time.perf_counter() - began_s


# --- telling --------------------------------------------------------------------------------


def table(found: Sequence[Figures]) -> str:
    """Markdown; '-' where nothing is known."""
    rows = [
        "| engine | p50 ms | p90 ms | p99 ms | max ms | network ms | overhead | of peak | of bandwidth "
        "| ready s (CPU) | MB | J | cosine | degrees off |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        times = " | ".join(f"{ms:.2f}" for ms in (*np.percentile(one.ms, (50, 90, 99)), one.ms.max()))
        overhead = 1 - one.network_ms / float(np.median(one.ms))
        shares = " | ".join(_percent(share) for share in (overhead, one.share_compute, one.share_memory))
        joules = "-" if np.isnan(one.joules_thought) else f"{one.joules_thought:.3f}"
        rows.append(
            f"| {one.label} | {times} | {one.network_ms:.2f} | {shares} | "
            f"{one.ready_s:.2f} ({one.busy_s:.2f}) | {one.resident_mb:.0f} | {joules} | "
            f"{one.verdict.cosine:.6f} | "
            f"{one.why or f'{one.verdict.degrees:.3f}'} |"
        )
    return "\n".join(rows)


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def report(found: Sequence[Figures]) -> dict[str, Any]:
    """For the JSON line and for baselines. times: the median against the first engine's, round by round."""
    reference = found[0].ms
    engines = {}
    for one in found:
        ratio = one.ms / reference
        engines[one.label] = {
            **{f"p{p}_ms": round(float(np.percentile(one.ms, p)), 3) for p in (50, 90, 99)},
            "max_ms": round(float(one.ms.max()), 3),
            "network_ms": round(one.network_ms, 3),
            "times_reference": round(float(np.median(ratio)), 4),
            "ready_s": round(one.ready_s, 2),
            "ready_cpu_s": round(one.busy_s, 2),
            "resident_mb": round(one.resident_mb),
            "joules": None if np.isnan(one.joules_thought) else round(one.joules_thought, 4),
            "degrees": round(one.verdict.degrees, 4),
            "right": not one.why,
        }
    here = machine()
    return {
        "format": FORMAT,
        "processor": here.get("processor", "unknown"),  # OpenVINO is who knows
        "gpu": here.get("gpu", ""),
        "reference": found[0].label,
        "engines": engines,
    }


def compare(ours: Mapping[str, Any], baseline: Path) -> list[str]:
    """What is worse than in a baseline, one line each. EdgeWamError if it is none of this machine's."""
    try:
        theirs = json.loads(baseline.read_text(encoding="utf-8"))
        known = theirs["format"] == FORMAT and isinstance(theirs["engines"], dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EdgeWamError(
            f"--compare: {baseline} is no baseline ({error}); try: bench engine --save"
        ) from None
    same = known and all(theirs.get(name, "") == ours[name] for name in ("reference", "processor", "gpu"))
    if not same:
        raise EdgeWamError(
            f"--compare: {baseline} is of {theirs.get('processor')}, reference {theirs.get('reference')}; "
            f"this is {ours['processor']}, reference {ours['reference']}; try: bench engine --save here"
        )
    worse = []
    for label, before in theirs["engines"].items():
        now = ours["engines"].get(label)
        if now is None:
            worse.append(f"{label}: is not there any more")
        elif before["right"] and not now["right"]:
            worse.append(f"{label}: does not pass the gate any more")
        elif now["times_reference"] > WORSE * before["times_reference"]:
            worse.append(
                f"{label}: {now['times_reference']:.3f} times the reference, the baseline says "
                f"{before['times_reference']:.3f}"
            )
    return worse


def plot(found: Sequence[Figures], path: Path) -> None:
    """Every call of every engine, and their medians (PNG)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 * len(found) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    jitter = np.random.default_rng(0)
    for row, one in enumerate(found):
        axes.plot(one.ms, row + jitter.uniform(-0.25, 0.25, len(one.ms)), ".", ms=3, alpha=0.5)
        axes.plot([np.median(one.ms)] * 2, [row - 0.35, row + 0.35], "k-", lw=2)
    axes.set_yticks(range(len(found)), [one.label for one in found])
    axes.set_xlabel("frames to joint targets, ms (black: median)")
    axes.set_xscale("log")
    axes.invert_yaxis()
    figure.savefig(path, dpi=120)


def main(
    folder: Path,
    threads: int,
    rounds: int,
    picture: Path | None = None,
    save: Path | None = None,
    baseline: Path | None = None,
) -> int:
    """The command. 1 where something is worse than the baseline."""
    from tqdm import tqdm

    with tqdm(total=rounds, unit="round", desc="engines") as bar:
        found = measure(folder, threads, rounds, lambda done: bar.update())
    figures = report(found)
    where = ", ".join(filter(None, (figures["processor"], figures["gpu"])))
    print(f"{where}, load {os.getloadavg()[0]:.1f}, {rounds} rounds in turns\n")
    print(f"{table(found)}\n")
    if picture is not None:
        plot(found, picture)
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    worse = [] if baseline is None else compare(figures, baseline)
    for line in worse:
        print(f"worse: {line}")
    print(json.dumps(figures))
    return 1 if worse else 0
