"""What runs a model's three graphs: OpenVINO, from the graphs or from what it compiled of them before.

OpenVINO takes a compiled file with a flipped bit in its middle and computes with it; so compiled files are
only ever read through a record that states their sha256 (think/store.py), never by themselves.
"""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EngineError

GRAPHS = ("context", "act", "dream")
INPUTS = {
    "context": ("images", "tokens", "state"),
    "act": ("kv", "hint", "rows", "committed", "level"),
    "dream": ("kv", "act_kv", "fine", "coarse", "images", "noisy", "level"),
}
OUTPUTS = {
    "context": ("kv", "hint", "progress", "fine", "coarse"),
    "act": ("velocity", "act_kv"),
    "dream": ("frames",),
}
APART = "openvino-apart"  # OpenVINO with GELU as nodes of its own; see _apart
RUNTIMES = ("openvino", APART, "tensorrt", "tensorrt-cudagraph", "torch", "torch-cuda")
GELU_CUBIC = 0.044715  # x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2, arXiv 1606.08415
HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}  # of the arithmetic that is not int8


class Settings(NamedTuple):
    """How a graph is run: in which arithmetic (what is int8 in the graph stays so), on how many threads (of
    OpenVINO), and by what: one of RUNTIMES."""

    arithmetic: str = "fp32"
    threads: int = 1
    runtime: str = "openvino"

    @property
    def by_openvino(self) -> bool:
        return self.runtime in ("openvino", APART)

    def __str__(self) -> str:
        if self.by_openvino:
            how = ", GELU apart" if self.runtime == APART else ""
            return f"{self.arithmetic}, {self.threads} thread{'s' if self.threads > 1 else ''}{how}"
        return f"{self.arithmetic}, {self.runtime}"


class Backend(Protocol):
    """Runs one graph of a model: arrays by name in, arrays by name out, which the caller may keep."""

    def run(self, name: str, inputs: dict[str, Any]) -> dict[str, Any]: ...


class OpenVino:
    """The graphs of one folder. EngineError if there is no OpenVINO, or if it does not want a graph."""

    def __init__(self, folder: Path, settings: Settings, compiled: Path | None = None) -> None:
        openvino_package()
        if compiled is None and settings.arithmetic != "fp32":
            _check_survived(folder, settings)
        # A model that was compiled before is used where it lies in memory: that has to live as long.
        self._memory: dict[str, NDArray[np.uint8]] = {}
        self._models = _read(folder, settings, compiled, self._memory)
        self._requests = {name: model.create_infer_request() for name, model in self._models.items()}

    def run(self, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """One inference."""
        # Inputs are shared, outputs copied: a graph's outputs outlive its next inference (the context's do).
        results = self._requests[name].infer(inputs, share_inputs=True, share_outputs=False)
        return {port.get_any_name(): value for port, value in results.items()}

    def save(self, folder: Path) -> list[str]:
        """Write what was compiled; returns the names of the files."""
        for name, model in self._models.items():
            stream = model.export_model()
            (folder / f"{name}.blob").write_bytes(stream if isinstance(stream, bytes) else stream.getvalue())
        return [f"{name}.blob" for name in self._models]


def arithmetics() -> tuple[str, ...]:
    """What this processor computes natively, as OpenVINO has it: fp32, and bf16 or fp16 where it can."""
    able = openvino_package().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("fp32", *(name for name in ("bf16", "fp16") if name.upper() in able))


def properties(settings: Settings) -> dict[str, Any]:
    """These settings in OpenVINO's words."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": settings.threads,
        "NUM_STREAMS": "1",
        "INFERENCE_PRECISION_HINT": HINTS[settings.arithmetic],
        # Pinning would put every process's engine on the same first core.
        "ENABLE_CPU_PINNING": False,
    }


def openvino_package() -> Any:
    """OpenVINO, or an EngineError that says how to get it."""
    try:
        with _without_converter():
            import openvino
    except ImportError as error:
        raise EngineError(
            f"the CPU engine needs the package openvino ({error}); try: pip install openvino"
        ) from None
    return openvino


@contextlib.contextmanager
def _without_converter() -> Iterator[None]:
    """OpenVINO comes without its converter of other frameworks' models, as it does where that is not
    installed: half of the time and 16 MB of an import, for nothing that a robot does."""
    name = "openvino.tools.ovc"
    if "openvino" in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


def _read(
    folder: Path, settings: Settings, compiled: Path | None, memory: dict[str, NDArray[np.uint8]]
) -> dict[str, Any]:
    """The graphs of a folder, compiled now, or read (into `memory`) from where they lie compiled: on two
    threads, for a robot waits for it."""
    openvino = openvino_package()
    core, how = openvino.Core(), properties(settings)

    def read(name: str) -> Any:
        path = folder / f"{name}.onnx" if compiled is None else compiled / f"{name}.blob"
        try:
            if compiled is None:
                model = core.read_model(str(path))
                if settings.runtime == APART:
                    _apart(openvino, model)
                return core.compile_model(model, "CPU", how)
            memory[name] = np.fromfile(path, np.uint8)
            return core.import_model(openvino.Tensor(memory[name], shared_memory=True), "CPU", how)
        except (RuntimeError, OSError) as error:
            verb = "compiled" if compiled is None else "loaded"
            raise EngineError(f"{path} cannot be {verb}: {_line(error)}") from None

    if compiled is None:  # at once would take 25 MB more, and time from whoever works beside it
        return {name: read(name) for name in GRAPHS}
    with ThreadPoolExecutor(1) as beside:  # the largest here, the others there
        others = [beside.submit(read, name) for name in GRAPHS[1:]]
        made = [read(GRAPHS[0]), *(other.result() for other in others)]
    return dict(zip(GRAPHS, made, strict=True))


def _apart(openvino: Any, model: Any) -> None:
    """Write every GELU (by tanh) of a graph as x * sigmoid(...), which is the same function.

    OpenVINO makes a product and the GELU behind it one kernel, and on a processor with AVX2 alone that kernel
    is slower than its best product and a few elementwise operations, by a sixth of an act (LOG.md). Elsewhere
    it may be the better one: `edge-wam compile` measures both.
    """
    ops, number = openvino.opset13, np.float32
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Gelu" or node.get_attributes()["approximation_mode"].upper() != "TANH":
            continue
        x = node.input_value(0)
        bent = ops.add(ops.multiply(ops.multiply(x, x), number(GELU_CUBIC)), number(1))
        inner = ops.multiply(bent, ops.multiply(x, number(2 * math.sqrt(2 / math.pi))))
        node.output(0).replace(ops.multiply(x, ops.sigmoid(inner)).output(0))


def _check_survived(folder: Path, settings: Settings) -> None:
    """EngineError if a process that compiles these graphs so is killed.

    OpenVINO 2026.4 dies of SIGSEGV when it compiles the context graph in bf16 on one thread, on a
    processor with AVX512-BF16: whoever asks for that dies, and what would have run instead with it.
    """
    words = [str(folder), settings.arithmetic, str(settings.threads)]
    done = subprocess.run([sys.executable, "-m", __name__, *words], capture_output=True)
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise EngineError(
            f"OpenVINO is killed ({name}) when it compiles {folder.name} in {settings}; "
            f"try: another number of threads, or another version of openvino"
        )


def _line(error: Exception) -> str:
    """The line of OpenVINO's message that says something; the first says where in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("Exception from")), lines[0] if lines else "?")


if __name__ == "__main__":
    _read(Path(sys.argv[1]), Settings(sys.argv[2], int(sys.argv[3])), None, {})
