"""Batches: the right frames, phrases and labels for each recording, and each verb as often as it should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn import COMMANDS, drawn_episode, save_episodes, save_scenes

from edge_wam.errors import EdgeWamError
from edge_wam.sim import tasks
from edge_wam.train.dataset import (
    BALANCE,
    Episodes,
    Scenes,
    Seeing,
    halved,
    key_features,
    make_features,
    place_features,
    random_lighting,
)
from edge_wam.train.model import small, unit
from edge_wam.train.text import CUBES


@pytest.fixture(scope="module")
def episodes(drawn_data):
    return Episodes.load(drawn_data)


@pytest.fixture(scope="module")
def scenes(drawn_data):
    return Scenes(drawn_data)


@pytest.fixture(scope="module")
def features(episodes):
    return make_features(episodes.normalisation())


def verb_of(slots):
    return [tasks.VERBS[i] for i in slots.verb.argmax(1).tolist()]


# --- episodes -------------------------------------------------------------------------------


def test_a_batch_says_a_phrase_of_each_recordings_own_command(episodes, features):
    words = tasks.vocabulary()
    index = np.arange(150)[episodes.arrays["labelled"]]
    batch = episodes.batch(index, features, np.random.default_rng(0), video=False)
    for at, tokens in zip(index.tolist(), batch.tokens.tolist(), strict=True):
        phrase = " ".join(words[i] for i in tokens if i)
        assert phrase in tasks.training_phrases(tasks.command(COMMANDS[at // 15 % 5]))
    names = [COMMANDS[at // 15 % 5] for at in index.tolist()]
    assert verb_of(batch.slots) == [tasks.command(name).verb for name in names]


def test_labels_are_in_the_units_of_the_state(episodes, features):
    """Where the arm has arrived, what the heads are to say is what the state says."""
    norm = features.normalisation
    index = np.array([14, 29 + 15])  # the last recordings of a pick and of a put: still
    position = episodes.arrays["position_rad"][index].astype(np.float64)
    state = features.state(position, position)
    batch = episodes.batch(index, features, np.random.default_rng(0), video=False)
    assert np.allclose(batch.key[:, :4], state[:, :4], atol=1e-5)
    assert batch.place[0].isnan().all()
    assert np.allclose(batch.place[1], state[1, :4], atol=1e-5)
    assert batch.progress.tolist() == [[1, 1], [1, 1]]
    roll = np.array([0, 0, 0, 0, 0.3])
    assert np.allclose(key_features(roll, norm)[4:], [np.cos(1.2), np.sin(1.2)])
    assert np.allclose(key_features(roll, norm)[4:], key_features(roll + np.pi / 2 * np.eye(5)[4], norm)[4:])
    assert np.allclose(place_features(norm.position_mean_rad[:5], norm), 0)


def test_home_has_no_cube(episodes, features):
    batch = episodes.batch(np.array([4 * 15]), features, np.random.default_rng(0), video=False)
    assert batch.key.isnan().all()
    assert batch.slots.object.argmax(1).tolist() == [0]


def test_each_verb_is_drawn_as_often_as_the_balance_says(episodes):
    index = episodes.draw(40_000, np.random.default_rng(0))
    verbs = episodes.slots[episodes.command[index], 0]
    share = np.bincount(verbs, minlength=5) / len(index)
    assert np.allclose(share, [BALANCE[v] for v in tasks.VERBS], atol=0.01)
    assert sum(BALANCE.values()) == pytest.approx(1)


def test_what_mends_a_mistake_is_drawn_twice_as_often(episodes):
    """Recordings 3 and 4 of a drawn episode are not labelled, so 5 to 10 are what came of it."""
    drawn = episodes.draw(60_000, np.random.default_rng(0)) % 15
    counts = np.bincount(drawn, minlength=15) / 60_000
    usual, mending = counts[[0, 1, 2, 11, 12, 13, 14]], counts[5:11]
    assert np.abs(mending / usual.mean() - 2).max() < 0.15
    assert np.abs(usual / usual.mean() - 1).max() < 0.1


def test_only_labelled_recordings_are_drawn_and_none_of_the_held_out_episodes(episodes):
    drawn = set(episodes.draw(5000, np.random.default_rng(0)).tolist())
    assert drawn == set(episodes.pool.tolist())
    assert episodes.arrays["labelled"][list(drawn)].all()
    held_out = {at // 15 for at in episodes.held_out.tolist()}
    assert held_out
    assert not held_out & {at // 15 for at in drawn}


def test_held_out_episodes_stay_so_when_others_are_added(tmp_path):
    rng = np.random.default_rng(0)
    drawn = [drawn_episode(rng, "pick_red", 6) for _ in range(120)]
    save_episodes(tmp_path, 1, drawn, ("pick_red",) * 120)
    before = Episodes.load(tmp_path).held_out
    save_episodes(tmp_path, 2, drawn[:90], ("pick_red",) * 90)
    after = Episodes.load(tmp_path).held_out
    assert 1 <= len(before) < len(after)
    assert np.array_equal(after[after < 720], before)


def test_the_future_is_of_the_same_episode(episodes):
    """At the end of one, its last recording: another table would be a lie."""
    assert (episodes.future // 15 == np.arange(150)[:, None] // 15).all()
    assert episodes.future[0].tolist() == [2, 4]
    assert episodes.future[13].tolist() == [14, 14]


def test_what_follows_a_shove_cannot_be_imagined(episodes):
    """Recordings 3 and 4 of every episode were shoved: whoever looks beyond them is excused."""
    assert np.flatnonzero(~episodes.imaginable[:15]).tolist() == [0, 1, 2, 3, 4]


def test_the_future_has_the_same_light_as_the_present(episodes, features):
    index = np.array([14, 44])  # still: the future is the present
    batch = episodes.batch(index, features, np.random.default_rng(0), video=True)
    assert batch.future.shape == (2, 2, 2, 3, 48, 48)
    for ahead in range(2):
        assert torch.allclose(batch.future[:, :, ahead], small(batch.images), atol=1e-4)


def test_rows_lead_from_the_measured_pose_to_the_target(episodes, features):
    """Whatever was measured, the target in radians is that of the demonstration."""
    index = episodes.pool[:20]
    batch = episodes.batch(index, features, np.random.default_rng(3), video=False)
    norm = features.normalisation
    measured = batch.state.numpy()[:, :6] * norm.position_std_rad + norm.position_mean_rad
    target = features.targets(batch.rows.numpy(), measured)
    assert np.allclose(target, episodes.arrays["target_rad"][index], atol=1e-4)
    assert 1e-4 < np.abs(measured - episodes.arrays["position_rad"][index]).max() < 0.05


@pytest.mark.slow
def test_a_pose_is_late_by_what_the_arm_moved_meanwhile(episodes, features):
    index = np.repeat(episodes.pool[:1], 4000)
    batch = episodes.batch(index, features, np.random.default_rng(3), video=False)
    norm, target = features.normalisation, episodes.arrays["target_rad"][index[0]]
    measured = batch.state.numpy()[:, :6] * norm.position_std_rad + norm.position_mean_rad
    behind = episodes.arrays["position_rad"][index[0]] - measured.mean(0)
    assert np.allclose(behind, (target[1] - target[0]) * 30 * 0.02, atol=5e-4)  # half of 40 ms, on average
    assert np.abs(behind).max() > 1e-3


@pytest.mark.slow
def test_the_last_command_is_dropped_three_times_in_ten_but_for_the_gripper(episodes, features):
    index = np.repeat(episodes.pool[:1], 4000)
    lag = episodes.batch(index, features, np.random.default_rng(3), video=False).state[:, 6:]
    assert float((lag[:, :5] == 0).all(1).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert (lag[:, 5] != 0).all()


def test_scales_do_not_depend_on_how_many_recordings_a_verb_has(tmp_path):
    rng = np.random.default_rng(0)
    pick, home = drawn_episode(rng, "pick_red", 10), drawn_episode(rng, "home", 10)
    save_episodes(tmp_path / "a", 1, [pick, home], ("pick_red", "home"))
    save_episodes(tmp_path / "b", 1, [pick, home, home, home], ("pick_red", "home", "home", "home"))
    a, b = (Episodes.load(tmp_path / name).normalisation() for name in "ab")
    assert np.allclose(a.position_mean_rad, b.position_mean_rad)
    assert np.allclose(a.action_std_rad, b.action_std_rad)


def test_a_held_out_pair_among_the_shards_is_refused(tmp_path):
    episode = drawn_episode(np.random.default_rng(0), "pick_red", 6)
    save_episodes(tmp_path, 1, [episode, episode], ("pick_red", "push_green_left"))
    with pytest.raises(EdgeWamError, match="push_green_left"):
        Episodes.load(tmp_path)


# --- scenes ---------------------------------------------------------------------------------


def test_a_scene_is_asked_for_a_cube_that_is_there_and_told_its_own_grasp(scenes, features):
    index, norm = np.arange(40).repeat(5), features.normalisation
    batch = scenes.batch(index, features, np.random.default_rng(0))
    asked = batch.slots.object.argmax(1).numpy() - 1
    for row, (scene, colour) in enumerate(zip(index, asked, strict=True)):
        (at,) = np.flatnonzero(scenes.cube_colour[scene] == colour)
        assert np.allclose(batch.key[row], key_features(scenes.cube_key_rad[scene, at], norm), atol=1e-6)
    assert len(set(asked.tolist())) == 4
    assert len({(s, c) for s, c in zip(index.tolist(), asked.tolist(), strict=True)}) > 80  # not always one


def test_a_scene_is_asked_for_a_plate_that_is_there_or_for_none(scenes, features):
    index, norm = np.arange(40).repeat(6), features.normalisation
    batch = scenes.batch(index, features, np.random.default_rng(0))
    places = batch.slots.place.argmax(1).tolist()
    for row, (scene, place) in enumerate(zip(index, places, strict=True)):
        if tasks.PLACES[place] in CUBES[1:]:
            (at,) = np.flatnonzero(scenes.plate_colour[scene] == CUBES.index(tasks.PLACES[place]) - 1)
            expected = place_features(scenes.plate_key_rad[scene, at], norm)
            assert np.allclose(batch.place[row], expected, atol=1e-6)
        else:
            assert batch.place[row].isnan().all()
    asked = {tasks.PLACES[place] for place in places}
    assert asked == {"", "left", "right", "blue", "red", "purple"}  # the plates there are, and none


def test_the_last_scenes_are_never_trained_on(scenes):
    assert len(scenes.held_out) == 8
    assert not set(scenes.draw(2000, np.random.default_rng(0)).tolist()) & set(scenes.held_out.tolist())


def test_seeing_mixes_scenes_and_recordings(drawn_data, features):
    batch = Seeing(drawn_data).batch(20, features, np.random.default_rng(0))
    assert len(batch.images) == len(batch.key) == len(batch.place) == len(batch.slots.object) == 20
    moving = (batch.images.std((1, 2, 3, 4)) < 0.8).sum()  # drawn episodes are grey, scenes are noise
    assert int(moving) == 6


def test_seeing_needs_no_episodes(tmp_path, features):
    save_scenes(tmp_path, 1, 10, np.random.default_rng(0))
    assert len(Seeing(tmp_path).batch(8, features, np.random.default_rng(0)).images) == 8


# --- pictures -------------------------------------------------------------------------------


def test_pictures_of_half_the_size_are_means_of_boxes():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 2, 96, 96, 3), dtype=np.uint8)
    whole = torch.from_numpy(images)
    expected = small(whole.flatten(0, 1)).unflatten(0, (2, 3))
    assert torch.allclose(halved(images), expected, atol=1e-5)


def test_lighting_is_the_same_for_bytes_and_for_what_was_made_of_them():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 2, 8, 8, 3), dtype=np.uint8))
    light = random_lighting(3, np.random.default_rng(1))
    assert torch.allclose(light(images), light(unit(images)))
    assert not torch.allclose(light(images), unit(images), atol=0.01)
