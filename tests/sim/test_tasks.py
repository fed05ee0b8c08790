"""The suite: what can be asked, and when it counts as done."""

from __future__ import annotations

import pytest

from edge_wam.sim import tasks
from edge_wam.sim.scene import COLOURS, CUBE_SIZE_M
from edge_wam.sim.world import LIFT_M


def test_there_is_a_command_for_every_colour():
    commands = tasks.commands()
    assert [tasks.colour_of(command.id) for command in commands] == list(COLOURS)
    assert len({command.tokens for command in commands}) == len(COLOURS)


def test_the_vocabulary_holds_every_word_once_after_the_padding(manifest):
    vocabulary = tasks.vocabulary()
    assert vocabulary[0] == ""
    assert len(set(vocabulary)) == len(vocabulary)
    assert list(vocabulary[1:]) == sorted(vocabulary[1:])  # a token id must not depend on the order of a set
    for command in tasks.commands():
        assert set(command.tokens.split()) <= set(vocabulary)
        assert len(command.tokens.split()) <= manifest.words


def test_what_can_be_said_names_one_command():
    said = [(p, c.id) for c in tasks.commands() for phrases in c.phrases.values() for p in phrases]
    assert len({phrase for phrase, _ in said}) == len(said)
    for command in tasks.commands():
        assert set(command.phrases) == {"en", "zh"}
        assert command.tokens in command.phrases["en"]


# --- the judge ------------------------------------------------------------------------------


class Table:
    """A world whose cubes go up and down, and whose clock runs, by hand."""

    def __init__(self, world) -> None:
        self.world = world
        self.named, self.other = world.scene.colours[:2]
        self.judge = tasks.Judge(world, f"pick_{self.named}", hold_s=0.3)

    def put(self, colour, height_m):
        start = self.world.model.joint(f"cube_{colour}").qposadr[0]
        self.world.data.qpos[start + 2] = CUBE_SIZE_M / 2 + height_m
        self.world._mujoco.mj_forward(self.world.model, self.world.data)

    def look(self, after_s=0.0):
        self.world.data.time += after_s
        return self.judge.look()


@pytest.fixture
def table(world):
    return Table(world)


def test_nothing_lifted_is_neither_success_nor_the_end(table):
    assert table.look(1.0) == (False, False, False)


def test_a_lift_counts_once_it_has_lasted(table):
    table.put(table.named, LIFT_M + 0.01)
    assert table.look() == (False, False, False)
    assert table.look(0.29) == (False, False, False)
    assert table.look(0.02) == (True, False, True)


def test_a_cube_thrown_up_and_dropped_does_not_count(table):
    table.put(table.named, 0.1)
    table.look()
    table.put(table.named, 0.0)
    table.look(0.2)
    table.put(table.named, 0.1)
    assert not table.look(0.2).success
    assert not table.look(0.2).success
    assert table.look(0.2).success


def test_another_cube_lifted_is_never_forgotten(table):
    table.put(table.other, 0.1)
    assert table.look() == (False, True, False)
    table.put(table.other, 0.0)
    table.put(table.named, 0.1)
    table.look(0.1)
    assert table.look(0.4) == (True, True, True)


def test_time_runs_out_from_where_the_judge_began(world):
    world.data.time = 100.0
    table = Table(world)
    assert not table.look(tasks.TIME_LIMIT_S - 0.01).over
    verdict = table.look(0.02)
    assert verdict.over
    assert not verdict.success
