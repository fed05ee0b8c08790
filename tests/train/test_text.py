"""What training hears: every training phrase, its slots, and nothing that evaluation asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_wam.errors import EdgeWamError
from edge_wam.sim import tasks
from edge_wam.train.reader import Reader
from edge_wam.train.text import (
    CUBES,
    Phrases,
    Sentences,
    encode,
    examination,
    held_out,
    is_read,
    one_hot,
    slot_indices,
    training_index,
)

WORDS = tasks.vocabulary()


def spoken(tokens):
    """Token ids (n, W) -> sentences."""
    return [" ".join(WORDS[i] for i in row if i) for row in tokens.tolist()]


def pair_of(slots):
    return tasks.VERBS[slots[0]], CUBES[slots[1]]


def test_slots_are_what_the_command_says():
    assert slot_indices(tasks.command("put_red_on_blue")) == (
        2,
        CUBES.index("red"),
        tasks.PLACES.index("blue"),
    )
    assert slot_indices(tasks.command("push_purple_left")) == (1, CUBES.index("purple"), 1)
    assert slot_indices(tasks.command("home")) == (tasks.VERBS.index("home"), 0, 0)
    assert len({slot_indices(c) for c in tasks.commands()}) == len(tasks.commands())


def test_slots_that_are_certain():
    slots = one_hot(*(np.array(part) for part in zip((2, 1, 5), (4, 0, 0), strict=True)))
    assert [part.argmax(1).tolist() for part in slots] == [[2, 4], [1, 0], [5, 0]]
    assert [part.shape[1] for part in slots] == [len(tasks.VERBS), len(CUBES), len(tasks.PLACES)]
    assert all(torch.equal(part.sum(1), torch.ones(2)) for part in slots)


def test_a_phrase_is_drawn_for_its_own_command_and_every_one_comes():
    phrases, rng, commands = Phrases(), np.random.default_rng(0), tasks.training_commands()
    index = np.repeat(np.arange(len(commands)), 100)
    said = spoken(phrases.draw(index, rng))
    heard = {(i, phrase) for i, phrase in zip(index.tolist(), said, strict=True)}
    assert heard == {(i, p) for i, c in enumerate(commands) for p in tasks.training_phrases(c)}


def test_no_held_out_pair_and_no_held_out_phrasing_is_ever_heard():
    """20,000 sentences with words put in and left out: some would be held out, had nobody looked."""
    sentences, rng = Sentences(), np.random.default_rng(0)
    for _ in range(20):
        tokens, slots = sentences.batch(1000, rng)
        assert not held_out() & set(spoken(tokens))
        assert not tasks.HELD_OUT_PAIRS & {pair_of(row) for row in slots.tolist()}


def test_the_watch_over_held_out_phrasings_is_needed(monkeypatch):
    """Without it, chance would say them."""
    asked = held_out()
    monkeypatch.setattr("edge_wam.train.text.held_out", frozenset)
    sentences, rng = Sentences(), np.random.default_rng(0)
    assert any(asked & set(spoken(sentences.batch(1000, rng)[0])) for _ in range(20))


def test_varied_sentences_keep_the_words_that_name_something():
    sentences, rng = Sentences(), np.random.default_rng(1)
    tokens, slots = sentences.batch(500, rng)
    for sentence, (_, cube, place) in zip(spoken(tokens), slots.tolist(), strict=True):
        named = [word for word in sentence.split() if word in (*CUBES, *tasks.PLACES)]
        assert sorted(named) == sorted(name for name in (CUBES[cube], tasks.PLACES[place]) if name)
    assert len(set(spoken(tokens))) > 182  # more than the phrases themselves


def test_words_that_mean_nothing_are_found_in_the_phrases():
    fillers = Sentences().fillers
    assert "please" in fillers
    assert not set(fillers) & {"cube", "left", "red", "push", "put", "home", "plate"}


def test_the_exam_asks_for_all_that_is_held_out_and_for_nothing_else():
    tokens, _ = examination("held_out_phrasing")
    assert set(spoken(tokens)) == held_out()
    _, slots = examination("held_out_pair")
    assert {pair_of(row) for row in slots.tolist()} == tasks.HELD_OUT_PAIRS
    tokens, slots = examination("training")
    assert not held_out() & set(spoken(tokens))
    assert not tasks.HELD_OUT_PAIRS & {pair_of(row) for row in slots.tolist()}


@pytest.mark.parametrize("name", ["push_green_left", "put_purple_on_red", "point_blue", "dance"])
def test_demonstrations_of_what_is_held_out_are_refused(name):
    with pytest.raises(EdgeWamError, match=name):
        training_index(np.array(["pick_red", name]))


def test_commands_are_known_by_their_place_among_the_training_commands():
    names = [c.id for c in tasks.training_commands()]
    assert training_index(np.array(names[::-1])).tolist() == list(range(len(names)))[::-1]


# --- the reader's shape ---------------------------------------------------------------------


@pytest.fixture
def reader():
    torch.manual_seed(0)
    return Reader(128, (5, 5, 7)).eval()


def test_padding_changes_nothing(reader):
    tokens = encode([("push", "the", "red", "cube", "left")])
    assert not tokens[:, 5:].any()
    for whole, short in zip(reader(tokens), reader(tokens[:, :5]), strict=True):
        assert torch.allclose(whole, short, atol=1e-6)
    with torch.no_grad():  # not by luck: a layer's bias would leak from words that are not there
        assert reader.conv1.bias.abs().max() > 0


def test_probabilities_are_probabilities_even_of_silence(reader):
    for part in reader(torch.zeros(1, 12, dtype=torch.int64)):
        assert torch.isfinite(part).all()
        assert float(part.detach().sum()) == pytest.approx(1, abs=1e-5)


def test_the_order_of_words_matters(reader):
    """Which of two colours is the cube's, and which the plate's, only their places can tell."""
    one, other = encode([("put", "red", "on", "blue"), ("put", "blue", "on", "red")])
    parts = reader(torch.stack([one, other]))
    assert all((part[0] - part[1]).abs().max() > 1e-4 for part in parts[1:])


def test_all_slots_must_be_right_to_be_read():
    slots = torch.tensor([[0, 1, 2], [0, 1, 2]])
    logits = [torch.eye(5)[[0, 0]], torch.eye(5)[[1, 1]], torch.eye(7)[[2, 3]]]
    assert is_read(logits, slots).tolist() == [True, False]
