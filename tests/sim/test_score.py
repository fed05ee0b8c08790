"""Figures of an evaluation: honest intervals, keys that others read, and pictures that hold what they say."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edge_wam.sim import score
from edge_wam.sim.score import Imagined, Moment, Result, figures, imagination, table, wilson


def result(seed, success=True, wrong=False, verb="pick", group="seen", **more):
    fields = {"seconds": 4.0 + seed % 3, "closest_m": 0.004, "infer_ms": (10.0, 12.0)} | more
    return Result("k", seed, f"{verb}_red", f"{verb} the red cube", group, verb, success, wrong, **fields)


MIXED = [
    result(1),
    result(2, success=False, wrong=True, verb="push"),
    result(3, verb="push", group="held_out_pair"),
    result(4, success=False, verb="home", group="held_out_phrasing", closest_m=None),
]


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


def test_the_figures_count_by_task_and_by_group_and_leave_out_what_was_not_tried():
    found = json.loads(json.dumps(figures(MIXED), allow_nan=False))
    assert (found["success"]["done"], found["success"]["of"], found["success"]["rate"]) == (2, 4, 0.5)
    assert found["success"]["low"] < 0.5 < found["success"]["high"]
    assert {name: (part["done"], part["of"]) for name, part in found["tasks"].items()} == {
        "pick": (1, 1),
        "push": (1, 2),
        "home": (0, 1),
    }
    assert {name: part["of"] for name, part in found["groups"].items()} == {
        "seen": 2,
        "held_out_pair": 1,
        "held_out_phrasing": 1,
    }
    assert found["tasks_seen"]["push"]["done"] == 0
    assert (found["wrong_object"], found["wrong_object_rate"]) == (1, 0.25)
    assert found["seconds_p50"] == 4.5  # of the two that succeeded: 5 and 4 s
    assert found["closest_mm_p50"] == 4.0
    assert (found["infer_ms_p50"], found["infer_ms_p99"]) == (11.0, 12.0)
    assert found["missed"] == [2, 4]


def test_figures_of_nothing_but_failures_are_still_json():
    found = json.loads(json.dumps(figures([result(1, success=False, infer_ms=())]), allow_nan=False))
    assert found["success"]["rate"] == 0
    assert found["seconds_p50"] is None
    assert found["infer_ms_p50"] is None
    assert found["action_mrad"] is None
    assert found["imagined"] == []


def test_action_errors_are_averaged_over_the_episodes_that_have_one():
    found = figures([result(1, action_mrad=10.0), result(2), result(3, action_mrad=20.0)])
    assert (found["action_mrad"], found["action_episodes"]) == (15.0, 2)


def test_the_guards_share_is_of_all_ticks_and_unknown_without_any():
    several = [result(1, ticks=300, guarded=3), result(2, ticks=100, guarded=0)]
    assert figures(several)["guarded"] == 0.0075
    assert figures([result(1)])["guarded"] is None
    assert "0.75" in table({"a": figures(several)})


def test_an_imagined_frame_counts_by_the_pixels_that_moved_in_it():
    near = [Imagined(0.2667, 10.0, 30.0, 100, 2), Imagined(0.2667, 10.0, 10.0, 300, 2)]
    episodes = [
        result(1, imagined=(near[0], Imagined(0.5333, 4.0, 8.0, 8, 2))),
        result(2, imagined=(near[1],)),
    ]
    found = imagination(episodes)
    assert [part["ahead_s"] for part in found] == [0.2667, 0.5333]
    assert found[0] == {"ahead_s": 0.2667, "error": 0.05, "still": 0.1, "times_better": 2.0, "frames": 4}
    assert found[1]["times_better"] == 2.0


def test_where_nothing_moved_imagining_has_no_score():
    found = imagination([result(1, imagined=(Imagined(0.5333, 0.0, 0.0, 0, 2),))])
    assert found[0]["times_better"] is None
    assert found[0]["error"] is None


# --- lines of JSON --------------------------------------------------------------------------


def test_a_result_survives_its_line():
    kept = result(5, imagined=(Imagined(0.2667, 1.5, 2.5, 30, 2),), action_mrad=7.5)
    assert score.parse(score.line(kept)) == kept
    assert "\n" not in score.line(kept)


def test_a_line_that_was_cut_short_or_is_another_kind_is_none():
    whole = score.line(result(5))
    assert score.parse(whole[: len(whole) // 2]) is None
    assert score.parse("") is None
    assert score.parse('{"seed": 1}') is None
    assert score.parse(whole.replace('"seed"', '"sead"')) is None


# --- for people -----------------------------------------------------------------------------


def test_the_table_shows_every_policy_against_the_first():
    better, worse = figures([result(n) for n in range(4)]), figures(MIXED)
    lines = table({"teacher@10": better, "int8": worse}).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith(("teacher", "int8"))}
    assert rows["int8"][:3] == ["50.0", "%", "4.50"]  # the second table's row, half of the first's success
    assert "100.0" in lines[2]
    assert lines[2].startswith("teacher@10")
    assert any("missed by int8: 2, 4" in line for line in lines)
    assert any("missed by teacher@10: none" in line for line in lines)


def test_the_table_holds_for_a_first_policy_that_never_succeeds():
    failed = figures([result(1, success=False)])
    assert "-" in table({"a": failed, "b": figures([result(1)])})


def test_the_plot_is_a_picture(tmp_path):
    path = tmp_path / "new" / "score.png"
    score.plot({"a": figures(MIXED), "b": figures([result(1)])}, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_strip_shows_present_imagined_and_real_of_both_cameras(tmp_path):
    from PIL import Image

    frames = [np.full((2, 48, 48, 3), level, np.uint8) for level in (10, 100, 200)]
    frames[2][1] = 222  # the second camera
    path = tmp_path / "strip.png"
    score.strip([Moment("teacher", "pick up the red cube", *frames)] * 2, 0.5333, path, zoom=2)
    row = np.asarray(Image.open(path))[-50, 190::99, 0][:6]  # a tile's first column, every 96 + 3 pixels
    assert row.tolist() == [10, 100, 200, 10, 100, 222]


def test_without_a_moment_there_is_no_strip(tmp_path):
    score.strip([], 0.5333, tmp_path / "strip.png")
    assert not (tmp_path / "strip.png").exists()
