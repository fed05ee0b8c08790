"""Figures of an evaluation: honest intervals, keys that others read, the same scenes however many help."""

from __future__ import annotations

import json
import math

import pytest

from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError
from edge_wam.sim.evaluate import Job, Result, evaluate, scene_seeds, summary, table, wilson
from edge_wam.sim.tasks import FIRST_TRAINING_SEED


def result(seed, success=True, wrong=False, colour="red"):
    return Result(seed, f"pick_{colour}", success, wrong, 4.0 + seed % 3, 0.004, (10.0, 12.0))


@pytest.fixture
def job(manifest, tmp_path):
    manifests.write(tmp_path, manifest)
    return Job("nowhere", str(tmp_path), 0, 0.06)


# --- intervals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # From a table of Wilson's score intervals at 95 %.
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (48, 50, 0.8654, 0.9890)],
)
def test_the_interval_is_wilsons(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=2e-4)


def test_an_interval_holds_its_rate_and_narrows_with_trials():
    for trials in (1, 7, 50, 1000):
        for successes in range(0, trials + 1, max(1, trials // 10)):
            low, high = wilson(successes, trials)
            assert 0 <= low <= successes / trials <= high <= 1
    widths = [math.dist(*([x] for x in wilson(trials // 2, trials))) for trials in (10, 100, 1000)]
    assert widths == sorted(widths, reverse=True)


def test_without_a_trial_nothing_is_known():
    assert wilson(0, 0) == (0.0, 1.0)


# --- figures --------------------------------------------------------------------------------


def test_the_line_of_json_has_what_others_read(job):
    results = [result(70_000), result(70_001, success=False, wrong=True), result(70_002)]
    figures = json.loads(json.dumps(summary(job, results, 7)))
    assert {"success", "episodes", "seed", "wrong_object", "infer_ms_p50"} <= set(figures)
    assert figures["success"] == pytest.approx(2 / 3, abs=1e-4)
    assert figures["success_low"] < figures["success"] < figures["success_high"]
    assert figures["episodes"] == 3
    assert figures["seed"] == 7
    assert figures["wrong_object"] == 1
    assert figures["infer_ms_p50"] == 11.0
    assert figures["steps"] == 10  # the manifest's, where none is asked for
    assert figures["closest_mm_p50"] == 4.0
    assert summary(job._replace(steps=3), results, 7)["steps"] == 3


def test_figures_of_nothing_but_failures_are_still_json(job):
    results = [result(1, success=False)._replace(infer_ms=())]
    figures = json.loads(json.dumps(summary(job, results, 0), allow_nan=False))
    assert figures["success"] == 0
    assert figures["seconds_p50"] is None
    assert figures["infer_ms_p50"] is None


def test_the_table_counts_by_command_and_names_what_was_missed(job):
    results = [result(1), result(2, success=False, colour="blue"), result(3, colour="blue", wrong=True)]
    lines = table(results, summary(job, results, 0)).splitlines()
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["pick_blue", "1", "of", "2"],
        ["pick_red", "1", "of", "1"],
        ["all", "2", "of", "3"],
    ]
    assert "wrong cube lifted: 1" in lines[-1]
    assert "[2]" in lines[-1]


# --- scenes ---------------------------------------------------------------------------------


def test_a_seed_names_its_scenes_and_shares_none_with_another_seed():
    assert scene_seeds(7, 3) == [70_000, 70_001, 70_002]
    assert set(scene_seeds(7, 10_000)).isdisjoint(scene_seeds(8, 10_000))
    assert scene_seeds(99, 10_000)[-1] < FIRST_TRAINING_SEED


@pytest.mark.parametrize(("seed", "episodes"), [(100, 1), (-1, 5), (7, 10_001), (7, 0)])
def test_scenes_that_a_model_was_trained_on_are_refused(seed, episodes):
    with pytest.raises(EdgeWamError, match="an evaluation has a seed of 0 to 99 and 1 to 10000 episodes"):
        scene_seeds(seed, episodes)


@pytest.mark.slow
def test_the_scenes_are_the_same_however_many_workers_help(model_folder):
    job = Job("calibration/so101-sim", str(model_folder), 0, 0.06)
    runs = [evaluate(job, 2, 7, workers, progress=False) for workers in (1, 2)]
    for one, other in zip(*runs, strict=True):
        assert one.seed == other.seed
        assert one.command_id == other.command_id
        assert one.success == other.success
        assert one.closest_m == pytest.approx(other.closest_m, abs=1e-4)
