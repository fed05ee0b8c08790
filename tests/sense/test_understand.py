"""What a sentence asks for: paraphrases are understood, near misses never are."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wam.errors import VoiceError
from edge_wam.sense.lexicon import LEXICONS
from edge_wam.sense.understand import Act, Meaning, Understanding
from edge_wam.sim import tasks
from edge_wam.sim.paraphrases import CHINESE_NEAR_MISSES, CHINESE_PARAPHRASES, NEAR_MISSES, PARAPHRASES

COMMANDS = tasks.commands()
SAID = {
    language: Understanding(language, [command.phrases[language] for command in COMMANDS])
    for language in ("en", "zh")
}
FIRST = {
    language: {command.id: command.phrases[language][0] for command in COMMANDS} for language in ("en", "zh")
}


def act(text, language="en"):
    return SAID[language].meaning(text).act


def understood(sentences, language):
    """Of sentences: how many mean what they should, at once or after one yes."""
    return [
        text
        for text, command_id in sentences.items()
        if SAID[language].meaning(text).phrase == FIRST[language][command_id]
    ]


def test_paraphrases_are_understood_after_at_most_one_question():
    """The goal is 85 of 100; those that are not are known, and their reasons are good ones."""
    assert len(PARAPHRASES) == 30
    missed = set(PARAPHRASES) - set(understood(PARAPHRASES, "en"))
    assert missed == {
        "take the purple cube off the table",  # "off" is a place of its own in "push it off the table"
        "could you set the purple cube down on the red plate",  # and so is "down"
    }
    at_once = [text for text in PARAPHRASES if act(text) is Act.DO]
    assert len(at_once) == 26
    assert set(understood(CHINESE_PARAPHRASES, "zh")) == set(CHINESE_PARAPHRASES)


@pytest.mark.parametrize("text", NEAR_MISSES)
def test_a_near_miss_is_not_done(text):
    assert act(text) not in (Act.DO, Act.AGAIN, Act.OTHER_WAY, Act.YES)


@pytest.mark.parametrize("text", CHINESE_NEAR_MISSES)
def test_nor_in_mandarin(text):
    assert act(text, "zh") not in (Act.DO, Act.AGAIN, Act.OTHER_WAY, Act.YES)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_phrase_of_the_model_is_done_as_its_own_command(language):
    for command in COMMANDS:
        for phrase in command.phrases[language]:
            wanted = Meaning(Act.DO, FIRST[language][command.id])
            assert SAID[language].meaning(phrase) == wanted
            assert SAID[language].meaning(phrase.upper() + ".") == wanted


def test_so_are_phrasings_that_no_model_was_taught():
    for command in COMMANDS:
        for phrase in tasks.held_out_phrases(command):
            assert SAID["en"].meaning(phrase) == Meaning(Act.DO, FIRST["en"][command.id])


SALAD = ("pick", "up", "push", "put", "the", "red", "blue", "cube", "plate", "on", "to", "left", "home", "go")
PHRASES = [(c.id, phrase) for c in COMMANDS for phrase in c.phrases["en"]]
AGAINST = sorted(LEXICONS["en"].refuse)


@given(st.sampled_from(PHRASES), st.sampled_from(AGAINST), st.integers(0, 12))
def test_a_word_that_turns_a_sentence_around_does_so_wherever_it_stands(said, word, at):
    words = said[1].split()
    words.insert(min(at, len(words)), word)
    # Between the words of "right hand side" or "pick up" it is still there.
    assert act(" ".join(words)) is Act.REFUSE


@given(st.sampled_from(PHRASES), st.sampled_from(["cup", "quickly", "gently", "mister", "fish"]), st.data())
def test_a_word_that_is_not_understood_is_never_done_at_once(said, word, data):
    words = said[1].split()
    words.insert(data.draw(st.integers(0, len(words))), word)
    meaning = SAID["en"].meaning(" ".join(words))
    assert meaning.act in (Act.ASK, Act.REFUSE)
    assert word in meaning.why
    if meaning.act is Act.ASK:
        assert meaning.phrase == FIRST["en"][said[0]]


@given(st.lists(st.sampled_from(SALAD), max_size=9))
def test_what_is_done_at_once_names_what_was_said(words):
    """Any salad of known words: what is done has the colours said, in their roles, and no others."""
    meaning = SAID["en"].meaning(" ".join(words))
    if meaning.act is Act.DO:
        said, done = SAID["en"].parts(" ".join(words)), SAID["en"].parts(meaning.phrase)
        assert said.verbs & done.verbs or done.things == {("home",)}
        assert said.things == done.things


def test_two_colours_keep_their_roles():
    for first, second in itertools.permutations(("red", "green", "blue", "purple"), 2):
        wanted = Meaning(Act.DO, f"put the {first} cube on the {second} plate")
        assert SAID["en"].meaning(f"put the {first} cube on the {second} plate") == wanted
        assert SAID["en"].meaning(f"on the {second} plate put the {first} block") == wanted
        assert act(f"put the {first} plate on the {second} cube") is Act.REFUSE


def test_a_missing_verb_and_one_strange_word_are_asked_about():
    asked = SAID["en"].meaning("the red cube on the green plate")
    assert asked == Meaning(Act.ASK, "put the red cube on the green plate", "what is to be done was not said")
    asked = SAID["en"].meaning("hurl the red cube to the left")
    assert asked == Meaning(Act.ASK, "push the red cube to the left", "not understood: hurl")
    assert act("well now hurl mister the red cube to the left") is Act.REFUSE  # three: talk
    assert act("the red cube") is Act.REFUSE  # picked up, pointed at?
    assert act("push the red cube on the green plate") is Act.REFUSE  # the verb was said, and is another
    assert act("pick up the red cup cube") is Act.REFUSE  # the cup is red
    assert act("is the red cube on the green plate") is Act.REFUSE  # a question, not half an order


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("yes", Act.YES), ("Yes, please!", Act.YES), ("no", Act.NO), ("cancel", Act.NO), ("again", Act.AGAIN),
        ("do it again", Act.AGAIN), ("the other way", Act.OTHER_WAY), ("What are you doing?", Act.DOING),
        ("yes no", Act.REFUSE), ("", Act.REFUSE), ("...", Act.REFUSE),
    ],
)  # fmt: skip
def test_talk_about_commands(text, wanted):
    assert act(text) is wanted


def test_the_other_way():
    opposite = SAID["en"].opposite
    assert opposite("push the red cube to the left") == "push the red cube to the right"
    assert opposite("push the red cube to the right") == "push the red cube to the left"
    assert opposite("pick up the red cube") is None
    assert opposite("put the red cube on the blue plate") is None
    assert SAID["zh"].opposite("把红色方块推到左边") == "把红色方块推到右边"


def ruled_in(text, language="en"):
    return SAID[language].not_ruled_out(text)


def test_what_a_sentence_does_not_speak_against_has_its_colours_its_side_and_its_verb():
    assert ruled_in("gimme that red gadget thing") == ["pick up the red cube", "point at the red cube"]
    assert ruled_in("scoot that red one along to the left") == ["push the red cube to the left"]
    assert ruled_in("pick up the red toy") == ["pick up the red cube"]  # a verb that is known is meant
    assert ruled_in("on the blue plate please deposit that red toy") == ["put the red cube on the blue plate"]
    assert ruled_in("retreat to your resting pose") == ["go home"]
    for text in (
        "gimme that gadget thing and the red cube",  # two things
        "refrain, do not hoist the red cube",
        "who hoisted the red cube",
        "gimme the yellow cube",
        "gimme the crimson gadget",  # a colour that is not known is no other one
        "deposit the red plate on the blue cube",
        "deposit the red thing under the blue plate",
        "push the red thing on the blue plate",  # the verb is another command's
        "lower that red gadget please",  # a verb that is no command's
        "hoist it",
    ):
        assert not [name for name in ruled_in(text) if name != "go home"], text
    assert ruled_in("把红色的玩具推去左边", "zh") == ["把红色方块推到左边"]


@given(st.sampled_from(PHRASES), st.sampled_from(AGAINST), st.integers(0, 12))
def test_a_word_that_turns_a_sentence_around_rules_out_everything(said, word, at):
    words = said[1].split()
    words.insert(min(at, len(words)), word)
    assert ruled_in(" ".join([*words, "gadget", "thing", "there"])) == []


@pytest.mark.parametrize("text", NEAR_MISSES)
def test_a_near_miss_rules_out_all_but_what_it_names(text):
    said = set(text.replace(",", "").split())
    for name in ruled_in(text):
        assert {word for word in name.split() if word in ("red", "green", "blue", "purple", "left")} <= said


def test_a_language_without_words_is_refused():
    with pytest.raises(VoiceError, match=r"'fr'.*try one of: en, zh"):
        Understanding("fr", [("prends le cube",)])


def test_the_reason_is_said():
    assert SAID["en"].meaning("do not go home").why == "'not': not"
    assert SAID["en"].meaning("pick up the red cup").why == "not understood: cup"
    assert SAID["en"].meaning("pick up the cube").why == "no such command"
