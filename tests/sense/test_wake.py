"""The robot's name, by the recogniser's own grammar: in one breath, alone and a pause, and not at all."""

from __future__ import annotations

import pytest

from edge_wam.sense import vosk_engine
from edge_wam.sense.dialogue import Dialogue
from edge_wam.sense.understand import Understanding
from edge_wam.sense.voice import open_recogniser
from edge_wam.sim import tasks

NAMES = {"en": "robot", "zh": "机器人"}
# By language: a voice, a recogniser, two commands, how the name is joined to one, a sentence with STOP.
SPOKEN = {
    "en": (
        "flite-rms",
        "pocketsphinx",
        ("pick up the red cube", "push the blue cube to the left"),
        " ",
        "stop",
    ),
    "zh": ("mandarin-f3", "vosk", ("把蓝色方块推到左边", "回家"), ", ", "停下"),
}


@pytest.fixture(params=sorted(NAMES))
def spoken_to(request, say, hear):
    """spoken_to(text, text, ...): what is done by who hears them one after another, STOP included."""
    language = request.param
    voice, engine, commands, joint, stop = SPOKEN[language]
    pytest.importorskip(engine)
    if engine == "vosk" and vosk_engine.find_model("zh", environment="") is None:
        pytest.skip("no Mandarin Vosk model here; try: scripts/fetch_test_voice.py")
    phrases = [command.phrases[language] for command in tasks.commands()]
    understanding = Understanding(language, phrases)
    every = [text for texts in phrases for text in texts]
    recogniser = open_recogniser(engine, language, every, beside=understanding.beside(NAMES[language]))

    def listen(*texts):
        dialogue, done = Dialogue(understanding, language, wake=NAMES[language]), []
        for words, is_stop in hear(recogniser, *(say(voice, text) for text in texts)):
            if is_stop:
                done.append("STOP")
            elif words.final:
                done += [order] if (order := dialogue.hear(words).order) else []
        return done

    listen.name, listen.commands, listen.joint, listen.stop = NAMES[language], commands, joint, stop
    return listen


def test_a_command_wants_the_name_before_it_in_one_breath_or_alone_and_stop_does_not(spoken_to):
    first, second = spoken_to.commands
    assert spoken_to(first) == []
    assert spoken_to(f"{spoken_to.name}{spoken_to.joint}{first}") == [first]
    assert spoken_to(spoken_to.name, second) == [second]
    assert set(spoken_to(spoken_to.stop)) == {"STOP"}
