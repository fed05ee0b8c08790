"""The race: the same inputs for all, turns in one run, and figures that say what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from edge_wam.errors import EdgeWamError
from edge_wam.think.policy import features_of
from edge_wam.train import flow, race


@pytest.fixture
def shown(manifest, tmp_path):
    """Two observations, and the small images they were made from."""
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 96, 96, 3), dtype=np.uint8)
    save_file({"images": images}, tmp_path / "golden.safetensors")
    return race.observations(tmp_path, manifest), images


def test_the_cameras_deliver_whole_frames_of_what_the_golden_batch_shows(shown, manifest):
    observations, images = shown
    features = features_of(manifest)
    assert len(observations) == 2
    for observation, expected in zip(observations, images, strict=True):
        for frame, view in zip(observation.frames, manifest.cameras, strict=True):
            assert frame.image.shape == (view.height, view.width, 3)
        assert np.array_equal(features.images([frame.image for frame in observation.frames]), expected)
        features.tokens(observation.command)


def test_the_eager_teacher_takes_all_its_steps_and_decodes_its_frames(model, manifest, shown):
    observation = shown[0][0]
    teacher = race.Eager(manifest, model, steps=5)
    targets = teacher(observation)
    features, position = features_of(manifest), observation.position_rad
    images = torch.from_numpy(features.images([frame.image for frame in observation.frames]))[None]
    tokens = torch.from_numpy(features.tokens(observation.command))[None]
    state = torch.from_numpy(features.state(position, observation.sent_rad))[None]
    with torch.no_grad():
        rows, _ = flow.sample_actions(model, model.context(images, tokens, state), teacher.noise, 5)
    assert np.allclose(targets, features.targets(rows[0].numpy(), position), atol=1e-4)
    assert teacher.frames.shape == (2, 2, 48, 48, 3)
    assert teacher.frames.dtype == np.uint8
    assert teacher.frames.std() > 1
    fewer = race.Eager(manifest, model, steps=1)(observation)
    assert not np.allclose(fewer, targets, atol=1e-3)


@pytest.fixture
def clock(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(race.time, "perf_counter", lambda: now_s[0])
    return now_s


def test_all_take_turns_and_each_is_timed_alone(clock, shown):
    called = []

    def contestant(name, takes_s):
        def call(observation):
            called.append(name)
            clock[0] += takes_s
            return np.zeros((16, 6))

        return call

    quick = {"a": contestant("a", 0.01), "b": contestant("b", 0.02)}
    taken = race.race(contestant("teacher", 1.0), quick, shown[0], rounds=3)
    assert taken["teacher"] == pytest.approx(np.ones(3))
    assert taken["a"] == pytest.approx(np.full((3, race.TURNS_OF_THE_QUICK), 0.01))
    turn = ["teacher", *["a"] * race.TURNS_OF_THE_QUICK, *["b"] * race.TURNS_OF_THE_QUICK]
    assert called[-len(turn) :] == turn
    assert called.count("teacher") == 4  # one of them before the clock counts
    table, figures = race.report(taken)
    assert figures["a ratio"] == pytest.approx(100)
    assert figures["b ratio"] == pytest.approx(50)
    assert figures["b p99_ms"] == pytest.approx(20)
    assert "teacher ratio" not in figures
    assert "| a | 10.00 | 10.00 | 100.0 | 100.0 .. 100.0 |" in table


def test_one_slow_call_moves_the_tail_and_not_the_ratio(shown):
    slow, quick = np.ones(20), np.full((20, 5), 0.01)
    quick[3, 2] = 5.0
    _, figures = race.report({"teacher": slow, "a": quick})
    assert figures["a ratio"] == 100
    assert figures["a p99_ms"] > 50


def test_more_threads_than_cores_are_refused(monkeypatch):
    pinned = []
    monkeypatch.setattr(race.torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(race.os, "sched_getaffinity", lambda pid: {4, 2, 3})
    monkeypatch.setattr(race.os, "sched_setaffinity", lambda pid, cores: pinned.append(cores))
    race.pin(2)
    assert pinned == [[2, 3]]
    with pytest.raises(EdgeWamError, match="may use 3 cores"):
        race.pin(4)
