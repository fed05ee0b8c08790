"""The robot's own voice: sounds and speech, and when it was to be heard."""

from __future__ import annotations

import numpy as np
import pytest
from talker import RED

from edge_wam.errors import VoiceError
from edge_wam.sense.dialogue import Reply, Sign
from edge_wam.sense.speaker import ECHO_S, Speaker, earcon, speak


class Stage:
    """A loudspeaker that notes what it is given, and waits for nobody."""

    def __init__(self, answers, fails=""):
        self.played, self.spoken, self.said, self._fails = [], [], [], fails
        self.speaker = Speaker(answers, "en", self.said.append, self._play, self._speak)

    def _play(self, sound):
        if self._fails:
            raise VoiceError(self._fails)
        self.played.append(sound)

    def _speak(self, text, language):
        self.spoken.append((text, language))
        return np.ones(1600, np.int16)

    def after(self, *replies):
        for reply in replies:
            self.speaker.answer(reply)
        self.speaker._waiting.put(None)
        self.speaker._thread.join(5.0)
        assert not self.speaker._thread.is_alive()
        return self


def test_sounds_and_speech():
    done, asked = Reply(RED, sign=Sign.DONE), Reply("", "Did you mean?", "", Sign.ASK)
    sounds = Stage("sounds").after(done, asked, Reply(why="talk"))
    assert [len(sound) for sound in sounds.played] == [len(earcon(Sign.DONE)), len(earcon(Sign.ASK))]
    assert not sounds.spoken
    speech = Stage("speech").after(done, asked)
    assert speech.spoken == [("Did you mean?", "en")]
    assert [len(sound) for sound in speech.played] == [len(earcon(Sign.DONE)), len(earcon(Sign.ASK)) + 1600]


def test_off_is_silent():
    speaker = Speaker("off", "en", print, play=lambda sound: pytest.fail("played"))
    speaker.answer(Reply(RED, sign=Sign.DONE))
    assert not speaker.audible(0.0)
    speaker.close()


def test_a_loudspeaker_that_is_not_there_is_said_once():
    stage = Stage("sounds", fails="no loudspeaker").after(*[Reply(RED, sign=Sign.DONE)] * 3)
    assert stage.said == ["voice: no loudspeaker; answers are only written"]


def test_answers_that_pile_up_are_left_out():
    stage = Stage("sounds")
    stage.speaker._waiting.put(None)
    stage.speaker._thread.join(5.0)
    for _ in range(10):
        stage.speaker.answer(Reply(RED, sign=Sign.DONE))  # does not wait
    assert stage.speaker._waiting.qsize() == 4


def test_the_robot_knows_when_it_was_audible():
    stage = Stage("speech").after(Reply("", "Did you mean?", "", Sign.ASK))
    (first, last) = stage.speaker._audible
    begin_s, end_s = first[0], max(first[1], last[1])
    assert end_s - begin_s == pytest.approx(0.28, abs=0.01)  # as long as the sound, whoever asks early
    assert stage.speaker.audible(begin_s)
    assert stage.speaker.audible(end_s + ECHO_S)
    assert not stage.speaker.audible(begin_s - 0.01)
    assert not stage.speaker.audible(end_s + ECHO_S + 0.01)


def test_earcons_differ_and_do_not_click():
    sounds = [earcon(sign) for sign in (Sign.DONE, Sign.ASK, Sign.NO)]
    assert len({sound.tobytes() for sound in sounds}) == 3
    for sound in sounds:
        assert sound.dtype == np.int16
        assert abs(int(sound[0])) < 50
        assert abs(int(sound[-1])) < 200
        assert 6000 < np.abs(sound).max() < 7000
    assert not len(earcon(Sign.NONE))


def test_speech_without_espeak_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(VoiceError, match="sudo apt install espeak-ng"):
        speak("hello", "en")
