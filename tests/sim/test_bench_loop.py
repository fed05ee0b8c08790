"""`edge-wam bench loop`: it measures what it says; the figures themselves are no test's business."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_wam.sim import bench_host, bench_lerobot, bench_loop
from edge_wam.sim.bench_loop import Cycle, Jitter, table

LEROBOT = "LeRobot 0.4.4"  # as tests/lerobot.txt has it
FOLDER = Path(__file__).parents[2] / "calibration" / "so101-sim"


@pytest.mark.slow
def test_the_whole_bench_in_a_second_or_two(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bench_loop, "RATES_HZ", (100,))
    picture = tmp_path / "loop.png"
    assert bench_loop.main(FOLDER, rounds=3, seconds=0.2, picture=picture) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    lerobot = {LEROBOT} if bench_lerobot.PACKAGES.joinpath("lerobot").is_dir() else set()
    assert {(one["loop"], one["load"]) for one in told["jitter"]} == {
        (loop, load) for loop in {"edge_wam", "sleep for the rest"} | lerobot for load in bench_loop.LOADS
    } | {(bench_loop.HOST, load) for load in bench_loop.LOADS if bench_host.sleeper(100, 0.1) is not None}
    clients = {bus["client"]: bus for bus in told["bus"]}
    theirs = {"scservo_sdk: positions", "scservo_sdk: the same block"}
    assert set(clients) == {"edge_wam"} | theirs | {
        f"{name}: {what}" for name in lerobot for what in ("positions", "the same, by eight questions")
    }
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


def test_without_lerobot_the_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_loop, "RATES_HZ", ())
    monkeypatch.setattr(bench_lerobot, "PACKAGES", tmp_path / "lerobot")
    assert bench_loop.main(FOLDER, rounds=1, seconds=0.0) == 0
    out = capsys.readouterr().out
    assert "LeRobot is not in the tables: it is not installed" in out
    assert "LeRobot" not in out.splitlines()[-1]


def test_a_lerobot_that_breaks_says_its_last_words(tmp_path):
    (tmp_path / "lerobot").mkdir()
    (tmp_path / "lerobot" / "__init__.py").write_text("raise RuntimeError('made for another Python')")
    with bench_lerobot.neighbour(FOLDER, "/dev/null", tmp_path) as there:
        assert there == "RuntimeError: made for another Python"


def test_each_client_gets_the_rounds_it_was_promised_in_turns(monkeypatch):
    order = []

    class Client(bench_loop._Client):
        def __init__(self, name):
            super().__init__(lambda: order.append(name), lambda: order.append(f"{name} closed"))

    monkeypatch.setattr(bench_loop, "_our_client", lambda path, folder: Client("ours"))
    made = {bench_loop.POSITION: Client("theirs"), bench_loop.BLOCK: None}
    monkeypatch.setattr(bench_loop, "_sdk_client", lambda path, folder, registers: made[registers])
    found = bench_loop.cycles("", "", FOLDER, 25, "none", lambda count: None)
    assert [len(one.ms) for one in found] == [25, 25]
    assert order == ["ours"] * 3 + ["theirs"] * 3 + (["ours"] * 10 + ["theirs"] * 10) * 2 + ["ours"] * 5 + [
        "theirs"
    ] * 5 + ["ours closed", "theirs closed"]
    assert found[0].wire_ms > 1.5 * found[1].wire_ms > 0


CYCLICTEST = """# /dev/cpu_dma_latency set to 0us
# Histogram
000000 000000
000032 000001
000057 000003
# Min Latencies: 00032
# Avg Latencies: 00057
# Max Latencies: 70123
# Histogram Overflows: 00002
# Histogram Overflow at cycle number:
"""


def test_cyclictest_s_histogram_is_read_with_what_lies_beyond_it():
    late_ms = bench_host.histogram_ms(CYCLICTEST)
    np.testing.assert_allclose(late_ms, [0.032, 0.057, 0.057, 0.057, 70.123, 70.123])


def test_without_cyclictest_or_its_priority_there_is_no_row(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bench_host.sleeper(100, 0.1) is None
    refused = tmp_path / "cyclictest"
    refused.write_text("#!/bin/sh\nexit 1\n")
    refused.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert bench_host.sleeper(100, 0.1) is None
    assert bench_host.sleeper(100, 0.0) is None
