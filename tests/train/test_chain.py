"""The chain: every stage computes the same of the same inputs, and the figures say what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_wam.errors import EdgeWamError
from edge_wam.think import rehearsal
from edge_wam.think.engine import Engine
from edge_wam.think.policy import features_of
from edge_wam.train import chain, flow
from edge_wam.train.weights import load

pytestmark = pytest.mark.slow  # they train


@pytest.fixture(scope="module")
def shipped(model_folder):
    from edge_wam import manifest as manifests

    return manifests.load(model_folder)


@pytest.fixture(scope="module")
def shown(model_folder, shipped):
    return rehearsal.observations(model_folder, shipped)


def test_the_cameras_deliver_whole_frames_of_what_the_golden_batch_shows(shown, model_folder, shipped):
    from safetensors.numpy import load_file

    features, golden = features_of(shipped), load_file(model_folder / "golden.safetensors")
    assert len(shown) == len(golden["images"])
    for observation, expected in zip(shown, golden["images"], strict=True):
        for frame, view in zip(observation.frames, shipped.cameras, strict=True):
            assert frame.image.shape == (view.height, view.width, 3)
        assert np.array_equal(features.images([frame.image for frame in observation.frames]), expected)
        features.tokens(observation.command)


def test_eager_stages_take_all_their_steps_and_decode_their_frames(model_folder, shipped, shown):
    observation, model = shown[0], load(model_folder, shipped)
    whole = chain.Eager(shipped, model, 3, reuse=False)
    reusing = chain.Eager(shipped, model, 3, reuse=True)
    targets = whole(observation)
    assert np.array_equal(reusing(observation), targets)
    assert np.array_equal(reusing.frames, whole.frames)
    features, position = features_of(shipped), observation.position_rad
    images = torch.from_numpy(features.images([frame.image for frame in observation.frames]))[None]
    tokens = torch.from_numpy(features.tokens(observation.command))[None]
    state = torch.from_numpy(features.state(position, observation.sent_rad))[None]
    with torch.no_grad():
        context = model.context(images, tokens, state)
        rows, _ = flow.sample_actions(model, context, torch.from_numpy(whole.noise.rows), 3)
    assert np.allclose(targets, features.targets(rows[0].numpy(), position), atol=1e-4)
    assert whole.frames.shape == (2, 2, 48, 48, 3)
    assert whole.frames.std() > 1
    assert not np.allclose(chain.Eager(shipped, model, 1, reuse=True)(observation), targets, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3])
def test_compiled_stages_compute_what_eager_ones_do(model_folder, shipped, shown, steps):
    eager = chain.Eager(shipped, load(model_folder, shipped), steps, reuse=True)
    compiled = chain.Compiled(Engine(model_folder, shipped), steps)
    for observation in shown[:2]:
        assert np.allclose(compiled(observation), eager(observation), atol=1e-4)
        assert np.abs(compiled.frames.astype(int) - eager.frames).max() <= 1


def test_a_stage_that_cannot_be_run_says_why(model_folder):
    stages = chain.stages(model_folder, 1)
    assert [stage.name for stage in stages][1] == "+ context reused"
    assert len(stages) == 7
    for stage in stages:
        assert (stage.run is None) == bool(stage.why)
    assert stages[-1].run is not None


def test_ratios_are_of_medians_and_a_slow_call_moves_only_the_tail():
    def nothing(observation):
        return np.zeros((16, 6))

    stages = [
        chain.Stage("first", nothing),
        chain.Stage("+ 16 bits", None, "none here"),
        chain.Stage("last", nothing),
    ]
    seconds = np.full(40, 0.01)
    seconds[3] = 5.0
    table, figures = chain.report(stages, {"first": np.ones(40), "last": seconds})
    assert figures["last"]["times"] == 100
    assert figures["last"]["p99_ms"] > 50
    assert "| + 16 bits | - | - | - | none here |" in table
    assert "| last | 10.00 |" in table
    assert list(figures) == ["first", "last"]


def test_all_take_turns_and_the_first_calls_are_not_counted(monkeypatch):
    now_s, called = [0.0], []
    monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: now_s[0])

    def contestant(name, takes_s):
        def call(observation):
            called.append(name)
            now_s[0] += takes_s

        return call

    both = {"a": contestant("a", 1.0), "b": contestant("b", 0.5)}
    taken = rehearsal.interleaved(both, ("x", "y", "z"), rounds=3)
    assert taken["a"] == pytest.approx(np.ones(3))
    assert taken["b"] == pytest.approx(np.full(3, 0.5))
    assert called == [*"aabb", *"ab" * 3]


def test_more_threads_than_cores_are_refused(monkeypatch):
    pinned = []
    monkeypatch.setattr(chain.torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(chain.os, "sched_getaffinity", lambda pid: {4, 2, 3})
    monkeypatch.setattr(chain.os, "sched_setaffinity", lambda pid, cores: pinned.append(cores))
    chain.pin(2)
    assert pinned == [[2, 3]]
    with pytest.raises(EdgeWamError, match="may use 3 cores"):
        chain.pin(4)
