"""bench engine: figures that say what they say, and a baseline that can fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_wam.cli import main
from edge_wam.errors import EdgeWamError
from edge_wam.think import benchmark, gate, probe
from edge_wam.think.backend import Settings
from edge_wam.think.rehearsal import observations

RIGHT = gate.Verdict(1.0, 0.0, True, True, "")


def figures(label, ms, network_ms=None, why=""):
    ms = np.asarray(ms, float)
    network_ms = float(np.median(ms)) * 0.9 if network_ms is None else network_ms
    nan = float("nan")
    return benchmark.Figures(label, ms, network_ms, 0.5, nan, 0.7, 0.6, 150.0, nan, RIGHT, why)


def test_ratios_are_taken_round_by_round_and_overhead_is_what_is_not_the_network():
    noisy = np.where(np.arange(40) % 2, 10.0, 100.0)  # every other round somebody else was busy
    found = [figures("slow", noisy), figures("quick", noisy / 4, network_ms=10.0)]
    report = benchmark.report(found)
    assert report["reference"] == "slow"
    assert report["engines"]["quick"]["times_reference"] == 0.25
    text = benchmark.table(found)
    assert "| quick | 13.75 |" in text
    assert "| 10.00 | 27.3 % | 50.0 % | - | 0.70 (0.60) | 150 | - |" in text


@pytest.mark.parametrize(
    ("quick", "why", "said"),
    [
        (4.2, "", []),  # five percent: noise
        (5.0, "", ["quick: 0.500 times the reference, the baseline says 0.400"]),
        (4.0, "cosine 0.5", ["quick: does not pass the gate any more"]),
        (None, "", ["quick: is not there any more"]),
    ],
)
def test_a_baseline_tells_what_is_worse(tmp_path, quick, why, said):
    path = tmp_path / "baseline.json"
    before = [figures("slow", np.full(9, 10.0)), figures("quick", np.full(9, 4.0))]
    path.write_text(json.dumps(benchmark.report(before)))
    now = [figures("slow", np.full(9, 10.0))]
    if quick is not None:
        now.append(figures("quick", np.full(9, quick), why=why))
    assert benchmark.compare(benchmark.report(now), path) == said


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9, "engines": {}}'])
def test_what_is_no_baseline_is_refused(tmp_path, text):
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(EdgeWamError, match="--compare"):
        benchmark.compare(benchmark.report([figures("a", [1.0])]), path)


def test_another_machines_baseline_is_refused(tmp_path):
    report = benchmark.report([figures("a", [1.0])])
    (tmp_path / "baseline.json").write_text(json.dumps(report | {"processor": "Another"}))
    with pytest.raises(EdgeWamError, match="is of Another, reference a; this is"):
        benchmark.compare(report, tmp_path / "baseline.json")


def test_the_verb_fails_on_what_is_worse_than_the_baseline_it_saved(tmp_path, monkeypatch, capsys):
    took_ms = {"slow": 10.0, "quick": 4.0}

    def measure(folder, threads, rounds, tell):
        tell(rounds)
        return [figures(label, np.full(9, ms)) for label, ms in took_ms.items()]

    monkeypatch.setattr(benchmark, "measure", measure)
    path = tmp_path / "baselines" / "here.json"
    assert main(["bench", "engine", "--rounds", "1", "--save", str(path)]) == 0
    assert main(["bench", "engine", "--rounds", "1", "--compare", str(path)]) == 0
    assert "worse" not in capsys.readouterr().out
    took_ms["quick"] = 5.0
    assert main(["bench", "engine", "--rounds", "1", "--compare", str(path)]) == 1
    assert "worse: quick: 0.500 times the reference, the baseline says 0.400" in capsys.readouterr().out


@pytest.mark.slow
def test_every_engine_is_measured_on_real_frames(model_folder, tmp_path):
    rounds = []
    found = benchmark.measure(model_folder, 1, 2, rounds.append)
    assert rounds == [1, 2]
    assert found[0].label == "fp32, 1 thread"
    for one in found:
        assert one.why == ""
        assert 0 < one.network_ms <= np.median(one.ms) * 1.5
        assert one.ready_s > 0
        assert one.resident_mb > 30
    benchmark.plot(found, tmp_path / "engines.png")
    assert (tmp_path / "engines.png").stat().st_size > 5000


def test_parts_give_the_targets_that_the_policy_gives(engine, shipped, model_folder):
    observation = observations(model_folder, shipped)[0]
    parts = benchmark.Parts(engine)
    targets = parts(observation)
    assert targets.shape == (shipped.rows, len(shipped.joints))
    assert np.isfinite(targets).all()
    assert len(parts.network_s) == 1


def test_probes_find_plausible_limits():
    assert 0.01 < probe.bandwidth_gb_s(1) < 5000  # a starved machine is slow, not wrong
    assert 0.1 < probe.peak_gflop_s(Settings(), repeats=1) < 100_000
