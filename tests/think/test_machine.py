"""What an engine is good for is all in its key: the GPU, its software and the Jetson's release, too."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from edge_wam.think import machine


@pytest.fixture(autouse=True)
def _asked_anew():
    machine.machine.cache_clear()
    yield
    machine.machine.cache_clear()


def test_a_jetsons_release_and_gpu_are_in_the_key(tmp_path, monkeypatch):
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.3, GCID: 38968081\n# KERNEL_VARIANT: oot\n")
    monkeypatch.setattr(machine, "_L4T", release)
    monkeypatch.setattr(machine, "has_gpu", lambda: True)
    monkeypatch.setattr(
        torch,
        "cuda",
        SimpleNamespace(
            is_available=lambda: True, get_device_capability=lambda: (8, 7), get_device_name=lambda: "Orin"
        ),
    )
    found = machine.machine()
    assert found["l4t"] == "R36 (release), REVISION: 4.3, GCID: 38968081"
    assert found["gpu"] == "Orin, compute capability 8.7"
    assert found["torch"] == torch.__version__
    assert {"openvino", "processor", "abilities"} <= set(found)


def test_a_machine_without_a_gpu_has_neither(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_L4T", tmp_path / "none")
    monkeypatch.setattr(machine, "has_gpu", lambda: False)
    assert set(machine.machine()) == {"openvino", "processor", "abilities"}


def test_a_gpu_is_what_has_a_device_and_a_torch(monkeypatch):
    monkeypatch.setattr(machine, "_GPUS", ())
    assert not machine.has_gpu()
    monkeypatch.setattr(machine, "_GPUS", ("/dev/null",))
    assert machine.has_gpu()
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    assert not machine.has_gpu()
