"""What an engine is good for: this machine's processor, its GPU, and the software that compiles for them."""

from __future__ import annotations

import contextlib
import importlib.util
from functools import cache
from pathlib import Path

from edge_wam.errors import EngineError
from edge_wam.think.backend import openvino_package

# A PC's driver (in a container the card need not be the first), and two that a Jetson may have.
_GPUS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvmap")
_PACKAGES = ("torch", "torch_tensorrt", "tensorrt", "tensorrt_cu12", "tensorrt_cu13")
_L4T = Path("/etc/nv_tegra_release")


def has_gpu() -> bool:
    """Whether an NVIDIA GPU and a torch that could use it are here. Imports nothing."""
    return importlib.util.find_spec("torch") is not None and any(Path(path).exists() for path in _GPUS)


def has_tensorrt() -> bool:
    """Whether Torch-TensorRT is here, beside a GPU. Imports nothing."""
    return has_gpu() and importlib.util.find_spec("torch_tensorrt") is not None


@cache
def machine() -> dict[str, str]:
    """Everything that makes a compiled engine another one, by name."""
    found = {"openvino": "none"}
    with contextlib.suppress(EngineError):  # a GPU does without
        openvino = openvino_package()
        core = openvino.Core()
        able = sorted(map(str, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
        found = {
            "openvino": str(openvino.__version__),
            "processor": str(core.get_property("CPU", "FULL_DEVICE_NAME")),
            "abilities": " ".join(able),
        }
    if has_gpu():
        from importlib.metadata import PackageNotFoundError, version

        import torch

        for name in _PACKAGES:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        if torch.cuda.is_available():
            major, minor = torch.cuda.get_device_capability()
            found["gpu"] = f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}"
    if _L4T.is_file():
        found["l4t"] = _L4T.read_text(encoding="utf-8").splitlines()[0].strip("# ")
    return found
