"""Proposals by likeness, by the real model where it is installed: what is asked, and that nothing is done."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_wam.errors import VoiceError
from edge_wam.sense import similar
from edge_wam.sense.understand import Act, Meaning, Understanding
from edge_wam.sim import tasks
from edge_wam.sim.paraphrases import FREELY, FREELY_AMISS, NEAR_MISSES, PARAPHRASES
from edge_wam.sim.sentences import EVERYDAY, said

COMMANDS = tasks.commands()
PHRASES = [command.phrases["en"] for command in COMMANDS]
FIRST = {command.id: command.phrases["en"][0] for command in COMMANDS}
UNDERSTANDING = Understanding("en", PHRASES)
RED, POINT = "pick up the red cube", "point at the red cube"


@pytest.fixture(scope="module")
def model():
    if lacking := similar.lacking("en"):
        pytest.skip(lacking)
    return similar.MiniLM(similar.folder())


@pytest.fixture(scope="module")
def proposer(model):
    return similar.Proposer(UNDERSTANDING, PHRASES, model.embed)


def meant(proposer, text):
    return proposer(text, UNDERSTANDING.meaning(text))


def test_likeness_is_what_the_models_makers_get(model):
    """sentence-transformers 5 with torch gave these."""
    one, two, three = model.embed([RED, f"do not {RED}", "The weather is nice."])
    assert float(one @ two) == pytest.approx(0.9296, abs=2e-3)
    assert float(one @ three) < 0.1
    assert np.linalg.norm(one) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(model.embed([f"do not {RED}"])[0], two, atol=1e-5)  # padded or not
    np.testing.assert_allclose(model.embed([RED.upper()])[0], one, atol=1e-6)
    assert model.embed(["word " * 500]).shape == (1, 384)


def test_free_paraphrases_are_asked_for_and_nothing_is_done_that_was_not_before(proposer):
    plain = {text: UNDERSTANDING.meaning(text) for text in FREELY}
    proposed = {text: meant(proposer, text) for text in FREELY}
    right = [text for text, meaning in proposed.items() if meaning.phrase == FIRST[FREELY[text]]]
    before = [text for text, meaning in plain.items() if meaning.phrase == FIRST[FREELY[text]]]
    print(f"\n{len(before)} of {len(FREELY)} without, {len(right)} with: {sorted(set(FREELY) - set(right))}")
    assert len(right) >= len(before) + 6
    for text, meaning in proposed.items():
        assert meaning == plain[text] or (meaning.act is Act.ASK and plain[text].act is Act.REFUSE)
    assert [meant(proposer, text) for text in PARAPHRASES] == list(map(UNDERSTANDING.meaning, PARAPHRASES))


def test_near_misses_are_at_most_asked_about_and_talk_is_not(proposer):
    decoys = [one.text for one in said("en", np.random.default_rng(0))["decoy"]]
    sets = {"near misses": NEAR_MISSES, "free ones": FREELY_AMISS, "decoys": decoys, "talk": EVERYDAY["en"]}
    asked = {}
    for name, texts in sets.items():
        plain = [UNDERSTANDING.meaning(text) for text in texts]
        found = [meant(proposer, text) for text in texts]
        assert not [text for text, meaning in zip(texts, found, strict=True) if meaning.act is Act.DO]
        asked[name] = [
            (text, after.phrase)
            for text, before, after in zip(texts, plain, found, strict=True)
            if after != before
        ]
    print("\nproposed:", {name: f"{len(found)} of {len(sets[name])}" for name, found in asked.items()})
    assert not asked["talk"]
    assert not asked["near misses"]
    assert len(asked["decoys"]) <= 2
    assert len(asked["free ones"]) <= 8


# --- without the model ------------------------------------------------------------------------


def by_likeness(text, likeness, side=1.0, meaning=None):
    """What is made of a text that is so like to picking, on this side or that of it; pointing is 0.9 like it,
    on the other side."""

    def embed(texts):
        rows = []
        for one in texts:
            value = likeness if one == text else 1.0 if one in PHRASES[0] else 0.9
            rows.append([value, (side if one == text else -1.0) * (1 - value**2) ** 0.5])
        return np.array(rows, np.float32)

    phrases = [PHRASES[0], next(texts for texts in PHRASES if texts[0] == POINT)]
    understanding = Understanding("en", phrases)
    made = similar.Proposer(understanding, phrases, embed)
    return made(text, understanding.meaning(text) if meaning is None else meaning)


def test_only_a_refusal_that_is_near_enough_and_nearest_by_far_becomes_a_question():
    text = "gimme that red gadget there"
    refused = UNDERSTANDING.meaning(text)
    assert refused.act is Act.REFUSE
    found = by_likeness(text, 1.0)
    assert (found.act, found.phrase) == (Act.ASK, RED)
    assert found.why == f"{refused.why}; 1.00 like it"
    assert by_likeness(text, similar.FLOOR + 0.01).act is Act.ASK
    assert by_likeness(text, similar.FLOOR - 0.01) == refused
    assert by_likeness(text, 0.975, -1.0) == refused  # between the two
    assert by_likeness(text, 0.9, -1.0).phrase == POINT
    for meaning in (Meaning(Act.DO, POINT), Meaning(Act.ASK, POINT, "x"), Meaning(Act.YES), Meaning(Act.NO)):
        assert by_likeness(text, 1.0, meaning=meaning) is meaning


def test_what_a_sentence_speaks_against_is_not_proposed_however_like_it_is():
    for text in (f"do not {RED}", "gimme that blue gadget", "lower that red gadget", "gimme that gadget"):
        assert by_likeness(text, 1.0).act is Act.REFUSE


def test_a_proposer_that_is_still_loading_or_cannot_be_proposes_nothing(tmp_path, monkeypatch):
    said_, refused = [], Meaning(Act.REFUSE, why="x")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / similar.PACKAGE).mkdir()
    (tmp_path / similar.PACKAGE / "__init__.py").write_text("raise SystemExit('imported')")
    late = similar.LateProposer(UNDERSTANDING, PHRASES, said_.append)
    assert late("gimme that red gadget there", refused) is refused
    assert not late.wait(20.0)
    assert len(said_) == 1
    assert "cannot be read" in said_[0]


def test_a_proposer_that_has_loaded_proposes(model):
    late = similar.LateProposer(UNDERSTANDING, PHRASES, pytest.fail)
    assert late.wait(60.0)
    text = "put the red thing on the green plate"
    assert late(text, UNDERSTANDING.meaning(text)).phrase == "put the red cube on the green plate"


def test_a_model_that_is_not_whole_is_one_line(tmp_path):
    pytest.importorskip("tokenizers")
    with pytest.raises(VoiceError, match=r"cannot be read .*pip install"):
        similar.MiniLM(tmp_path)
    about = {"num_hidden_layers": 1, "num_attention_heads": 1, "layer_norm_eps": 1e-12}
    (tmp_path / "config.json").write_text(json.dumps(about))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(VoiceError, match=r"cannot be read .*pip install") as caught:
        similar.MiniLM(tmp_path)
    assert "\n" not in str(caught.value)
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(VoiceError, match="cannot be read"):
        similar.MiniLM(tmp_path)


def test_what_is_lacking_is_said_with_how_to_have_it(monkeypatch):
    assert similar.lacking("zh") == "only in 'en'"
    monkeypatch.setattr(similar, "PACKAGE", "no_such_package")
    assert "no no_such_package" in similar.lacking("en").replace("tokenizers, ", "").replace(
        "safetensors, ", ""
    )
    assert "--no-deps" in similar.lacking("en")
    with pytest.raises(VoiceError, match="no_such_package"):
        similar.folder()
