"""The robot's name, by the recogniser's own grammar: in one breath, alone and a pause, and not at all."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.sense import vosk_engine
from edge_wam.sense.dialogue import Dialogue
from edge_wam.sense.sound import RATE_HZ
from edge_wam.sense.understand import Understanding
from edge_wam.sense.voice import open_recogniser
from edge_wam.sense.wav import read_wav
from edge_wam.sim import tasks
from edge_wam.sim.microphone import sample

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
    "zh": ("mandarin-f3", "vosk", ("指向蓝色方块", "回家"), ", ", "停下"),
}


@pytest.fixture(params=sorted(NAMES))
def listener(request):
    """A language, what understands it, and a recogniser that knows the name."""
    language, engine = request.param, SPOKEN[request.param][1]
    pytest.importorskip(engine)
    if engine == "vosk" and vosk_engine.find_model("zh", environment="") is None:
        pytest.skip("no Mandarin Vosk model here; try: scripts/fetch_test_voice.py")
    phrases = [command.phrases[language] for command in tasks.commands()]
    understanding = Understanding(language, phrases)
    every = [text for texts in phrases for text in texts]
    beside = understanding.beside(NAMES[language])
    return language, understanding, open_recogniser(engine, language, every, beside=beside)


@pytest.fixture
def spoken_to(listener, say, hear):
    """spoken_to(text, text, ...): what is done by who hears them one after another, STOP included."""
    language, understanding, recogniser = listener
    voice, _, commands, joint, stop = SPOKEN[language]

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


def test_it_is_known_when_the_first_word_was_over(listener, hear):
    """Push-to-talk asks whether the button was held by then."""
    language, _, recogniser = listener
    sound = read_wav(sample(language, "push_red_left"))
    loud = np.flatnonzero(np.abs(sound.astype(int)) > 0.02 * np.abs(sound.astype(int)).max())
    spoken_s = (loud[-1] - loud[0]) / RATE_HZ
    for words, _ in hear(recogniser, sound, sound):
        if words.final:
            first_word_s = spoken_s - (words.t_s - words.since_s)
            assert 0.05 < first_word_s < 0.6
