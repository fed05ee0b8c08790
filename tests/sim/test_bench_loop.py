"""`edge-wam bench loop`: it measures what it says; the figures themselves are no test's business."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_wam.sim import bench_loop
from edge_wam.sim.bench_loop import Cycle, Jitter, table

FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"


def test_the_whole_bench_in_a_second_or_two(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bench_loop, "RATES_HZ", (100,))
    picture = tmp_path / "loop.png"
    assert bench_loop.main(FOLDER, rounds=3, seconds=0.2, picture=picture) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {(one["loop"], one["load"]) for one in told["jitter"]} == {
        (loop, load) for loop in ("edge_wam", "sleep for the rest") for load in bench_loop.LOADS
    }
    clients = {bus["client"]: bus for bus in told["bus"]}
    assert set(clients) == {"edge_wam", "scservo_sdk"}
    # Bytes take their time on the emulated wire; nobody waits for the last ones, of the goals.
    assert all(bus["p50_ms"] > 0.8 * bus["wire_ms"] > 0.5 for bus in told["bus"])
    assert picture.stat().st_size > 5000


def test_the_plain_loop_is_measured_against_where_its_ticks_should_have_been(monkeypatch):
    monkeypatch.setattr(bench_loop, "_work", lambda: bench_loop.time.sleep(0.03))
    late_s, missed, drift_s = bench_loop.plain(100, 0.1)  # work for three periods in each
    assert len(late_s) == 10
    assert drift_s == pytest.approx(9 * 0.02, abs=0.05)
    assert missed >= 16


def test_the_tables_have_every_line():
    jitter = Jitter("edge_wam", 50, "idle", np.array([0.1, 0.2]), 3, 0.5)
    text = table([jitter], [Cycle("edge_wam", np.array([2.0, 3.0]), 0.4, 2.0)])
    assert "| edge_wam | 50 | idle | 0.150 |" in text
    assert "| edge_wam | 2.50 | 2.99 | 2.00 | 1.25 | 0.400 |" in text
