"""Spoken to through a real PortAudio: the robot at work, every process of it, and somebody in the room."""

import functools
import itertools
import json
import os
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import speaker

from edge_wam import config as settings
from edge_wam.robot import Sound
from edge_wam.sense.microphone import Microphone
from edge_wam.sense.sound import RATE_HZ
from edge_wam.sense.vosk_engine import find_model
from edge_wam.sense.wav import read_wav, write_wav
from edge_wam.sense.whisper_model import is_installed
from edge_wam.sim.microphone import sample
from edge_wam.sim.process_rig import ProcessRig

HEAR_S, LIFT_S, BACK_S = 15.0, 30.0, 60.0
LOUD = 0.02  # of the loudest sample: what is softer at the end of a WAV is no word any more
TRIES = 3


class Person:
    """Who speaks to it."""

    def __init__(self, server, rig):
        self.server, self.rig = server, rig

    def say(self, wav):
        """Returns when the last word ends, monotonic."""
        self.server.player.stdin.write(f"{wav}\n".encode())
        self.server.player.stdin.flush()
        began_s = float(self.server.player.stdout.readline())
        sound = np.abs(read_wav(wav).astype(int))
        loud = np.flatnonzero(sound > LOUD * sound.max())
        return began_s + int(loud[-1]) / RATE_HZ

    def is_told(self, wav):
        """Say it until it is done, as a person would."""
        for _ in range(TRIES):
            since = len(self.rig.said)
            self.say(wav)
            if self.rig.wait(lambda since=since: self.rig.following(since), HEAR_S):
                return True
        return False


class Ear(NamedTuple):
    """An engine, and a voice that it does not ask about; '' the samples'."""

    engine: str
    language: str
    voice: str
    stopper: str
    said: tuple[str, str, str]  # a cube, home, stop


ENGLISH, MANDARIN = ("pick up the red cube", "go home", "stop"), ("拿起红色方块", "回家", "停下")
EARS = (
    Ear("pocketsphinx", "en", "", "flite-rms", ENGLISH),
    Ear("whisper", "en", "espeak-f3", "espeak-f3", ENGLISH),
    Ear("vosk", "zh", "", "mandarin-f3", MANDARIN),
)


def skip_without(ear):
    if ear.engine == "whisper" and not is_installed():
        pytest.skip("whisper is not installed")
    if ear.engine == "vosk" and find_model(ear.language) is None:
        pytest.skip("no Mandarin Vosk model here; try: scripts/fetch_test_voice.py")


@pytest.mark.slow
@pytest.mark.parametrize("ear", EARS, ids=lambda ear: ear.engine)
def test_a_cube_is_lifted_stop_holds_and_a_microphone_that_was_unplugged_is_heard_again(
    jack, say, tmp_path, monkeypatch, ear
):
    skip_without(ear)
    pick_red, home = sample(ear.language, "pick_red"), sample(ear.language, "home")
    stop = tmp_path / "stop.wav"
    write_wav(stop, say(ear.stopper, ear.said[2]))
    if ear.voice:
        pick_red, home = tmp_path / "pick_red.wav", tmp_path / "home.wav"
        write_wav(pick_red, say(ear.voice, ear.said[0]))
        write_wav(home, say(ear.voice, ear.said[1]))
    server = jack(RATE_HZ, speaker.__file__)
    config = settings.load()
    config = replace(config, robot=replace(config.robot, name=f"spoken-{os.getpid()}"))
    config = replace(
        config, voice=replace(config.voice, language=ear.language, engine=ear.engine, keep_audio_mb=10.0)
    )
    monkeypatch.setenv("EDGE_WAM_STATE", str(tmp_path / "state"))
    house = tmp_path / "house"
    house.mkdir()
    sound = Sound(functools.partial(Microphone, "PortAudio"))
    with ProcessRig(config, house, light=False, sound=sound) as rig:
        person, log = Person(server, rig), house / "control.log"

        rig.stage.lay(0, "pick_red")
        rig.wait(lambda: rig.stage.verdict() is not None, HEAR_S)
        rig.stage.judge()
        assert person.is_told(pick_red), rig.last_words()
        assert f"listening with {ear.engine}" in log.read_text().casefold()
        lifted = rig.wait(lambda: getattr(rig.stage.verdict(), "success", False), LIFT_S)
        assert lifted, rig.last_words()
        assert not rig.stage.verdict().wrong_object

        assert person.is_told(home), rig.last_words()
        here_rad = rig.moments[-1].true_rad
        assert rig.wait(lambda: np.abs(rig.moments[-1].true_rad - here_rad).max() > 0.1, HEAR_S)
        ended_s = person.say(stop)
        assert rig.wait(lambda: rig.status.startswith("holding"), 3.0), rig.last_words()
        rig.pass_until(ended_s + 3.0)
        still = [m for m in rig.moments if m.t_s > ended_s + 1.0]
        assert np.ptp([m.goals_rad for m in still], axis=0).max() == 0.0
        pairs = itertools.pairwise(rig.moments)
        moved_s = max(after.t_s for before, after in pairs if (before.goals_rad != after.goals_rad).any())
        print(
            f"\nSTOP: the last goal that moved was written {1e3 * (moved_s - ended_s):.0f} ms after the word"
        )
        assert moved_s < ended_s + 1.0  # measured: within 0.15 s, on a quiet machine

        server.pull_out()
        assert rig.wait(lambda: "microphone lost: 'PortAudio'" in log.read_text(), HEAR_S), rig.last_words()
        assert not rig.gone
        server.plug_in()
        assert rig.wait(lambda: "microphone back" in log.read_text(), BACK_S), rig.last_words()
        assert person.is_told(home), rig.last_words()
        assert rig.monitor.worst.unsafe == ()
        assert rig.leave()
    kept = [json.loads(path.read_text()) for path in (tmp_path / "state/heard").glob("*.json")]
    assert {*ear.said[:2], "stop"} <= {one["did"] for one in kept}
