"""Shards: what was written comes back, whole or not at all, and frames stay on disk until asked for."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.errors import EdgeWamError
from edge_wam.train import shards


def make(folder, seed, count, rng):
    frames = rng.integers(0, 256, (count, 2, 8, 8, 3), dtype=np.uint8)
    arrays = {"position_rad": rng.normal(size=(count, 6)).astype(np.float32), "length": np.array([count])}
    shards.save(folder, "episodes", seed, frames, arrays)
    return frames, arrays


@pytest.fixture
def three(tmp_path):
    """Three shards, written out of order, and all their frames in order of seed."""
    rng = np.random.default_rng(0)
    made = {seed: make(tmp_path, seed, count, rng) for seed, count in ((900, 5), (1000, 3), (20, 4))}
    return tmp_path, [made[seed] for seed in (20, 900, 1000)]


def test_shards_come_back_end_to_end_in_order_of_seed(three):
    folder, made = three
    frames, arrays = shards.load(folder, "episodes")
    assert len(frames) == 12
    assert frames.shape == (12, 2, 8, 8, 3)
    assert np.array_equal(frames[np.arange(12)], np.concatenate([f for f, _ in made]))
    assert np.array_equal(arrays["position_rad"], np.concatenate([a["position_rad"] for _, a in made]))
    assert arrays["length"].tolist() == [4, 5, 3]


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 2), (0,)])
def test_an_index_of_any_shape_gathers_as_an_array_would(three, shape):
    folder, made = three
    whole = np.concatenate([f for f, _ in made])
    frames, _ = shards.load(folder, "episodes")
    index = np.random.default_rng(1).integers(12, size=shape)
    assert np.array_equal(frames[index], whole[index])


@pytest.mark.parametrize("index", [[12], [-1], [0, 3, 99]])
def test_a_frame_that_is_not_there_is_refused(three, index):
    frames, _ = shards.load(three[0], "episodes")
    with pytest.raises(IndexError, match=r"there are 0\.\.11"):
        frames[np.array(index)]


def test_what_is_gathered_may_be_written_to(three):
    frames, _ = shards.load(three[0], "episodes")
    gathered = frames[np.array([1])]
    before = gathered.copy()
    gathered[:] = 0
    assert np.array_equal(frames[np.array([1])], before)


def test_a_shard_without_its_npz_is_not_there(three):
    folder, _ = three
    assert shards.exists(folder, "episodes", 900)
    (folder / "episodes-900.npz").unlink()
    assert not shards.exists(folder, "episodes", 900)
    assert len(shards.load(folder, "episodes")[0]) == 7
    assert not list(folder.glob("*.part"))


def test_no_shards_says_how_to_make_some(tmp_path):
    with pytest.raises(EdgeWamError, match=r"no scenes .* try: python -m edge_wam\.train\.data scenes"):
        shards.load(tmp_path, "scenes")


def test_shards_that_disagree_are_refused(three):
    folder, _ = three
    shards.save(folder, "episodes", 7000, np.zeros((1, 2, 8, 8, 3), np.uint8), {"other": np.zeros(1)})
    with pytest.raises(EdgeWamError, match="episodes-7000 holds other"):
        shards.load(folder, "episodes")


def test_half_a_file_is_refused(three):
    path = three[0] / "episodes-20.frames.npy"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(EdgeWamError, match=r"episodes-20 .* cannot be read"):
        shards.load(three[0], "episodes")


def test_frames_are_bytes(tmp_path):
    with pytest.raises(EdgeWamError, match="uint8, not float32"):
        shards.save(tmp_path, "scenes", 1, np.zeros((1, 2, 8, 8, 3), np.float32), {})
