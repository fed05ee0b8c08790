"""The suite: what can be asked, what is held out, and the tables that suit it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edge_wam.errors import EdgeWamError
from edge_wam.sim import tasks
from edge_wam.train import data

ENGLISH = [(phrase, c.id) for c in tasks.commands() for phrase in tasks.training_phrases(c)]


def test_every_verb_can_be_said_of_every_colour_and_place():
    count = Counter(c.verb for c in tasks.commands())
    assert count == {"pick": 4, "push": 8, "put": 16, "point": 4, "home": 1}
    assert len({c.id for c in tasks.commands()}) == 33
    assert tasks.command("put_red_on_blue")[3:] == ("put", "red", "blue")
    assert tasks.command("pick_red").tokens == "pick up the red cube"


def test_an_unknown_command_is_refused_with_the_nearest():
    with pytest.raises(EdgeWamError, match=r"no command 'pick_rde'.*pick_red"):
        tasks.command("pick_rde")


def test_the_vocabulary_holds_every_word_once_after_the_padding():
    vocabulary = tasks.vocabulary()
    assert vocabulary[0] == ""
    assert len(set(vocabulary)) == len(vocabulary)
    assert list(vocabulary[1:]) == sorted(vocabulary[1:])  # a token id must not depend on the order of a set
    for command in tasks.commands():
        for phrase in (*tasks.training_phrases(command), *tasks.held_out_phrases(command)):
            assert set(phrase.split()) <= set(vocabulary)  # held out is the phrasing, not its words
            assert len(phrase.split()) <= tasks.WORDS


def test_what_can_be_said_names_one_command():
    said = [(p, c.id) for c in tasks.commands() for phrases in c.phrases.values() for p in phrases]
    said += [(p, c.id) for c in tasks.commands() for p in tasks.held_out_phrases(c)]
    assert len({phrase for phrase, _ in said}) == len(said)
    for command in tasks.commands():
        assert set(command.phrases) == {"en", "zh"}
        assert command.tokens == command.phrases["en"][0]


# --- held out -------------------------------------------------------------------------------


def test_held_out_pairs_and_phrases_are_not_among_what_is_trained():
    pairs = {(c.verb, c.colour) for c in tasks.training_commands()}
    assert not pairs & tasks.HELD_OUT_PAIRS
    assert pairs | tasks.HELD_OUT_PAIRS == {(c.verb, c.colour) for c in tasks.commands()}
    phrases = {phrase for phrase, _ in ENGLISH}
    for command in tasks.commands():
        assert not phrases & set(tasks.held_out_phrases(command))


def test_every_verb_and_every_colour_of_a_held_out_pair_is_trained_in_another():
    """Else nobody could know."""
    pairs = {(c.verb, c.colour) for c in tasks.training_commands()}
    for verb, colour in tasks.HELD_OUT_PAIRS:
        assert verb in {v for v, _ in pairs}
        assert len({v for v, c in pairs if c == colour}) >= 3


def test_the_generator_never_draws_a_held_out_pair_and_draws_all_else():
    rng = np.random.default_rng(0)
    drawn = Counter(data.random_command(rng).id for _ in range(4000))
    assert set(drawn) == {c.id for c in tasks.training_commands()}


# --- trials ---------------------------------------------------------------------------------


def test_trials_are_the_same_by_seed_whatever_their_number():
    assert tasks.trials(3, 40) == tasks.trials(3, 90)[:40]
    assert tasks.trials(3, 40) != tasks.trials(4, 40)


def test_trials_say_what_their_group_promises():
    asked = tasks.trials(7, 300)
    assert len({trial.seed for trial in asked}) == 300
    phrases = dict(ENGLISH)
    for trial in asked:
        command = tasks.command(trial.command_id)
        held_out = (command.verb, command.colour) in tasks.HELD_OUT_PAIRS
        assert held_out == (trial.group == "held_out_pair")
        if trial.group == "held_out_phrasing":
            assert trial.phrase in tasks.held_out_phrases(command)
        else:
            assert phrases[trial.phrase] == command.id
    by_verb = Counter(tasks.command(trial.command_id).verb for trial in asked)
    assert set(by_verb.values()) == {60}
    by_group = Counter(trial.group for trial in asked)
    assert by_group == {"seen": 190, "held_out_pair": 60, "held_out_phrasing": 50}


def test_no_trial_lies_among_the_scenes_of_training():
    highest = tasks.FIRST_TRAINING_SEED // tasks.EPISODE_SEEDS - 1
    assert tasks.trials(highest, 1)[0].seed < tasks.FIRST_TRAINING_SEED
    for seed, episodes in ((highest + 1, 1), (-1, 1), (0, 0), (0, tasks.EPISODE_SEEDS + 1)):
        with pytest.raises(EdgeWamError, match="an evaluation has a seed of 0 to"):
            tasks.trials(seed, episodes)


# --- tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", tasks.commands(), ids=lambda c: c.id)
def test_a_table_holds_what_the_command_names_and_everything_has_room(command):
    for seed in range(12):
        scene = tasks.table_for(command, np.random.default_rng(seed), seed)
        assert len(set(scene.colours)) == len(scene.colours) in (3, 4)
        assert len(set(scene.plates)) == len(scene.plates) == len(scene.plates_xy)
        assert not command.colour or command.colour in scene.colours
        assert command.verb != "put" or command.place in scene.plates
        assert ((scene.sizes_m >= 0.020) & (scene.sizes_m <= 0.030)).all()
        xy = np.concatenate([scene.cubes_xy_yaw[:, :2], scene.plates_xy])
        gaps_m = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1)) + np.eye(len(xy))
        assert gaps_m.min() >= tasks.CUBES_APART_M
        assert gaps_m[len(scene.colours) :].min(initial=1.0) >= tasks.PLATE_APART_M


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_cube_to_be_pushed_has_its_way_free(side):
    command, sign = tasks.command(f"push_red_{side}"), 1 if side == "left" else -1
    for seed in range(20):
        scene = tasks.table_for(command, np.random.default_rng(seed))
        index = scene.colours.index("red")
        x, y = scene.cubes_xy_yaw[index, :2]
        others = np.concatenate([np.delete(scene.cubes_xy_yaw, index, 0)[:, :2], scene.plates_xy])
        ahead_m = (others[:, 1] - y) * sign
        assert not ((np.abs(others[:, 0] - x) < 0.045) & (ahead_m > 0) & (ahead_m < 0.1)).any()


def test_distractors_number_two_or_three_and_plates_none_to_two():
    rng = np.random.default_rng(0)
    tables = [tasks.table_for(tasks.command("pick_red"), rng) for _ in range(200)]
    assert {len(scene.colours) for scene in tables} == {3, 4}
    assert {len(scene.plates) for scene in tables} == {0, 1, 2}


def test_laying_is_repeatable_and_sets_the_arm(shared_world):
    tasks.lay(shared_world, "put_red_on_red", 5)
    first = shared_world.data.qpos.copy(), shared_world.scene.plates_xy
    tasks.lay(shared_world, "home", 6)
    ready = np.abs(shared_world.position_rad[:5] - tasks.READY_RAD[:5]).max()
    assert ready > 0.3  # home is somewhere else
    tasks.lay(shared_world, "put_red_on_red", 5)
    assert np.array_equal(shared_world.data.qpos, first[0])
    assert np.array_equal(shared_world.scene.plates_xy, first[1])
    assert np.abs(shared_world.position_rad - tasks.READY_RAD).max() < 0.15
