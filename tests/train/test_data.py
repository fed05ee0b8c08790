"""Demonstrations and scenes: repeatable by seed, resumable by shard, labelled by the plan alone."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.sim import tasks
from edge_wam.sim.expert import Expert
from edge_wam.sim.scene import COLOURS
from edge_wam.train import data, shards


def episode_of(world, verb, shoved, after=0):
    """The first kept episode of a verb whose arm was (not) shoved."""
    expert = Expert(world)
    for seed in range(1_000_000 + after, 1_000_400):
        if data.random_command(np.random.default_rng(seed)).verb == verb:
            episode = data.make_episode(world, expert, seed)
            if episode is not None and (~episode.labelled).any() == shoved:
                return seed, episode
    raise AssertionError(f"no {verb}")


@pytest.fixture(scope="module")
def made(shared_world):
    """An episode whose arm was shoved, and one that went undisturbed."""
    return episode_of(shared_world, "put", True)[1], episode_of(shared_world, "pick", False)[1]


def test_every_recording_has_all_its_parts(made):
    for episode in made:
        count = len(episode.frames)
        assert 15 < count < 100
        assert episode.frames.shape[1:] == (2, 96, 96, 3)
        assert episode.target_rad.shape == (count, data.CHUNK_ROWS, 6)
        for name in (
            "position_rad",
            "sent_rad",
            "labelled",
            "undisturbed",
            "progress",
            "key_rad",
            "place_rad",
        ):
            assert len(getattr(episode, name)) == count


def test_poses_are_labelled_for_what_the_command_names(made):
    put, pick = made
    assert np.isfinite(put.place_rad).all()
    assert np.ptp(put.place_rad, axis=0).max() == 0  # plates do not move
    assert np.isnan(pick.place_rad).all()
    assert np.isfinite(pick.key_rad[:5]).all()


def test_the_label_of_the_grasp_follows_the_cube(made):
    put, _ = made
    moved = np.abs(put.key_rad[-1] - put.key_rad[0])
    assert moved[:4].max() > 0.05  # it lies on the plate now
    assert np.abs(put.key_rad[-1, 0] - put.place_rad[-1, 0]) < 0.1


def test_progress_ends_at_one_and_done_is_said_at_the_end_alone(made):
    for episode in made:
        far, done = episode.progress.T
        assert 0 <= far.min() < 0.7
        assert far[-1] == 1
        assert done[-1] == 1
        assert done[0] == 0
        assert (np.diff(done) >= 0).all()
    assert (np.diff(made[1].progress[:, 0]) >= 0).all()  # undisturbed: it only grows


def test_home_names_no_cube(shared_world):
    episode = episode_of(shared_world, "home", False)[1]
    assert np.isnan(episode.key_rad).all()


def test_a_seed_gives_the_same_episode_again(shared_world):
    """The world has lived through other episodes since; nothing of them is left."""
    seed, first = episode_of(shared_world, "point", False)
    episode_of(shared_world, "push", True)
    again = data.make_episode(shared_world, Expert(shared_world), seed)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one, other, equal_nan=not isinstance(one, str))


def test_nothing_is_labelled_while_the_arm_is_shoved(made):
    shoved, calm = made
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
    shoved, calm = made
    noise_rad = 0.045  # small noise on the commands, for recovery
    assert sent_against_label(calm).max() < noise_rad
    undisturbed = shoved.undisturbed[:-1]
    assert sent_against_label(shoved)[undisturbed].max() < noise_rad
    assert sent_against_label(shoved)[~undisturbed].max() > noise_rad


def test_the_arm_follows_its_labels_without_tearing(made):
    for episode in made:
        steps = np.abs(np.diff(episode.target_rad, axis=1)).max()
        assert steps / data.CHUNK_DT_S < data.SERVO_SPEED_RAD_S


def test_a_policy_is_taken_over_where_it_gives_up_each_time_it_drives(shared_world):
    seed, _ = episode_of(shared_world, "pick", False)
    turns, told = [0], []

    def wander(world, wish):
        told.append(wish)
        turns[-1] += 1
        if turns[-1] <= 25:
            return world.goal_rad + 0.01 * np.eye(6)[0]
        turns.append(0)
        return None

    for at in range(seed, seed + 40):
        turns[:] = [0]
        wish = data.random_command(np.random.default_rng(at))
        episode = data.make_episode(shared_world, Expert(shared_world), at, wander)
        if episode is not None and len(turns) > 2:
            break
    assert turns[:2] == [26, 26]
    assert told[-1] == wish
    assert episode.labelled.sum() > 10
    # The first turn came before the first recording; the others are in it, and nobody learns from them.
    assert (~episode.labelled).sum() >= 3 * (len(turns) - 2)
    assert not (episode.undisturbed & ~episode.labelled).any()


def test_a_policy_that_has_already_done_it_leaves_nothing_to_show(shared_world):
    """Home, and it stays at home: the judge is content before the expert could take over."""
    seed, _ = episode_of(shared_world, "home", False)

    def go_home(world, wish):
        return tasks.READY_RAD

    assert data.make_episode(shared_world, Expert(shared_world), seed, go_home) is None


# --- scenes ---------------------------------------------------------------------------------


def test_scenes_say_where_everything_is():
    frames, arrays = data.make_scenes(5_000_000, 12)
    assert frames.shape == (12, 2, 96, 96, 3)
    cubes, plates = arrays["cube_colour"], arrays["plate_colour"]
    assert set(np.unique(cubes)) <= set(range(-1, len(COLOURS)))
    assert ((cubes >= 0).sum(1) >= 3).all()
    assert np.isnan(arrays["cube_key_rad"][cubes < 0]).all()
    assert np.isfinite(arrays["cube_key_rad"][cubes >= 0]).all(-1).mean() > 0.9
    assert np.isfinite(arrays["plate_key_rad"][plates >= 0]).all(-1).mean() > 0.9


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


def test_a_stopped_run_goes_on_where_it_was_and_makes_the_same(tmp_path):
    data.generate("scenes", 4, tmp_path, 1, 2)
    before, arrays = shards.load(tmp_path, "scenes")
    kept, lost = (tmp_path / f"scenes-{seed}.npz" for seed in (5_000_000, 5_000_004))
    first = before[np.arange(4)]
    written_ns = kept.stat().st_mtime_ns
    lost.unlink()
    data.generate("scenes", 4, tmp_path, 1, 2)
    assert kept.stat().st_mtime_ns == written_ns
    after, again = shards.load(tmp_path, "scenes")
    assert np.array_equal(after[np.arange(4)], first)
    assert all(np.array_equal(arrays[name], again[name], equal_nan=True) for name in arrays)
    assert not list(tmp_path.glob("*.part"))
    assert not np.array_equal(first[:2], first[2:])
