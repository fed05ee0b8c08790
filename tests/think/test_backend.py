"""OpenVINO's graphs, as they are and with GELU in nodes of its own."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.think import backend, compile, store
from edge_wam.think.backend import APART, Settings
from edge_wam.think.engine import Engine


def test_gelu_apart_is_the_same_function():
    ov = backend.openvino_package()
    ops = ov.opset13
    x = ops.parameter([64], np.float32)
    model = ov.Model([ops.gelu(x, "tanh"), ops.gelu(x, "erf")], [x])
    backend._apart(ov, model)
    left = [
        node.get_attributes()["approximation_mode"]
        for node in model.get_ops()
        if node.get_type_name() == "Gelu"
    ]
    assert [mode.upper() for mode in left] == ["ERF"]  # another function, and left as it was
    given = np.linspace(-8, 8, 64, dtype=np.float32)
    (ours, _) = ov.Core().compile_model(model, "CPU")(given).values()
    truth = given * (1 + np.tanh(np.sqrt(2 / np.pi) * (given + 0.044715 * given**3))) / 2
    np.testing.assert_allclose(ours, truth, atol=2e-6)


def test_a_model_with_gelu_apart_answers_as_before(model_folder, shipped, engine):
    apart = Engine(model_folder, shipped, runtime=APART)
    assert apart.agreement.rows < 1e-4
    assert apart.agreement.frames < 1e-2
    # The product and GELU are two, as asked for.
    fused = [len(one.backend._models["act"].get_runtime_model().get_ops()) for one in (engine, apart)]
    assert fused[0] < fused[1]


def test_both_ways_are_candidates_where_the_arithmetic_is_fp32(model_folder):
    every = store.variants(model_folder)
    found = compile.candidates(every, "", 1)
    for model in every:
        ways = {
            one.settings.runtime for one in found if one.model == model and one.settings.arithmetic == "fp32"
        }
        assert ways in ({"openvino", APART}, set())
    assert not [one for one in found if one.settings.arithmetic != "fp32" and one.settings.runtime == APART]


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        (Settings(), "fp32, 1 thread"),
        (Settings("fp32", 2, APART), "fp32, 2 threads, GELU apart"),
        (Settings("fp16", 1, "tensorrt-cudagraph"), "fp16, tensorrt-cudagraph"),
    ],
)
def test_settings_say_what_they_are(settings, label):
    assert str(settings) == label
    assert settings.by_openvino == ("thread" in label)
