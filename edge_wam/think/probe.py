"""What this machine could do at best: bytes and operations a second, measured by the smallest programs that
come near them. Limits to hold figures against, not benchmarks of their own."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from edge_wam.think.backend import Settings, openvino_package, properties

_COPY_BYTES = 64 << 20  # well above the caches of the processors that this runs on
_SIDE = 1024


def bandwidth_gb_s(repeats: int = 5) -> float:
    """Bytes read and written a second by one core's copy of an array that fits no cache, in 10^9."""
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.empty_like(source)
    best_s = min(_timed(lambda: np.copyto(target, source)) for _ in range(repeats))
    return 2 * _COPY_BYTES / best_s / 1e9


def peak_gflop_s(settings: Settings, int8: bool = False, repeats: int = 5) -> float:
    """Operations a second (a multiply-add is two) of OpenVINO at its best, one product of two square
    matrices, in 10^9; int8: with weights and inputs rounded."""
    openvino = openvino_package()
    core = openvino.Core()
    model = core.compile_model(_product(openvino, int8), "CPU", properties(settings))
    request = model.create_infer_request()
    x = np.random.default_rng(0).standard_normal((_SIDE, _SIDE), dtype=np.float32)
    request.infer([x])
    best_s = min(_timed(lambda: request.infer([x], share_outputs=True)) for _ in range(repeats))
    return 2 * _SIDE**3 / best_s / 1e9


def _product(openvino: Any, int8: bool) -> Any:
    """A model of one product with constant weights, rounded to int8 the way a Q/DQ graph is."""
    ops = openvino.opset13
    weights = np.random.default_rng(1).standard_normal((_SIDE, _SIDE), dtype=np.float32)
    x = ops.parameter([_SIDE, _SIDE], np.float32)
    left, right = x, ops.constant(weights)
    if int8:
        low, high = np.float32(-4), np.float32(4)
        left = ops.fake_quantize(left, low, high, low, high, 255)
        right = ops.fake_quantize(right, low, high, low, high, 255)
    return openvino.Model([ops.matmul(left, right, False, True)], [x])


def _timed(task: Any) -> float:
    began_s = time.perf_counter()
    task()
    return time.perf_counter() - began_s
