"""`edge-wam compile`: build every engine that this machine can run, judge and time them, keep the best.

Candidates are the model and its variants (an INT8 graph of the same weights), each in the arithmetics that
the processor has, on one thread or several; beside a GPU also Torch-TensorRT, with and without a CUDA graph,
and eager torch. All that pass the gate are timed in turns on real frames, from frames to joint targets; the
one with the least 99th percentile is kept, for a robot waits for the slow ones. The table goes beside it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_wam.errors import EdgeWamError, EngineError, reasons
from edge_wam.manifest import Manifest, hashes, verify_files
from edge_wam.think import gate, store
from edge_wam.think.backend import APART, GRAPHS, OpenVino, Settings, arithmetics
from edge_wam.think.engine import Engine
from edge_wam.think.machine import has_gpu, has_tensorrt
from edge_wam.think.rehearsal import interleaved, observations, thinker
from edge_wam.tomlfile import Scalar

ROUNDS = 60
SENSITIVITY = "sensitivity.md"  # beside a rounded model: what rounding each layer costs (train/quantize.py)
_SCRATCH = "candidates"
THREADS = (1, 2, 4)  # tried; one core is left for control


class Candidate(NamedTuple):
    """A folder's graphs, and how they are run."""

    model: str
    settings: Settings
    precision: str

    @property
    def label(self) -> str:
        """For the table: `int8, 2 threads`, `fp16, tensorrt-cudagraph`."""
        return str(self.settings._replace(arithmetic=self.precision))


class Line(NamedTuple):
    """One row of the table; why says what is wrong with it, '' if it may be chosen."""

    candidate: Candidate
    verdict: gate.Verdict
    load_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    why: str


def candidates(every: dict[str, Manifest], precision: str, threads: int) -> list[Candidate]:
    """What is worth building here; precision and threads ('' and 0: any) narrow it down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = [threads] if threads else [n for n in THREADS if n <= max(1, cores - 1)]
    found, able = [], _arithmetics()
    for name, manifest in every.items():
        for arithmetic in able:
            what = arithmetic if manifest.precision == "fp32" else manifest.precision
            if manifest.precision != "fp32" and arithmetic != able[-1]:
                continue  # what is not int8 in an INT8 graph takes the fastest arithmetic there is
            if precision in ("", what):
                ways = ("openvino", APART) if arithmetic == "fp32" else ("openvino",)
                found += [Candidate(name, Settings(arithmetic, n, w), what) for n in counts for w in ways]
        what = "fp16" if manifest.precision == "fp32" else manifest.precision
        if has_gpu() and precision in ("", what):
            runtimes = [*(("tensorrt-cudagraph", "tensorrt") if has_tensorrt() else ()), "torch-cuda"]
            found += [Candidate(name, Settings("fp16", 1, runtime), what) for runtime in runtimes]
    if not found:
        known = sorted({*able, *(m.precision for m in every.values())})
        raise EngineError(
            f"--precision: nothing of '{precision}' can be run here; there is: {', '.join(known)}"
        )
    return found


def _arithmetics() -> tuple[str, ...]:
    """OpenVINO's; none where there is none, if there is a GPU to do without."""
    try:
        return arithmetics()
    except EngineError:
        if has_gpu():
            return ()
        raise


def build(
    folder: Path, root: Path, precision: str = "", threads: int = 0, rounds: int = ROUNDS, quiet: bool = False
) -> tuple[Path, list[Line]]:
    """Build, judge and choose; returns where the engine is, and the table. EngineError if none will do."""
    from tqdm import tqdm

    every = store.variants(folder)
    verify_files(folder, every[folder.name])  # what is not the model is not worth a candidate
    key, base = store.key_of(every), folder.resolve().parent
    wanted = candidates(every, precision, threads)
    golden, shown = folder / "golden.safetensors", observations(folder, every[folder.name])
    target = store.place(root, folder.name, key)
    engines: dict[Candidate, Engine] = {}
    lines: list[Line] = []
    about = {"total": len(wanted) + rounds, "unit": "step", "desc": "compile", "disable": quiet}
    with store.draft(target) as draft, tqdm(**about) as bar:
        for one in wanted:
            line, engine = _try(one, base, every[one.model], golden, draft / _SCRATCH / one.model)
            lines.append(line)
            if engine is not None:
                engines[line.candidate] = engine
            bar.update()
        if not engines:
            raise EngineError(
                f"no engine passed the gate; try: export the model in {folder} again. "
                + reasons((line.candidate.label, line.why) for line in lines)
            )
        quick = {one.label: thinker(engine) for one, engine in engines.items()}
        seconds = interleaved(quick, shown, rounds, lambda done: bar.update())
        lines = [_timed(line, seconds.get(line.candidate.label)) for line in lines]
        best = min((line for line in lines if not line.why), key=lambda line: line.p99_ms)
        scratch = draft / _SCRATCH / best.candidate.model
        files = hashes(draft, _save(engines[best.candidate], scratch, draft))
        shutil.rmtree(draft / _SCRATCH, ignore_errors=True)
        again = _answer_elsewhere(best.candidate, base, draft, golden)
        if again != best.verdict.answer:
            raise EngineError(
                f"the engine, saved and loaded by another process, answers otherwise: expected "
                f"{best.verdict.answer[:12]}, found {again[:12]}; try: another version of openvino"
            )
        measured: dict[str, Scalar] = {
            "p50_ms": round(best.p50_ms, 3),
            "p99_ms": round(best.p99_ms, 3),
            "cosine": round(best.verdict.cosine, 6),
            "degrees": round(best.verdict.degrees, 4),
            "answer": best.verdict.answer,
        }
        store.write(draft, key, store.Choice(best.candidate.model, best.candidate.settings, files, measured))
        (draft / "table.md").write_text(table(lines) + "\n", encoding="utf-8")
        if (told := base / best.candidate.model / SENSITIVITY).is_file():
            shutil.copyfile(told, draft / SENSITIVITY)
    store.sweep(root, target)
    return target, lines


def _try(
    one: Candidate, base: Path, manifest: Manifest, golden: Path, scratch: Path
) -> tuple[Line, Engine | None]:
    """One candidate, built and judged. What has to be built before it can be run is put into `scratch`, once
    for all who run it."""
    nan, runtime = float("nan"), one.settings.runtime
    bare = Line(one, gate.Verdict(nan, nan, False, False, ""), nan, nan, nan, nan, "")
    try:
        if runtime.startswith("tensorrt") and not all((scratch / f"{name}.ep").exists() for name in GRAPHS):
            _build_tensorrt(base / one.model, manifest, scratch)
        one, engine = opened(one, base, manifest, scratch if runtime.startswith("tensorrt") else None)
    except EdgeWamError as error:
        return bare._replace(why=str(error)), None
    bare = bare._replace(candidate=one)
    verdict = gate.examine(engine, golden)
    why = verdict.failure(one.precision)
    return bare._replace(verdict=verdict, load_s=engine.load_s, why=why), None if why else engine


def opened(
    one: Candidate, base: Path, manifest: Manifest, built: Path | None = None
) -> tuple[Candidate, Engine]:
    """A candidate's engine, and the candidate that it is: what of an INT8 graph is not int8 takes fp32 where
    OpenVINO does not survive the faster arithmetic. EngineError if there is none."""
    arithmetic, threads, runtime = one.settings
    try:
        return one, Engine(base / one.model, manifest, threads, arithmetic, built, runtime)
    except EngineError:
        if arithmetic in ("fp32", one.precision) or not one.settings.by_openvino:
            raise
    plain = one._replace(settings=one.settings._replace(arithmetic="fp32"))
    return plain, Engine(base / one.model, manifest, threads, "fp32")


def _build_tensorrt(folder: Path, manifest: Manifest, out: Path) -> None:
    from edge_wam.train import tensorrt, weights

    model = weights.load(folder, manifest)
    out.mkdir(parents=True, exist_ok=True)
    tensorrt.build(model, tensorrt.examples_of(folder), out)


def _save(engine: Engine, scratch: Path, out: Path) -> list[str]:
    """Put the chosen engine's files into `out`; returns their names (none for eager torch)."""
    if isinstance(engine.backend, OpenVino):
        return engine.backend.save(out)
    names = sorted(path.name for path in scratch.glob("*.ep"))
    for name in names:
        shutil.copyfile(scratch / name, out / name)
    return names


def _timed(line: Line, seconds: np.ndarray | None) -> Line:
    if seconds is None:
        return line
    p50_ms, p90_ms, p99_ms = (float(ms) for ms in np.percentile(1e3 * seconds, (50, 90, 99)))
    return line._replace(p50_ms=p50_ms, p90_ms=p90_ms, p99_ms=p99_ms)


def _answer_elsewhere(one: Candidate, base: Path, compiled: Path, golden: Path) -> str:
    """What the saved engine answers in a process that has never seen the one that was built."""
    words = [base / one.model, compiled, *one.settings, golden]
    done = subprocess.run(
        [sys.executable, "-m", "edge_wam.think.gate", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no word"]
        raise EngineError(f"the engine, once saved, cannot be loaded by another process: {said[-1]}")
    return done.stdout.strip()


def table(lines: Sequence[Line]) -> str:
    """Markdown; the chosen one is marked."""
    rows = [
        "| engine | model | p50 ms | p90 ms | p99 ms | load s | cosine | degrees off | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    good = [line for line in lines if not line.why]
    best = min(good, key=lambda line: line.p99_ms) if good else None
    for line in lines:
        times = " | ".join(f"{ms:.2f}" for ms in (line.p50_ms, line.p90_ms, line.p99_ms))
        said = line.why or ("**chosen**" if line is best else "")
        rows.append(
            f"| {line.candidate.label} | {line.candidate.model} | {times} | {line.load_s:.2f} | "
            f"{line.verdict.cosine:.6f} | {line.verdict.degrees:.3f} | {said} |"
        )
    return "\n".join(rows)


def about(wanted: Sequence[Candidate], rounds: int) -> str:
    """How long it will take. OpenVINO's seconds were measured; TensorRT's builder tries kernels, and nobody
    has timed it on a Jetson yet."""
    count = len(wanted)
    said = f"about {5 * count + rounds * count // 20} s"
    built = {one.model for one in wanted if one.settings.runtime.startswith("tensorrt")}
    return f"{said}, and some minutes for each of {len(built)} TensorRT builds" if built else said


def main(folder: Path, root: Path, precision: str, threads: int, rounds: int) -> int:
    """The command. Returns the exit code."""
    every = store.variants(folder)
    wanted = candidates(every, precision, threads)
    print(
        f"{folder.name}: {len(wanted)} candidate{'s' if len(wanted) > 1 else ''} ({', '.join(every)}), "
        f"{about(wanted, rounds)}"
    )
    target, lines = build(folder, root, precision, threads, rounds)
    print(table(lines))
    best = store.read(target, store.key_of(every))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if (target / SENSITIVITY).is_file():
        print(f"\n{(target / SENSITIVITY).read_text(encoding='utf-8')}")
    print(f"\n{target}: {best.model}, {best.settings}; at most {peak_mb:.0f} MB were used")
    print(json.dumps({"engine": best.model, **best.settings._asdict(), **best.measured}))
    return 0
