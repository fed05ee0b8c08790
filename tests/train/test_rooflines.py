"""The counts are the model's own, and the limits follow from them as the devices' numbers say."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edge_wam.train.model import CONFIGS, WorldActionModel
from edge_wam.train.rooflines import (
    DEVICES,
    SIZES,
    Device,
    Graph,
    Size,
    build,
    count,
    figures,
    limit,
    table,
)

DEBUG = CONFIGS["debug"]


@pytest.fixture(scope="module")
def debug() -> Size:
    return count("debug", DEBUG)


def test_the_smallest_model_without_memory_counts_like_one_with(debug):
    real = WorldActionModel(DEBUG).requires_grad_(False)
    assert debug.parameters == sum(p.numel() for p in real.parameters())
    with FlopCounterMode(display=False) as flops:
        real.context(
            torch.zeros(1, 2, 96, 96, 3, dtype=torch.uint8),
            torch.ones(1, DEBUG.words, dtype=torch.int64),
            torch.zeros(1, 2 * DEBUG.joints),
        )
    assert debug.graphs["context"].flops == flops.get_total_flops()


def test_operations_of_a_step_of_actions_are_those_of_its_products(debug):
    """By hand: projections, MLP and attention of 16 rows in two layers, and what leads in and out."""
    d, rows, layers, seen = DEBUG.width, DEBUG.rows, DEBUG.layers, 2 * 16 + 4
    block = 2 * rows * (4 * d * d + 2 * DEBUG.mlp * d * d) + 2 * 2 * rows * (seen + rows) * d
    modulation = 2 * (16 * 64 + 64 * 64 + 64 * layers * 6 * d)
    assert debug.graphs["act"].flops == layers * block + modulation + 2 * rows * 2 * DEBUG.joints * d


def test_every_graph_reads_what_it_uses_and_nothing_else(debug):
    reads = {name: graph.weights for name, graph in debug.graphs.items()}
    assert frozenset().union(*reads.values()) == debug.numel.keys()
    assert {"stem.conv1.weight", "reader.words.weight", "key.0.weight", "camera_place"} <= reads["context"]
    assert {name.split(".")[0] for name in reads["act"]} == {
        "row_in", "row_place", "committed", "act_level", "act_norm", "act_out", "blocks",
    }  # fmt: skip
    assert not any(name.startswith(("imagination", "dream", "patch")) for name in reads["act"])
    assert all(any(name.startswith("blocks.1") for name in read) for read in reads.values())


def test_the_largest_has_a_billion_parameters_and_takes_no_memory():
    model = build(CONFIGS["1.3B"])
    assert 1.2e9 < sum(p.numel() for p in model.parameters()) < 1.45e9
    assert all(p.is_meta for p in model.parameters())


def test_sizes_are_what_they_are_called():
    counted = [sum(p.numel() for p in build(CONFIGS[name]).parameters()) for name in SIZES]
    assert counted == sorted(counted)
    assert counted[2] == pytest.approx(50e6, rel=0.2)
    assert counted[3] == pytest.approx(300e6, rel=0.15)
    assert all(CONFIGS[name].width % CONFIGS[name].head == 0 for name in SIZES)


@pytest.mark.parametrize(
    ("name", "int8_tops"), [("Orin Nano 8GB (Super)", 33.5), ("Orin NX 16GB", 30.0), ("AGX Orin 64GB", 85.0)]
)
def test_peaks_are_those_of_the_data_sheets(name, int8_tops):
    """Half of the sparse figures of the GPU alone: 67, 60 and 170 TOPS."""
    device = next(device for device in DEVICES if device.name == name)
    assert device.peak_tops("int8") == pytest.approx(int8_tops, rel=0.01)
    assert device.peak_tops("fp16") == pytest.approx(int8_tops / 2, rel=0.01)


PLAIN = Device("plain", 1, 1000, 1.0)  # 4.096 TOPS in INT8, 1 GB/s


def sized(shared: int) -> Size:
    """A model whose graphs share one tensor of so many weights, and have 1,000 each of their own."""
    names = {"context": frozenset({"shared", "c"}), "act": frozenset({"shared", "a"})}
    graphs = {name: Graph(2_048_000_000, weights) for name, weights in names.items()}
    return Size("x", shared + 2000, graphs, {"shared": shared, "c": 1000, "a": 1000})


def test_limits_by_hand():
    large = sized(10_000_000)  # too large for any cache: both graphs read what they share
    assert limit(large, PLAIN, "int8").memory_ms == pytest.approx(2 * 10.001)
    assert limit(large, PLAIN, "fp16").memory_ms == pytest.approx(4 * 10.001)
    assert limit(large, PLAIN, "int8").compute_ms == pytest.approx(1.0)
    assert limit(large, PLAIN, "fp16").compute_ms == pytest.approx(2.0)
    assert limit(large, PLAIN, "int8", ("act",)).memory_ms == pytest.approx(10.001)
    assert limit(large, PLAIN, "int8").ms == limit(large, PLAIN, "int8").memory_ms
    small = sized(1_000_000)  # stays in the cache: read once
    assert limit(small, PLAIN, "int8").memory_ms == pytest.approx(1.002)
    assert limit(small, PLAIN, "int8").ms == limit(small, PLAIN, "int8").memory_ms
    assert limit(sized(1000), PLAIN, "int8").ms == pytest.approx(1.0)  # compute counts here


def test_the_table_says_that_nothing_was_measured(debug):
    told = table([debug])
    assert "NOT measured" in told
    assert f"{debug.parameters:,}" in told
    assert all(device.name in told for device in DEVICES)
    numbers = figures(debug)
    assert numbers["fp16_mb"] == pytest.approx(2 * numbers["int8_mb"], rel=0.02)
    assert numbers["AGX Orin 64GB int8 memory_ms"] < numbers["Orin NX 16GB int8 memory_ms"]
