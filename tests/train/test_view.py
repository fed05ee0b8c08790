"""The viewer shows the episode that was asked for, and marks what nothing is learned from."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edge_wam.errors import EdgeWamError
from edge_wam.train import shards
from edge_wam.train.data import RECORD_S
from edge_wam.train.view import (
    BORDER_PX,
    COLUMNS,
    FINE,
    SHOVED,
    caption,
    contact_sheet,
    draw_episode,
    draw_scenes,
    episode,
    moments,
)

LENGTHS = ((20, 3), (9,))  # of the episodes of two shards
COMMANDS = ("pick_red", "home", "put_red_on_blue")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards of episodes whose frames and joints count the recordings, and one of scenes."""
    folder, rng, at = tmp_path_factory.mktemp("data"), np.random.default_rng(0), 0
    commands = iter(COMMANDS)
    for shard, lengths in enumerate(LENGTHS):
        n = sum(lengths)
        number = np.arange(at, at + n)
        at += n
        frames = np.full((n, 2, 96, 96, 3), number[:, None, None, None, None], np.uint8)
        frames[:, 1] += 100
        joints = np.repeat(number[:, None] / 100, 6, 1).astype(np.float32)
        labelled = np.ones(n, bool)
        labelled[2] = False
        arrays = {
            "position_rad": joints,
            "sent_rad": joints + 0.01,
            "target_rad": joints[:, None] + np.zeros((1, 16, 1), np.float32),
            "labelled": labelled,
            "undisturbed": labelled,
            "key_rad": np.full((n, 5), np.nan, np.float32) if shard else joints[:, :5],
            "place_rad": np.full((n, 5), np.nan, np.float32),
            "progress": np.linspace(0, 1, 2 * n, dtype=np.float32).reshape(n, 2),
            "command": np.array([next(commands) for _ in lengths]),
            "length": np.array(lengths),
        }
        shards.save(folder, "episodes", 1_000_000 + shard * 10, frames, arrays)
    scenes = {
        "position_rad": np.zeros((30, 6), np.float32),
        "cube_colour": np.tile([1, -1, 3, -1], (30, 1)),
        "cube_key_rad": rng.uniform(-1, 1, (30, 4, 5)).astype(np.float32),
        "plate_colour": np.tile([-1, 0], (30, 1)),
        "plate_key_rad": rng.uniform(-1, 1, (30, 2, 5)).astype(np.float32),
    }
    shards.save(folder, "scenes", 5_000_000, rng.integers(0, 256, (30, 2, 96, 96, 3), dtype=np.uint8), scenes)
    return folder


@pytest.mark.parametrize(("number", "first", "count"), [(0, 0, 20), (1, 20, 3), (2, 23, 9), (-1, 23, 9)])
def test_the_episode_asked_for_is_shown_across_shards(folder, number, first, count):
    view = episode(folder, number)
    assert view.command == COMMANDS[number]
    assert view.frames[:, 0, 0, 0, 0].tolist() == list(range(first, first + count))
    assert view.position_rad[:, 0] * 100 == pytest.approx(np.arange(first, first + count), abs=1e-3)
    assert view.t_s[-1] == pytest.approx((count - 1) * RECORD_S)


@pytest.mark.parametrize("number", [3, -4])
def test_an_episode_that_is_not_there_is_named(folder, number):
    with pytest.raises(EdgeWamError, match=rf"episode {number} .* 3 episodes: 0 to 2"):
        episode(folder, number)


def test_moments_are_spread_from_the_first_to_the_last():
    assert moments(3, COLUMNS).tolist() == [0, 1, 2]
    many = moments(200, COLUMNS)
    assert (len(many), many[0], many[-1]) == (COLUMNS, 0, 199)
    assert np.ptp(np.diff(many)) <= 1


def test_what_is_not_labelled_has_a_red_frame(folder):
    sheet = contact_sheet(episode(folder, 0), columns=20)
    side = 96 + 2 * BORDER_PX
    assert sheet.shape == (2 * side, 20 * side, 3)
    for camera in range(2):
        border = sheet[camera * side, ::side]
        assert [tuple(pixel) for pixel in border] == [SHOVED if at == 2 else FINE for at in range(20)]
        inside = sheet[camera * side + side // 2, side // 2 :: side, 0]
        assert inside.tolist() == [at + 100 * camera for at in range(20)]


def test_pages_are_written(folder, tmp_path):
    draw_episode(episode(folder, 2), "a title", tmp_path / "episode.png")
    assert draw_scenes(folder, 10, tmp_path / "scenes.png") == "scenes 10 to 29 of 30"
    for name in ("episode.png", "scenes.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 600
            assert np.asarray(picture.convert("L")).std() > 1


def test_a_scene_says_what_lies_on_its_table(folder):
    _, arrays = shards.load(folder, "scenes")
    words = caption(arrays, 0)
    assert "green" in words
    assert "purple" in words
    assert words.endswith("plates: red")
    assert "blue" not in words


def test_a_scene_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(EdgeWamError, match=r"scene 30 .* 0 to 29"):
        draw_scenes(folder, 30, tmp_path / "scenes.png")
