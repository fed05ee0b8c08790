"""The simulated microphone: sound at the pace of an injected clock."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from edge_wam import config as settings
from edge_wam.clock import ManualClock
from edge_wam.errors import VoiceError
from edge_wam.sense import vosk_engine
from edge_wam.sense.sound import BLOCK_S, BLOCK_SAMPLES, RATE_HZ
from edge_wam.sense.speaker import speak
from edge_wam.sense.wav import read_wav
from edge_wam.sim import tasks
from edge_wam.sim.microphone import SAMPLES, SimMicrophone, for_samples, sample
from edge_wam.sim.scene import COLOURS

VOICE = settings.load().voice
RAMP = np.arange(5000, dtype=np.int16) * 6


def test_blocks_come_when_their_last_sample_was_heard_and_no_sooner():
    clock = ManualClock(100.0)
    microphone = SimMicrophone(RAMP, clock)
    microphone.start()
    for index in range(1, 20):
        block = microphone.read(1.0)
        assert clock.now_s() == pytest.approx(100.0 + index * BLOCK_S)
        assert block.t_s == pytest.approx(clock.now_s())
        assert block.samples.shape == (BLOCK_SAMPLES,)
        assert block.samples.dtype == np.int16


def test_no_sample_is_lost_and_silence_follows():
    microphone = SimMicrophone(RAMP, ManualClock(), silence_s=0.1)
    microphone.start()
    tape = np.concatenate([microphone.read(1.0).samples for _ in range(30)]).astype(int)
    at = round(0.1 * RATE_HZ)
    assert np.abs(tape[at : at + len(RAMP)] - RAMP).max() < 100  # the room's noise, no more
    assert np.abs(tape[:at]).max() < 100
    assert np.abs(tape[at + len(RAMP) :]).max() < 100
    assert np.ptp(tape[at + len(RAMP) :]) > 0  # a room, not digital zero
    assert microphone.spoken


def test_a_wait_that_is_too_short_gives_nothing_and_loses_nothing():
    clock = ManualClock()
    microphone = SimMicrophone(RAMP, clock, silence_s=0.0)
    microphone.start()
    assert microphone.read(BLOCK_S / 2) is None
    assert clock.now_s() == pytest.approx(BLOCK_S / 2)
    assert np.abs(microphone.read(1.0).samples - RAMP[:BLOCK_SAMPLES]).max() < 100


def test_who_falls_behind_gets_the_rest_at_once_with_its_own_times():
    clock = ManualClock()
    microphone = SimMicrophone(RAMP, clock)
    microphone.start()
    clock.advance(1.0)
    blocks = [microphone.read(1.0) for _ in range(10)]
    assert clock.now_s() == 1.0
    assert [block.t_s for block in blocks] == pytest.approx([BLOCK_S * (i + 1) for i in range(10)])


def test_a_command_of_every_verb_and_every_pick_has_a_small_sample():
    for language in ("en", "zh"):
        spoken = [c for c in tasks.commands() if (SAMPLES / f"{language}_{c.id}.wav").is_file()]
        assert {c.verb for c in spoken} == set(tasks.VERBS)
        assert {c.colour for c in spoken if c.verb == "pick"} == set(COLOURS)
        for command in spoken:
            path = sample(language, command.id)
            assert path.stat().st_size < 100_000
            assert 0.5 < len(read_wav(path)) / RATE_HZ < 4.0


def test_every_sample_is_of_a_command_of_the_suite():
    ids = {command.id for command in tasks.commands()}
    assert {path.stem.split("_", 1)[1] for path in SAMPLES.glob("*.wav")} <= ids


def test_a_sample_that_is_not_there_names_those_that_are():
    with pytest.raises(VoiceError, match="en_pick_red"):
        sample("en", "pick_yellow")


def test_speech_can_be_had_from_espeak():
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    assert 0.5 < len(speak("pick up the red cube", "en")) / RATE_HZ < 4.0
    with pytest.raises(VoiceError, match="voice 'xx'"):
        speak("hello", "en", voice="xx")


def test_without_espeak_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(VoiceError, match="apt install espeak-ng"):
        speak("hello", "en")


def test_samples_are_heard_without_whisper_unless_it_was_named(monkeypatch, tmp_path):
    monkeypatch.delenv(vosk_engine.VARIABLE, raising=False)
    monkeypatch.setattr(vosk_engine, "usual_places", lambda: (tmp_path,))
    assert for_samples(VOICE) == replace(VOICE, engine="pocketsphinx")
    for kept in (replace(VOICE, engine="whisper"), replace(VOICE, language="zh")):
        assert for_samples(kept) == kept
    model = tmp_path / "vosk-model-small-en-us-0.15"
    for needed in vosk_engine._NEEDED:
        (model / needed).parent.mkdir(parents=True, exist_ok=True)
        (model / needed).touch()
    assert for_samples(VOICE) == VOICE
