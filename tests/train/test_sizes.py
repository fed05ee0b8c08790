"""`edge-wam bench sizes`: a size is really built and asked, and stands beside this machine's limits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_wam.cli import main
from edge_wam.train import rooflines, sizes
from edge_wam.train.model import CONFIGS


@pytest.mark.slow
def test_a_size_is_built_asked_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sizes, "ENOUGH_S", 0.0)
    monkeypatch.setattr(sizes, "arithmetics", lambda: ("fp32",))
    picture = tmp_path / "sizes.png"
    assert main(["bench", "sizes", "--only", "nano", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    (nano,) = json.loads(out.splitlines()[-1])["sizes"]
    counted = rooflines.count("nano", CONFIGS["nano"])
    assert nano["parameters"] == counted.parameters
    assert nano["p50_ms"] > max(nano["compute_limit_ms"], nano["memory_limit_ms"]) > 0
    assert "| nano |" in out
    assert picture.stat().st_size > 5000


def test_an_unknown_size_names_those_there_are(capsys):
    assert main(["bench", "sizes", "--only", "giant"]) != 0
    assert "expected sizes among" in capsys.readouterr().err


def test_the_limit_that_counts_is_the_larger_one():
    ms = np.array([10.0, 20.0, 40.0])
    point = sizes.Point("nano", 1, 1.0, "fp32", ms, compute_ms=5.0, memory_ms=2.0, build_s=1.0)
    assert point.share == pytest.approx(0.25)
    assert point._replace(memory_ms=10.0).share == pytest.approx(0.5)
