"""A flight recorded and replayed: the same, exactly; and each thing that is not the same is noticed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from record_rig import COMMAND, CONFIG, MANIFEST, Formula, write

from edge_wam.cli import main
from edge_wam.errors import EdgeWamError
from edge_wam.record import topics
from edge_wam.record.reading import read
from edge_wam.record.replay import TARGETS_MRAD, act_again, judge, stretches, think_again
from edge_wam.record.topics import Stamp


def changed(entries, topic, change):
    """The entries with every record of a topic changed; change(record, index)."""
    found, index = [], 0
    for entry in entries:
        if entry.topic == topic:
            record, t_s = topics.unpack(topic, entry.data)
            change(record, index)
            entry, index = entry._replace(data=topics.pack(topic, record, t_s)), index + 1
        found.append(entry)
    return found


def test_the_rig_flies_as_a_robot_does(recorded):
    """Else nothing below says anything."""
    flown = read(recorded)
    modes = {bytes(mode).decode() for mode in flown.ticks["mode"]}
    assert modes >= {"holding", "following", "parking"}
    assert len(flown.chunks) >= 15
    assert np.abs(np.diff(flown.ticks["sent_rad"], axis=0)).max() > 0.01
    assert flown.ticks["limited"].sum() > 0
    assert {event.kind for event in flown.events} >= {"task", "hold", "park"}


def test_every_chunk_is_decided_again_to_the_bit(recorded):
    rows = think_again(read(recorded), MANIFEST, Formula())
    assert rows.unseen == 0
    assert rows.differ_mrad.max() == 0.0


def test_every_target_is_wanted_again(recorded):
    flown = read(recorded)
    targets = act_again(flown, CONFIG, {})
    assert targets.lost == 0
    assert len(targets.differ_mrad) == len(flown.ticks)
    assert targets.differ_mrad.max() < 1e-9


def test_the_verdict_is_that_nothing_differs(recorded):
    verdict = judge(read(recorded), CONFIG, Formula(), MANIFEST)
    assert verdict.same
    assert verdict.figures["same_model"]
    assert verdict.figures["targets_now_most_mrad"] == 0.0


def test_another_policy_is_noticed(recorded):
    verdict = judge(read(recorded), CONFIG, Formula(gain=1.05), MANIFEST)
    assert not verdict.same
    assert verdict.figures["rows_most_mrad"] > 1.0
    assert verdict.figures["targets_now_most_mrad"] > 0.5  # ... and it would have moved the arm otherwise
    assert verdict.figures["targets_most_mrad"] == 0.0  # while plan and guard are the same


def test_rows_of_another_model_are_told_and_not_judged(entries, tmp_path):
    path = write(tmp_path / "x.mcap", entries, Stamp.now(), manifest_sha256="of another")
    verdict = judge(read(path), CONFIG, Formula(gain=1.05), MANIFEST)
    assert verdict.same
    assert any("another model" in line for line in verdict.lines)


@pytest.mark.parametrize("joint", [0, 5])
def test_one_target_that_is_off_by_two_counts_is_noticed(entries, tmp_path, joint):
    def change(record, index):
        if index == 60:
            record["sent_rad"][joint] += 0.003

    path = write(tmp_path / "x.mcap", changed(entries, topics.TICKS, change), Stamp.now())
    verdict = judge(read(path), CONFIG, Formula(), MANIFEST)
    assert not verdict.same
    assert verdict.figures["targets_most_mrad"] > TARGETS_MRAD


def test_a_chunk_that_was_not_what_the_policy_decided_is_noticed(entries, tmp_path):
    def change(record, index):
        if index == 7:
            record["target_rad"][12, 3] += 0.001

    path = write(tmp_path / "x.mcap", changed(entries, topics.CHUNKS, change), Stamp.now())
    assert not judge(read(path), CONFIG, Formula(), MANIFEST).same


def test_what_was_decided_depends_on_every_picture(entries, tmp_path):
    """A frame that is not in the file: that chunk is not compared, and the others are still right."""
    cameras = [entry for entry in entries if entry.topic == f"{topics.CAMERA}wrist"]
    first = read(write(tmp_path / "all.mcap", entries, Stamp.now()))
    chunk = list(first.chunks.values())[5].chunk
    frames = first.frames_of(chunk.t0_s)
    assert frames is not None
    gone = next(entry for entry in cameras if entry.number == frames[1].sequence)
    path = write(tmp_path / "x.mcap", [entry for entry in entries if entry is not gone], Stamp.now())
    rows = think_again(read(path), MANIFEST, Formula())
    assert rows.unseen == 1
    assert rows.differ_mrad.max() == 0.0


def test_frames_that_were_seen_together_are_shown_together(recorded):
    flown = read(recorded)
    for news in flown.chunks.values():
        frames = flown.frames_of(news.chunk.t0_s)
        assert frames is not None
        assert [frame.camera for frame in frames] == ["front", "wrist"]
        assert frames[1].t_s - frames[0].t_s == pytest.approx(0.002, abs=1e-6)


def test_from_the_middle_of_a_task_it_is_all_the_same_after_two_ticks(entries, tmp_path):
    """As a fault's recording begins: in the middle, with the chunks before."""
    begin_s = 1001.7
    late = [entry for entry in entries if entry.t_s > begin_s or entry.topic == topics.CHUNKS]
    flown = read(write(tmp_path / "x.mcap", late, Stamp.now()))
    assert int(flown.ticks["index"][0]) > 0
    targets = act_again(flown, CONFIG, {})
    assert targets.lost == 2
    assert targets.differ_mrad.max() < 1e-9


def test_ticks_that_are_missing_cut_a_flight_in_two(entries, tmp_path):
    ticks = [entry for entry in entries if entry.topic == topics.TICKS]
    gone = {entry.number for entry in ticks[80:84]}
    left = [entry for entry in entries if not (entry.topic == topics.TICKS and entry.number in gone)]
    flown = read(write(tmp_path / "x.mcap", left, Stamp.now()))
    assert [(part.start, part.stop) for part in stretches(flown)] == [(0, 80), (80, len(flown.ticks))]
    targets = act_again(flown, CONFIG, {})
    assert 2 <= targets.lost < 15
    assert targets.differ_mrad.max() < 1e-9


def test_slots_that_the_loop_skipped_are_no_gap(recorded):
    flown = read(recorded)
    ticks = flown.ticks.copy()
    ticks["index"][50:] += 2
    ticks["skipped"][50] = 2
    assert len(list(stretches(flown._replace(ticks=ticks)))) == 1


def test_another_robots_settings_are_refused(entries, tmp_path):
    path = write(tmp_path / "x.mcap", entries, Stamp.now())
    flown = read(path)
    other = flown._replace(plan=flown.plan._replace(control_hz=100.0))
    with pytest.raises(EdgeWamError, match=r"control_hz 100.*say 50"):
        judge(other, CONFIG, Formula(), MANIFEST)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "holds nothing"), (b"not a recording", "holds nothing"), (None, "cannot read")],
)
def test_what_is_no_recording_is_refused_in_one_line(tmp_path, capsys, content, says):
    path = tmp_path / "x.mcap"
    if content is not None:
        path.write_bytes(content)
    assert main(["replay", str(path)]) == 2
    assert says in capsys.readouterr().err


def test_another_version_is_named(entries, tmp_path):
    path = write(tmp_path / "x.mcap", entries[:50], Stamp.now(), version="99")
    with pytest.raises(EdgeWamError, match="version 99, expected 1"):
        read(path)


@pytest.mark.slow
def test_the_verb_says_what_a_model_that_did_not_fly_it_would_do(recorded, capsys):
    """The shipped model, given what a formula flew: other rows, so exit code 1, and a table."""
    assert main(["replay", str(recorded)]) == 1
    table, line = capsys.readouterr().out.rsplit("\n{", 1)
    assert "rows of chunks" in table
    figures = json.loads("{" + line)["replay"]
    assert figures["same"] is False
    assert figures["targets_most_mrad"] == 0.0
    assert figures["rows_compared"] >= 15
    assert COMMAND in str(read(recorded).plan.commands)
