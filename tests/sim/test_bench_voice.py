"""Counting what came of tapes; and all of it once, with pocketsphinx."""

import json

import pytest

from edge_wam.config import home
from edge_wam.errors import VoiceError
from edge_wam.sense.spotter import STOP_MODEL
from edge_wam.sim import bench_voice, score_voice, speakers
from edge_wam.sim.bench_voice import Listened, entrants, tasks
from edge_wam.sim.conversation import Outcome, Quiet
from edge_wam.sim.corpus import CONDITIONS

MODEL = home() / "models/so101-tabletop"


def outcome(
    kind="command", right=False, wrong=False, stopped=False, late_s=None, condition="clean", asked=False
):
    return Outcome("it", condition, "v", kind, "", "", right, wrong, asked, stopped, late_s, None)


def figures(*outcomes, quiet=None):
    return score_voice.figures([Listened("it", outcomes, quiet, 3600.0, 36.0)])["it"]


def test_figures_count_each_kind_where_it_belongs():
    found = figures(
        *[outcome(right=True)] * 3,
        outcome(wrong=True),
        outcome(right=True, asked=True),
        *(outcome(asked=True), outcome("paraphrase", right=True, asked=True), outcome("paraphrase")),
        outcome("reworded", wrong=True),
        *(outcome("near_miss"), outcome("near_miss", wrong=True)),
        *(outcome("decoy"), outcome("decoy", wrong=True), outcome("decoy", stopped=True)),
        *[outcome("stop", stopped=True, late_s=0.1)] * 3,
        outcome("stop_in"),
    )
    clean = found["conditions"]["clean"]
    counted = {name: (one["done"], one["of"]) for name, one in clean.items() if isinstance(one, dict)}
    assert counted == {
        "right": (4, 6),
        "wrong": (1, 6),
        "reworded_right": (0, 1),
        "paraphrase_right": (1, 2),
        "others_wrong": (1, 3),
        "near_miss_obeyed": (1, 2),
        "obeyed": (2, 9),
        "stopped": (1, 14),
        "stop_missed": (1, 4),
        "stop_missed_alone": (0, 3),
    }
    assert clean["asked"] == 1  # and right
    assert clean["stop_p50_ms"] == pytest.approx(100.0)
    assert found["cpu_s_a_second"] == pytest.approx(0.01)
    assert found["voices"]["v"]["right"]["of"] == 6


def test_noises_of_a_level_are_pooled():
    noisy = [outcome(right=True, condition=c.name) for c in CONDITIONS if c.snr_db == 10.0]
    found = figures(*noisy, outcome(condition="servos 5 dB"))["conditions"]
    assert found["all noises 10 dB"]["right"]["of"] == len(noisy) == 3
    assert (found["all noises 5 dB"]["right"]["done"], found["all noises 5 dB"]["right"]["of"]) == (0, 1)
    assert "all noises 20 dB" not in found


def test_events_an_hour_have_an_interval_that_holds_for_none_too():
    none, four = score_voice.an_hour(0, 7200.0), score_voice.an_hour(4, 7200.0)
    assert (none["rate"], none["low"]) == (0.0, 0.0)
    assert none["high"] == pytest.approx(3.689 / 2, rel=0.02)  # Poisson's, exact
    assert four["rate"] == 2.0
    assert four["low"] == pytest.approx(1.090 / 2, rel=0.03)
    assert four["high"] == pytest.approx(10.242 / 2, rel=0.01)


def test_targets_are_told_as_met_or_missed():
    quiet = Quiet("it", "babble", 1800.0, (), 0, 1)
    found = {"it": figures(*[outcome(right=True)] * 19, outcome(wrong=True), quiet=quiet)}
    text = score_voice.table(found)
    assert "met    clean: right 0.95 >= 0.95" in text
    assert "MISSED clean: wrong 0.05 <= 0.002" in text
    assert "MISSED babble: stops_an_hour 2 <= 1" in text
    assert "stop_p95_ms" not in text  # nobody said it


def test_tapes_cover_every_voice_and_condition_in_a_mixed_order_that_the_seed_makes():
    those = [bench_voice.Entrant("pocketsphinx", "en")]
    todo = tasks(those, 0, False)
    assert todo == tasks(those, 0, False)
    assert todo != tasks(those, 1, False)
    assert sorted(map(repr, todo)) == sorted(map(repr, tasks(those, 1, False)))
    pairs = {(task.voice, task.condition) for task in todo if task.voice is not None}
    assert len(pairs) == len(speakers.installed("en")) * len(CONDITIONS)
    seconds = dict.fromkeys(bench_voice.BACKGROUND, 0.0)
    for task in todo:
        if task.background:
            seconds[task.background] += task.seconds
    assert seconds == bench_voice.BACKGROUND_S


def test_of_conditions_voices_and_backgrounds_some_can_be_had_alone():
    those = [bench_voice.Entrant("pocketsphinx", "en")]
    todo = tasks(those, 0, False, only=["pocketsphinx", "clean", "pink 10", "espeak-us", "talk"])
    assert {task.condition.name for task in todo if task.condition} == {"clean", "pink 10 dB"}
    names = {speakers.VOICES[task.voice].name for task in todo if task.voice is not None}
    assert names == {voice.name for voice in speakers.installed("en") if "espeak-us" in voice.name}
    assert {task.background for task in todo if task.background} == {"talk"}


def test_who_cannot_listen_here_is_left_out_and_nobody_left_is_an_error(monkeypatch):
    monkeypatch.setattr(bench_voice, "find_model", lambda language, setting: None)
    with pytest.raises(VoiceError, match="vosk zh: no model; try: edge-wam fetch-voice zh"):
        entrants("", ["vosk"])


def test_the_spotter_alone_hears_sentences_with_stop_and_nothing_else(monkeypatch, tmp_path):
    (alone,) = [one for one in entrants("", ["spotter"], spotter=True)[0] if one.language == "en"]
    with pytest.raises(VoiceError, match="no recogniser"):
        entrants("", ["spotter"])
    voice = next((v for v in speakers.installed("en") if v.name == "espeak-gb"), None)
    if voice is None:
        pytest.skip("espeak-ng is not installed")
    todo = tasks([alone], 0, False, only=["espeak-gb", "clean", "silence"], stops=True)
    spoken = [task for task in todo if task.voice == speakers.VOICES.index(voice)]
    assert sorted(task.part for task in spoken) == [0, 1, 2]  # a tape a manner
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    job = bench_voice.Job(str(MODEL), "", 0, False, str(home() / STOP_MODEL), stops=True)
    (usual,) = [task for task in spoken if task.part == 0]
    outcomes = bench_voice.listen(job, usual).outcomes
    assert {one.kind for one in outcomes} == {"stop", "stop_in"}
    assert len(outcomes) == 12
    assert sum(one.stopped for one in outcomes) >= 9
    assert all(one.stop_late_s < 0.3 for one in outcomes if one.stopped)
    deaf = bench_voice.listen(job._replace(spotter=""), usual).outcomes
    assert not any(one.stopped for one in deaf)


@pytest.mark.slow
def test_all_of_it_once_with_pocketsphinx(monkeypatch, tmp_path, capsys):
    pytest.importorskip("pocketsphinx")
    voice = next((v for v in speakers.installed("en") if v.name == "espeak-us"), None)
    if voice is None:
        pytest.skip("espeak-ng is not installed")
    task = bench_voice.Task(
        bench_voice.Entrant("pocketsphinx", "en"), speakers.VOICES.index(voice), CONDITIONS[0], "", 0, 0.0, ()
    )
    silence = task._replace(voice=None, condition=None, background="silence", seconds=10.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(bench_voice, "tasks", lambda *_: [task, silence])
    picture = tmp_path / "voice.png"
    assert bench_voice.main(MODEL, "", quick=True, workers=1, only=["pocketsphinx"], picture=picture) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["entrants"]["pocketsphinx en"]
    clean = found["conditions"]["clean"]
    assert clean["right"]["done"] >= clean["right"]["of"] / 2
    assert clean["stop_missed_alone"]["of"] > 0
    assert -500 < clean["stop_p50_ms"] < 1000
    assert found["background"]["silence"]["stops_an_hour"]["count"] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
