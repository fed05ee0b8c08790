"""A fault of a real process, and the recorder that stands beside it: what was before and after is on disk."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from edge_wam import config as settings
from edge_wam.record.reading import read
from edge_wam.record.recorder import AFTER_S
from edge_wam.sim.bench_record import recording
from edge_wam.sim.process_faults import policy_killed
from edge_wam.sim.process_rig import ProcessRig


@pytest.mark.slow
def test_a_policy_that_dies_leaves_a_file_of_what_was_before_and_after(tmp_path):
    config = settings.load()
    config = replace(config, robot=replace(config.robot, name=f"dump-{os.getpid()}"))
    kept, house = tmp_path / "kept", tmp_path / "house"
    house.mkdir()
    with ProcessRig(config, house, light=True) as rig, recording(config, kept, "jpeg"):
        assert rig.moves_when_told()
        killed_s = time.monotonic()
        policy_killed(rig)
        assert rig.wait(lambda: bool(list(kept.glob("fault-*.mcap"))), 30.0), rig.last_words()
        assert rig.monitor.worst.unsafe == ()
    (path,) = kept.glob("fault-*.mcap")
    found = read(path)
    fault_s = next(event.t_s for event in found.events if event.text.startswith("no plan"))
    assert killed_s < fault_s
    assert found.ticks_s[0] < killed_s  # it was at work
    assert found.ticks_s[-1] > fault_s + AFTER_S / 2
    assert {b"following", b"holding"} <= {bytes(mode) for mode in found.ticks["mode"]}
