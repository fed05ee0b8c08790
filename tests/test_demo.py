"""The demo's script and words: who is told what when, and what people read. No process, no real time."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edge_wam import config, demo, film, script
from edge_wam.demo import Show, Wanted, asked, command_wanted, sentence
from edge_wam.errors import EdgeWamError, VoiceError
from edge_wam.film import recording
from edge_wam.manifest import Command
from edge_wam.orders import Order, Verb
from edge_wam.pilot import Event, Mode
from edge_wam.robot import Truth
from edge_wam.script import HEAR_S, SETTLE_S, SHOW_S, Ending, Script, outcome_text, table_text
from edge_wam.sense.wav import read_wav
from edge_wam.sim import microphone, tasks

DO = Order(Verb.DO, "go home")
GOING = Truth(False, False, False, ("red", "blue", "green"), ())
DONE, WRONG = GOING._replace(success=True, over=True), GOING._replace(wrong_object=True, over=True)


class FakeStage:
    """Keeps what it was asked for; says what it is told to say."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.says: Truth | None = None

    def lay(self, seed, command_id):
        self.asked.append(("lay", seed, command_id))

    def judge(self):
        self.asked.append(("judge",))

    def verdict(self):
        return self.says


class Rehearsal:
    """A script whose clock stands until `after` moves it; everybody else is a fake."""

    def __init__(self, monkeypatch, episodes=1) -> None:
        self.now_s, self.waiting, self.said, self.cues = 100.0, [], [], 0
        monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.stage, self.pilot = FakeStage(), SimpleNamespace(mode=Mode.HOLDING, news=list)
        voice = SimpleNamespace(take=self._heard)
        home = tasks.command("home")
        self.script = Script(home, episodes, 7, self.stage, voice, self.pilot, self._cue, self.said.append)

    def _heard(self):
        heard, self.waiting = self.waiting, []
        return heard

    def _cue(self):
        self.cues += 1

    def after(self, seconds, *heard):
        """A tick, so much later; what the loop is told to do."""
        self.now_s += seconds
        self.waiting = list(heard)
        return self.script.take()


@pytest.fixture
def rehearsal(monkeypatch):
    return Rehearsal(monkeypatch)


def heard(rehearsal):
    """Up to the moment at which the command was heard."""
    rehearsal.after(0.02)
    rehearsal.after(SETTLE_S + 0.02)
    assert rehearsal.after(1.5, DO) == [DO]


def test_a_table_is_laid_then_the_cue_is_given_and_judging_begins_when_it_was_heard(rehearsal):
    rehearsal.after(0.02)
    assert rehearsal.stage.asked == [("lay", 7, "home")]
    assert rehearsal.cues == 0
    rehearsal.after(SETTLE_S + 0.02)
    assert rehearsal.cues == 1
    rehearsal.after(1.0)
    assert len(rehearsal.stage.asked) == 1
    assert rehearsal.after(0.5, DO) == [DO]
    assert rehearsal.stage.asked == [("lay", 7, "home"), ("judge",)]


def test_an_episode_ends_with_the_verdict_and_counts_from_when_it_was_heard(rehearsal):
    heard(rehearsal)
    for rehearsal.stage.says in (None, GOING):
        rehearsal.after(1.0)
        assert rehearsal.script.endings == []
    rehearsal.stage.says = DONE
    rehearsal.after(1.2)
    (ending,) = rehearsal.script.endings
    assert ending.done
    assert ending.seconds == pytest.approx(3.2)
    assert rehearsal.said == ["judge: done after 3.2 s (cubes: red, blue, green)"]
    assert rehearsal.after(SHOW_S + 0.02) == [Order(Verb.PARK)]
    rehearsal.pilot.mode = Mode.PARKED
    assert rehearsal.after(1.0) == [Order(Verb.QUIT)]


def test_the_next_episode_waits_until_the_arm_is_parked_and_has_another_table(monkeypatch):
    rehearsal = Rehearsal(monkeypatch, episodes=2)
    heard(rehearsal)
    rehearsal.stage.says = DONE
    rehearsal.after(1.0)
    rehearsal.after(SHOW_S + 0.02)
    rehearsal.after(5.0)
    assert len(rehearsal.stage.asked) == 2
    rehearsal.pilot.mode = Mode.PARKED
    rehearsal.after(0.02)
    assert rehearsal.stage.asked[2:] == [("lay", 8, "home")]


def test_what_was_not_heard_is_not_judged(rehearsal):
    rehearsal.after(0.02)
    rehearsal.after(SETTLE_S + 0.02)
    rehearsal.after(HEAR_S + 0.02)
    (ending,) = rehearsal.script.endings
    assert ending.truth is None
    assert not ending.done
    assert ("judge",) not in rehearsal.stage.asked


@pytest.mark.parametrize(
    ("truth", "says"),
    [
        (DONE, "done after 3.2 s"),
        (DONE._replace(wrong_object=True), "done after 3.2 s, but a wrong cube or plate on the way"),
        (GOING._replace(over=True), "not done within 3 s"),
        (WRONG, "the wrong cube or plate; not done within 3 s"),
        (None, '"go home" was not heard; nothing moved'),
    ],
)
def test_an_outcome_in_words(truth, says):
    assert outcome_text(Ending("go home", truth, 3.2, 100.0)) == says


def test_what_lay_on_the_table_in_words():
    assert table_text(None) == ""
    assert table_text(GOING) == " (cubes: red, blue, green)"
    assert table_text(GOING._replace(plates=("blue", "red"))).endswith("; plates: blue, red)")


# --- what is said ---------------------------------------------------------------------------


def wanted(**changes):
    usual = {"command": "", "say": "", "wav": "", "episodes": 1, "seed": 0, "out": None, "headless": True}
    return Wanted(**{**usual, **changes})


def test_what_is_judged_is_what_was_named_or_is_said_or_the_red_cube():
    assert asked(wanted()) == "pick up the red cube"
    assert asked(wanted(say="go home")) == "go home"
    assert asked(wanted(say="go home please", command="home")) == "home"


def test_every_command_can_be_asked_for_by_its_words_its_id_and_each_of_its_phrases(manifest):
    for command in manifest.commands:
        for text in (command.id, command.tokens, *command.phrases["en"], *command.phrases["zh"]):
            assert command_wanted(manifest, text, "en").id == command.id


def test_every_command_is_said_by_a_recording_or_by_espeak(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "speak", lambda text, language: np.full(16000, 7, np.int16))
    recorded = set()
    for command in manifest.commands:
        path, spoken = sentence(wanted(), command, "en", tmp_path)
        assert f'"{command.tokens}"' in spoken
        if path.parent == microphone.SAMPLES:
            recorded.add(tasks.command(command.id).verb)
            assert spoken.startswith("a recorded voice says")
        else:
            assert "espeak-ng" in spoken
            assert "no recording" in spoken
            assert len(read_wav(path)) == 16000
    assert recorded == set(tasks.VERBS)


def test_without_a_recording_and_espeak_the_message_says_both(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    command = manifest.command_of("put the purple cube on the green plate")
    with pytest.raises(VoiceError, match=r"no sample of 'put_purple_on_green'.*apt install espeak-ng"):
        sentence(wanted(), command, "en", tmp_path)


def test_a_command_that_no_table_can_be_laid_for_is_refused_before_anything_starts(manifest, tmp_path):
    odd = Command("juggle", "pick up the red cube", {"en": ("juggle",)})
    with pytest.raises(EdgeWamError, match="no command 'juggle'"):
        demo.demo(
            config.load(None),
            replace(manifest, commands=(odd,)),
            wanted(say="juggle", out=tmp_path / "a.mp4"),
        )


@pytest.mark.parametrize("truth", [DONE, WRONG, None])
def test_what_the_demo_writes_is_what_the_film_reads(tmp_path, truth):
    ending = Ending("go home", truth, 3.2, 100.5)
    show = Show(tasks.command("home"), tmp_path / "said.wav", "", tmp_path)
    names = ("t_s", "sent_rad", "measured_rad", "wish_rad")
    shapes = ((5,), (5, 6), (5, 6), (5, 6))
    history = SimpleNamespace(**{n: np.zeros(s) for n, s in zip(names, shapes, strict=True)})
    pilot = SimpleNamespace(events=[Event(100.1, "doing: go home", "task")])
    demo._write(show, [], pilot, SimpleNamespace(history=lambda: history), [ending], {"misses": 0.0})
    np.savez(tmp_path / "sight.npz", frame_t_s=np.arange(3) + 99.0, front=np.zeros((3, 4, 4, 3), np.uint8))
    story = recording.read(tmp_path)
    assert story.success == ending.done
    assert story.done_s == (100.5 if ending.done else None)
    assert story.outcome == outcome_text(ending)
    assert [event.text for event in story.events] == ["doing: go home", f"judge: {outcome_text(ending)}"]
    assert json.loads((tmp_path / "run.json").read_text())["command"] == "go home"
    assert film.imagination_error(tmp_path).cameras == ()
