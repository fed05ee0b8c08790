"""Imagined frames are compared with those of the moment they are about, on pixels that moved."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.manifest import CameraView
from edge_wam.sim.foresight import Foresight

VIEW = CameraView("front", 424, 240, 30, 192, 2)
AHEAD_S = (8 / 30, 16 / 30)


def frame(level=100, left=None):
    """A grey frame, with a white square of 40 pixels whose left edge is at `left` of the crop."""
    image = np.full((240, 424, 3), level, np.uint8)
    if left is not None:
        image[24:64, 116 + left : 156 + left] = 255
    return image


def seen(image):
    """The frame as a model that is always right would imagine it: (48, 48, 3)."""
    return image[24:216, 116:308].reshape(48, 4, 48, 4, 3).mean((1, 3)).astype(np.uint8)


LATER = (frame(left=80), frame(left=120))


def run(imagined, later=LATER):
    foresight = Foresight((VIEW,), AHEAD_S)
    foresight.imagine(1.0, [frame(left=0)], np.stack(imagined)[None])
    for photo in range(1, 17):  # every camera frame after t0
        t_s = 1.0 + photo / 30
        if foresight.due(t_s):
            foresight.compare(t_s, [later[0 if photo < 12 else 1]])
    return foresight


def test_truth_has_no_error_and_nothing_changes_has_that_of_the_yardstick():
    now = seen(frame(left=0))
    perfect = run([seen(frame(left=80)), seen(frame(left=120))]).sums
    assert [part.ahead_s for part in perfect] == pytest.approx(AHEAD_S, abs=1e-4)
    assert all(part.imagined == 0 and part.still > 0 for part in perfect)
    still = run([now, now]).sums
    assert all(part.imagined == pytest.approx(part.still) for part in still)
    assert [part.still for part in still] == [part.still for part in perfect]
    # Two squares of 10 x 10 pixels changed by 155 levels of 64 a unit, in three channels.
    assert still[0].moving == 2 * 100 * 3
    assert still[0].still == pytest.approx(600 * (155 / 64) ** 2)


def test_each_horizon_meets_its_own_moment():
    swapped = run([seen(frame(left=120)), seen(frame(left=80))]).sums
    assert all(part.imagined > 0 for part in swapped)


def test_shading_does_not_count_as_moving():
    same = seen(frame())
    sums = run([same, same], (frame(left=0, level=105), frame(left=0, level=105))).sums
    assert [part.moving for part in sums] == [0, 0]
    assert [part.frames for part in sums] == [1, 1]


def test_an_episode_that_ends_before_the_moment_compares_nothing():
    foresight = Foresight((VIEW,), AHEAD_S)
    foresight.imagine(1.0, [frame()], np.zeros((1, 2, 48, 48, 3), np.uint8))
    assert not foresight.due(1.0 + 7 / 30)
    assert foresight.due(1.0 + 8 / 30)
    foresight.compare(1.0 + 8 / 30, [frame()])
    assert [part.ahead_s for part in foresight.sums] == pytest.approx([AHEAD_S[0]], abs=1e-4)
    assert foresight.glimpse is None


def test_the_picture_that_is_kept_is_of_the_thought_after_which_most_moved():
    foresight = Foresight((VIEW,), AHEAD_S)
    blank = np.zeros((1, 2, 48, 48, 3), np.uint8)
    for t0_s, later in ((1.0, frame(left=0)), (2.0, frame(left=60)), (3.0, frame(left=4))):
        foresight.imagine(t0_s, [frame(left=0)], blank + round(t0_s))
        foresight.compare(t0_s + AHEAD_S[1], [later])
    assert foresight.glimpse is not None
    assert (foresight.glimpse.imagined == 2).all()
    assert np.abs(foresight.glimpse.real[0].astype(int) - seen(frame(left=60))).max() <= 1
    assert np.abs(foresight.glimpse.present[0].astype(int) - seen(frame(left=0))).max() <= 1
