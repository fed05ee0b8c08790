"""Graphs on a device: what is uploaded, what is kept, and torch_tensorrt where it does not work.

There is no GPU here: uploads go to the CPU, and a package by the name of torch_tensorrt says what it is
asked. `make test-gpu` asks the real ones.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edge_wam.errors import EngineError
from edge_wam.think.backend import GRAPHS
from edge_wam.think.torch_backend import TensorRt, TorchGraphs, Upload, eager, torch_tensorrt_package

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


# --- uploads --------------------------------------------------------------------------------


def test_an_upload_brings_every_value_through_the_same_memory():
    images = torch.arange(24, dtype=torch.uint8).reshape(1, 2, 4, 3)
    upload = Upload(images, CPU, pin=False)
    first = upload.send(images)
    assert torch.equal(first, images)
    assert first.data_ptr() != images.data_ptr()
    second = upload.send(images + 1)
    assert torch.equal(second, images + 1)
    assert second.data_ptr() == first.data_ptr()


@pytest.mark.parametrize("other", [torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.half)])
def test_another_shape_or_type_needs_another_upload(other):
    upload = Upload(torch.zeros(2, 2), CPU, pin=False)
    assert upload.fits(torch.ones(2, 2))
    assert not upload.fits(other)


# --- what comes back ------------------------------------------------------------------------


class OneOutput:
    """A graph that writes every answer into the same memory, as TensorRT and a CUDA graph may."""

    def __init__(self):
        self.velocity, self.act_kv = torch.zeros(1, 2), torch.zeros(1, 3)

    def __call__(self, kv, hint, rows, committed, level):
        return self.velocity.fill_(float(level)), self.act_kv.fill_(float(level))


def asked(graphs, level):
    nothing = np.zeros((1, 1), np.float32)
    given = dict.fromkeys(("kv", "hint", "rows", "committed"), nothing)
    return graphs.run("act", given | {"level": np.array([level], np.float32)})


def test_answers_outlive_the_next_inference_whether_they_leave_the_device_or_not():
    graphs = TorchGraphs({"act": OneOutput()}, "cpu")
    first = asked(graphs, 1.0)
    second = asked(graphs, 2.0)
    assert isinstance(first["velocity"], np.ndarray)  # the arm's
    assert isinstance(first["act_kv"], torch.Tensor)  # another graph's
    assert (first["velocity"] == 1).all()
    assert (first["act_kv"] == 1).all()
    assert (second["velocity"] == 2).all()


def test_a_graph_with_an_output_too_few_is_an_error():
    graphs = TorchGraphs({"act": lambda *given: (torch.zeros(1),)}, "cpu")
    with pytest.raises(ValueError, match="zip"):
        asked(graphs, 1.0)


# --- torch_tensorrt -------------------------------------------------------------------------

NAMELESS = "raise KeyError('getpwuid(): uid not found: 1234')"
NO_LIBRARY = "raise OSError('libcudart.so.12: cannot open shared object file')"
PRETENDED = """
import contextlib, pathlib, types
log = []

@contextlib.contextmanager
def enable_cudagraphs(module):
    log.append(("recorded", module))
    yield module
    log.append(("released", module))

runtime = types.SimpleNamespace(enable_cudagraphs=enable_cudagraphs)

def load(path):
    content = pathlib.Path(path).read_text()
    if content == "broken":
        raise RuntimeError("[Error thrown at core/runtime/TRTEngine.cpp:89]\\nExpected an engine")
    return types.SimpleNamespace(module=lambda: content)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts a package by the name of torch_tensorrt in the way."""

    def put(source):
        (tmp_path / "torch_tensorrt.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "torch_tensorrt", raising=False)

    yield put
    sys.modules.pop("torch_tensorrt", None)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (NAMELESS, r"uid not found: 1234.*; try: a user who is in /etc/passwd"),
        (NO_LIBRARY, r"libcudart\.so\.12: cannot open"),
        ("raise ImportError('no such thing')", "no such thing"),
    ],
)
def test_a_torch_tensorrt_that_cannot_be_imported_is_one_clear_line(package, source, said):
    package(source)
    with pytest.raises(EngineError, match=f"needs torch_tensorrt .*{said}"):
        torch_tensorrt_package()


@pytest.fixture
def engines(package, tmp_path, monkeypatch):
    """A folder of three engines, a pretended torch_tensorrt to load them, and a device that is said to be."""
    package(PRETENDED)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    folder = tmp_path / "engines"
    folder.mkdir()
    for name in GRAPHS:
        (folder / f"{name}.ep").write_text(name)
    return SimpleNamespace(folder=folder, log=torch_tensorrt_package().log)


def test_cuda_graphs_are_held_as_long_as_the_engine_is(engines):
    backend = TensorRt(engines.folder, cuda_graph=True)
    assert engines.log == [("recorded", name) for name in GRAPHS]
    del backend


def test_without_cuda_graphs_none_is_recorded(engines):
    TensorRt(engines.folder, cuda_graph=False)
    assert engines.log == []


@pytest.mark.parametrize("name", GRAPHS)
def test_an_engine_that_torch_tensorrt_refuses_is_named(engines, name):
    (engines.folder / f"{name}.ep").write_text("broken")
    with pytest.raises(EngineError, match=rf"{name}\.ep cannot be loaded: \[Error thrown at"):
        TensorRt(engines.folder, cuda_graph=False)


def test_an_engine_that_is_not_there_is_named(engines):
    (engines.folder / "act.ep").unlink()
    with pytest.raises(EngineError, match=r"act\.ep cannot be loaded: .*No such file"):
        TensorRt(engines.folder, cuda_graph=False)


def test_without_a_device_there_is_no_tensorrt(engines, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=r"torch \S+ sees none"):
        TensorRt(engines.folder, cuda_graph=True)


def test_a_gpu_with_a_torch_that_cannot_use_it_is_one_clear_line(model_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match=r"torch \S+ sees none"):
        eager(model_folder, "cuda")


# --- the tests of a real device ---------------------------------------------------------------


def test_what_is_asked_of_a_real_device_wants_torch_alone_of_the_larger_packages():
    """A machine with a GPU may have nothing else of ours, and no network to fetch it by."""
    lacking = ("openvino", "mujoco", "pyrealsense2", "vosk", "serial", "av", "torch_tensorrt", "modelopt")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({lacking})); import pytest;"
        "sys.exit(pytest.main(['--confcutdir', 'tests/gpu', 'tests/gpu', '--collect-only', '-q']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert re.search(r"test_gpu\.py: \d\d", done.stdout)
