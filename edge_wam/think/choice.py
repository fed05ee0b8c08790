"""Which engine runs a model on this machine: what `edge-wam compile` chose, or the next best thing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError, EngineError, reasons
from edge_wam.manifest import Manifest, verify_files
from edge_wam.think import gate, store
from edge_wam.think.backend import Settings
from edge_wam.think.engine import Engine
from edge_wam.think.machine import has_gpu


class Opened(NamedTuple):
    """An engine that may move the arm, the contract it keeps, and what it is."""

    manifest: Manifest
    engine: Engine
    what: str


def open_engine(
    folder: Path, threads: int = 0, root: Path | None = None, say: Callable[[str], object] = print
) -> Opened:
    """The engine for the model in `folder`; threads 0: as measured, else so many.

    One that was compiled here is used if it is of this very key, whole, and passes the gate now. What is
    refused is said through `say`, and the next best takes its place (`fallbacks`); EngineError if there is
    none.
    """
    root = store.state() if root is None else root
    every = store.variants(folder)
    manifest = every[folder.name]
    verify_files(folder, manifest)  # what is not the model is not the model on any engine
    key = store.key_of(every)
    built = store.place(root, folder.name, key)
    if built.is_dir():
        try:
            return _compiled(folder, built, key, threads)
        except EdgeWamError as error:
            say(f"the compiled engine is not used: {error}. Going on with the model's own graphs, which "
                f"may be slower; try: edge-wam compile")  # fmt: skip
    failures: list[tuple[str, str]] = []
    for arithmetic, count, runtime in fallbacks(threads):
        try:
            engine = Engine(folder, manifest, count, arithmetic, None, runtime)
            _pass(engine, folder)
        except EdgeWamError as error:
            failures.append((runtime, str(error)))
            say(f"the model does not run on {runtime}: {error}")
            continue
        return Opened(manifest, engine, f"{folder.name}, {engine.settings}, not compiled")
    raise EngineError(f"nothing here runs the model. {reasons(failures)}")


def fallbacks(threads: int) -> list[Settings]:
    """What could run a model that was not compiled, best first: torch is there on a Jetson and on a
    developer's machine, and a robot that has none of the others still moves, slowly."""
    torch = importlib.util.find_spec("torch") is not None
    return [
        *([Settings("fp16", 1, "torch-cuda")] if has_gpu() else []),
        Settings("fp32", threads or 1, "openvino"),
        *([Settings("fp32", threads or 1, "torch")] if torch else []),
    ]


def _compiled(folder: Path, built: Path, key: store.Key, threads: int) -> Opened:
    choice = store.read(built, key)
    model = folder.resolve().parent / choice.model
    manifest = manifests.load(model)
    # Threads are compiled in; another number wants another engine, from the same model and arithmetic.
    arithmetic, count, runtime = choice.settings
    compiled = built if not choice.settings.by_openvino or threads in (0, count) else None
    engine = Engine(model, manifest, threads or count, arithmetic, compiled, runtime)
    verdict = _pass(engine, folder)
    expected = str(choice.measured.get("answer", ""))
    if compiled is not None and verdict.answer != expected:
        raise EngineError(
            f"it answers otherwise than when it was built: expected {expected[:12]}, "
            f"found {verdict.answer[:12]}"
        )
    return Opened(manifest, engine, f"{choice.model}, {engine.settings}, compiled here")


def _pass(engine: Engine, folder: Path) -> gate.Verdict:
    """EngineError unless the engine answers the float model's golden batch as eager torch did."""
    verdict = gate.examine(engine, folder / "golden.safetensors")
    if failure := verdict.failure(gate.precision_of(engine)):
        raise EngineError(
            f"the engine of {folder.name} ({engine.settings}) is not the model: {failure}; nothing will be "
            f"moved. Try: edge-wam compile"
        )
    return verdict
