"""Demonstrations and scenes: repeatable by seed, resumable by shard, labelled by the plan alone."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.errors import EdgeWamError
from edge_wam.sim import evaluate
from edge_wam.sim.expert import Expert
from edge_wam.sim.scene import COLOURS
from edge_wam.sim.world import LIFT_M
from edge_wam.train import data
from edge_wam.train.dataset import Episodes, Scenes, key_features, make_features

SHOVED_SEED, CALM_SEED = 1_000_001, 1_000_003


@pytest.fixture(scope="module")
def made(shared_world):
    """Two episodes, one of them pushed off its way; and how high the cube was at the end of the first."""
    expert = Expert(shared_world)
    shoved = data.make_episode(shared_world, expert, SHOVED_SEED)
    height_m = {colour: shared_world.height_m(colour) for colour in shared_world.scene.colours}
    return shoved, data.make_episode(shared_world, expert, CALM_SEED), height_m


def test_an_episode_shows_the_named_cube_lifted_and_no_other(made):
    shoved, _, height_m = made
    named = data.COLOUR_NAMES[shoved.colour]
    assert height_m.pop(named) >= LIFT_M
    assert max(height_m.values()) < LIFT_M / 2


def test_every_recording_has_all_its_parts(made):
    for episode in made[:2]:
        count = len(episode.frames)
        assert 20 < count < 80
        assert episode.frames.shape[1:] == (2, 96, 96, 3)
        assert episode.target_rad.shape == (count, data.CHUNK_ROWS, 6)
        for name in ("position_rad", "sent_rad", "labelled", "undisturbed"):
            assert len(getattr(episode, name)) == count
        assert episode.key_rad.shape == (5,)


def test_a_seed_gives_the_same_episode_again(made, shared_world):
    """The world has lived through other episodes since; nothing of them is left."""
    again = data.make_episode(shared_world, Expert(shared_world), CALM_SEED)
    for one, other in zip(made[1], again, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(made[0].position_rad[:5], made[1].position_rad[:5])


def test_nothing_is_labelled_while_the_arm_is_shoved(made):
    shoved, calm, _ = made
    assert calm.labelled.all()
    assert calm.undisturbed.all()
    assert 1 <= (~shoved.labelled).sum() < len(shoved.labelled) / 2
    assert not (shoved.undisturbed & ~shoved.labelled).any()


def sent_against_label(episode):
    """What was sent by the next recording against what this one's label said of that time, (n - 1,) rad."""
    at = (data.RECORD_S - data.CONTROL_S) / data.CHUNK_DT_S  # a recording is made before its tick's target
    low, part = int(at), at - int(at)
    said = (1 - part) * episode.target_rad[:-1, low] + part * episode.target_rad[:-1, low + 1]
    return np.abs(episode.sent_rad[1:] - said)[:, :5].max(1)


def test_undisturbed_recordings_went_by_their_label_and_disturbed_ones_did_not(made):
    shoved, calm, _ = made
    noise_rad = 0.045  # small noise on the commands, for recovery
    assert sent_against_label(calm).max() < noise_rad
    undisturbed = shoved.undisturbed[:-1]
    assert sent_against_label(shoved)[undisturbed].max() < noise_rad
    assert sent_against_label(shoved)[~undisturbed].max() > noise_rad


def test_the_arm_follows_its_labels_without_tearing(made):
    for episode in made[:2]:
        steps = np.abs(np.diff(episode.target_rad, axis=1)).max()
        assert steps / data.CHUNK_DT_S < data.SERVO_SPEED_RAD_S


def test_a_policy_that_drives_first_is_taken_over_where_it_gives_up(shared_world):
    ticks = []

    def wander(world, colour):
        ticks.append(colour)
        return None if len(ticks) > 25 else world.goal_rad + 0.01 * np.eye(6)[0]

    episode = data.make_episode(shared_world, Expert(shared_world), CALM_SEED, wander)
    assert len(ticks) == 26
    assert episode is not None
    assert episode.labelled.sum() > 10


# --- seeds and shards -----------------------------------------------------------------------


def test_no_scene_of_an_evaluation_is_made():
    """Not even by chance."""

    class Unlucky:
        def integers(self, high):
            assert high > data.FIRST_SEED
            return 70_007

    assert data.scene_seed(Unlucky()) >= data.FIRST_SEED
    rng = np.random.default_rng(0)
    assert min(data.scene_seed(rng) for _ in range(20_000)) >= data.FIRST_SEED
    assert data.FIRST_SEED == 1_000_000
    highest = data.FIRST_SEED // evaluate.EPISODE_SEEDS - 1
    assert evaluate.scene_seeds(highest, evaluate.EPISODE_SEEDS)[-1] < data.FIRST_SEED


def test_a_stopped_run_goes_on_where_it_was_and_makes_the_same(tmp_path):
    def content():
        shards = {}
        for path in tmp_path.iterdir():
            with np.load(path) as file:
                shards[path.name] = {name: file[name] for name in file.files}
        return shards

    data.generate("scenes", 4, tmp_path, 1, 2)
    before = content()
    assert sorted(before) == ["scenes-5000000.npz", "scenes-5000004.npz"]
    kept, lost = (tmp_path / name for name in sorted(before))
    written_ns = kept.stat().st_mtime_ns
    lost.unlink()
    data.generate("scenes", 4, tmp_path, 1, 2)
    assert kept.stat().st_mtime_ns == written_ns
    after = content()
    assert sorted(after) == sorted(before)  # and nothing half-made beside them
    for name, arrays in before.items():
        assert all(np.array_equal(arrays[key], after[name][key]) for key in arrays)
    first, second = (before[name]["position_rad"] for name in sorted(before))
    assert not np.array_equal(first, second)

    scenes = Scenes(tmp_path)
    assert len(scenes.usable) == 4
    assert all(len(set(colours)) == 3 for colours in scenes.colours)
    assert set(scenes.colours.flatten()) <= set(range(len(COLOURS)))
    assert np.isfinite(scenes.key).all()


def test_a_missing_shard_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(EdgeWamError, match=r"no scenes in .* try: python -m edge_wam.train.data scenes"):
        Scenes(tmp_path)


# --- batches --------------------------------------------------------------------------------


def test_a_roll_by_a_quarter_turn_is_the_same_grasp():
    key_rad = np.array([0.1, 0.2, 0.3, 1.0, 0.4])
    quarter = key_rad + np.array([0, 0, 0, 0, np.pi / 2])
    assert np.allclose(key_features(key_rad), key_features(quarter), atol=1e-5)
    assert not np.allclose(
        key_features(key_rad), key_features(key_rad + np.array([0, 0, 0, 0, 0.2])), atol=0.1
    )


def test_the_future_of_a_recording_is_that_of_its_own_episode(drawn_data):
    episodes = Episodes.load(drawn_data)
    assert len(episodes.frames) == 60
    assert len(episodes.usable) == 60 - 4 * 2
    of = np.arange(60) // 15
    assert np.array_equal(of[episodes.future], np.stack([of, of], 1))
    assert episodes.future[0].tolist() == [2, 4]
    assert episodes.future[14].tolist() == [14, 14]  # the end: it stays as it is
    assert not episodes.imaginable[3:5].any()  # shoved
    assert not episodes.imaginable[0]  # and what is shoved within its future
    assert episodes.imaginable[5:15].all()


def test_a_batch_has_the_shapes_of_the_model_and_no_lag_for_three_in_ten(drawn_data):
    episodes = Episodes.load(drawn_data)
    features = make_features(episodes.normalisation())
    rng = np.random.default_rng(0)
    batch = episodes.batch(rng.choice(episodes.usable, 400), features, rng, video=False)
    assert batch.state.shape == (400, 12)
    dropped = (batch.state[:, 6:11] == 0).all(1)
    assert float(dropped.float().mean()) == pytest.approx(0.3, abs=0.08)
    assert (batch.state[:, 11] != 0).all()  # that something is held is never dropped
    batch = episodes.batch(episodes.usable[:3], features, rng, video=True)
    assert batch.images.shape == (3, 2, 3, 96, 96)
    assert batch.future.shape == (3, 2, 2, 3, 48, 48)
    assert batch.rows.shape == (3, 16, 6)
    assert batch.tokens.shape == (3, 8)


def test_present_and_future_lie_in_the_same_light(drawn_data):
    episodes = Episodes.load(drawn_data)
    batch = episodes.batch(
        episodes.usable[:8], make_features(episodes.normalisation()), np.random.default_rng(0), True
    )
    present, future = batch.images[:, :, :, 0, 0], batch.future[:, :, :, :, 0, 0]  # a corner that stays grey
    assert np.allclose(present[:, :, None], future, atol=1e-4)
    assert present[:, 0, 0].std() > 0.02  # and another light for each


def test_scales_are_those_of_the_labelled_recordings(drawn_data):
    episodes = Episodes.load(drawn_data)
    norm = episodes.normalisation()
    assert norm.action_std_rad.shape == (16, 6)
    rows = make_features(norm).rows(
        episodes.target_rad[episodes.usable].astype(float),
        episodes.position_rad[episodes.usable].astype(float),
    )
    assert np.abs(rows).max() < 4
    assert (norm.action_std_rad > 0.019).all()  # a joint that hardly moves is not blown up
